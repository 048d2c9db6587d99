//! What people and programs get to see. Everything is rendered to text by pure functions and written here.

mod app;
mod config;
mod deployment;
mod describe;
mod explain;
#[cfg(any(test, feature = "fuzzing"))]
pub(crate) mod fuzzing;
mod held_up;
mod job;
mod known_nodes;
mod live;
mod live_tasks;
mod moves;
mod ordered;
mod plan;
mod proto_json;
mod style;
mod table;
mod text;
mod visible;

#[cfg(test)]
pub(crate) mod test_support;

use std::borrow::Cow;
use std::io::{self, IsTerminal as _, Write as _};

pub use self::app::{app_plan, apps_table};
pub use self::config::{config, configs_table};
pub use self::deployment::{deployment, deployments_table, rollout_line, rollout_view};
pub use self::describe::{cluster, node, task};
pub use self::explain::{Asked, ExplainView, explained_placement, explained_task};
pub use self::held_up::{held_up_line, may_hold_up};
pub use self::job::{job, jobs_table, run_line};
pub use self::known_nodes::KnownNodes;
pub use self::live::LiveLine;
pub use self::live_tasks::live_tasks;
pub use self::moves::{AppliedPlan, MoveOutcome};
pub use self::plan::{PlanView, percent, plan};
pub use self::proto_json::{Described, json_line, json_list, json_object, yaml_document, yaml_list};
pub use self::style::{Palette, Tone, task_tone};
pub use self::table::{TasksView, nodes_table, tasks_table, volumes_table};
pub use self::text::{
    age, detail, drain_line, event_line, from_proto_time, has_ended, human_bytes, node_state, ports, short_id,
    state_of, state_short_name, task_name, task_state,
};

use self::visible::visible;
use crate::args::Format;
use crate::error::Error;

/// Where results and messages go.
#[derive(Debug, Clone, Copy)]
pub struct Output {
    /// How results are written.
    pub format: Format,
    /// Colors on standard output.
    pub palette: Palette,
    /// Colors on standard error.
    pub message_palette: Palette,
}

impl Output {
    /// Colors only where a terminal shows them and nobody objects.
    #[must_use]
    pub fn new(format: Format) -> Self {
        // https://no-color.org: any value but an empty one objects.
        let wanted = std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty());
        Self {
            format,
            palette: Palette::new(wanted && io::stdout().is_terminal()),
            message_palette: Palette::new(wanted && io::stderr().is_terminal()),
        }
    }

    /// Writes a result, with a line end unless it has one. What is for people has nothing that a terminal would obey.
    ///
    /// # Errors
    /// [`Error::OutputClosed`] when nobody reads any more.
    pub fn print(&self, text: &str) -> Result<(), Error> {
        let text = match self.format {
            Format::Table => visible(text, self.palette.is_colored()),
            Format::Json | Format::Yaml => Cow::Borrowed(text),
        };
        let line_end = if text.is_empty() || text.ends_with('\n') { "" } else { "\n" };
        let mut stdout = io::stdout().lock();
        written(stdout.write_all(text.as_bytes()).and_then(|()| stdout.write_all(line_end.as_bytes())))?;
        written(stdout.flush())
    }

    /// Writes bytes as they are.
    ///
    /// # Errors
    /// [`Error::OutputClosed`] when nobody reads any more.
    pub fn print_bytes(&self, bytes: &[u8]) -> Result<(), Error> {
        let mut stdout = io::stdout().lock();
        written(stdout.write_all(bytes).and_then(|()| stdout.flush()))
    }

    /// Writes bytes as they are to standard error.
    ///
    /// # Errors
    /// [`Error::OutputClosed`] when nobody reads any more.
    pub fn print_error_bytes(&self, bytes: &[u8]) -> Result<(), Error> {
        written(io::stderr().lock().write_all(bytes))
    }

    /// A text as it may be written to standard error for a person: with nothing that a terminal would obey.
    #[must_use]
    pub fn message<'a>(&self, text: &'a str) -> Cow<'a, str> {
        visible(text, self.message_palette.is_colored())
    }

    /// The same of lines that are drawn again and again: each ends at the edge of the terminal.
    #[must_use]
    pub fn live_message(&self, text: &str) -> String {
        live::cut_lines(&self.message(text), live::columns())
    }

    /// The same where it is told why a line is as it is: what does not fit into one line goes on below it.
    #[must_use]
    pub fn live_lines(&self, lines: &[LiveLine]) -> String {
        let lines: Vec<LiveLine> = lines.iter().map(|line| self.visible_line(line)).collect();
        live::laid_out(&lines, live::columns())
    }

    /// A last word that stays on a terminal, above what is drawn again and again.
    #[must_use]
    pub fn last_word(&self, line: &LiveLine) -> String {
        live::laid_out_whole(&self.visible_line(line), live::columns())
    }

    fn visible_line(&self, line: &LiveLine) -> LiveLine {
        LiveLine { text: self.message(&line.text).into_owned(), cause: self.message(&line.cause).into_owned() }
    }

    /// Tells a person something that is no result.
    pub fn note(&self, text: &str) {
        // There is no better place to tell that this one is closed.
        let _ = writeln!(io::stderr().lock(), "{}", self.message(text));
    }

    /// Tells a person what went wrong.
    pub fn complain(&self, text: &str) {
        self.note(&format!("{} {text}", self.message_palette.paint(Tone::Bad, "error:")));
    }

    /// Writes messages for programs in the format asked for, or what `table` makes of them for people.
    ///
    /// # Errors
    /// When the messages can't be written.
    pub fn list<M: Described>(&self, messages: &[M], table: impl FnOnce(Palette) -> String) -> Result<(), Error> {
        let text = match self.format {
            Format::Table => table(self.palette),
            Format::Json => json_list(messages)?,
            Format::Yaml => yaml_list(messages)?,
        };
        self.print(&text)
    }

    /// Writes the one message that is the answer.
    ///
    /// # Errors
    /// When the message can't be written.
    pub fn object<M: Described>(&self, message: &M, text: impl FnOnce(Palette) -> String) -> Result<(), Error> {
        let text = match self.format {
            Format::Table => text(self.palette),
            Format::Json => json_object(message)?,
            Format::Yaml => yaml_document(message)?,
        };
        self.print(&text)
    }

    /// Writes what became of a plan for programs; people were told on the way.
    ///
    /// # Errors
    /// When it can't be written.
    pub fn applied(&self, applied: &AppliedPlan) -> Result<(), Error> {
        match self.format {
            Format::Table => Ok(()),
            Format::Json => self.print(&proto_json::json(&moves::shown(applied)?)?),
            Format::Yaml => self.print(&proto_json::document(&moves::shown(applied)?)?),
        }
    }

    /// Writes one message of a stream: JSON as one line, YAML as a document.
    ///
    /// # Errors
    /// When the message can't be written.
    pub fn item<M: Described>(&self, message: &M, line: impl FnOnce(Palette) -> String) -> Result<(), Error> {
        let text = match self.format {
            Format::Table => line(self.palette),
            Format::Json => json_line(message)?,
            Format::Yaml => yaml_document(message)?,
        };
        self.print(&text)
    }
}

fn written(result: io::Result<()>) -> Result<(), Error> {
    result.map_err(|source| match source.kind() {
        io::ErrorKind::BrokenPipe => Error::OutputClosed,
        _ => Error::Io { action: "write the output", source },
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_closed_pipe_is_no_failure() {
        let error = written(Err(io::ErrorKind::BrokenPipe.into())).unwrap_err();
        assert_eq!(error.exit_code(), 0);
        assert_eq!(written(Err(io::ErrorKind::StorageFull.into())).unwrap_err().exit_code(), 1);
    }
}
