//! Which algorithms the scheduler has. Pure.

use std::collections::BTreeSet;

/// The algorithms of one scheduler, and which of them is used where a task names none.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Algorithms {
    names: BTreeSet<String>,
    default: String,
}

impl Algorithms {
    /// Of so many names; of none while no scheduler was asked yet.
    #[must_use]
    pub fn new(names: impl IntoIterator<Item = String>, default: &str) -> Self {
        Self { names: names.into_iter().collect(), default: default.to_owned() }
    }

    /// The one that is used where none is named.
    #[must_use]
    pub fn default_name(&self) -> &str {
        &self.default
    }

    /// What is wrong with asking for this one (or for none, if empty), as far as is known: nothing while no scheduler was asked.
    #[must_use]
    pub fn problem_of(&self, asked: &str) -> Option<String> {
        if self.names.is_empty() { None } else { self.choose(asked).err() }
    }

    /// The algorithm for a task that asks for this one (or for none, if empty).
    ///
    /// # Errors
    /// When the scheduler has no such algorithm, in words for the user.
    pub(super) fn choose<'a>(&'a self, asked: &'a str) -> Result<&'a str, String> {
        if asked.is_empty() {
            return match self.problem_of_default() {
                Some(problem) => Err(problem),
                None => Ok(&self.default),
            };
        }
        if self.names.contains(asked) {
            return Ok(asked);
        }
        Err(format!("there is no algorithm `{asked}`: use {}", self.list()))
    }

    /// What is wrong with the default, if anything is.
    pub(super) fn problem_of_default(&self) -> Option<String> {
        (!self.names.contains(&self.default)).then(|| {
            format!(
                "the cluster's default algorithm `{}` is not one of the scheduler's: use {}",
                self.default,
                self.list()
            )
        })
    }

    fn list(&self) -> String {
        let names: Vec<&str> = self.names.iter().map(String::as_str).collect();
        match names.split_last() {
            Some((last, others)) if !others.is_empty() => format!("{} or {last}", others.join(", ")),
            Some((only, _)) => (*only).to_owned(),
            None => "another scheduler: this one lists none".to_owned(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn algorithms(default: &str) -> Algorithms {
        Algorithms::new(["spread", "epvm", "binpack"].map(str::to_owned), default)
    }

    #[test]
    fn a_task_gets_what_it_asks_for_or_the_default() {
        assert_eq!(algorithms("spread").choose("epvm"), Ok("epvm"));
        assert_eq!(algorithms("spread").choose(""), Ok("spread"));
        assert_eq!(algorithms("spread").problem_of_default(), None);
    }

    #[test]
    fn nothing_is_refused_before_a_scheduler_was_asked() {
        assert_eq!(Algorithms::new([], "spread").problem_of("best"), None);
        assert_eq!(algorithms("spread").problem_of("epvm"), None);
        assert_eq!(algorithms("spread").problem_of(""), None);
        assert!(algorithms("spread").problem_of("best").is_some());
    }

    #[test]
    fn an_unknown_one_is_answered_with_those_that_there_are() {
        let problem = algorithms("spread").choose("best").unwrap_err();
        assert_eq!(problem, "there is no algorithm `best`: use binpack, epvm or spread");
        let problem = algorithms("best").choose("").unwrap_err();
        assert!(problem.contains("default algorithm `best`"), "{problem}");
        assert_eq!(algorithms("best").choose("epvm"), Ok("epvm"), "it says itself what it wants");
    }
}
