//! The agents of a scene: `spoa`, and what can be at its address instead.

use std::any::Any;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use rustix::process::{WaitOptions, waitpid};
use socket2::{Domain, Socket, Type};
use spoa_tests::admin::Admin;
use spoa_tests::bytes::{Message, read_messages};
use spoa_tests::folder::Folder;
use spoa_tests::frames::{ack, agent_hello};
use spoa_tests::symptom::Agent as Kind;

use super::relays::{Delay, Hold};
use super::scene::LISTED;
use crate::agent::Spoa;
use crate::client::loopback;
use crate::log::WAIT_MAX;
use crate::raw_agent::{Peer, RawAgent};
use crate::relay::Relay;

/// The delay of each answer of a slow agent.
const SLOW: Duration = Duration::from_millis(200);

/// An agent, or what is at its address instead. It is stopped when dropped.
pub(super) struct Agent {
    /// The address that HAProxy connects to.
    pub(super) addr: SocketAddr,
    kind: Kind,
    spoa: Option<(Spoa, Admin)>,
    /// A relay, another agent or a socket, which lives as long as this value.
    others: Vec<Box<dyn Any>>,
    pub(super) hold: Hold,
    pub(super) record: Record,
}

/// The messages of each NOTIFY that an agent without `spoa` has received. Clones share them.
#[derive(Clone, Default)]
pub(super) struct Record(Arc<Mutex<Vec<Vec<Message>>>>);

impl Agent {
    /// Starts an agent of this kind, with the configuration and the lists in `folder`.
    pub(super) fn start(kind: Kind, folder: &Folder) -> Self {
        let (hold, record) = (Hold::default(), Record::default());
        let mut others: Vec<Box<dyn Any>> = Vec::new();
        let mut spoa = None;
        let addr = match kind {
            Kind::Dead => {
                let socket = bound(SocketAddr::from((Ipv4Addr::LOCALHOST, 0)));
                let addr = socket.local_addr().ok().and_then(|addr| addr.as_socket()).expect("the socket is bound");
                others.push(Box::new(socket));
                addr
            }
            Kind::Hung | Kind::Silent | Kind::Recorder => {
                let record = record.clone();
                let agent = RawAgent::start(move |_, peer| record.serve(kind, peer));
                let addr = agent.addr;
                others.push(Box::new(agent));
                addr
            }
            Kind::Spoa | Kind::Dies | Kind::Freezes | Kind::Vanishes | Kind::Slow | Kind::Held => {
                let (program, admin) = start_spoa(folder);
                let addr = program.addr().parse().expect("the agent logs its address");
                spoa = Some((program, admin));
                match kind {
                    Kind::Slow => keep(Relay::start(&addr, Delay(SLOW)), |relay| relay.addr, &mut others),
                    Kind::Held => keep(Relay::start(&addr, hold.clone()), |relay| relay.addr, &mut others),
                    _ => addr,
                }
            }
        };
        Self { addr, kind, spoa, others, hold, record }
    }

    /// Returns the metrics of `spoa`.
    pub(super) fn admin(&self) -> &Admin {
        &self.spoa.as_ref().expect("the symptom needs `spoa`").1
    }

    /// True if the agent has to fail after its first event.
    pub(super) fn changes(&self) -> bool {
        matches!(self.kind, Kind::Dies | Kind::Freezes | Kind::Vanishes)
    }

    /// Lets the agent fail. It keeps its address, so that no other program gets it.
    pub(super) fn change(&mut self) {
        let (spoa, _) = self.spoa.as_mut().expect("these kinds have `spoa`");
        if self.kind == Kind::Freezes {
            spoa.process.signal("STOP");
            // Threads may run for a moment after the signal.
            let stopped = waitpid(Some(spoa.process.pid()), WaitOptions::UNTRACED);
            assert!(
                matches!(stopped, Ok(Some((_, status))) if status.stopped()),
                "the agent is not stopped: {stopped:?}"
            );
            return;
        }
        spoa.process.signal("KILL");
        spoa.process.wait();
        let socket = bound(self.addr);
        if self.kind == Kind::Vanishes {
            self.others.extend(fill(&socket, self.addr));
        }
        self.others.push(Box::new(socket));
    }

    /// Returns the log of `spoa` so far.
    pub(super) fn log(&self) -> Vec<String> {
        self.spoa.as_ref().expect("the symptom needs `spoa`").0.process.lines.all()
    }
}

impl Drop for Agent {
    fn drop(&mut self) {
        self.hold.set(false);
        if let Some((spoa, _)) = self.spoa.as_ref().filter(|_| self.kind == Kind::Freezes) {
            spoa.process.signal("KILL"); // a stopped process ignores SIGTERM
        }
    }
}

impl Record {
    /// Returns the messages of each NOTIFY so far.
    pub(super) fn notifies(&self) -> Vec<Vec<Message>> {
        self.0.lock().expect("no script panicked").clone()
    }

    /// Serves one connection.
    fn serve(&self, kind: Kind, peer: &mut Peer) {
        if kind == Kind::Hung {
            return peer.read_to_end();
        }
        if peer.greet(&agent_hello(16380, "pipelining")).is_none() {
            return;
        }
        while let Some(notify) = peer.next_notify() {
            let messages = read_messages(&notify.payload).expect("HAProxy sends messages");
            self.0.lock().expect("no script panicked").push(messages);
            if kind == Kind::Recorder {
                peer.send(&ack(notify.sid, notify.fid, &[]));
            }
        }
    }
}

/// Starts `spoa` with the `spoa.toml` in `folder`, or else with a list of one address.
fn start_spoa(folder: &Folder) -> (Spoa, Admin) {
    let config = folder.path("spoa.toml");
    let (option, value) = if config.exists() {
        ("--config", config.display().to_string())
    } else {
        folder.write("bad", format!("{}\n", loopback(LISTED)).as_bytes());
        ("--list", folder.list("bad", ",score=5"))
    };
    let spoa = Spoa::start(&["--listen", "127.0.0.1:0", "--admin", "127.0.0.1:0", option, &value], 1);
    let admin = Admin::at(spoa.process.lines.wait_count("metrics and health on ", 1).trim());
    (spoa, admin)
}

/// Keeps `part` in `others` and returns its address.
fn keep<T: 'static>(part: T, addr: impl Fn(&T) -> SocketAddr, others: &mut Vec<Box<dyn Any>>) -> SocketAddr {
    let addr = addr(&part);
    others.push(Box::new(part));
    addr
}

/// Returns a socket with this address that does not listen, so that connections to it are refused.
fn bound(addr: SocketAddr) -> Socket {
    let socket = Socket::new(Domain::IPV4, Type::STREAM, None).expect("the system has sockets");
    socket.set_reuse_address(true).expect("every socket has this option");
    socket.bind(&addr.into()).unwrap_or_else(|error| panic!("cannot bind {addr}: {error}"));
    socket
}

/// Makes `socket` listen and fills its queue, so that later connections get no answer, as from a host that is gone.
fn fill(socket: &Socket, addr: SocketAddr) -> Vec<Box<dyn Any>> {
    socket.listen(0).expect("the socket is bound");
    let mut clients: Vec<Box<dyn Any>> = Vec::new();
    loop {
        let client = Socket::new(Domain::IPV4, Type::STREAM, None).expect("the system has sockets");
        let is_queued = client.connect_timeout(&addr.into(), Duration::from_millis(100)).is_ok();
        clients.push(Box::new(client));
        if !is_queued {
            return clients;
        }
        assert!(clients.len() < 100, "the queue of {addr} is not full after {WAIT_MAX:?}");
    }
}
