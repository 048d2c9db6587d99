//! Colors, by what they say.

use anstyle::{AnsiColor, Style};
use davit_proto::v1;

use super::text::{is_not_ready, state_of};

/// What a text says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Tone {
    /// Nothing special.
    Plain,
    /// It is as it should be.
    Good,
    /// It is on its way, or waits.
    Waiting,
    /// It went wrong.
    Bad,
    /// Of little interest.
    Faint,
}

/// Whether there are colors.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Palette {
    colored: bool,
}

impl Palette {
    /// With or without colors.
    #[must_use]
    pub fn new(colored: bool) -> Self {
        Self { colored }
    }

    /// Whether there are colors.
    #[must_use]
    pub fn is_colored(self) -> bool {
        self.colored
    }

    /// The text in the color of its tone.
    #[must_use]
    pub fn paint(self, tone: Tone, text: &str) -> String {
        if !self.colored || tone == Tone::Plain || text.is_empty() {
            return text.to_owned();
        }
        let style = match tone {
            Tone::Plain => Style::new(),
            Tone::Good => AnsiColor::Green.on_default(),
            Tone::Waiting => AnsiColor::Yellow.on_default(),
            Tone::Bad => AnsiColor::Red.on_default(),
            Tone::Faint => Style::new().dimmed(),
        };
        format!("{style}{text}{style:#}")
    }
}

/// How a task's state is to be felt.
#[must_use]
pub fn task_tone(state: v1::TaskState) -> Tone {
    match state {
        v1::TaskState::Running => Tone::Good,
        v1::TaskState::Pending | v1::TaskState::Scheduled | v1::TaskState::Preparing | v1::TaskState::Stopping => {
            Tone::Waiting
        }
        v1::TaskState::Failed | v1::TaskState::Lost => Tone::Bad,
        v1::TaskState::Completed | v1::TaskState::Stopped => Tone::Faint,
        v1::TaskState::Unspecified => Tone::Plain,
    }
}

/// The same of a task, of which one that runs and does not serve waits.
pub(super) fn tone_of(task: &v1::Task) -> Tone {
    if is_not_ready(task) { Tone::Waiting } else { task_tone(state_of(task)) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn without_colors_a_text_stays_as_it_is() {
        assert_eq!(Palette::new(false).paint(Tone::Bad, "error:"), "error:");
        assert_eq!(Palette::new(true).paint(Tone::Bad, "error:"), "\u{1b}[31merror:\u{1b}[0m");
        assert_eq!(Palette::new(true).paint(Tone::Plain, "x"), "x");
    }
}
