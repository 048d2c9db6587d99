//! Runs [`davit_examples::first_steps`] and prints what it tells: `cargo run -p davit-examples --bin first-steps`.

use std::process::ExitCode;

#[tokio::main]
#[expect(clippy::print_stdout, clippy::print_stderr, reason = "it is here to print")]
async fn main() -> ExitCode {
    let data_dir = std::env::temp_dir().join(format!("davit-first-steps-{}", std::process::id()));
    let outcome = davit_examples::first_steps(&data_dir).await;
    // What is left of the directory is in the way of nobody.
    let _ = std::fs::remove_dir_all(&data_dir);
    match outcome {
        Ok(story) => {
            println!("{}", story.join("\n"));
            ExitCode::SUCCESS
        }
        Err(problem) => {
            eprintln!("first-steps: {problem}");
            ExitCode::FAILURE
        }
    }
}
