use clap::Parser;

use super::*;

#[derive(Debug, Parser)]
struct Alone {
    #[command(flatten)]
    options: Options,
}

fn options(arguments: &[&str]) -> Options {
    Alone::parse_from(["bench"].iter().chain(arguments)).options
}

#[test]
fn the_usual_run_has_a_hundred_thousand_nodes_in_ten_cells() {
    let options = options(&[]);
    assert_eq!((options.cells, options.nodes, options.algorithm), (10, 10_000, "spread"));
    assert_eq!(options.kind(), "cells-10x10000");
}

#[tokio::test]
async fn a_small_run_holds_all_that_a_large_one_has_to() {
    let options = options(&["--cells", "4", "--nodes", "150", "--tasks", "9000", "--hear-every", "2"]);
    let told = measure(&options).await.unwrap();
    let number = |path: &str| told.pointer(path).and_then(Value::as_f64).unwrap();
    assert_eq!(number("/placed/placed") + number("/placed/waiting"), 9_000.0);
    assert_eq!(number("/cell_lost/placed") + number("/cell_lost/waiting"), 9_000.0);
    assert!(number("/cell_lost/turns/tasks") > 0.0);
    assert!(number("/filled/cells/when_nothing_fits/0") > 0.8);
    assert!(number("/filled/one_engine/when_nothing_fits/0") > 0.8);
}

#[tokio::test]
async fn a_world_whose_engine_lost_a_task_or_a_node_gives_no_figures() {
    let options = options(&["--cells", "2", "--nodes", "50"]);
    let mut world = World::new(options.nodes(), options.running());
    world.offer(&options.stream().batch(500), &mut Tally::default());
    let nodes = options.nodes();
    world.check(&nodes).unwrap();
    let mut smaller = nodes.clone();
    for node in &mut smaller[1] {
        node.allocatable.cpu_millis = 100;
    }
    assert!(world.check(&smaller).unwrap_err().to_string().contains("WRONG ANSWER"));
    let mut fewer = nodes;
    fewer[0].pop();
    assert!(world.check(&fewer).unwrap_err().to_string().contains("of 49 nodes"));
}
