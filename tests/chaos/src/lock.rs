//! One run at a time: they would tear down each other's clusters.

use std::fs::File;
use std::io;
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;

use nix::fcntl::{Flock, FlockArg};

use crate::error::{Error, Result, io_at};
use crate::names::PREFIX;

/// Held for as long as it lives, however this program ends.
///
/// # Errors
/// When another run holds it, or this is not root.
pub(crate) fn take() -> Result<Flock<File>> {
    let own = Path::new("/proc/self");
    if std::fs::metadata(own).map_err(io_at("look at", own))?.uid() != 0 {
        return Err(Error::Machine("network namespaces, engines and disks need root".to_owned()));
    }
    let path = std::env::temp_dir().join(format!("{PREFIX}.lock"));
    let file = File::create(&path).map_err(io_at("make", &path))?;
    Flock::lock(file, FlockArg::LockExclusiveNonblock).map_err(|(_, errno)| match io::Error::from(errno).kind() {
        io::ErrorKind::WouldBlock => Error::Machine("another run of this program goes on".to_owned()),
        _ => io_at("lock", &path)(errno.into()),
    })
}
