//! What the cluster can't do yet.

use davit_compose::{Mode, Position, Problem, ProblemKind, Service, Severity};

/// Gathers what is wrong.
#[derive(Debug)]
pub(crate) struct Refusals {
    lenient: bool,
    problems: Vec<Problem>,
}

impl Refusals {
    /// Of a reader who has what can't be done dropped with a warning, or not.
    pub(crate) fn new(lenient: bool) -> Self {
        Self { lenient, problems: Vec::new() }
    }

    /// All of them, in the order of lines; whether one of them stands in the way.
    pub(crate) fn finish(mut self) -> (Vec<Problem>, bool) {
        self.problems.sort_by(|one, other| one.position.cmp(&other.position));
        let is_error = self.problems.iter().any(|problem| problem.severity == Severity::Error);
        (self.problems, is_error)
    }

    /// A key that asks for what the cluster can't do: dropped with a warning for a lenient reader.
    pub(super) fn unsupported(&mut self, position: &Position, path: &str, message: &str) {
        let severity = if self.lenient { Severity::Warning } else { Severity::Error };
        self.add(severity, ProblemKind::RefusedKey, position, path, message);
    }

    /// A value that is wrong.
    pub(super) fn wrong(&mut self, position: &Position, path: &str, message: &str) {
        self.add(Severity::Error, ProblemKind::BadValue, position, path, message);
    }

    /// What is done otherwise than with Docker Compose.
    pub(super) fn differs(&mut self, position: &Position, path: &str, message: &str) {
        self.add(Severity::Warning, ProblemKind::Differs, position, path, message);
    }

    fn add(&mut self, severity: Severity, kind: ProblemKind, position: &Position, path: &str, message: &str) {
        let (position, path, message) = (Some(position.clone()), path.to_owned(), message.to_owned());
        self.problems.push(Problem { severity, kind, position, path, message });
    }
}

/// Where a key of a service is written, and its path.
pub(super) fn key<'a>(service: &'a Service, key: &str) -> (&'a Position, String) {
    let position = service.positions.0.get(key).unwrap_or(&service.position);
    (position, format!("services.{}.{key}", service.name))
}

/// Refuses what a service that is a job asks for.
pub(super) fn in_job(service: &Service, refusals: &mut Refusals) {
    if service.deploy.mode == Mode::GlobalJob {
        let (position, path) = key(service, "deploy.mode");
        refusals.unsupported(position, &path, "a job with a task on each node is not supported yet; it gets one task");
    }
}
