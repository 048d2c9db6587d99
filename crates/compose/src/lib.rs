//! Reads Docker Compose files into one typed project.
//!
//! ```
//! use davit_compose::{Input, SourceFile, load};
//!
//! let text = "services:\n  web:\n    image: nginx:${TAG:-latest}\n    ports: ['8080:80']\n".to_owned();
//! let files = vec![SourceFile { name: "compose.yaml".to_owned(), text }];
//! let loaded = load(&Input { files, project_name: Some("shop".to_owned()), ..Input::default() })?;
//! assert_eq!(loaded.project.services["web"].image.as_str(), "nginx:latest");
//! # Ok::<(), davit_compose::Invalid>(())
//! ```
//!
//! The way from files to a [`Project`]: each is parsed into a tree in which every value knows its place ([`MAX_NODES`] and other
//! bounds hold, since files come from strangers), variables are put in, short forms become long ones, trees are merged, and the
//! one tree that is left is read. Reading takes each key that it knows out of its mapping; what is left there is told, so no key
//! is ever silently ignored. Everything that is wrong is told at once, with file, line, column and key path.
//!
//! There is no I/O here. What a caller must send beside the files is found by [`referenced_variables`] and [`referenced_files`].
//! [`SECTIONS`] says of every key of the Compose Specification what Davit does with it. What a project becomes in a cluster is
//! left to others.

mod env_file;
mod error;
#[cfg(any(test, feature = "fuzzing"))]
pub mod fuzzing;
mod interpolate;
mod keys;
mod load;
mod merge;
mod model;
mod normalize;
mod project;
mod read;
mod service;
mod tree;
mod units;

pub use self::env_file::{env_file_variables, parse_env_file};
pub use self::error::{Invalid, MAX_PROBLEMS, Position, Problem, ProblemKind, Severity};
pub use self::interpolate::Variables;
pub use self::keys::{Key, SECTIONS, Section, Support};
pub use self::load::{
    Examined, FileKind, FileReference, Input, Loaded, MAX_FILES, PROFILES_VARIABLE, PROJECT_NAME_VARIABLE, SourceFile,
    VariableUse, examine, load, referenced_files, referenced_variables,
};
pub use self::model::*;
pub use self::project::MAX_SERVICES;
pub use self::tree::{MAX_DEPTH, MAX_FILE_BYTES, MAX_NODES, MAX_TEXT_BYTES};
pub use self::units::{UnitError, parse_bytes, parse_cpu_millis, parse_duration};
