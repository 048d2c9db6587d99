//! A busybox image made of the machine's own static busybox, since tests pull nothing.

use bollard::query_parameters::CreateImageOptionsBuilder;
use bollard::{Docker, body_full};
use futures::TryStreamExt;

const NAME: &str = "davit-test/busybox";
const TAG: &str = "contract";
pub(crate) const REFERENCE: &str = "davit-test/busybox:contract";

/// Makes the image if it is not there. Tests run side by side, so a lock keeps them from making it twice.
pub(crate) async fn ensure() {
    let lock = std::fs::File::create(std::env::temp_dir().join("davit-test-image.lock")).unwrap();
    lock.lock().unwrap();
    let engine = Docker::connect_with_unix_defaults().expect("the docker tests need an engine");
    let engine = engine.negotiate_version().await.expect("the docker tests need an engine that answers");
    if engine.inspect_image(REFERENCE).await.is_ok() {
        return;
    }
    let busybox = std::fs::read("/bin/busybox").expect("the docker tests need /bin/busybox, from busybox-static");
    let mut archive = Vec::new();
    for dir in ["bin/", "tmp/", "etc/", "proc/", "dev/", "sys/"] {
        entry(&mut archive, dir, if dir == "tmp/" { 0o1777 } else { 0o755 }, b'5', &[]);
    }
    entry(&mut archive, "bin/busybox", 0o755, b'0', &busybox);
    archive.resize(archive.len() + 1024, 0);
    let options = CreateImageOptionsBuilder::new().from_src("-").repo(NAME).tag(TAG).build();
    let made = engine.create_image(Some(options), Some(body_full(archive.into())), None);
    made.try_collect::<Vec<_>>().await.expect("the engine takes the image");
}

/// One entry of a tar archive (ustar).
pub(crate) fn entry(archive: &mut Vec<u8>, name: &str, mode: u32, kind: u8, content: &[u8]) {
    let mut header = [0u8; 512];
    let mut put = |at: usize, text: &str| header[at..at + text.len()].copy_from_slice(text.as_bytes());
    put(0, name);
    put(100, &format!("{mode:07o}"));
    put(108, "0000000");
    put(116, "0000000");
    put(124, &format!("{:011o}", content.len()));
    put(136, "00000000000");
    put(148, "        ");
    put(257, "ustar");
    put(263, "00");
    header[156] = kind;
    let sum: u32 = header.iter().map(|byte| u32::from(*byte)).sum();
    header[148..156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
    archive.extend_from_slice(&header);
    archive.extend_from_slice(content);
    archive.resize(archive.len().next_multiple_of(512), 0);
}
