//! The images of an engine, for whoever collects them.

use std::collections::BTreeSet;
use std::fmt::Debug;

use async_trait::async_trait;
use davit_core::spec::ImageReference;

use super::Error;
use crate::collect::DiskUse;

/// An image that came with a pull, or got names by it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PulledImage {
    /// The engine's id of it.
    pub id: String,
    /// The names that it got by this pull.
    pub names: BTreeSet<String>,
    /// Whether the engine did not have it before.
    pub is_new: bool,
}

/// An image that an engine has.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EngineImage {
    /// The engine's id of it.
    pub id: String,
    /// All its names.
    pub names: BTreeSet<String>,
    /// What it takes, with what it shares with others.
    pub size_bytes: u64,
    /// Whether any container uses it, whoever's and in whatever state.
    pub used: bool,
}

/// The images of an engine. They are everybody's: there is no owner.
#[async_trait]
pub trait Images: Debug + Send + Sync {
    /// All of them.
    async fn list(&self) -> Result<Vec<EngineImage>, Error>;

    /// The id of the image that a reference means now; `None`: there is none.
    async fn id_of(&self, reference: &ImageReference) -> Result<Option<String>, Error>;

    /// Removes an image with all its names. `false`: it is in use, and stays.
    async fn remove(&self, image: &EngineImage) -> Result<bool, Error>;

    /// How full the disk is that holds them; `None`: this process can't see it.
    async fn disk(&self) -> Result<Option<DiskUse>, Error>;
}
