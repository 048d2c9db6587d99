//! The same seed gives the same history, and other seeds others.

use davit_sim::run::{self, Options};

#[test]
fn the_same_seed_gives_the_same_history() {
    for seed in [1, 2, 3] {
        let (first, second) = (run::seed(seed, Options::default()), run::seed(seed, Options::default()));
        assert_eq!((first.digest, first.events), (second.digest, second.events), "seed {seed}");
        assert_eq!(first.violations, []);
        assert!(first.events > 50, "{} events are too few to tell anything", first.events);
    }
    assert_ne!(run::seed(1, Options::default()).digest, run::seed(2, Options::default()).digest);
}
