//! Keeps all that goes by as a [`Recording`].

use std::sync::Mutex;
use std::time::Instant;

use spoa_sim_haproxy::recording::{Recording, Side, What};

use crate::relay::{Relay, Watch};

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
