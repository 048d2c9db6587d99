//! Where things are in the workspace.

use std::{
    env,
    path::{Path, PathBuf},
};

/// The root of the workspace.
pub(crate) fn root() -> &'static Path {
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    here.parent().unwrap_or(here)
}

/// Where cargo builds.
pub(crate) fn target() -> PathBuf {
    // A relative CARGO_TARGET_DIR is relative to where cargo was called, which is the root for all our calls.
    root().join(env::var_os("CARGO_TARGET_DIR").map_or_else(|| PathBuf::from("target"), PathBuf::from))
}

/// Where the recipes keep their own tools. `cargo clean` takes them away too.
pub(crate) fn tools() -> PathBuf {
    target().join("tools")
}
