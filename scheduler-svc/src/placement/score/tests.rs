use super::*;

fn named(values: [f64; 2]) -> Score {
    Score::new(0.0, []).with([("cpu".to_owned(), values[0]), ("memory".to_owned(), values[1])])
}

#[test]
fn a_cost_is_the_sum_of_its_terms() {
    let score = named([1.5, 2.0]);
    assert_eq!(score.cost(), 3.5);
    assert_eq!(score.terms(), [("cpu".to_owned(), 1.5), ("memory".to_owned(), 2.0)]);
}

#[test]
fn a_missing_number_is_the_worst_cost_and_not_the_best() {
    for hole in [f64::NAN, f64::INFINITY, f64::NEG_INFINITY] {
        let score = named([hole, 1.0]);
        assert!(score.cost().is_finite());
        assert!(score.cost() > named([1e100, 0.0]).cost());
        assert!(Score::new(hole, []).cost() > 1e100);
    }
}

#[test]
fn a_share_of_nothing_is_all_of_it() {
    assert_eq!(share(0, 0), 0.0);
    assert_eq!(share(1, 0), 1.0);
    assert_eq!(share(1, 4), 0.25);
}

#[test]
fn what_is_stranded_is_what_no_further_task_can_use() {
    assert_eq!(stranded([0.5, 0.5], [0.25, 0.25]), 0.0);
    assert!((stranded([0.6, 0.5], [0.25, 0.25]) - 0.1).abs() < 1e-12);
    assert_eq!(stranded([0.2, 1.0], [0.25, 0.0]), 1.2);
    assert_eq!(stranded([0.2, 1.0], [0.0, 0.0]), 0.0);
}
