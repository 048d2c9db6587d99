//! What a process writes, on its way into the log.

use std::io::{self, Read};
use std::os::fd::{AsFd, BorrowedFd};

use jiff::Timestamp;
use nix::fcntl::{FcntlArg, OFlag, fcntl};

use super::super::log_format::Splitter;
use crate::runtime::LogSource;

const BUFFER_BYTES: usize = 8 * 1024;

/// One of the two outputs; closed once it has ended.
pub(super) struct Output {
    pipe: Option<Box<dyn Pipe>>,
    splitter: Splitter,
}

/// The reading end of an output.
pub(super) trait Pipe: Read + AsFd {}
impl<T: Read + AsFd> Pipe for T {}

impl Output {
    /// Reads of this pipe never block from now on.
    pub(super) fn new(source: LogSource, pipe: Option<Box<dyn Pipe>>) -> io::Result<Self> {
        if let Some(pipe) = &pipe {
            fcntl(pipe.as_fd(), FcntlArg::F_SETFL(OFlag::O_NONBLOCK))?;
        }
        Ok(Self { pipe, splitter: Splitter::new(source) })
    }

    /// `None` once it has ended.
    pub(super) fn pipe(&self) -> Option<BorrowedFd<'_>> {
        self.pipe.as_ref().map(|pipe| pipe.as_fd())
    }

    /// Reads once, and encodes the lines that are whole by that.
    pub(super) fn read(&mut self, now: Timestamp, entries: &mut Vec<u8>) {
        let Some(pipe) = &mut self.pipe else { return };
        let mut buffer = [0; BUFFER_BYTES];
        match pipe.read(&mut buffer) {
            Ok(len) if len > 0 => self.splitter.push(entries, now, &buffer[..len]),
            Err(error) if matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted) => {}
            _ => self.close(now, entries),
        }
    }

    /// Ends it, and encodes what is left.
    pub(super) fn close(&mut self, now: Timestamp, entries: &mut Vec<u8>) {
        self.pipe = None;
        self.splitter.finish(entries, now);
    }
}
