//! Relays that delay or hold back what the agent sends.

use std::sync::{Arc, Condvar, Mutex};
use std::time::Duration;

use spoa_sim_haproxy::recording::Side;
use spoa_tests::bytes::ACK;

use crate::log::WAIT_MAX;
use crate::relay::Watch;

/// Delays everything that the agent sends.
pub(super) struct Delay(pub(super) Duration);

impl Watch for Delay {
    const RESETS: bool = false;

    fn opened(&self, _: usize) {}

    fn bytes(&self, _: usize, side: Side, bytes: &[u8]) -> Vec<u8> {
        if side == Side::Agent {
            std::thread::sleep(self.0); // a slow agent
        }
        bytes.to_vec()
    }

    fn ended(&self, _: usize, _: Side, _: bool) {}
}

/// Holds back ACKs while it is closed. Clones share the state.
#[derive(Clone, Default)]
pub(super) struct Hold(Arc<(Mutex<bool>, Condvar)>);

impl Hold {
    /// Sets whether ACKs are held back.
    pub(super) fn set(&self, is_closed: bool) {
        *self.0.0.lock().expect("no thread of the relay panicked") = is_closed;
        self.0.1.notify_all();
    }
}

impl Watch for Hold {
    const RESETS: bool = false;

    fn opened(&self, _: usize) {}

    fn bytes(&self, _: usize, side: Side, bytes: &[u8]) -> Vec<u8> {
        // The agent sends nothing between AGENT-HELLO and its first ACK, so an ACK is at the start of a read. The type of
        // a frame is after its length.
        if side == Side::Agent && bytes.get(4) == Some(&ACK) {
            let lock = self.0.0.lock().expect("no thread of the relay panicked");
            drop(self.0.1.wait_timeout_while(lock, WAIT_MAX, |is_closed| *is_closed));
        }
        bytes.to_vec()
    }

    fn ended(&self, _: usize, _: Side, _: bool) {}
}
