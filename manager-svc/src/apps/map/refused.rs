//! What the cluster can't do yet.

use davit_compose::{Mode, Position, Problem, ProblemKind, RestartCondition, Service, Severity};

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
        if self.lenient {
            self.add(Severity::Warning, ProblemKind::RefusedKey, position, path, &format!("dropped: {message}"));
        } else {
            self.add(Severity::Error, ProblemKind::RefusedKey, position, path, message);
        }
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

/// What is for deployments alone: of a job each run keeps to what it began with.
const OF_ROLLOUTS: [&str; 6] = [
    "deploy.update_config",
    "deploy.rollback_config",
    "x-davit.canaries",
    "x-davit.auto_promote",
    "x-davit.kept_versions",
    "x-davit.progress_deadline",
];

/// Refuses what a service that is a job asks for, and what it says twice in different ways.
pub(super) fn in_job(service: &Service, refusals: &mut Refusals) {
    let is_written = |path: &&str| service.positions.0.contains_key(*path);
    if service.deploy.mode == Mode::GlobalJob {
        let (position, path) = key(service, "deploy.mode");
        refusals.unsupported(position, &path, "a job with a task on each node is not supported yet; it gets one task");
    }
    if service.deploy.mode == Mode::Global {
        let (position, path) = key(service, "deploy.mode");
        refusals.wrong(position, &path, "a service with `x-davit.job` is a job; it is not `global`");
    }
    for written in OF_ROLLOUTS.into_iter().filter(is_written) {
        let (position, path) = key(service, written);
        refusals.unsupported(position, &path, "a job has no versions that take each other's place");
    }
    let job = service.davit.job.clone().unwrap_or_default();
    let policy = service.restart.unwrap_or_default();
    let condition = ["deploy.restart_policy.condition", "restart"].into_iter().find(is_written);
    if let Some(written) = condition {
        let (position, path) = key(service, written);
        if policy.condition == RestartCondition::Any {
            let what = "the task of a job is done when it has ended well, and runs again only when it failed";
            refusals.differs(position, &path, what);
        } else if policy.condition == RestartCondition::Never && job.retries.is_some_and(|retries| retries > 0) {
            refusals.wrong(position, &path, "`x-davit.job.retries` says that it does run again");
        }
    }
    let twice = [
        ("x-davit.job.completions", job.completions, "deploy.replicas", service.deploy.replicas),
        ("x-davit.job.retries", job.retries, "deploy.restart_policy.max_attempts", policy.max_attempts),
    ];
    for (written, number, other_key, other) in twice {
        if let (Some(number), Some(other)) = (number, other)
            && number != other
        {
            let (position, path) = key(service, written);
            refusals.wrong(position, &path, &format!("is {number}, and `{other_key}` says {other}"));
        }
    }
}
