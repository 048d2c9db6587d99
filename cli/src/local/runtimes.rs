//! What runs the tasks of a local cluster: containers where a Docker engine answers, and processes besides.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use davit_core::id::{Attempt, AttemptKey};
use davit_core::spec::{ContainerSpec, ImageReference, RuntimeSpec, TaskSpec};
use davit_svc_kit::clock::SystemClock;
use davit_svc_kit::ids::{IdSource, UuidV7Source};
use tokio::sync::watch;
use worker_svc::RuntimeFactory;
use worker_svc::reexec::Reexec;
use worker_svc::runtime::{
    AttemptSpec, DockerConfig, DockerRuntime, Owner, ProcessConfig, ProcessRuntime, Runtime, SharedClock,
};

/// How long the engine may take to answer.
const ENGINE_TIMEOUT: Duration = Duration::from_secs(3);

/// A Docker engine that answers.
#[derive(Debug, Clone)]
pub struct Docker {
    /// Its version.
    pub version: String,
    config: DockerConfig,
}

/// The Docker engine of this machine.
///
/// # Errors
/// Says why it can't be used.
pub async fn find_docker(socket: Option<PathBuf>) -> Result<Docker, String> {
    let mut config = DockerConfig::default();
    if let Some(socket) = socket {
        config.socket = socket;
    }
    let runtime = DockerRuntime::new(nobody(), config.clone(), clock());
    match tokio::time::timeout(ENGINE_TIMEOUT, runtime.check()).await {
        Ok(Ok(info)) => Ok(Docker { version: info.version, config }),
        Ok(Err(problem)) => Err(problem.to_string()),
        Err(_) => Err(format!("no answer within {} s", ENGINE_TIMEOUT.as_secs())),
    }
}

/// Makes sure that the engine has an image; pulls it if need be, but not for longer than `limit`.
///
/// # Errors
/// Says why the image can't be had.
pub async fn get_image(docker: &Docker, image: ImageReference, limit: Duration) -> Result<(), String> {
    let runtime = DockerRuntime::new(nobody(), docker.config.clone(), clock());
    let key = AttemptKey { task_id: UuidV7Source.task_id(), attempt: Attempt::FIRST };
    let attempt =
        AttemptSpec { key, spec: Arc::new(spec_of(image)), ports: [].into(), env: Vec::new(), files: Vec::new() };
    match tokio::time::timeout(limit, runtime.prepare(&attempt, &watch::Sender::new(None))).await {
        Ok(Ok(_)) => Ok(()),
        Ok(Err(problem)) => Err(problem.to_string()),
        Err(_) => Err(format!("not within {} s", limit.as_secs())),
    }
}

/// The runtimes of one worker.
pub(super) fn factory(docker: Option<Docker>, process_dir: PathBuf, reexec: Reexec) -> RuntimeFactory {
    // The state vanishes with this process, so nothing of it may go on.
    let config = ProcessConfig { outlive_worker: false, ..ProcessConfig::new(process_dir, reexec) };
    Arc::new(move |owner: &Owner| {
        let processes = ProcessRuntime::new(owner, &config, clock());
        let mut runtimes: Vec<Arc<dyn Runtime>> = vec![Arc::new(processes)];
        if let Some(docker) = &docker {
            runtimes.push(Arc::new(DockerRuntime::new(owner.clone(), docker.config.clone(), clock())));
        }
        runtimes
    })
}

fn clock() -> SharedClock {
    Arc::new(SystemClock)
}

/// An owner that has no containers: for questions to the engine itself.
fn nobody() -> Owner {
    Owner { cluster: "nobody".to_owned(), node_id: UuidV7Source.node_id() }
}

/// A task of which only the image matters.
fn spec_of(image: ImageReference) -> TaskSpec {
    TaskSpec::new("image", RuntimeSpec::Container(ContainerSpec::new(image)))
}
