//! The supervisor's loop: waits for whatever happens next, and acts on it.

use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::net::UnixListener;
use std::path::Path;
use std::process::Child;
use std::time::Duration;

use davit_svc_kit::clock::{Clock as _, SystemClock};
use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::signal::{SigSet, Signal, killpg};
use nix::sys::signalfd::{SfdFlags, SignalFd};
use nix::sys::timerfd::{ClockId, Expiration, TimerFd, TimerFlags, TimerSetTimeFlags};
use nix::unistd::Pid;

use super::super::contract::{self, Durable, ExitRecord, SpecRecord, StartRecord};
use super::super::log_write::LogWriter;
use super::super::os::{self, ProcessRef};
use super::super::signal_of;
use super::children;
use super::clients::{Clients, Request};
use super::life::{LeaderEnd, Life};
use super::output::{Output, Pipe};
use crate::lease::{self, LeaseFile};
use crate::runtime::LogSource;

/// How long to wait before what the leader left is looked for again, at first and at most.
const FIRST_SWEEP: Duration = Duration::from_millis(20);
const LONGEST_SWEEP: Duration = Duration::from_secs(1);
const FIRST_RETRY: Duration = Duration::from_secs(1);
const LONGEST_RETRY: Duration = Duration::from_secs(30);

/// A process under supervision.
pub(super) struct Watch {
    leader: Pid,
    start: StartRecord,
    outputs: [Output; 2],
    log: LogWriter,
    clients: Clients,
    signals: SignalFd,
    timer: TimerFd,
    life: Life,
    /// Who outside of worker and process brought about its end.
    cause: String,
    /// Something that the leader left may still run.
    children_left: bool,
    sweep_pause: Duration,
    /// What must never run twice runs only while this lasts.
    lease: Option<Lease>,
    /// Its standard input is a line to the worker, and was not cut.
    line: bool,
}

/// The node's lease, as far as it was read.
#[derive(Debug)]
struct Lease {
    file: LeaseFile,
    until: Duration,
    ended: bool,
}

/// Where something may happen, what of it counts, and how it is noted.
type Source<'fd> = (BorrowedFd<'fd>, PollFlags, fn(&mut Happened));

/// What happened.
#[derive(Debug, Default)]
struct Happened {
    signals: bool,
    timer: bool,
    newcomers: bool,
    clients: bool,
    outputs: [bool; 2],
    line_cut: bool,
}

impl Watch {
    /// Takes over the process right after its start. Gives it back if that is not possible.
    pub(super) fn begin(
        mut child: Child,
        mut start: StartRecord,
        listener: UnixListener,
        log: LogWriter,
    ) -> Result<Self, (io::Error, Child)> {
        let pid = i32::try_from(child.id()).unwrap_or_default();
        start.leader = ProcessRef::of(pid);
        let pipe = |pipe: Option<Box<dyn Pipe>>, source| Output::new(source, pipe);
        let (stdout, stderr) = (child.stdout.take(), child.stderr.take());
        let parts = || -> io::Result<_> {
            let stdout = pipe(stdout.map(|pipe| Box::new(pipe) as _), LogSource::Stdout)?;
            let stderr = pipe(stderr.map(|pipe| Box::new(pipe) as _), LogSource::Stderr)?;
            let timer = TimerFd::new(ClockId::CLOCK_BOOTTIME, TimerFlags::TFD_NONBLOCK | TimerFlags::TFD_CLOEXEC)?;
            Ok(([stdout, stderr], Clients::new(listener)?, take_signals()?, timer))
        };
        match parts() {
            Ok((outputs, clients, signals, timer)) => Ok(Self {
                leader: Pid::from_raw(pid),
                start,
                outputs,
                log,
                clients,
                signals,
                timer,
                life: Life::default(),
                cause: String::new(),
                children_left: false,
                sweep_pause: FIRST_SWEEP,
                lease: None,
                line: false,
            }),
            Err(error) => Err((error, child)),
        }
    }

    /// What is to be kept of the start.
    pub(super) fn start_record(&self) -> &StartRecord {
        &self.start
    }

    /// Watches until all is over and on record.
    pub(super) fn until_end(mut self, dir: &Path, spec: &SpecRecord) -> io::Result<()> {
        self.line = spec.ends_with_worker;
        if let Some(path) = &spec.lease {
            self.lease = Some(Lease { file: LeaseFile::new(path)?, until: Duration::ZERO, ended: false });
            self.look_at_lease(spec)?;
        }
        // It may have ended before its signals were taken.
        self.reap()?;
        let end = loop {
            if let Some(end) = self.life.complete(os::since_boot()?, self.children_left, self.outputs_open()) {
                break end;
            }
            let wake_at = self.wake_at()?;
            let happened = self.wait(wake_at)?;
            self.act(&happened, spec)?;
        };
        self.write_output(Output::close);
        self.leave(dir, end)
    }

    fn outputs_open(&self) -> bool {
        self.outputs.iter().any(|output| output.pipe().is_some())
    }

    fn wake_at(&mut self) -> io::Result<Option<Duration>> {
        if !self.children_left {
            let lease = self.lease.as_ref().filter(|lease| !lease.ended && self.life.end().is_none());
            return Ok(self.life.wake_at().into_iter().chain(lease.map(|lease| lease.until)).min());
        }
        let at = os::since_boot()? + self.sweep_pause;
        self.sweep_pause = (self.sweep_pause * 2).min(LONGEST_SWEEP);
        Ok(Some(at))
    }

    /// Waits until something happens, but not beyond `until`.
    fn wait(&self, until: Option<Duration>) -> io::Result<Happened> {
        match until {
            // Zero would disarm it.
            Some(at) => self.timer.set(
                Expiration::OneShot(at.max(Duration::from_nanos(1)).into()),
                TimerSetTimeFlags::TFD_TIMER_ABSTIME,
            )?,
            None => self.timer.unset()?,
        }
        let input = io::stdin();
        let mut sources: Vec<Source<'_>> = vec![
            (self.signals.as_fd(), PollFlags::POLLIN, |happened| happened.signals = true),
            (self.timer.as_fd(), PollFlags::POLLIN, |happened| happened.timer = true),
            (self.clients.listener(), PollFlags::POLLIN, |happened| happened.newcomers = true),
        ];
        if self.line {
            sources.push((input.as_fd(), PollFlags::empty(), |happened| happened.line_cut = true));
        }
        for (stream, sends) in self.clients.streams() {
            let writable = if sends { PollFlags::POLLOUT } else { PollFlags::empty() };
            sources.push((stream, PollFlags::POLLIN | writable, |happened| happened.clients = true));
        }
        let mark: [fn(&mut Happened); 2] =
            [|happened| happened.outputs[0] = true, |happened| happened.outputs[1] = true];
        for (output, mark) in self.outputs.iter().zip(mark) {
            sources.extend(output.pipe().map(|pipe| (pipe, PollFlags::POLLIN, mark)));
        }
        let mut polled: Vec<_> = sources.iter().map(|(fd, flags, _)| PollFd::new(*fd, *flags)).collect();
        match poll(&mut polled, PollTimeout::NONE) {
            Ok(_) | Err(Errno::EINTR) => {}
            Err(errno) => return Err(errno.into()),
        }
        let mut happened = Happened::default();
        for (polled, (_, _, mark)) in polled.iter().zip(&sources) {
            if polled.any().unwrap_or(true) {
                mark(&mut happened);
            }
        }
        Ok(happened)
    }

    fn act(&mut self, happened: &Happened, spec: &SpecRecord) -> io::Result<()> {
        if happened.timer {
            // Only empties it: what is due shows below.
            let _ = self.timer.wait();
        }
        if happened.outputs.contains(&true) {
            let mut ready = happened.outputs.into_iter();
            self.write_output(|output, now, entries| {
                if ready.next() == Some(true) {
                    output.read(now, entries);
                }
            });
        }
        if happened.newcomers {
            self.clients.accept("");
        }
        if happened.clients {
            for request in self.clients.serve() {
                self.obey(&request)?;
            }
        }
        if happened.line_cut {
            self.line = false;
            self.stop_as_specified(spec, "its worker ended, and it was not to outlive it")?;
        }
        if happened.signals {
            while let Ok(Some(signal)) = self.signals.read_signal() {
                if signal.ssi_signo != Signal::SIGCHLD as u32 {
                    self.stop_as_specified(spec, "its supervisor was told to stop, as at the machine's shutdown")?;
                }
            }
        }
        self.look_at_lease(spec)?;
        if self.life.kills(os::since_boot()?) {
            self.signal(Signal::SIGKILL);
        }
        self.reap()
    }

    /// Stops what must not run on without a lease.
    fn look_at_lease(&mut self, spec: &SpecRecord) -> io::Result<()> {
        let now = os::since_boot()?;
        let Some(lease) = self.lease.as_mut().filter(|lease| !lease.ended && lease.until <= now) else { return Ok(()) };
        // Renewed by the worker, if that lives and hears from the manager.
        lease.until = lease.file.read();
        if lease.until > now || self.life.end().is_some() {
            return Ok(());
        }
        lease.ended = true;
        self.stop_as_specified(spec, lease::ENDED)
    }

    fn write_output(&mut self, mut step: impl FnMut(&mut Output, jiff::Timestamp, &mut Vec<u8>)) {
        let now = SystemClock.now();
        let mut entries = Vec::new();
        for output in &mut self.outputs {
            step(output, now, &mut entries);
        }
        self.log.put(now, &entries);
        self.clients.tell_head(self.log.head());
    }

    fn obey(&mut self, request: &Request) -> io::Result<()> {
        match request {
            Request::Beyond(_) => self.clients.tell_head(self.log.head()),
            Request::Stop { signal, grace } => {
                // The worker has checked the name; should it know more than this program, the process still ends.
                let signal = signal_of(signal).unwrap_or(Signal::SIGTERM);
                self.stop(signal, *grace)?;
            }
        }
        Ok(())
    }

    fn stop_as_specified(&mut self, spec: &SpecRecord, cause: &str) -> io::Result<()> {
        if self.life.end().is_none() && self.cause.is_empty() {
            cause.clone_into(&mut self.cause);
        }
        self.stop(signal_of(&spec.stop_signal).unwrap_or(Signal::SIGTERM), spec.stop_grace())
    }

    fn stop(&mut self, signal: Signal, grace: Duration) -> io::Result<()> {
        if let Some(signal) = self.life.stop(signal, grace, os::since_boot()?) {
            self.signal(signal);
        }
        Ok(())
    }

    /// The leader is not reaped while its end is not known, so the number is its group's.
    fn signal(&self, signal: Signal) {
        if self.life.end().is_none() {
            // Fails for a leader that became another user; then a kill fails too, and it ends when it likes.
            let _ = killpg(self.leader, signal);
        }
    }

    fn reap(&mut self) -> io::Result<()> {
        if let Some(exit_code) = children::reap(self.leader) {
            self.life.ended(LeaderEnd { exit_code, at: os::since_boot()?, wall: SystemClock.now() });
        }
        if self.life.end().is_some() {
            self.children_left = children::kill_all()?;
        }
        Ok(())
    }

    /// Leaves the record of the end. A disk that takes none is asked again and again; whoever connects is told meanwhile.
    fn leave(mut self, dir: &Path, end: LeaderEnd) -> io::Result<()> {
        let record = ExitRecord {
            version: contract::VERSION,
            exit_code: end.exit_code,
            error: std::mem::take(&mut self.cause),
            lease_ended: self.lease.as_ref().is_some_and(|lease| lease.ended),
            started_at: Some(self.start.started_at),
            finished_at: end.wall,
        };
        let told = format!("exited {}\n", serde_json::to_string(&record)?);
        let mut pause = FIRST_RETRY;
        let mut failed = false;
        loop {
            match contract::write(dir, contract::EXIT, &record, Durable::Yes) {
                Ok(()) => {
                    if !failed {
                        self.clients.tell_all(&told);
                    }
                    return Ok(());
                }
                // The attempt was removed: nobody asks any more.
                Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
                Err(error) => {
                    if !failed {
                        use io::Write as _;
                        let _ = writeln!(io::stderr(), "can't leave the record of the end: {error}");
                        self.clients.tell_all(&told);
                    }
                    failed = true;
                }
            }
            let retry_at = os::since_boot()? + pause;
            pause = (pause * 2).min(LONGEST_RETRY);
            while os::since_boot()? < retry_at {
                let happened = self.wait(Some(retry_at))?;
                if happened.timer {
                    let _ = self.timer.wait();
                }
                if happened.newcomers {
                    self.clients.accept(&told);
                }
                if happened.clients {
                    self.clients.serve();
                }
                if happened.signals {
                    while let Ok(Some(_)) = self.signals.read_signal() {}
                }
                self.line &= !happened.line_cut;
            }
        }
    }
}

/// Takes signals out of a queue from now on, instead of being interrupted by them.
fn take_signals() -> io::Result<SignalFd> {
    let mut signals = SigSet::empty();
    for signal in [Signal::SIGCHLD, Signal::SIGTERM, Signal::SIGINT] {
        signals.add(signal);
    }
    // After the process was started: it would inherit the block.
    signals.thread_block()?;
    Ok(SignalFd::with_flags(&signals, SfdFlags::SFD_NONBLOCK | SfdFlags::SFD_CLOEXEC)?)
}
