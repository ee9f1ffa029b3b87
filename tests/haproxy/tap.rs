//! A relay between HAProxy and an agent that keeps the frames that go by.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::{Condvar, Mutex};
use std::time::Instant;

use spoa_core::wire::{Disconnect, Flags, Frame, FrameType};
use spoa_sim_haproxy::recording::Side;

use crate::log::WAIT_MAX;
use crate::relay::{Relay, Watch};

/// The relay; it takes no more connections when dropped.
pub(crate) struct Tap {
    /// Where HAProxy is to connect.
    pub(crate) addr: SocketAddr,
    relay: Relay<Seen>,
}

struct Seen {
    frames: Mutex<Vec<Passed>>,
    more: Condvar,
    /// The beginnings of frames, for each direction.
    unread: Mutex<BTreeMap<(usize, bool), Vec<u8>>>,
    tamper: Tamper,
}

/// A frame that went by.
#[derive(Clone)]
pub(crate) struct Passed {
    /// Counts connections from 0.
    pub(crate) connection: usize,
    bytes: Vec<u8>,
}

impl Passed {
    pub(crate) fn frame(&self) -> Frame<'_> {
        Frame::decode(&self.bytes).expect("both sides send whole headers")
    }

    pub(crate) fn is(&self, frame_type: FrameType) -> bool {
        self.frame().frame_type == frame_type
    }

    /// The status of a DISCONNECT, of either side.
    pub(crate) fn status(&self) -> u32 {
        Disconnect::decode(self.frame().payload).expect("a DISCONNECT").status.0
    }
}

/// Changes a frame, without its length, before it goes on.
type Tamper = fn(&mut Vec<u8>);

impl Tap {
    /// Relays to `agent`.
    pub(crate) fn before(agent: &(impl ToString + ?Sized)) -> Self {
        Self::tampering(agent, |_| {})
    }

    /// Relays to `agent`, whose frames reach HAProxy as `tamper` leaves them.
    pub(crate) fn tampering(agent: &(impl ToString + ?Sized), tamper: Tamper) -> Self {
        let (frames, more, unread) = (Mutex::default(), Condvar::new(), Mutex::default());
        let relay = Relay::before(agent, Seen { frames, more, unread, tamper });
        Self { addr: relay.addr, relay }
    }

    /// What went by so far, in order.
    pub(crate) fn frames(&self) -> Vec<Passed> {
        self.seen().frames.lock().expect("no relay panics").clone()
    }

    /// Waits for what `find` makes of all that went by.
    #[track_caller]
    pub(crate) fn wait<T>(&self, what: &str, find: impl Fn(&[Passed]) -> Option<T>) -> T {
        let until = Instant::now() + WAIT_MAX;
        let mut frames = self.seen().frames.lock().expect("no relay panics");
        loop {
            if let Some(found) = find(&frames) {
                return found;
            }
            let left = until.saturating_duration_since(Instant::now());
            assert!(!left.is_zero(), "no {what} among {}", describe(&frames));
            frames = self.seen().more.wait_timeout(frames, left).expect("no relay panics").0;
        }
    }

    /// Waits for the `count`th frame of a type.
    #[track_caller]
    pub(crate) fn wait_count(&self, frame_type: FrameType, count: usize) -> Passed {
        let find = |frames: &[Passed]| frames.iter().filter(|passed| passed.is(frame_type)).nth(count - 1).cloned();
        self.wait(&format!("{frame_type} number {count}"), find)
    }

    /// How many NOTIFYs were unanswered at the same time at most, for each connection that had one.
    pub(crate) fn in_flight_max(&self) -> BTreeMap<usize, usize> {
        let mut now = BTreeMap::<_, usize>::new();
        let mut max = BTreeMap::new();
        for passed in self.frames() {
            let count = now.entry(passed.connection).or_default();
            match passed.frame().frame_type {
                FrameType::NOTIFY => *count += 1,
                FrameType::ACK => *count -= 1,
                _ => continue,
            }
            let most: &mut usize = max.entry(passed.connection).or_default();
            *most = (*most).max(*count);
        }
        max
    }

    fn seen(&self) -> &Seen {
        self.relay.watch()
    }

    /// What went by, for messages.
    pub(crate) fn describe(&self) -> String {
        describe(&self.frames())
    }
}

/// Whole frames go on; those that come together leave together.
impl Watch for Seen {
    const RESETS: bool = false;

    fn opened(&self, _: usize) {}

    fn bytes(&self, connection: usize, side: Side, bytes: &[u8]) -> Vec<u8> {
        let of_agent = side == Side::Agent;
        let mut unread = self.unread.lock().expect("no relay panics");
        let unread = unread.entry((connection, of_agent)).or_default();
        unread.extend_from_slice(bytes);
        let mut sent = Vec::new();
        while let Some(bytes) = split_frame(unread) {
            let mut tampered = bytes.clone();
            if of_agent {
                (self.tamper)(&mut tampered);
            }
            sent.extend_from_slice(&u32::try_from(tampered.len()).expect("a frame").to_be_bytes());
            sent.extend_from_slice(&tampered);
            self.frames.lock().expect("no relay panics").push(Passed { connection, bytes });
        }
        self.more.notify_all();
        sent
    }

    fn ended(&self, _: usize, _: Side, _: bool) {}
}

/// Takes the first frame, without its length, off what was read.
fn split_frame(unread: &mut Vec<u8>) -> Option<Vec<u8>> {
    let length = u32::from_be_bytes(*unread.first_chunk()?) as usize;
    let bytes = unread.get(4..4 + length)?.to_vec();
    unread.drain(..4 + length);
    Some(bytes)
}

fn describe(frames: &[Passed]) -> String {
    let line = |passed: &Passed| {
        let Frame { frame_type, flags: Flags(flags), stream_id, frame_id, payload } = passed.frame();
        let Passed { connection, .. } = passed;
        format!("\n  {connection}: {frame_type} flags {flags} {}/{} {} bytes", stream_id.0, frame_id.0, payload.len())
    };
    format!("{} frames:{}", frames.len(), frames.iter().map(line).collect::<String>())
}
