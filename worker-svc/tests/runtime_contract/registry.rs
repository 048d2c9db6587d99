//! A registry with one image, which it can hold back halfway. Engines talk plain HTTP with registries on 127.0.0.0/8.

use std::collections::HashMap;
use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Notify;

use crate::harness::unique;
use crate::image::entry;

const MANIFEST: &str = "application/vnd.docker.distribution.manifest.v2+json";

/// Serves until it is dropped, and then removes what the engine got from it.
pub(crate) struct Registry {
    pub(crate) image: String,
    /// The second half of the layer is sent after a permit.
    pub(crate) second_half: Arc<Notify>,
    pub(crate) layer_bytes: u64,
    /// How often it was asked for the image by its name.
    pub(crate) asked: Arc<AtomicUsize>,
    server: tokio::task::JoinHandle<()>,
}

impl Registry {
    pub(crate) async fn start() -> Self {
        let layer = layer();
        let layer_bytes = layer.len() as u64;
        let layer_digest = digest(&layer);
        let config = format!(
            r#"{{"architecture":"amd64","os":"linux","config":{{}},"rootfs":{{"type":"layers","diff_ids":["{layer_digest}"]}}}}"#
        );
        let config_digest = digest(config.as_bytes());
        let manifest = format!(
            r#"{{"schemaVersion":2,"mediaType":"{MANIFEST}","config":{{"mediaType":"application/vnd.docker.container.image.v1+json","size":{},"digest":"{config_digest}"}},"layers":[{{"mediaType":"application/vnd.docker.image.rootfs.diff.tar","size":{layer_bytes},"digest":"{layer_digest}"}}]}}"#,
            config.len(),
        );
        let files = Arc::new(HashMap::from([
            ("/v2/".to_owned(), Vec::new()),
            ("/v2/app/manifests/1".to_owned(), manifest.clone().into_bytes()),
            (format!("/v2/app/manifests/{}", digest(manifest.as_bytes())), manifest.into_bytes()),
            (format!("/v2/app/blobs/{config_digest}"), config.into_bytes()),
            (format!("/v2/app/blobs/{layer_digest}"), layer),
        ]));
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let image = format!("{}/app:1", listener.local_addr().unwrap());
        let second_half = Arc::new(Notify::new());
        let permit = Arc::clone(&second_half);
        let asked = Arc::<AtomicUsize>::default();
        let counted = Arc::clone(&asked);
        let server = tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                tokio::spawn(serve(stream, Arc::clone(&files), Arc::clone(&permit), Arc::clone(&counted)));
            }
        });
        Self { image, second_half, layer_bytes, asked, server }
    }
}

impl Drop for Registry {
    fn drop(&mut self) {
        self.server.abort();
        let Ok(mut engine) = UnixStream::connect("/var/run/docker.sock") else { return };
        let request = format!("DELETE /images/{}?force=1 HTTP/1.0\r\nHost: docker\r\n\r\n", self.image);
        let _ = engine.write_all(request.as_bytes()).and_then(|()| engine.read_to_end(&mut Vec::new()));
    }
}

/// One request a connection. An engine that gives up ends it with an error, which is as good.
async fn serve(
    stream: TcpStream,
    files: Arc<HashMap<String, Vec<u8>>>,
    permit: Arc<Notify>,
    asked: Arc<AtomicUsize>,
) -> std::io::Result<()> {
    let mut stream = BufReader::new(stream);
    let mut request = String::new();
    while !request.ends_with("\r\n\r\n") {
        if stream.read_line(&mut request).await? == 0 {
            return Ok(());
        }
    }
    let mut words = request.split(' ');
    let (method, path) = (words.next().unwrap_or_default(), words.next().unwrap_or_default());
    if path == "/v2/app/manifests/1" {
        asked.fetch_add(1, Ordering::Relaxed);
    }
    let Some(body) = files.get(path) else {
        let text = r#"{"errors":[{"code":"MANIFEST_UNKNOWN","message":"manifest unknown"}]}"#;
        let answer = format!(
            "HTTP/1.1 404 Not Found\r\nContent-Type: application/json\r\nContent-Length: {}\r\nConnection: close\r\n\r\n{text}",
            text.len()
        );
        return stream.write_all(answer.as_bytes()).await;
    };
    let kind = if path.contains("/manifests/") { MANIFEST } else { "application/octet-stream" };
    let header = format!(
        "HTTP/1.1 200 OK\r\nContent-Type: {kind}\r\nDocker-Content-Digest: {}\r\nContent-Length: {}\r\nConnection: close\r\n\r\n",
        digest(body),
        body.len(),
    );
    stream.write_all(header.as_bytes()).await?;
    if method == "HEAD" {
        return Ok(());
    }
    let (first, second) = if body.len() > 1 << 20 { body.split_at(body.len() / 2) } else { (&body[..], &[][..]) };
    stream.write_all(first).await?;
    stream.flush().await?;
    if !second.is_empty() {
        permit.notified().await;
        stream.write_all(second).await?;
    }
    stream.shutdown().await
}

/// A layer that no engine has yet.
fn layer() -> Vec<u8> {
    let mut archive = Vec::new();
    let mut content = unique().to_string().into_bytes();
    content.resize(4 << 20, b'x');
    entry(&mut archive, "content", 0o644, b'0', &content);
    archive.resize(archive.len() + 1024, 0);
    archive
}

fn digest(content: &[u8]) -> String {
    let mut child =
        Command::new("/bin/busybox").arg("sha256sum").stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
    child.stdin.take().unwrap().write_all(content).unwrap();
    let output = String::from_utf8(child.wait_with_output().unwrap().stdout).unwrap();
    format!("sha256:{}", &output[..64])
}
