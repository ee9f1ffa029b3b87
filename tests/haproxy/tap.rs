//! A relay between HAProxy and an agent that keeps what goes by.

use std::collections::BTreeMap;
use std::io::{Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Condvar, Mutex};
use std::time::Instant;

use spoa_core::wire::{Disconnect, Flags, Frame, FrameType};

use crate::log::WAIT_MAX;

/// The relay; it takes no more connections when dropped.
pub(crate) struct Tap {
    /// Where HAProxy is to connect.
    pub(crate) addr: SocketAddr,
    seen: Arc<Seen>,
}

#[derive(Default)]
struct Seen {
    frames: Mutex<Vec<Passed>>,
    more: Condvar,
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
        let agent: SocketAddr = agent.to_string().parse().expect("a TCP agent");
        let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let addr = listener.local_addr().expect("it is bound");
        let seen = Arc::new(Seen::default());
        let weak = Arc::downgrade(&seen);
        std::thread::spawn(move || {
            for (connection, haproxy) in listener.incoming().map_while(Result::ok).enumerate() {
                let Some(seen) = weak.upgrade() else { return };
                // No agent, so from now on nobody listens here either: HAProxy is to see what it would without us.
                let Ok(agent) = TcpStream::connect(agent) else { return };
                relay(connection, &haproxy, &agent, &seen, |_| {});
                relay(connection, &agent, &haproxy, &seen, tamper);
            }
        });
        Self { addr, seen }
    }

    /// What went by so far, in order.
    pub(crate) fn frames(&self) -> Vec<Passed> {
        self.seen.frames.lock().expect("no relay panics").clone()
    }

    /// Waits for what `find` makes of all that went by.
    #[track_caller]
    pub(crate) fn wait<T>(&self, what: &str, find: impl Fn(&[Passed]) -> Option<T>) -> T {
        let until = Instant::now() + WAIT_MAX;
        let mut frames = self.seen.frames.lock().expect("no relay panics");
        loop {
            if let Some(found) = find(&frames) {
                return found;
            }
            let left = until.saturating_duration_since(Instant::now());
            assert!(!left.is_zero(), "no {what} among {}", describe(&frames));
            frames = self.seen.more.wait_timeout(frames, left).expect("no relay panics").0;
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

    /// What went by, for messages.
    pub(crate) fn describe(&self) -> String {
        describe(&self.frames())
    }
}

impl Drop for Tap {
    fn drop(&mut self) {
        self.seen = Arc::default();
        let _ = TcpStream::connect(self.addr); // wakes the thread that accepts, which then finds nobody interested
    }
}

/// Copies whole frames from one side to the other until either side ends; those that come together leave together.
fn relay(connection: usize, from: &TcpStream, to: &TcpStream, seen: &Arc<Seen>, tamper: Tamper) {
    let clone = |stream: &TcpStream| stream.try_clone().expect("a file descriptor to spare");
    let (mut from, mut to, seen) = (clone(from), clone(to), Arc::downgrade(seen));
    let _ = to.set_nodelay(true);
    std::thread::spawn(move || {
        let (mut unread, mut buf) = (Vec::new(), vec![0; 65_536]);
        while let Ok(len @ 1..) = from.read(&mut buf) {
            unread.extend_from_slice(&buf[..len]);
            let Some(seen) = seen.upgrade() else { break };
            let mut sent = Vec::new();
            while let Some(bytes) = split_frame(&mut unread) {
                let mut tampered = bytes.clone();
                tamper(&mut tampered);
                sent.extend_from_slice(&u32::try_from(tampered.len()).expect("a frame").to_be_bytes());
                sent.extend_from_slice(&tampered);
                seen.frames.lock().expect("no relay panics").push(Passed { connection, bytes });
            }
            seen.more.notify_all();
            if to.write_all(&sent).is_err() {
                break;
            }
        }
        // Not both ways: the other side may still have something to say.
        let _ = to.shutdown(Shutdown::Write);
    });
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
