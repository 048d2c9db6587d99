//! The supervisor: a small process beside the worker, one for each process that the worker runs.
//!
//! It is the process's parent, so that somebody learns how it ended and signals can't hit a stranger, and it outlives the
//! worker. It keeps the log, takes orders on a socket, and leaves records that any later worker reads; see
//! [`contract`](super::contract). One thread, no runtime, nothing that grows.

mod children;
mod clients;
mod life;
mod output;
mod spawn;
mod watch;

use std::fs;
use std::io::{self, Write as _};
use std::os::unix::fs::PermissionsExt as _;
use std::os::unix::net::UnixListener;
use std::path::Path;
use std::process::ExitCode;

use davit_svc_kit::clock::{Clock as _, SystemClock};
use nix::unistd::setsid;

use super::contract::{self, CONTROL, Durable, Reply, SpecRecord, StartRecord};
use super::log_write::LogWriter;
use super::os::{self, ProcessRef};
use watch::Watch;

/// Whether a client asks for something with this line.
#[cfg(any(test, feature = "fuzzing"))]
pub(super) fn is_request(line: &[u8]) -> bool {
    clients::parse(line).is_some()
}

/// Supervises the process of an attempt, whose directory this is, to its end. The whole of a program's life.
pub(crate) fn run(dir: &Path) -> ExitCode {
    match supervise(dir) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            // Standard error is a file in the directory.
            let _ = writeln!(io::stderr(), "{error}");
            ExitCode::FAILURE
        }
    }
}

fn supervise(dir: &Path) -> io::Result<()> {
    let _ = nix::sys::prctl::set_name(c"davit-supervise");
    // Fails only for who leads a group already: then it was started by hand.
    let _ = setsid();
    std::env::set_current_dir(dir)?;
    let Some(_lock) = contract::lock(dir)? else { return reply(&Reply::Taken) };
    if dir.join(contract::START).exists() {
        return reply(&Reply::Taken);
    }
    let (spec, watch) = match begin(dir) {
        Ok(begun) => begun,
        Err(failed) => {
            let _ = fs::remove_file(CONTROL);
            return reply(&failed);
        }
    };
    let record = watch.start_record().clone();
    // It has read what it needs, and the process runs: from here on nothing that fails may end it.
    let told = reply(&Reply::Started(record.clone()));
    let kept = contract::write(dir, contract::START, &record, Durable::Yes);
    for problem in [told, kept].into_iter().filter_map(Result::err) {
        let _ = writeln!(io::stderr(), "{problem}");
    }
    watch.until_end(dir, &spec)?;
    let _ = fs::remove_file(CONTROL);
    Ok(())
}

/// Starts the process. It is on record before it exists.
fn begin(dir: &Path) -> Result<(SpecRecord, Watch), Reply> {
    let passing = |error: io::Error| Reply::Failed { passing: true, message: error.to_string() };
    let spec: SpecRecord = match contract::read(dir, contract::SPEC) {
        Ok(Some(spec)) => spec,
        Ok(None) => return Err(Reply::Failed { passing: false, message: "there is no spec".to_owned() }),
        Err(error) => return Err(Reply::Failed { passing: false, message: error.to_string() }),
    };
    // Who loses its parent below here comes to this process, and is ended with the rest.
    nix::sys::prctl::set_child_subreaper(true).map_err(|errno| passing(errno.into()))?;
    let listener = bind().map_err(passing)?;
    let log = LogWriter::open(dir.to_owned(), spec.bounds()).map_err(passing)?;
    let supervisor = ProcessRef::current().ok_or_else(|| passing(io::Error::other("/proc tells nothing")))?;
    let boot_id = os::boot_id().map_err(passing)?;
    let started_at = SystemClock.now();
    let record = StartRecord { version: contract::VERSION, boot_id, supervisor, leader: None, started_at };
    contract::write(dir, contract::START, &record, Durable::Yes).map_err(passing)?;
    let child = match spawn::spawn(&spec) {
        Ok(child) => child,
        Err(failed) => {
            // It never ran, and may be tried again.
            contract::remove(dir, contract::START).map_err(passing)?;
            return Err(failed);
        }
    };
    let watch = Watch::begin(child, record, listener, log);
    // The process must not go on unwatched, and nothing of this fails but for want of memory or files.
    let watch = watch.map_err(|(error, mut child)| {
        let _ = child.kill();
        let _ = child.wait();
        let _ = contract::remove(dir, contract::START);
        passing(error)
    })?;
    Ok((spec, watch))
}

/// The path is relative: a socket's may not be longer than 107 bytes.
fn bind() -> io::Result<UnixListener> {
    match fs::remove_file(CONTROL) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let listener = UnixListener::bind(CONTROL)?;
    fs::set_permissions(CONTROL, fs::Permissions::from_mode(0o600))?;
    Ok(listener)
}

fn reply(reply: &Reply) -> io::Result<()> {
    let mut line = serde_json::to_vec(reply)?;
    line.push(b'\n');
    let mut out = io::stdout().lock();
    out.write_all(&line)?;
    out.flush()
}
