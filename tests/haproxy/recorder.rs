//! Keeps all that goes by as a [`Recording`].

use std::io::{self, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::Mutex;
use std::time::Instant;

use spoa_sim_haproxy::recording::{Recording, Side, What};

use crate::relay::{Relay, Watch, reset_on_close};

/// A relay that records.
pub(crate) type Recorder = Relay<Tape>;

/// What was recorded so far.
pub(crate) struct Tape {
    begun: Instant,
    recording: Mutex<Recording>,
}

impl Recorder {
    /// Relays to `agent`.
    pub(crate) fn recording(agent: &(impl ToString + ?Sized)) -> Self {
        Self::before(agent, Tape { begun: Instant::now(), recording: Mutex::default() })
    }

    /// All that went by so far.
    pub(crate) fn recorded(&self) -> Recording {
        self.watch().recording.lock().expect("no relay panics").clone()
    }
}

impl Tape {
    /// Nothing comes between looking at the clock and writing: times never go back.
    fn push(&self, connection: usize, what: What) {
        let mut recording = self.recording.lock().expect("no relay panics");
        let at = u64::try_from(self.begun.elapsed().as_micros()).expect("a short time") * 1_000;
        recording.push(at, u32::try_from(connection).expect("a small number"), what);
    }
}

/// FIN stays FIN and RST stays RST, whichever side it comes from, and both are told apart in the recording.
pub(crate) fn tells_ends_apart() {
    for by_agent in [false, true] {
        for reset in [false, true] {
            let agent = TcpListener::bind("127.0.0.1:0").expect("a free port");
            let recorder = Recorder::recording(&agent.local_addr().expect("it is bound"));
            let mut haproxy = TcpStream::connect(recorder.addr).expect("it listens");
            let mut agent = agent.accept().expect("the relay connects").0;
            let (from, to) = if by_agent { (&mut agent, &mut haproxy) } else { (&mut haproxy, &mut agent) };
            from.write_all(b"last words").expect("an open socket");
            let mut words = [0; 10];
            to.read_exact(&mut words).expect("they are passed on");
            if reset {
                reset_on_close(from);
            }
            let mut other = to.try_clone().expect("a file descriptor to spare");
            drop(if by_agent { agent } else { haproxy });
            let end = other.read(&mut words);
            assert_eq!(end.as_ref().err().map(io::Error::kind), reset.then_some(io::ErrorKind::ConnectionReset));
            let side = if by_agent { Side::Agent } else { Side::Haproxy };
            let last = recorder.recorded().steps.last().map(|step| step.what.clone());
            assert_eq!(last, Some(if reset { What::Reset(side) } else { What::Fin(side) }));
        }
    }
}

impl Watch for Tape {
    const RESETS: bool = true;

    fn opened(&self, connection: usize) {
        self.push(connection, What::Open);
    }

    fn bytes(&self, connection: usize, side: Side, bytes: &[u8]) -> Vec<u8> {
        self.push(connection, What::Bytes(side, bytes.to_vec()));
        bytes.to_vec()
    }

    fn ended(&self, connection: usize, side: Side, reset: bool) {
        self.push(connection, if reset { What::Reset(side) } else { What::Fin(side) });
    }
}
