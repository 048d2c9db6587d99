//! Specs that a session sends once, and names by a number afterwards. Both sides keep the newest of them.

use std::collections::HashMap;
use std::sync::Arc;

use davit_core::id::{AttemptKey, Revision};
use davit_core::spec::TaskSpec;
use davit_core::task::{DesiredState, Part, PortBinding};
use davit_core::validate::Violations;

use super::path::FieldPath;
use super::session::assignment_to_proto;
use super::{required, task_spec_from_proto, task_spec_to_proto};
use crate::v1;

/// So many specs have a number at once.
pub const MAX_SPEC_NUMBERS: u32 = 1024;

/// What a session's writer has sent.
#[derive(Debug, Default)]
pub struct SentSpecs {
    /// By where they are in memory, where nothing else is while they are kept here.
    numbers: HashMap<usize, u32>,
    /// The one of number n is at n - 1.
    kept: Vec<Arc<TaskSpec>>,
    /// The number that was given last.
    last: u32,
}

impl SentSpecs {
    /// Nothing.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Writes what a worker is to run or stop, with its spec if that was not sent before.
    pub fn assignment_to_proto(
        &mut self,
        key: AttemptKey,
        revision: Revision,
        desired_state: DesiredState,
        spec: &Arc<TaskSpec>,
        ports: &[PortBinding],
        part: Part,
    ) -> v1::Assignment {
        let known = self.numbers.get(&address(spec)).copied();
        let sent = known.is_none().then(|| task_spec_to_proto(spec));
        let spec_number = known.unwrap_or_else(|| self.number(spec));
        v1::Assignment { spec_number, ..assignment_to_proto(key, revision, desired_state, sent, ports, part) }
    }

    /// Gives a number, which is that of the oldest one when all are in use.
    fn number(&mut self, spec: &Arc<TaskSpec>) -> u32 {
        self.last = self.last % MAX_SPEC_NUMBERS + 1;
        let place = (self.last - 1) as usize;
        match self.kept.get_mut(place) {
            Some(oldest) => {
                self.numbers.remove(&address(oldest));
                *oldest = Arc::clone(spec);
            }
            None => self.kept.push(Arc::clone(spec)),
        }
        self.numbers.insert(address(spec), self.last);
        self.last
    }
}

fn address(spec: &Arc<TaskSpec>) -> usize {
    Arc::as_ptr(spec).addr()
}

/// What a session's reader was sent.
#[derive(Debug, Default)]
pub struct KnownSpecs {
    by_number: HashMap<u32, Arc<TaskSpec>>,
}

impl KnownSpecs {
    /// Nothing.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// The spec that an assignment at this path brings or names.
    pub(super) fn take(
        &mut self,
        spec: Option<v1::TaskSpec>,
        number: u32,
        path: FieldPath<'_>,
        number_path: FieldPath<'_>,
        violations: &mut Violations,
    ) -> Option<Arc<TaskSpec>> {
        if number > MAX_SPEC_NUMBERS {
            violations.add(number_path, format!("{number} is above {MAX_SPEC_NUMBERS}"));
            return None;
        }
        if spec.is_none() && number > 0 {
            let known = self.by_number.get(&number).cloned();
            if known.is_none() {
                violations.add(number_path, format!("no spec that could be read was sent as number {number}"));
            }
            return known;
        }
        // Also where this one can't be read: what had the number before is not what is meant from here on.
        self.by_number.remove(&number);
        let spec = required(spec, path, violations).and_then(|spec| task_spec_from_proto(spec, path, violations))?;
        let spec = Arc::new(spec);
        if number > 0 {
            self.by_number.insert(number, Arc::clone(&spec));
        }
        Some(spec)
    }
}

#[cfg(test)]
mod tests {
    use davit_core::id::{Attempt, TaskId};
    use davit_core::spec::{ProcessSpec, RuntimeSpec};
    use proptest::prelude::*;
    use uuid::Uuid;

    use super::super::assignment_from_proto;
    use super::*;

    const KEY: AttemptKey = AttemptKey { task_id: TaskId(Uuid::from_u128(1)), attempt: Attempt::FIRST };

    fn spec(number: usize) -> Arc<TaskSpec> {
        let process = ProcessSpec { command: vec!["true".to_owned()], env: [].into(), working_dir: String::new() };
        Arc::new(TaskSpec::new(format!("s{number}"), RuntimeSpec::Process(process)))
    }

    fn write(sent: &mut SentSpecs, spec: &Arc<TaskSpec>) -> v1::Assignment {
        sent.assignment_to_proto(KEY, Revision(1), DesiredState::Running, spec, &[], Part::Alone)
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: 32, ..ProptestConfig::default() })]

        #[test]
        fn whoever_reads_all_gets_the_specs_that_were_written_however_many_there_are(
            order in prop::collection::vec(prop_oneof![0usize..20, 0usize..1100], 3000),
        ) {
            let specs: Vec<_> = (0..1100).map(spec).collect();
            let (mut sent, mut known) = (SentSpecs::new(), KnownSpecs::new());
            for number in (0..1100).chain(order) {
                let written = write(&mut sent, &specs[number]);
                prop_assert!((1..=MAX_SPEC_NUMBERS).contains(&written.spec_number));
                let mut violations = Violations::new();
                let read = assignment_from_proto(written, &mut known, "a", &mut violations);
                prop_assert_eq!(read.map(|one| one.spec), Some(Arc::clone(&specs[number])), "{}", violations);
            }
            prop_assert!(sent.kept.len() == MAX_SPEC_NUMBERS as usize && sent.numbers.len() == sent.kept.len());
            prop_assert!(known.by_number.len() <= MAX_SPEC_NUMBERS as usize);
        }
    }

    #[test]
    fn a_number_whose_spec_can_not_be_read_is_not_taken_for_the_one_before() {
        let (mut sent, mut known) = (SentSpecs::new(), KnownSpecs::new());
        let first = write(&mut sent, &spec(1));
        let mut read = |message| assignment_from_proto(message, &mut known, "a", &mut Violations::new());
        assert!(read(first.clone()).is_some());
        let unreadable = v1::Assignment { spec: Some(v1::TaskSpec::default()), ..first.clone() };
        assert_eq!(read(unreadable), None);
        assert_eq!(read(v1::Assignment { spec: None, ..first }), None);
    }
}
