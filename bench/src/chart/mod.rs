//! A chart of what `cluster` measured: time against tasks and nodes, and what more tasks cost beside those that run. An SVG
//! that depends on nothing but the figures.

mod axis;
mod data;
mod drawing;
mod svg;

use std::path::{Path, PathBuf};

use self::data::Measured;
use crate::error::Error;

/// Options of `chart`.
#[derive(Debug, clap::Args)]
pub(crate) struct Options {
    /// Results of `cluster`, of one cell or of several; of cells that are in several files the last counts
    #[arg(required = true, value_name = "FILE.json")]
    files: Vec<PathBuf>,
    /// Where the chart is written
    #[arg(long, default_value = "docs/benchmarks/cluster.svg", value_name = "FILE.svg")]
    output: PathBuf,
}

/// Reads the results and draws them.
pub(crate) fn draw(options: &Options) -> Result<bool, Error> {
    let mut measured = Measured::default();
    for file in &options.files {
        measured.add(&read(file)?);
    }
    for left_out in &measured.left_out {
        println!("not drawn: {left_out}");
    }
    if measured.cells.is_empty() {
        return Err(Error::NothingMeasured);
    }
    write(&options.output, &drawing::chart(&measured))?;
    println!("{} cells drawn into {}", measured.cells.len(), options.output.display());
    Ok(true)
}

fn read(path: &Path) -> Result<data::File, Error> {
    let unreadable = |source| Error::Unreadable { path: path.to_owned(), source };
    let text = std::fs::read_to_string(path).map_err(unreadable)?;
    serde_json::from_str(&text).map_err(|error| unreadable(error.into()))
}

fn write(path: &Path, text: &str) -> Result<(), Error> {
    let unwritable = |source| Error::Unwritable { path: path.to_owned(), source };
    if let Some(folder) = path.parent() {
        std::fs::create_dir_all(folder).map_err(unwritable)?;
    }
    std::fs::write(path, text).map_err(unwritable)
}
