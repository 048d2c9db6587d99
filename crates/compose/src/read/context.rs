//! What reading needs beside the tree.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::Item;
use crate::env_file::{self, Format};
use crate::error::{ProblemKind, Problems};
use crate::interpolate::Variables;
use crate::model::Bytes;
use crate::tree::{Budget, MAX_NODES, MAX_TEXT_BYTES};

/// What reading needs beside the tree, and where it tells what is wrong.
pub(crate) struct Context<'a> {
    pub(crate) problems: Problems,
    pub(crate) variables: &'a Variables,
    /// Contents of files that the project refers to, by path as written.
    pub(crate) files: &'a BTreeMap<String, Bytes>,
    pub(crate) project_name: String,
    budget: Budget,
    /// Environment files that were read, since many services may name the same one.
    env_files: BTreeMap<(String, Format), Arc<Variables>>,
}

impl<'a> Context<'a> {
    pub(crate) fn new(
        problems: Problems,
        variables: &'a Variables,
        files: &'a BTreeMap<String, Bytes>,
        project_name: String,
        budget: Budget,
    ) -> Self {
        Self { problems, variables, files, project_name, budget, env_files: BTreeMap::new() }
    }

    /// Whether there is room for values that a few words bring in, such as the contents of a file or a range of ports. If not, it
    /// is told.
    pub(crate) fn has_room_for(&mut self, values: usize, text_bytes: usize, item: &Item) -> bool {
        let room = self.budget.spend(values, text_bytes).is_some();
        if !room {
            let message = format!(
                "too large: a project has at most {MAX_NODES} values and {MAX_TEXT_BYTES} bytes of text, with what files and \
                 variables bring in"
            );
            self.problems.error(ProblemKind::TooLarge, item.at(), &item.path, message);
        }
        room
    }

    /// The values of an environment file, read once.
    pub(crate) fn env_file(&mut self, path: &str, text: &str, format: Format) -> Arc<Variables> {
        let key = (path.to_owned(), format);
        if let Some(values) = self.env_files.get(&key) {
            return Arc::clone(values);
        }
        let values = env_file::read(&path.into(), text, format, self.variables, &mut self.budget, &mut self.problems);
        let values = Arc::new(values);
        self.env_files.insert(key, Arc::clone(&values));
        values
    }
}
