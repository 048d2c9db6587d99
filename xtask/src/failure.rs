//! What went wrong in a recipe, and what the reader can do about it.

use std::fmt;

/// A failed step. Both halves are for a person.
#[derive(Debug)]
pub(crate) struct Failure {
    what: String,
    todo: String,
}

impl Failure {
    /// `what` happened, and what is to be done.
    pub(crate) fn new(what: impl Into<String>, todo: impl Into<String>) -> Self {
        Self { what: what.into(), todo: todo.into() }
    }

    /// The same failure with better advice.
    pub(crate) fn advise(self, todo: impl Into<String>) -> Self {
        Self { what: self.what, todo: todo.into() }
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { what, todo } = self;
        write!(formatter, "{what}\n  what to do: {todo}")
    }
}
