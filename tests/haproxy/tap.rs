//! A relay between HAProxy and an agent that records the frames of both.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::{Condvar, Mutex};
use std::time::Instant;

use spoa_core::wire::{Disconnect, Flags, Frame, FrameType};
use spoa_sim_haproxy::recording::Side;

use crate::log::WAIT_MAX;
use crate::relay::{Relay, Watch};

/// A running relay. It accepts no more connections after it is dropped.
pub(crate) struct Tap {
    /// The address that HAProxy has to connect to.
    pub(crate) addr: SocketAddr,
    relay: Relay<FrameLog>,
}

/// The frames so far.
struct FrameLog {
    frames: Mutex<Vec<RelayedFrame>>,
    more: Condvar,
    /// Bytes that are not a complete frame yet, by connection and by whether the agent sent them.
    unread: Mutex<BTreeMap<(usize, bool), Vec<u8>>>,
    tamper: Tamper,
}

/// A frame of HAProxy or of the agent.
#[derive(Clone)]
pub(crate) struct RelayedFrame {
    /// Number of its connection, from 0.
    pub(crate) connection: usize,
    bytes: Vec<u8>,
}

impl RelayedFrame {
    pub(crate) fn frame(&self) -> Frame<'_> {
        Frame::decode(&self.bytes).expect("both sides send complete headers")
    }

    pub(crate) fn is(&self, frame_type: FrameType) -> bool {
        self.frame().frame_type == frame_type
    }

    /// Returns the status code of a DISCONNECT.
    pub(crate) fn status(&self) -> u32 {
        Disconnect::decode(self.frame().payload).expect("the frame is a DISCONNECT").status.0
    }
}

/// Changes a frame, which is given without its length, before it is forwarded.
type Tamper = fn(&mut Vec<u8>);

impl Tap {
    /// Starts a relay to `agent`.
    pub(crate) fn start(agent: &(impl ToString + ?Sized)) -> Self {
        Self::with_tamper(agent, |_| {})
    }

    /// Starts a relay to `agent` that applies `tamper` to each frame of the agent. The frames are recorded without the
    /// change.
    pub(crate) fn with_tamper(agent: &(impl ToString + ?Sized), tamper: Tamper) -> Self {
        let (frames, more, unread) = (Mutex::default(), Condvar::new(), Mutex::default());
        let relay = Relay::start(agent, FrameLog { frames, more, unread, tamper });
        Self { addr: relay.addr, relay }
    }

    /// Returns all frames so far, in order.
    pub(crate) fn frames(&self) -> Vec<RelayedFrame> {
        self.log().frames.lock().expect("no thread of the relay panicked").clone()
    }

    /// Waits until `find` returns a value for the frames so far, and returns the value.
    #[track_caller]
    pub(crate) fn wait<T>(&self, what: &str, find: impl Fn(&[RelayedFrame]) -> Option<T>) -> T {
        let until = Instant::now() + WAIT_MAX;
        let mut frames = self.log().frames.lock().expect("no thread of the relay panicked");
        loop {
            if let Some(found) = find(&frames) {
                return found;
            }
            let left = until.saturating_duration_since(Instant::now());
            assert!(!left.is_zero(), "expected {what}, got {}", describe(&frames));
            frames = self.log().more.wait_timeout(frames, left).expect("no thread of the relay panicked").0;
        }
    }

    /// Waits for the `count`th frame of a type, counted from 1, and returns it.
    #[track_caller]
    pub(crate) fn wait_count(&self, frame_type: FrameType, count: usize) -> RelayedFrame {
        let find = |frames: &[RelayedFrame]| frames.iter().filter(|frame| frame.is(frame_type)).nth(count - 1).cloned();
        self.wait(&format!("{frame_type} number {count}"), find)
    }

    /// Returns the highest number of NOTIFYs that were in flight at the same time, for each connection with a NOTIFY.
    pub(crate) fn in_flight_max(&self) -> BTreeMap<usize, usize> {
        let mut now = BTreeMap::<_, usize>::new();
        let mut max = BTreeMap::new();
        for relayed in self.frames() {
            let count = now.entry(relayed.connection).or_default();
            match relayed.frame().frame_type {
                FrameType::NOTIFY => *count += 1,
                FrameType::ACK => *count -= 1,
                _ => continue,
            }
            let most: &mut usize = max.entry(relayed.connection).or_default();
            *most = (*most).max(*count);
        }
        max
    }

    fn log(&self) -> &FrameLog {
        self.relay.watch()
    }

    /// Returns a list of all frames, for messages of failed checks.
    pub(crate) fn describe(&self) -> String {
        describe(&self.frames())
    }
}

/// Forwards complete frames only. Frames of the same read are forwarded in the same write.
impl Watch for FrameLog {
    const RESETS: bool = false;

    fn opened(&self, _: usize) {}

    fn bytes(&self, connection: usize, side: Side, bytes: &[u8]) -> Vec<u8> {
        let is_of_agent = side == Side::Agent;
        let mut unread = self.unread.lock().expect("no thread of the relay panicked");
        let unread = unread.entry((connection, is_of_agent)).or_default();
        unread.extend_from_slice(bytes);
        let mut sent = Vec::new();
        while let Some(bytes) = split_frame(unread) {
            let mut tampered = bytes.clone();
            if is_of_agent {
                (self.tamper)(&mut tampered);
            }
            sent.extend_from_slice(&u32::try_from(tampered.len()).expect("a frame is below 4 GiB").to_be_bytes());
            sent.extend_from_slice(&tampered);
            self.frames.lock().expect("no thread of the relay panicked").push(RelayedFrame { connection, bytes });
        }
        self.more.notify_all();
        sent
    }

    fn ended(&self, _: usize, _: Side, _: bool) {}
}

/// Removes the first frame from `unread` and returns it without its length. Returns `None` if it is incomplete.
fn split_frame(unread: &mut Vec<u8>) -> Option<Vec<u8>> {
    let length = u32::from_be_bytes(*unread.first_chunk()?) as usize;
    let bytes = unread.get(4..4 + length)?.to_vec();
    unread.drain(..4 + length);
    Some(bytes)
}

fn describe(frames: &[RelayedFrame]) -> String {
    let line = |relayed: &RelayedFrame| {
        let Frame { frame_type, flags: Flags(flags), stream_id, frame_id, payload } = relayed.frame();
        let RelayedFrame { connection, .. } = relayed;
        format!("\n  {connection}: {frame_type} flags {flags} {}/{} {} bytes", stream_id.0, frame_id.0, payload.len())
    };
    format!("{} frames:{}", frames.len(), frames.iter().map(line).collect::<String>())
}
