//! Manager and scheduler of a new cluster, and the workers that join it.

use std::path::PathBuf;

use super::client::Client;
use super::places::Places;
use super::programs::Program;
use crate::error::Error;
use crate::started::Folder;

/// The cluster's name, which its containers bear.
pub(crate) const CLUSTER: &str = "davit-bench";

/// A cluster's manager, with a store on the disk, and its scheduler. The store is removed when this is dropped.
pub(crate) struct ControlPlane {
    pub(crate) manager: Program,
    pub(crate) scheduler: Program,
    pub(crate) client: Client,
    /// Where the manager serves.
    pub(crate) address: String,
    places: Places,
    logs: PathBuf,
    pub(crate) folder: Folder,
}

impl ControlPlane {
    /// Starts both and waits until they serve.
    pub(crate) async fn start(places: &Places) -> Result<Self, Error> {
        let folder = places.scratch()?;
        let (programs, logs) = (places.programs(), places.logs(folder.path())?);
        let (listen, place) = (places.address()?, places.address()?);
        let scheduler = Program::start("davit-scheduler", &programs, &logs, words(&["--listen", &place])).await?;
        let (data_dir, address) = (folder.path().join("manager"), format!("http://{listen}"));
        let arguments = [
            "--listen",
            &listen,
            "--scheduler",
            &format!("http://{place}"),
            "--data-dir",
            &data_dir.display().to_string(),
            "--max-tasks",
            "6000000",
            "--cluster",
            CLUSTER,
        ];
        let manager = Program::start("davit-manager", &programs, &logs, words(&arguments)).await?;
        let client = Client::new(&address)?;
        Ok(Self { manager, scheduler, client, address, places: places.clone(), logs, folder })
    }

    /// Starts a process of hollow nodes and waits until it serves; they join soon.
    pub(crate) async fn hollow_nodes(&self, nodes: u32) -> Result<Program, Error> {
        self.hollow("davit-worker", nodes, "hollow").await
    }

    /// Starts a process with one hollow node, `name`-0, and waits until it serves; it joins soon.
    pub(crate) async fn hollow_node(&self, name: &'static str) -> Result<Program, Error> {
        self.hollow(name, 1, name).await
    }

    async fn hollow(&self, process: &'static str, nodes: u32, name: &str) -> Result<Program, Error> {
        let nodes = nodes.to_string();
        let arguments = ["--hollow", &nodes, "--name", name, "--manager", &self.address, "--address", "127.0.0.1"];
        let path = self.places.programs().join("davit-worker");
        Program::start_as(process, path, &self.logs, words(&arguments)).await
    }

    /// Starts an ordinary worker of one node, that runs what these options say, and waits until it serves; it joins soon.
    pub(crate) async fn worker(&self, name: &str, options: &[&str]) -> Result<Program, Error> {
        let (data_dir, listen) = (self.folder.path().join(name), self.places.address()?);
        // Workers have the same program, and each a log of its own.
        let logs = self.logs.join(format!("{name}-log"));
        std::fs::create_dir_all(&logs).map_err(|source| Error::Unwritable { path: logs.clone(), source })?;
        let arguments = [
            "--listen",
            &listen,
            "--manager",
            &self.address,
            "--name",
            name,
            "--address",
            "127.0.0.1",
            "--data-dir",
            &data_dir.display().to_string(),
        ];
        let arguments = words(&[&arguments, options].concat());
        Program::start("davit-worker", &self.places.programs(), &logs, arguments).await
    }
}

fn words(words: &[&str]) -> Vec<String> {
    words.iter().map(|word| (*word).to_owned()).collect()
}
