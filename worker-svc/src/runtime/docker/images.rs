//! The images of a Docker engine.

use std::collections::{BTreeSet, HashMap};
use std::path::PathBuf;

use async_trait::async_trait;
use bollard::Docker;
use bollard::query_parameters::{
    ListContainersOptionsBuilder, ListImagesOptionsBuilder, RemoveImageOptions, RemoveImageOptionsBuilder,
};
use davit_core::spec::ImageReference;

use super::error::{status, unavailable};
use super::{DockerRuntime, QUICK_TIME, in_time, timed};
use crate::collect::DiskUse;
use crate::runtime::{EngineImage, Error, Images, PulledImage};
use crate::stats;

/// Stands for the name of an image that has none.
const NO_NAME: &str = "<none>:<none>";

/// The names of all images, by id; `None`: the engine does not tell, which is no reason not to pull.
pub(super) async fn names_by_id(engine: &Docker) -> Option<HashMap<String, BTreeSet<String>>> {
    let images = list(engine).await.ok()?;
    Some(images.into_iter().map(|(id, names, _)| (id, names)).collect())
}

/// What a pull of this image brought, compared with what was there before.
pub(super) async fn pulled(
    engine: &Docker,
    image: &ImageReference,
    before: Option<HashMap<String, BTreeSet<String>>>,
) -> Option<PulledImage> {
    let before = before?;
    let inspected = in_time("inspect image", QUICK_TIME, async {
        timed("inspect_image", engine.inspect_image(image.as_str()))
            .await
            .map_err(|error| unavailable("inspect image", &error))
    });
    let inspected = inspected.await.ok()?;
    let (id, tags) = (inspected.id?, inspected.repo_tags.unwrap_or_default());
    let known = before.get(&id);
    let names = tags.into_iter().filter(|name| known.is_none_or(|known| !known.contains(name))).collect();
    Some(PulledImage { is_new: known.is_none(), id, names })
}

async fn list(engine: &Docker) -> Result<Vec<(String, BTreeSet<String>, u64)>, Error> {
    let options = ListImagesOptionsBuilder::new().build();
    let listing = async { engine.list_images(Some(options)).await.map_err(|error| unavailable("list images", &error)) };
    let listed = in_time("list images", QUICK_TIME, listing).await?;
    let read = listed.into_iter().map(|image| {
        let names = image.repo_tags.into_iter().filter(|name| name != NO_NAME).collect();
        (image.id, names, u64::try_from(image.size).unwrap_or(0))
    });
    Ok(read.collect())
}

#[async_trait]
impl Images for DockerRuntime {
    async fn list(&self) -> Result<Vec<EngineImage>, Error> {
        let engine = self.engine().await?;
        // The images first: what is used by then, or later, is seen afterwards.
        let images = list(engine).await?;
        let options = ListContainersOptionsBuilder::new().all(true).build();
        let listing =
            async { engine.list_containers(Some(options)).await.map_err(|error| unavailable("list", &error)) };
        let containers = in_time("list", QUICK_TIME, listing).await?;
        let used: BTreeSet<String> = containers.into_iter().filter_map(|container| container.image_id).collect();
        let read = images.into_iter().map(|(id, names, size_bytes)| EngineImage {
            used: used.contains(&id),
            id,
            names,
            size_bytes,
        });
        Ok(read.collect())
    }

    async fn id_of(&self, reference: &ImageReference) -> Result<Option<String>, Error> {
        let engine = self.engine().await?;
        let inspecting = async {
            match timed("inspect_image", engine.inspect_image(reference.as_str())).await {
                Ok(image) => Ok(image.id),
                Err(error) if status(&error) == Some(404) => Ok(None),
                Err(error) => Err(unavailable("inspect image", &error)),
            }
        };
        in_time("inspect image", QUICK_TIME, inspecting).await
    }

    async fn remove(&self, image: &EngineImage) -> Result<bool, Error> {
        let engine = self.engine().await?;
        let names: Vec<&str> = match image.names.len() {
            0 => vec![&image.id],
            _ => image.names.iter().map(String::as_str).collect(),
        };
        for name in names {
            // Never forced: the engine itself knows best what is in use.
            let options: RemoveImageOptions = RemoveImageOptionsBuilder::new().force(false).build();
            match engine.remove_image(name, Some(options), None).await {
                Ok(_) => {}
                Err(error) if status(&error) == Some(404) => {}
                Err(error) if status(&error) == Some(409) => return Ok(false),
                Err(error) => return Err(unavailable("remove image", &error)),
            }
        }
        Ok(true)
    }

    async fn disk(&self) -> Result<Option<DiskUse>, Error> {
        let engine = self.engine().await?;
        let asking = async { engine.info().await.map_err(|error| unavailable("info", &error)) };
        let info = in_time("info", QUICK_TIME, asking).await?;
        let Some(root) = info.docker_root_dir.map(PathBuf::from) else { return Ok(None) };
        // An engine's directory need not be visible here: it may be on another machine, or outside of this container.
        let used = tokio::task::spawn_blocking(move || stats::disk(&root)).await.ok().flatten();
        Ok(used.map(|(total_bytes, used_bytes)| DiskUse { total_bytes, used_bytes }))
    }
}
