//! A relay that makes a [`Recording`] of all traffic.

use std::io::{self, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::Mutex;
use std::time::Instant;

use spoa_sim_haproxy::recording::{LinkEvent, Recording, Side};

use crate::relay::{Relay, Watch, reset_on_close};

/// A relay that records.
pub(crate) type Recorder = Relay<Tape>;

/// A recording in progress.
pub(crate) struct Tape {
    start: Instant,
    recording: Mutex<Recording>,
}

impl Recorder {
    /// Starts a relay to `agent`.
    pub(crate) fn recording(agent: &(impl ToString + ?Sized)) -> Self {
        Self::start(agent, Tape { start: Instant::now(), recording: Mutex::default() })
    }

    /// Returns the recording so far.
    pub(crate) fn recorded(&self) -> Recording {
        self.watch().recording.lock().expect("no thread of the relay panicked").clone()
    }
}

impl Tape {
    /// Adds a step. The clock is read while the recording is locked, so that times never decrease.
    fn push(&self, connection: usize, what: LinkEvent) {
        let mut recording = self.recording.lock().expect("no thread of the relay panicked");
        let at = u64::try_from(self.start.elapsed().as_micros()).expect("a recording is short") * 1_000;
        recording.push(at, u32::try_from(connection).expect("connections are few"), what);
    }
}

/// Checks that the relay forwards and records FIN as FIN and RST as RST, from either side.
pub(crate) fn distinguishes_fin_and_reset() {
    for by_agent in [false, true] {
        for reset in [false, true] {
            let agent = TcpListener::bind("127.0.0.1:0").expect("a port is free");
            let recorder = Recorder::recording(&agent.local_addr().expect("the socket is bound"));
            let mut haproxy = TcpStream::connect(recorder.addr).expect("the relay listens");
            let mut agent = agent.accept().expect("the relay connects").0;
            let (from, to) = if by_agent { (&mut agent, &mut haproxy) } else { (&mut haproxy, &mut agent) };
            from.write_all(b"last words").expect("the socket is open");
            let mut received = [0; 10];
            to.read_exact(&mut received).expect("the relay forwards the bytes");
            if reset {
                reset_on_close(from);
            }
            let mut other = to.try_clone().expect("a file descriptor is free");
            drop(if by_agent { agent } else { haproxy });
            let end = other.read(&mut received);
            assert_eq!(end.as_ref().err().map(io::Error::kind), reset.then_some(io::ErrorKind::ConnectionReset));
            let side = if by_agent { Side::Agent } else { Side::Haproxy };
            let last = recorder.recorded().steps.last().map(|step| step.event.clone());
            assert_eq!(last, Some(if reset { LinkEvent::Reset(side) } else { LinkEvent::Fin(side) }));
        }
    }
}

impl Watch for Tape {
    const RESETS: bool = true;

    fn opened(&self, connection: usize) {
        self.push(connection, LinkEvent::Open);
    }

    fn bytes(&self, connection: usize, side: Side, bytes: &[u8]) -> Vec<u8> {
        self.push(connection, LinkEvent::Bytes(side, bytes.to_vec()));
        bytes.to_vec()
    }

    fn ended(&self, connection: usize, side: Side, reset: bool) {
        self.push(connection, if reset { LinkEvent::Reset(side) } else { LinkEvent::Fin(side) });
    }
}
