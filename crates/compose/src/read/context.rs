//! What reading needs beside the tree.

use std::collections::BTreeMap;

use crate::error::Problems;
use crate::interpolate::Variables;
use crate::model::Bytes;
use crate::tree::Budget;

/// What reading needs beside the tree, and where it tells what is wrong.
pub(crate) struct Context<'a> {
    pub(crate) problems: Problems,
    pub(crate) variables: &'a Variables,
    /// Contents of files that the project refers to, by path as written.
    pub(crate) files: &'a BTreeMap<String, Bytes>,
    pub(crate) budget: Budget,
    pub(crate) project_name: String,
}
