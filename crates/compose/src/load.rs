//! From files to a project, and what a client must send for it.

mod prepare;
mod references;

use std::collections::BTreeMap;

use self::prepare::Prepared;
pub use self::references::{FileKind, FileReference, VariableUse, referenced_files, referenced_variables};
use crate::error::{Invalid, Problem, Severity};
use crate::interpolate::Variables;
use crate::model::{Bytes, Project};
use crate::project;
use crate::read::Context;

/// So many files at most are merged into a project.
pub const MAX_FILES: usize = 16;

/// The variable that selects profiles, with commas between them, unless the caller does.
pub const PROFILES_VARIABLE: &str = "COMPOSE_PROFILES";

/// The variable that names the project, unless the caller does.
pub const PROJECT_NAME_VARIABLE: &str = "COMPOSE_PROJECT_NAME";

/// A Compose file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SourceFile {
    /// What it is called in messages.
    pub name: String,
    /// What is in it.
    pub text: String,
}

/// What a project is made of.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Input {
    /// Its files; later ones win.
    pub files: Vec<SourceFile>,
    /// Variables that values refer to; those of `.env` too, over which others win.
    pub variables: Variables,
    /// The contents of files that the project refers to, by path as written in the project; see [`referenced_files`].
    pub referenced: BTreeMap<String, Bytes>,
    /// The project's name, whatever the files say.
    pub project_name: Option<String>,
    /// The project's name if nothing else says one, such as that of a directory. What no name may hold is taken out of it.
    pub default_name: Option<String>,
    /// Selected profiles; `*` is all. Empty: what [`PROFILES_VARIABLE`] says.
    pub profiles: Vec<String>,
    /// Whether keys that are unknown or refused are dropped with a warning, instead of being errors.
    pub lenient: bool,
}

/// A project, and what should be known of it.
#[derive(Debug, Clone, PartialEq)]
pub struct Loaded {
    /// The project.
    pub project: Project,
    /// What may not be as it was meant, in the order of files and lines.
    pub warnings: Vec<Problem>,
}

/// What can be read of a project, and what is wrong with it.
#[derive(Debug, Clone, PartialEq)]
pub struct Examined {
    /// All of the project if nothing is wrong. Else what of it can be read, to find what else is wrong with it: services without an
    /// image are left out, and values that can't be read have stand-ins. `None` if a file is no Compose file at all.
    pub project: Option<Project>,
    /// All that is wrong, and what may not be as it was meant, in the order of files and lines.
    pub problems: Vec<Problem>,
}

/// Reads as much of a project as can be read, for who has more to say of it than that it can be read.
#[must_use]
pub fn examine(input: &Input) -> Examined {
    let Prepared { root, names, variables, mut problems, budget, project_name, profiles } = prepare::prepare(input);
    let mut project = None;
    if let Some(root) = root {
        let mut cx = Context::new(problems, &variables, &input.referenced, project_name, budget);
        project = project::read(root, &profiles, &mut cx);
        problems = cx.problems;
    }
    Examined { project, problems: problems.finish(&names).unwrap_or_else(|invalid| invalid.problems) }
}

/// Reads a project.
///
/// # Errors
/// All that is wrong with it, at once.
pub fn load(input: &Input) -> Result<Loaded, Invalid> {
    let Examined { project, problems } = examine(input);
    let is_error = problems.iter().any(|problem| problem.severity == Severity::Error);
    match project {
        Some(project) if !is_error => Ok(Loaded { project, warnings: problems }),
        // Without an error there is a project.
        _ => Err(Invalid { problems }),
    }
}
