//! What reading needs beside the tree.

use std::collections::BTreeMap;

use super::Item;
use crate::env_file::{self, EnvText, Format, Outside};
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
}

impl<'a> Context<'a> {
    pub(crate) fn new(
        problems: Problems,
        variables: &'a Variables,
        files: &'a BTreeMap<String, Bytes>,
        project_name: String,
        budget: Budget,
    ) -> Self {
        Self { problems, variables, files, project_name, budget }
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

    /// Reads an environment file over what others before it have. `item` names it.
    pub(crate) fn read_env_file(
        &mut self,
        item: &Item,
        (name, text): (&str, &str),
        format: Format,
        own: &Variables,
        into: &mut Variables,
    ) {
        let outside = Outside { variables: self.variables, environment: own };
        let file = EnvText { name: &name.into(), path: &item.path, text, format };
        env_file::read(&file, outside, into, &mut self.budget, &mut self.problems);
    }
}
