//! A network of hosts: links that are late, cut, or cut in one direction only, and connections that can be reset, stalled or
//! played once more. It behaves as TCP does: bytes arrive in order or not at all, and wait while their link is cut.

mod pipe;
mod stream;

use std::collections::BTreeMap;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use davit_svc_kit::net::{BoxedStream, Dial, Listener};
use http::Uri;
use parking_lot::Mutex;
use tokio::sync::{Notify, mpsc};
use tokio::time::Instant;

use self::pipe::Pipe;
use self::stream::SimStream;
use crate::gate::Gate;
use crate::rng::Rng;

/// A host's name, which is its address too.
pub type Host = &'static str;

/// Connections that a listener has not taken yet; beyond, they are refused.
const BACKLOG: usize = 128;
/// How many recent connections can be played again.
const RECORDINGS: usize = 8;
/// A latency of many milliseconds is as good as a cut to the eye of a heartbeat.
const USUAL_LATENCY_MICROS: (u64, u64) = (100, 1500);

/// The network. Clones are the same.
#[derive(Debug, Clone)]
pub struct Net {
    state: Arc<Mutex<State>>,
    changed: Arc<Notify>,
}

#[derive(Debug)]
struct State {
    rng: Rng,
    hosts: BTreeMap<Host, Ports>,
    links: BTreeMap<(Host, Host), Link>,
    connections: BTreeMap<u64, Connection>,
    next_connection: u64,
    recordings: Vec<(Host, Vec<u8>)>,
}

/// What listens on one host.
#[derive(Debug, Default)]
struct Ports {
    is_off: bool,
    listeners: BTreeMap<u16, mpsc::Sender<(BoxedStream, SocketAddr)>>,
}

/// One direction between two hosts.
#[derive(Debug, Clone, Copy, Default)]
struct Link {
    is_cut: bool,
    extra_latency: Duration,
}

#[derive(Debug)]
struct Connection {
    /// Who dialled, and who was dialled.
    ends: [Host; 2],
    /// From the dialler, and towards it.
    pipes: [Pipe; 2],
}

impl Net {
    /// A network where all is well.
    #[must_use]
    pub fn new(rng: Rng) -> Self {
        let state = State {
            rng,
            hosts: BTreeMap::new(),
            links: BTreeMap::new(),
            connections: BTreeMap::new(),
            next_connection: 0,
            recordings: Vec::new(),
        };
        Self { state: Arc::new(Mutex::new(state)), changed: Arc::new(Notify::new()) }
    }

    /// Listens on a host. What listened there before is gone.
    #[must_use]
    pub fn listen(&self, host: Host, port: u16) -> SimListener {
        let (sender, incoming) = mpsc::channel(BACKLOG);
        self.state.lock().hosts.entry(host).or_default().listeners.insert(port, sender);
        self.changed.notify_waiters();
        SimListener { incoming }
    }

    /// Cuts one direction, or mends it.
    pub fn set_cut(&self, from: Host, to: Host, is_cut: bool) {
        let mut state = self.state.lock();
        state.links.entry((from, to)).or_default().is_cut = is_cut;
        state.wake_link(from, to);
        drop(state);
        self.changed.notify_waiters();
    }

    /// Makes one direction slower.
    pub fn set_latency(&self, from: Host, to: Host, extra: Duration) {
        self.state.lock().links.entry((from, to)).or_default().extra_latency = extra;
    }

    /// Mends all links and lets go what was held back.
    pub fn heal(&self) {
        let mut state = self.state.lock();
        state.links.clear();
        for connection in state.connections.values_mut() {
            for pipe in &mut connection.pipes {
                pipe.held_until = None;
                pipe.wake();
            }
        }
        drop(state);
        self.changed.notify_waiters();
    }

    /// Resets some connection between two hosts. False if there is none.
    pub fn reset_one(&self, one: Host, other: Host) -> bool {
        let mut state = self.state.lock();
        let ids = state.between(one, other);
        let Some(id) = state.rng.pick(&ids).copied() else { return false };
        state.reset(id);
        true
    }

    /// Holds back what one host sends to another on the connections that are open now, also their end: it arrives late,
    /// when other connections have long taken their place.
    pub fn stall(&self, from: Host, to: Host, time: Duration) -> bool {
        let mut state = self.state.lock();
        let ids = state.between(from, to);
        let until = Instant::now() + time;
        for id in &ids {
            if let Some(connection) = state.connections.get_mut(id) {
                let direction = usize::from(connection.ends[0] != from);
                connection.pipes[direction].held_until = Some(until);
            }
        }
        !ids.is_empty()
    }

    /// Plays what a host once said on a connection to another again, on a new one. False if nothing was recorded.
    pub fn replay(&self, from: Host, to: Host, port: u16) -> bool {
        let mut state = self.state.lock();
        let recorded: Vec<_> = state.recordings.iter().filter(|(host, _)| *host == from).cloned().collect();
        let Some((_, bytes)) = state.rng.pick(&recorded) else { return false };
        let bytes = bytes.clone();
        let Some(stream) = self.open(&mut state, from, to, port) else { return false };
        drop(state);
        tokio::spawn(stream::play(stream, bytes));
        true
    }

    /// A host's process is gone: its connections break. Its peers hear of it, unless the whole machine went dark.
    pub fn process_gone(&self, host: Host, machine_too: bool) {
        let mut state = self.state.lock();
        let ports = state.hosts.entry(host).or_default();
        ports.listeners.clear();
        ports.is_off = machine_too;
        let ids: Vec<u64> =
            state.connections.iter().filter(|(_, one)| one.ends.contains(&host)).map(|(id, _)| *id).collect();
        for id in ids {
            if machine_too {
                state.go_dark(id, host);
            } else {
                state.reset(id);
            }
        }
    }

    /// A host runs again: what its peers still send on connections of before is refused.
    pub fn host_back(&self, host: Host) {
        let mut state = self.state.lock();
        state.hosts.entry(host).or_default().is_off = false;
        let ids: Vec<u64> =
            state.connections.iter().filter(|(_, one)| one.ends.contains(&host)).map(|(id, _)| *id).collect();
        for id in ids {
            state.reset(id);
        }
        drop(state);
        self.changed.notify_waiters();
    }

    /// What a process dials through.
    #[must_use]
    pub fn dialer(&self, host: Host, gate: Gate) -> SimDialer {
        SimDialer { net: self.clone(), host, gate }
    }

    /// Connects, if somebody listens there.
    fn open(&self, state: &mut State, from: Host, to: Host, port: u16) -> Option<SimStream> {
        let accept = state.hosts.get(to)?.listeners.get(&port)?.clone();
        let id = state.next_connection;
        let connection = Connection { ends: [from, to], pipes: [Pipe::default(), Pipe::default()] };
        let dialled = SimStream::new(self.clone(), id, 0);
        let accepted: BoxedStream = Box::new(SimStream::new(self.clone(), id, 1));
        let peer_port = u16::try_from(id % 60_000).unwrap_or(0);
        let peer = SocketAddr::from(([10, 0, 0, 1], peer_port));
        // Put in place before anybody is dropped: a stream's drop looks it up.
        state.connections.insert(id, connection);
        state.next_connection += 1;
        match accept.try_send((accepted, peer)) {
            Ok(()) => Some(dialled),
            Err(refused) => {
                state.connections.remove(&id);
                // Their drop takes the lock.
                tokio::spawn(async move { drop((refused, dialled)) });
                None
            }
        }
    }

    async fn dial(&self, from: Host, to: &str, port: u16) -> io::Result<SimStream> {
        loop {
            let changed = self.changed.notified();
            let latency = {
                let state = self.state.lock();
                let target = state.hosts.get_key_value(to).map(|(host, ports)| (*host, ports.is_off));
                match target {
                    Some((to, false)) if !state.is_cut(from, to) && !state.is_cut(to, from) => {
                        Some((to, state.latency(from, to) + state.latency(to, from)))
                    }
                    _ => None,
                }
            };
            let Some((to, latency)) = latency else {
                // As a dialler whose packets get lost: it goes on trying until its caller gives up.
                changed.await;
                continue;
            };
            tokio::time::sleep(latency).await;
            let mut state = self.state.lock();
            if state.is_cut(from, to) || state.is_cut(to, from) {
                continue;
            }
            return self.open(&mut state, from, to, port).ok_or_else(|| {
                io::Error::new(io::ErrorKind::ConnectionRefused, format!("nobody listens on {to}:{port}"))
            });
        }
    }
}

impl State {
    fn is_cut(&self, from: Host, to: Host) -> bool {
        self.links.get(&(from, to)).is_some_and(|link| link.is_cut)
    }

    fn latency(&self, from: Host, to: Host) -> Duration {
        let (low, high) = USUAL_LATENCY_MICROS;
        let extra = self.links.get(&(from, to)).map_or(Duration::ZERO, |link| link.extra_latency);
        Duration::from_micros(self.rng.between(low, high)) + extra.mul_f64(self.rng.fraction())
    }

    fn between(&self, one: Host, other: Host) -> Vec<u64> {
        let connects = |ends: [Host; 2]| ends == [one, other] || ends == [other, one];
        self.connections.iter().filter(|(_, connection)| connects(connection.ends)).map(|(id, _)| *id).collect()
    }

    fn wake_link(&mut self, from: Host, to: Host) {
        for connection in self.connections.values_mut() {
            let [dialler, dialled] = connection.ends;
            if (dialler, dialled) == (from, to) {
                connection.pipes[0].wake();
            }
            if (dialled, dialler) == (from, to) {
                connection.pipes[1].wake();
            }
        }
    }

    /// Both ends fail with what they do next; what is under way is lost.
    fn reset(&mut self, id: u64) {
        if let Some(connection) = self.connections.get_mut(&id) {
            connection.pipes.iter_mut().for_each(Pipe::reset);
        }
    }

    /// The end at this host fails; the other hears nothing any more.
    fn go_dark(&mut self, id: u64, host: Host) {
        if let Some(connection) = self.connections.get_mut(&id) {
            let sends = usize::from(connection.ends[0] != host);
            connection.pipes[sends].go_dark();
            connection.pipes[1 - sends].reset_reader();
        }
    }

    fn record(&mut self, from: Host, bytes: &[u8]) {
        if self.recordings.len() == RECORDINGS {
            self.recordings.remove(0);
        }
        self.recordings.push((from, bytes.to_vec()));
    }
}

/// What comes in at one port.
#[derive(Debug)]
pub struct SimListener {
    incoming: mpsc::Receiver<(BoxedStream, SocketAddr)>,
}

#[async_trait]
impl Listener for SimListener {
    async fn accept(&mut self) -> io::Result<(BoxedStream, SocketAddr)> {
        match self.incoming.recv().await {
            Some(accepted) => Ok(accepted),
            // The process is dead.
            None => std::future::pending().await,
        }
    }
}

/// Dials from one process.
#[derive(Debug)]
pub struct SimDialer {
    net: Net,
    host: Host,
    gate: Gate,
}

#[async_trait]
impl Dial for SimDialer {
    async fn dial(&self, address: &Uri) -> io::Result<BoxedStream> {
        self.gate.pass().await;
        let (Some(host), Some(port)) = (address.host(), address.port_u16()) else {
            return Err(io::Error::new(io::ErrorKind::InvalidInput, "no host and port"));
        };
        let stream = self.net.dial(self.host, host, port).await?;
        self.gate.pass().await;
        Ok(Box::new(stream))
    }
}
