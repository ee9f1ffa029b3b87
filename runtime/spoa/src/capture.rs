//! Records the bytes of all connections in a ring of capture files, for Wireshark and for `spoa-sim import`.

mod ring;
mod writer;

use std::fmt;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use spoa_capture::{Flow, Side, Traffic};
use spoa_runtime::text::Count;
use spoa_runtime::{ConnectionRecorder, Ends, Families, Recorder, Source, Transfer};

use ring::Ring;
pub(crate) use writer::Flush;
use writer::Queue;

/// The default size of all files together, in bytes.
pub(crate) const SIZE: u64 = 128 << 20;
/// The smallest size of all files together: each has room for some of the largest frames.
pub(crate) const SIZE_MIN: u64 = 1 << 20;

/// The port of the agent in a capture of a unix socket.
const UNIX_PORT: u16 = 12345;
/// The port of HAProxy's first connection to a unix socket in a capture, and the number of such ports.
const UNIX_PEERS: (u64, u64) = (20_000, 40_000);

/// Records connections. Workers only append packets to a queue in memory; a thread writes them.
#[derive(Debug)]
pub(crate) struct Capture {
    queue: Arc<Queue>,
    /// The number of lost packets that were reported.
    reported: AtomicU64,
    /// The last fault that was reported.
    fault: Mutex<Option<String>>,
}

impl Capture {
    /// Opens the first file of the ring in `folder`, which is created if it is missing, and starts the thread.
    ///
    /// # Errors
    /// The file cannot be created, or the thread cannot be started.
    pub(crate) fn start(folder: &Path, size: u64) -> Result<(Arc<Self>, Flush), String> {
        let ring = Ring::open(folder, size)
            .map_err(|error| format!("cannot write captures to {}: {error}", folder.display()))?;
        let (queue, flush) = writer::start(ring)?;
        Ok((Arc::new(Self { queue, reported: AtomicU64::new(0), fault: Mutex::default() }), flush))
    }

    /// Reports a fault of the files, and packets that were lost.
    pub(crate) fn report_lost(&self) {
        let fault = self.queue.fault();
        let mut reported = self.fault.lock().unwrap_or_else(PoisonError::into_inner);
        if *reported != fault {
            if let Some(fault) = &fault {
                tracing::warn!("cannot write a capture: {fault}");
            }
            *reported = fault;
        }
        let counts = self.queue.counts();
        let lost = counts.full.load(Ordering::Relaxed) + counts.unwritten.load(Ordering::Relaxed);
        let new = lost - self.reported.swap(lost, Ordering::Relaxed);
        if new > 0 {
            tracing::warn!(lost = new, "{} missing in the capture", Count(new, "packet"));
        }
    }
}

impl Recorder for Capture {
    fn connected(&self, ends: Ends) -> Box<dyn ConnectionRecorder> {
        let [peer, local] = addresses(ends);
        let mut link = Link { flow: Flow::new(peer, local), queue: Arc::clone(&self.queue), is_over: false };
        link.push(Traffic::Open);
        Box::new(link)
    }
}

/// Returns the addresses of HAProxy and the agent in the capture. For a unix socket both are of this machine.
fn addresses(ends: Ends) -> [SocketAddr; 2] {
    let local = |port| SocketAddr::new(Ipv4Addr::LOCALHOST.into(), port);
    let (first, count) = UNIX_PEERS;
    let peer = ends.peer.unwrap_or_else(|| local((first + ends.number % count) as u16));
    [peer, ends.local.unwrap_or_else(|| local(UNIX_PORT))]
}

/// Records one connection.
struct Link {
    flow: Flow,
    queue: Arc<Queue>,
    /// True once the agent has closed its direction, or the connection has failed.
    is_over: bool,
}

impl Link {
    fn push(&mut self, traffic: Traffic<'_>) {
        // A packet that is lost counts in the sequence numbers, so that the gap is seen.
        self.flow.packets(traffic, |packet| self.queue.push(packet));
    }
}

impl ConnectionRecorder for Link {
    fn record(&mut self, transfer: Transfer<'_>) {
        if self.is_over && matches!(transfer, Transfer::SentEnd | Transfer::Failed) {
            return;
        }
        self.is_over |= matches!(transfer, Transfer::SentEnd | Transfer::Failed);
        self.push(match transfer {
            Transfer::Received(bytes) => Traffic::Bytes(Side::Client, bytes),
            Transfer::ReceivedEnd => Traffic::Fin(Side::Client),
            Transfer::Failed => Traffic::Reset(Side::Client),
            Transfer::Sent(bytes) => Traffic::Bytes(Side::Server, bytes),
            Transfer::SentEnd => Traffic::Fin(Side::Server),
        });
    }
}

impl Drop for Link {
    fn drop(&mut self) {
        self.record(Transfer::SentEnd);
    }
}

/// The packets that were written and lost.
impl Source for Capture {
    fn write(&self, families: &mut Families<'_>) -> fmt::Result {
        let counts = self.queue.counts();
        let of = |result: &str, count: &AtomicU64| ([("result", result.to_owned())], count.load(Ordering::Relaxed));
        let help = "Packets of the capture: written, or lost because the thread that writes was too slow (queue), or because a \
                    file could not be written (file).";
        let all = [of("written", &counts.written), of("queue", &counts.full), of("file", &counts.unwritten)];
        families.counters("capture_packets", help, all.into_iter())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_unix_socket_has_addresses_of_this_machine() {
        let [peer, local] = addresses(Ends { number: 45_001, peer: None, local: None });
        assert_eq!((peer.to_string(), local.to_string()), ("127.0.0.1:25001".into(), "127.0.0.1:12345".into()));
    }
}
