//! Those who talk to a supervisor over its control socket. Nothing here blocks, and what is kept of each is bounded.

use std::io::{self, Read as _, Write as _};
use std::os::fd::{AsFd as _, BorrowedFd};
use std::os::unix::net::{UnixListener, UnixStream};
use std::time::Duration;

use super::super::log_write::LogHead;

/// More are turned away: a worker needs one.
const MAX_CLIENTS: usize = 8;
/// A longer line is nonsense.
const MAX_LINE_BYTES: usize = 256;
/// What waits for a client that does not read. It asked for it, line by line.
const MAX_UNSENT_BYTES: usize = 64 * 1024;

/// What a client asks for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Request {
    Stop { signal: String, grace: Duration },
    Beyond(LogHead),
}

/// All connected clients.
#[derive(Debug)]
pub(super) struct Clients {
    listener: UnixListener,
    connected: Vec<Client>,
}

#[derive(Debug)]
struct Client {
    stream: UnixStream,
    received: Vec<u8>,
    unsent: Vec<u8>,
    /// It wants to know when the log is beyond this.
    beyond: Option<LogHead>,
}

impl Clients {
    pub(super) fn new(listener: UnixListener) -> io::Result<Self> {
        listener.set_nonblocking(true)?;
        Ok(Self { listener, connected: Vec::new() })
    }

    pub(super) fn listener(&self) -> BorrowedFd<'_> {
        self.listener.as_fd()
    }

    /// Each client, and whether something waits to be sent to it.
    pub(super) fn streams(&self) -> impl Iterator<Item = (BorrowedFd<'_>, bool)> {
        self.connected.iter().map(|client| (client.stream.as_fd(), !client.unsent.is_empty()))
    }

    /// Takes whoever waits to be let in, and greets them with these lines.
    pub(super) fn accept(&mut self, greeting: &str) {
        while let Ok((stream, _)) = self.listener.accept() {
            if self.connected.len() < MAX_CLIENTS && stream.set_nonblocking(true).is_ok() {
                let unsent = greeting.as_bytes().to_vec();
                let mut client = Client { stream, received: Vec::new(), unsent, beyond: None };
                if client.send() {
                    self.connected.push(client);
                }
            }
        }
    }

    /// Reads and writes what can be; tells what is asked. Those who went are forgotten.
    pub(super) fn serve(&mut self) -> Vec<Request> {
        let mut requests = Vec::new();
        self.connected.retain_mut(|client| client.receive(&mut requests) && client.send());
        requests
    }

    /// The log stands here now.
    pub(super) fn tell_head(&mut self, head: LogHead) {
        self.connected.retain_mut(|client| {
            if client.beyond.is_some_and(|beyond| beyond < head) {
                client.beyond = None;
                client.unsent.extend_from_slice(format!("head {} {}\n", head.generation, head.len).as_bytes());
            }
            client.send()
        });
    }

    /// Sends these lines to all.
    pub(super) fn tell_all(&mut self, lines: &str) {
        self.connected.retain_mut(|client| {
            client.unsent.extend_from_slice(lines.as_bytes());
            client.send()
        });
    }
}

impl Client {
    /// False when it is gone.
    fn receive(&mut self, requests: &mut Vec<Request>) -> bool {
        let mut buffer = [0; 512];
        loop {
            match self.stream.read(&mut buffer) {
                Ok(0) => return false,
                Ok(len) => self.received.extend_from_slice(&buffer[..len]),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(_) => return false,
            }
            while let Some(end) = self.received.iter().position(|byte| *byte == b'\n') {
                let line: Vec<u8> = self.received.drain(..=end).collect();
                match parse(&line) {
                    Some(Request::Beyond(head)) => {
                        self.beyond = Some(head);
                        requests.push(Request::Beyond(head));
                    }
                    Some(request) => requests.push(request),
                    // A word that a newer worker knows.
                    None => {}
                }
            }
            if self.received.len() > MAX_LINE_BYTES {
                return false;
            }
        }
        true
    }

    /// False when it is gone, or does not read.
    fn send(&mut self) -> bool {
        while !self.unsent.is_empty() {
            match self.stream.write(&self.unsent) {
                Ok(len) => drop(self.unsent.drain(..len)),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(_) => return false,
            }
        }
        self.unsent.len() <= MAX_UNSENT_BYTES
    }
}

pub(super) fn parse(line: &[u8]) -> Option<Request> {
    let mut words = std::str::from_utf8(line).ok()?.split_whitespace();
    let request = match words.next()? {
        "stop" => Request::Stop {
            signal: words.next()?.to_owned(),
            grace: Duration::from_millis(words.next()?.parse().ok()?),
        },
        "beyond" => Request::Beyond(LogHead {
            generation: words.next()?.parse().ok()?,
            len: words.next()?.parse().ok()?,
            closed: false,
        }),
        _ => return None,
    };
    Some(request)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pair(dir: &std::path::Path) -> (Clients, UnixStream) {
        let path = dir.join("control");
        let mut clients = Clients::new(UnixListener::bind(&path).unwrap()).unwrap();
        let client = UnixStream::connect(&path).unwrap();
        clients.accept("");
        (clients, client)
    }

    #[test]
    fn requests_may_come_in_pieces_and_unknown_ones_are_passed_over() {
        let dir = tempfile::tempdir().unwrap();
        let (mut clients, mut client) = pair(dir.path());
        client.write_all(b"stop SIGTE").unwrap();
        assert_eq!(clients.serve(), []);
        client.write_all(b"RM 1500\ndance 7\nstop SIGINT\nbeyond 1 20\n").unwrap();
        let stop = Request::Stop { signal: "SIGTERM".to_owned(), grace: Duration::from_millis(1500) };
        let head = LogHead { generation: 1, len: 20, closed: false };
        assert_eq!(clients.serve(), [stop, Request::Beyond(head)]);
    }

    #[test]
    fn a_reader_is_told_of_the_log_once_for_each_question() {
        let dir = tempfile::tempdir().unwrap();
        let (mut clients, mut client) = pair(dir.path());
        client.write_all(b"beyond 1 20\n").unwrap();
        clients.serve();
        for len in [20, 21, 22] {
            clients.tell_head(LogHead { generation: 1, len, closed: false });
        }
        drop(clients);
        let mut told = String::new();
        client.read_to_string(&mut told).unwrap();
        assert_eq!(told, "head 1 21\n");
    }

    #[test]
    fn too_many_clients_and_endless_lines_are_turned_away() {
        let dir = tempfile::tempdir().unwrap();
        let (mut clients, mut client) = pair(dir.path());
        let mut more: Vec<_> =
            (0..MAX_CLIENTS).map(|_| UnixStream::connect(dir.path().join("control")).unwrap()).collect();
        clients.accept("");
        assert_eq!(clients.connected.len(), MAX_CLIENTS);
        assert_eq!(more.last_mut().unwrap().read(&mut [0]).unwrap(), 0);
        client.write_all(&[b'x'; 2 * MAX_LINE_BYTES]).unwrap();
        clients.serve();
        assert_eq!(clients.connected.len(), MAX_CLIENTS - 1);
    }
}
