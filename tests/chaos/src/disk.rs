//! A small file system of its own for a directory, which can be filled to the last byte without harm to anything else.

use std::fs::OpenOptions;
use std::io::Write as _;
use std::path::{Path, PathBuf};

use crate::error::{Result, io_at};
use crate::shell::run;

/// Large enough for a store's journals, small enough to be filled at once.
const SIZE_MIB: u64 = 512;
const FILLER: &str = "filler";

/// A mounted small file system.
#[derive(Debug)]
pub(crate) struct Disk {
    mount: PathBuf,
    /// What it lies on, for the report.
    pub(crate) kind: &'static str,
}

impl Disk {
    /// Makes it, on a loop device, or in memory where there are none.
    ///
    /// # Errors
    /// When neither can be mounted.
    pub(crate) async fn make(image: &Path, mount: &Path) -> Result<Self> {
        std::fs::create_dir_all(mount).map_err(io_at("make", mount))?;
        let (image, target) = (image.display().to_string(), mount.display().to_string());
        run("truncate", &["--size", &format!("{SIZE_MIB}M"), &image]).await?;
        run("mkfs.ext4", &["-q", "-m", "0", &image]).await?;
        let kind = match run("mount", &["-o", "loop", &image, &target]).await {
            Ok(_) => "ext4 on a loop device",
            Err(_) => {
                run("mount", &["-t", "tmpfs", "-o", &format!("size={SIZE_MIB}m"), "tmpfs", &target]).await?;
                "tmpfs: this machine has no loop devices"
            }
        };
        Ok(Self { mount: mount.to_owned(), kind })
    }

    /// A directory on it.
    pub(crate) fn path(&self) -> &Path {
        &self.mount
    }

    /// Takes all the room that is left.
    ///
    /// # Errors
    /// When the filler can't even be made.
    pub(crate) async fn fill(&self) -> Result<()> {
        let path = self.mount.join(FILLER);
        let text = path.display().to_string();
        let free =
            nix::sys::statvfs::statvfs(&self.mount).map_err(|errno| io_at("look at", &self.mount)(errno.into()))?;
        let bytes = free.blocks_available().saturating_mul(free.fragment_size());
        // Nearly everything at once; what is left after that, block by block.
        let most = bytes.saturating_sub(4 << 20);
        if most > 0 {
            run("fallocate", &["--length", &most.to_string(), &text]).await?;
        }
        let file = OpenOptions::new().create(true).append(true).open(&path).map_err(io_at("open", &path));
        let mut file = file?;
        for size in [64 << 10, 4096, 512, 1] {
            let block = vec![0_u8; size];
            while file.write_all(&block).and_then(|()| file.flush()).is_ok() {}
        }
        // Delayed allocation could still find no room.
        let _ = file.sync_all();
        Ok(())
    }

    /// Gives the room back.
    ///
    /// # Errors
    /// When the filler can't be removed.
    pub(crate) fn free(&self) -> Result<()> {
        let path = self.mount.join(FILLER);
        std::fs::remove_file(&path).map_err(io_at("remove", &path))
    }
}
