//! The real grpcurl, as a stranger uses it: with nothing but the server's reflection.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::{Output, Stdio};

use tokio::io::AsyncWriteExt as _;
use tokio::process::Command;

/// The grpcurl that `cargo xtask test` names.
///
/// # Panics
/// When it names none: a test that needs grpcurl can't pass without it.
#[must_use]
pub fn binary() -> PathBuf {
    let path = std::env::var_os("DAVIT_TEST_GRPCURL");
    path.expect("DAVIT_TEST_GRPCURL names grpcurl; `cargo xtask test` sets it, and installs grpcurl if need be").into()
}

/// What a call came to.
#[derive(Debug)]
pub struct Answer {
    /// The gRPC code's number; 0 is OK. Below zero: grpcurl failed on its own account, such as for want of a connection.
    pub code: i32,
    /// Responses as JSON, or the error with its details.
    pub text: String,
}

/// Calls a method, `Service/Method` of package `davit.v1`, with a JSON request.
pub async fn call(address: SocketAddr, method: &str, request: &str) -> Answer {
    let mut command = Command::new(binary());
    // The request goes through standard input: one of 5 MB does not fit an argument.
    command.args(["-plaintext", "-max-time", "20", "-d", "@", &address.to_string()]).arg(format!("davit.v1.{method}"));
    finish(command, request).await
}

/// Runs grpcurl with other arguments after the address, such as `list`.
pub async fn ask(address: SocketAddr, arguments: &[&str]) -> Answer {
    let mut command = Command::new(binary());
    command.args(["-plaintext", "-max-time", "20", &address.to_string()]).args(arguments);
    finish(command, "").await
}

async fn finish(mut command: Command, input: &str) -> Answer {
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).kill_on_drop(true);
    let mut child = command.spawn().expect("grpcurl starts");
    let mut stdin = child.stdin.take().expect("its input is piped");
    let input = input.to_owned();
    let feed = tokio::spawn(async move {
        // grpcurl may end before it has read all; its exit code tells.
        let _ = stdin.write_all(input.as_bytes()).await;
    });
    let Output { status, stdout, stderr } = child.wait_with_output().await.expect("grpcurl ends");
    let _ = feed.await;
    let exit_code = status.code().unwrap_or(-1);
    let text = format!("{}{}", String::from_utf8_lossy(&stdout), String::from_utf8_lossy(&stderr));
    // grpcurl adds 64 to the gRPC code; below that it failed on its own account.
    let code = if exit_code > 64 { exit_code - 64 } else { -exit_code };
    Answer { code, text }
}
