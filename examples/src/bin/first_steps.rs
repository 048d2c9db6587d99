//! Runs [`davit_examples::first_steps`] and prints what it tells: `cargo run -p davit-examples --bin first-steps`.

use std::process::ExitCode;

use worker_svc::reexec::{self, Reexec};

fn main() -> ExitCode {
    // The worker's part runs this program again beside it, to supervise a process.
    if let Some(code) = reexec::run_hidden() {
        return code;
    }
    run()
}

#[tokio::main]
#[expect(clippy::print_stdout, clippy::print_stderr, reason = "it is here to print")]
async fn run() -> ExitCode {
    let data_dir = std::env::temp_dir().join(format!("davit-first-steps-{}", std::process::id()));
    let outcome = davit_examples::first_steps(&data_dir, Reexec::this_program()).await;
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
