//! What tasks run: a program that leaves evidence of its life where no part of Davit writes.
//!
//! Every run has a file of its own, `TASK.UUID`, and writes a line into it when it starts, four times a second while it lives,
//! and when it ends in good order, each with the machine's boot clock. So two runs of a task at one time are proven by the
//! lines of both, whatever anybody says.

use std::path::Path;
use std::time::Duration;

use davit_proto::v1;
use nix::sys::stat::Mode;

use crate::engine::IMAGE;
use crate::error::{Result, io_at};
use crate::names::EVIDENCE_VARIABLE;

/// Nothing is ever written into it: a shell that reads from it with a time limit sleeps without a process of its own.
const NEVER: &str = ".never";

/// The time between two signs of life.
pub(crate) const BEAT: Duration = Duration::from_millis(250);

const SCRIPT: &str = r#"
dir=$DAVIT_CHAOS_EVIDENCE
read -r id < /proc/sys/kernel/random/uuid
exec 3<>"$dir/.never" 4>>"$dir/$WITNESS_TASK.$id"
say() { read -r up idle < /proc/uptime; echo "$1 $up $2" >&4; }
trap 'say stopped; exit 143' TERM
say start "${DAVIT_ATTEMPT:-$(hostname)}"
left=$WITNESS_BEATS
while [ "$left" != 0 ]; do
    read -r -t 0.25 nothing <&3
    say beat
    left=$((left - 1))
done
say end
"#;

/// Makes the directory of the evidence.
///
/// # Errors
/// When it can't be made.
pub(crate) fn prepare(dir: &Path) -> Result<()> {
    std::fs::create_dir_all(dir).map_err(io_at("make", dir))?;
    let never = dir.join(NEVER);
    nix::unistd::mkfifo(&never, Mode::from_bits_truncate(0o600)).map_err(|errno| io_at("make", &never)(errno.into()))
}

/// What runs a witness.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Runtime {
    /// A Docker container.
    Container,
    /// A plain process.
    Process,
}

/// The program, for a container or a process; with the environment that it needs. `lasts`: ends with 0 after so long.
pub(crate) fn runtime_of(
    runtime: Runtime,
    name: &str,
    evidence: &Path,
    lasts: Option<Duration>,
) -> v1::task_spec::Runtime {
    let beats = lasts.map_or(-1, |lasts| i64::try_from(lasts.as_millis() / BEAT.as_millis()).unwrap_or(1).max(1));
    let env = [
        (EVIDENCE_VARIABLE.to_owned(), evidence.display().to_string()),
        ("WITNESS_TASK".to_owned(), name.to_owned()),
        ("WITNESS_BEATS".to_owned(), beats.to_string()),
    ];
    let env = env.into_iter().collect();
    let command = script_command();
    match runtime {
        Runtime::Container => v1::task_spec::Runtime::Container(v1::ContainerSpec {
            image: IMAGE.to_owned(),
            command,
            env,
            mounts: vec![v1::Mount {
                source: Some(v1::mount::Source::BindPath(evidence.display().to_string())),
                target: evidence.display().to_string(),
                read_only: false,
            }],
            pull_policy: v1::PullPolicy::Never.into(),
            ..Default::default()
        }),
        Runtime::Process => {
            v1::task_spec::Runtime::Process(v1::ProcessSpec { command, env, working_dir: String::new() })
        }
    }
}

/// The program and its arguments, the same in a container and outside.
pub(crate) fn script_command() -> Vec<String> {
    ["busybox", "sh", "-c", SCRIPT].map(str::to_owned).to_vec()
}

#[cfg(test)]
mod tests {
    use std::process::Command;

    use super::*;
    use crate::evidence::Evidence;

    #[test]
    fn a_witness_tells_of_its_start_its_life_and_its_end() {
        let dir = tempfile::tempdir().unwrap();
        prepare(&dir.path().join("e")).unwrap();
        let dir = dir.path().join("e");
        let command = script_command();
        let ended = Command::new(&command[0])
            .args(&command[1..])
            .env(EVIDENCE_VARIABLE, &dir)
            .env("WITNESS_TASK", "job-1")
            .env("WITNESS_BEATS", "3")
            .env("DAVIT_ATTEMPT", "task/1")
            .status()
            .unwrap();
        assert!(ended.success());
        let mut evidence = Evidence::new(&dir);
        evidence.refresh().unwrap();
        let runs: Vec<_> = evidence.runs_of("job-1").collect();
        assert_eq!(runs.len(), 1);
        let lived = runs[0].last.since(runs[0].start);
        assert!(lived >= BEAT * 3 && lived < BEAT * 20, "{lived:?}");
        assert!(runs[0].completed && runs[0].who == "task/1", "{:?}", runs[0]);
    }
}
