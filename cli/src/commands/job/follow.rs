//! Follows a run until it has ended.

use std::time::Duration;

use davit_proto::v1;

use super::super::INTERRUPTED;
use super::super::gone::is_gone;
use crate::client::Manager;
use crate::error::Error;
use crate::output::{Output, run_line};

/// How often it is asked how far the run is: it changes no oftener for people.
const LOOK: Duration = Duration::from_millis(300);

/// The exit code of who followed a run that did not complete.
const FAILED: u8 = 1;

/// Stays with a run and tells each change. The exit code tells how it went.
pub(super) async fn stay(manager: &Manager, job: &v1::Job, run: u32, output: &Output) -> Result<u8, Error> {
    let name = job.spec.as_ref().map(|spec| spec.name.as_str()).unwrap_or_default();
    let tell = |run: &v1::JobRun| output.note(&run_line(name, run, output.message_palette).whole());
    let followed = follow(manager, &job.job_id, run, tell);
    let ended = tokio::select! {
        ended = followed => ended?,
        _ = tokio::signal::ctrl_c() => {
            output.note(&format!("The run goes on; look with `davit job inspect {name}`, stop with `davit job stop {name}`."));
            return Ok(INTERRUPTED);
        }
    };
    let ended = match ended {
        Followed::Ended(ended) => *ended,
        Followed::WaitsInVain => {
            output.note(&format!("{name}: run {run} begins if that comes all the same"));
            return Ok(FAILED);
        }
        Followed::Gone => {
            output.note(&format!("{name}: run {run} is kept no more; how it ended is not known"));
            return Ok(FAILED);
        }
    };
    if output.format != crate::args::Format::Table {
        output.object(&ended, |_| String::new())?;
    }
    Ok(if ended.state() == v1::JobRunState::Completed { 0 } else { FAILED })
}

/// Why a run is followed no more.
enum Followed {
    Ended(Box<v1::JobRun>),
    /// It was told for what.
    WaitsInVain,
    /// It is not kept any more.
    Gone,
}

async fn follow(
    manager: &Manager,
    job_id: &str,
    number: u32,
    mut told: impl FnMut(&v1::JobRun),
) -> Result<Followed, Error> {
    let mut last: Option<v1::JobRun> = None;
    loop {
        let job = match manager.get_job(job_id).await {
            Ok(job) => job,
            Err(error) if is_gone(&error) => return Ok(Followed::Gone),
            Err(error) => return Err(error),
        };
        let Some(run) = job.runs.into_iter().find(|run| run.run == number) else { return Ok(Followed::Gone) };
        if last.as_ref() != Some(&run) {
            told(&run);
        }
        if run.finish_time.is_some() {
            return Ok(Followed::Ended(Box::new(run)));
        }
        if job.waiting_in_vain {
            return Ok(Followed::WaitsInVain);
        }
        last = Some(run);
        tokio::time::sleep(LOOK).await;
    }
}
