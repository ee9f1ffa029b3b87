//! The counters of a worker, which other threads can read.

use std::time::Duration;

use spoa_core::wire::Capabilities;
use spoa_core::{CloseReason, LocalReason, PeerError, Stats, Status};

use crate::counter::{Counter, Gauge};
use crate::engines::WorkerEngines;

/// Defines an enumeration of things that are counted separately, with the label of each in metrics.
macro_rules! labels {
    ($(#[$meta:meta])* $name:ident { $($(#[$of:meta])* $variant:ident = $label:literal),* $(,)? }) => {
        $(#[$meta])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub(crate) enum $name {
            $($(#[$of])* $variant),*
        }

        impl Label for $name {
            const ALL: &'static [Self] = &[$(Self::$variant),*];
            const NAMES: &'static [&'static str] = &[$($label),*];

            fn index(self) -> usize {
                self as usize
            }
        }
    };
}

/// One of a few things that are counted separately.
pub(crate) trait Label: Copy + 'static {
    /// All of them.
    const ALL: &'static [Self];
    /// The label of each.
    const NAMES: &'static [&'static str];

    /// Returns its index among them.
    fn index(self) -> usize;
}

labels! {
    /// The reason why a connection ended.
    End {
        HealthCheck = "health_check",
        HealthCheckRefused = "health_check_refused",
        Haproxy = "haproxy_disconnect",
        Eof = "eof",
        Stopped = "stopped",
        NoRoom = "no_room",
        NotifyMax = "notify_max",
        Idle = "idle",
        SendTimeout = "send_timeout",
        NoMemory = "no_memory",
        Evicted = "evicted",
        Error = "error",
        /// A panic of the agent, or a socket that could not be watched.
        Lost = "lost",
    }
}

labels! {
    /// The outcome of a HELLO.
    Hello {
        Accepted = "accepted",
        HealthCheck = "health_check",
        HealthCheckRefused = "health_check_refused",
        Refused = "refused",
    }
}

labels! {
    /// A capability that was agreed on.
    Capability {
        Pipelining = "pipelining",
        Fragmentation = "fragmentation",
        Async = "async",
    }
}

labels! {
    /// A protocol error of a peer.
    Fault {
        Malformed = "malformed",
        TooShort = "frame_too_short",
        TooBig = "frame_too_big",
        OtherProtocol = "other_protocol",
        Unexpected = "unexpected",
        NonZeroId = "non_zero_id",
        Fragmented = "fragmented",
        Interlaced = "interlaced",
        NoVersion = "no_version",
        NoMaxFrameSize = "no_max_frame_size",
        NoCapabilities = "no_capabilities",
        BadVersion = "bad_version",
        BadMaxFrameSize = "bad_max_frame_size",
        HelloTimeout = "hello_timeout",
    }
}

labels! {
    /// A status code of a DISCONNECT.
    Code {
        Normal = "0",
        Io = "1",
        Timeout = "2",
        TooBig = "3",
        Invalid = "4",
        NoVersion = "5",
        NoFrameSize = "6",
        NoCapabilities = "7",
        BadVersion = "8",
        BadFrameSize = "9",
        Fragmented = "10",
        Interlaced = "11",
        UnknownFrameId = "12",
        Resource = "13",
        /// Also every code that SPOE.txt does not define.
        Unknown = "99",
    }
}

impl Code {
    fn of(status: Status) -> Self {
        Self::ALL.get(status.0 as usize).filter(|_| status.0 <= 13).copied().unwrap_or(Self::Unknown)
    }
}

/// The largest number of labels.
const LABELS_MAX: usize = 16;

/// A counter for each label.
#[derive(Debug, Default)]
pub(crate) struct Tally([Counter; LABELS_MAX]);

impl Tally {
    pub(crate) fn add(&self, label: impl Label) {
        self.0[label.index()].add(1);
    }

    /// Returns the count of the label with this index.
    pub(crate) fn at(&self, index: usize) -> u64 {
        self.0[index].get()
    }
}

/// The upper bounds of a histogram's buckets, in microseconds.
pub(crate) const BUCKETS: [u64; 20] = [
    1, 2, 5, 10, 20, 50, 100, 200, 500, 1_000, 2_000, 5_000, 10_000, 20_000, 50_000, 100_000, 200_000, 500_000,
    1_000_000, 10_000_000,
];

/// A histogram of times.
#[derive(Debug, Default)]
pub(crate) struct Histogram {
    buckets: [Counter; BUCKETS.len()],
    above: Counter,
    nanos: Counter,
}

impl Histogram {
    pub(crate) fn add(&self, time: Duration) {
        let nanos = u64::try_from(time.as_nanos()).unwrap_or(u64::MAX);
        self.nanos.add(nanos);
        let at = BUCKETS.partition_point(|micros| micros * 1_000 < nanos);
        self.buckets.get(at).unwrap_or(&self.above).add(1);
    }

    /// Returns the count in each bucket, the last being that above all bounds, and the sum of all times in nanoseconds.
    pub(crate) fn get(&self) -> ([u64; BUCKETS.len() + 1], u64) {
        let counts = std::array::from_fn(|at| self.buckets.get(at).unwrap_or(&self.above).get());
        (counts, self.nanos.get())
    }
}

macro_rules! core_counters {
    ($(#[doc = $doc:literal] $name:ident $metric:ident;)*) => {
        /// The counters of the core, summed over all connections of a worker.
        #[derive(Debug, Default)]
        pub(crate) struct CoreCounters {
            $(#[doc = $doc] pub(crate) $name: Counter,)*
        }

        impl CoreCounters {
            fn add(&self, rise: &Stats) {
                // Most of these are rare, and their cache lines are not needed otherwise.
                $(if rise.$name > 0 {
                    self.$name.add(rise.$name);
                })*
            }
        }
    };
}
spoa_core::connection_counters!(core_counters);

/// The counters of one worker, which alone writes them. The alignment keeps them off the cache lines of other workers.
#[derive(Debug, Default)]
#[repr(align(128))]
pub(crate) struct Counters {
    pub(crate) core: CoreCounters,
    pub(crate) accepted: Counter,
    pub(crate) turned_away: Counter,
    pub(crate) ended: Tally,
    pub(crate) hellos: Tally,
    pub(crate) capabilities: Tally,
    pub(crate) faults: Tally,
    pub(crate) disconnects_sent: Tally,
    pub(crate) disconnects_received: Tally,
    pub(crate) frames_sent: Counter,
    pub(crate) bytes_received: Counter,
    pub(crate) bytes_sent: Counter,
    /// ACKs with immediate answers, and with deferred ones.
    pub(crate) acks_in_place: Counter,
    pub(crate) acks_deferred: Counter,
    /// NOTIFYs in flight, and the bytes that connections hold.
    pub(crate) in_flight: Gauge,
    pub(crate) held_bytes: Gauge,
    /// Queued connections.
    pub(crate) on_hold: Gauge,
    /// The time that connections spent with NOTIFYs held back by a limit, in nanoseconds.
    pub(crate) held_nanos: Counter,
    /// Times of one in [`SAMPLE`] immediate answers.
    pub(crate) in_place: Histogram,
    pub(crate) deferred: Histogram,
    pub(crate) engines: WorkerEngines,
}

/// The state of a connection at its end.
#[derive(Clone, Copy, Debug)]
pub(crate) struct How {
    /// A HELLO was accepted.
    pub(crate) was_ready: bool,
    /// It was counted as refused.
    pub(crate) was_refused: bool,
    /// An AGENT-DISCONNECT can still be sent.
    pub(crate) can_send: bool,
}

/// One of this many immediate answers is measured: reading the clock takes longer than many of them.
pub(crate) const SAMPLE: u64 = 64;

impl Counters {
    /// Adds what a connection has counted since `before`, of which `deferred` are deferred answers.
    pub(crate) fn rise(&self, before: &Stats, now: &Stats, deferred: u64) {
        let rise = now.since(before);
        self.core.add(&rise);
        let with_answer = rise.acks - (rise.acks_unanswered + rise.acks_declined + rise.acks_expired);
        self.acks_deferred.add(deferred);
        self.acks_in_place.add(with_answer.saturating_sub(deferred));
        // Each ACK is a frame, including an ACK that aborts a NOTIFY.
        self.frames_sent.add(rise.acks + rise.aborted_by_agent);
    }

    /// Counts an accepted HELLO.
    pub(crate) fn ready(&self, agreed: Capabilities) {
        self.hellos.add(Hello::Accepted);
        self.frames_sent.add(1);
        for (capability, label) in [
            (Capabilities::PIPELINING, Capability::Pipelining),
            (Capabilities::FRAGMENTATION, Capability::Fragmentation),
            (Capabilities::ASYNC, Capability::Async),
        ] {
            if agreed.contains(capability) {
                self.capabilities.add(label);
            }
        }
    }

    /// Counts a refused HELLO or a rejected connection, whether or not the peer waits for the answer.
    pub(crate) fn refused(&self, reason: CloseReason) {
        match reason {
            CloseReason::Error(error) => {
                self.hellos.add(Hello::Refused);
                self.faults.add(fault(&error));
            }
            _ => self.turned_away.add(1),
        }
    }

    /// Counts the end of a connection.
    pub(crate) fn closed(&self, reason: CloseReason, how: How) {
        let (end, said) = match reason {
            CloseReason::HealthCheck => {
                self.hellos.add(Hello::HealthCheck);
                self.frames_sent.add(1);
                (End::HealthCheck, None)
            }
            CloseReason::Peer(status) => {
                self.disconnects_received.add(Code::of(status));
                (End::Haproxy, Some(status))
            }
            CloseReason::Eof { .. } => (End::Eof, None),
            CloseReason::Error(error) => {
                if !how.was_refused {
                    self.faults.add(fault(&error));
                    // Refused without a delay, as health checks are.
                    if error.is_of_hello() {
                        self.hellos.add(Hello::Refused);
                    }
                }
                (End::Error, Some(error.status()))
            }
            CloseReason::Local(LocalReason::HealthCheckRefused) => {
                self.hellos.add(Hello::HealthCheckRefused);
                (End::HealthCheckRefused, Some(Status::RESOURCE))
            }
            CloseReason::Local(LocalReason::ConnectionLimit) => (End::NoRoom, Some(Status::RESOURCE)),
            CloseReason::Local(LocalReason::Requested) => {
                (End::Stopped, Some(if how.was_ready { Status::NORMAL } else { Status::RESOURCE }))
            }
            CloseReason::Local(LocalReason::NotifyMax) => (End::NotifyMax, Some(Status::NORMAL)),
            CloseReason::Local(LocalReason::Idle) => (End::Idle, Some(Status::NORMAL)),
            CloseReason::Local(LocalReason::SendTimeout) => (End::SendTimeout, None),
            CloseReason::Local(LocalReason::NoMemory) => (End::NoMemory, how.can_send.then_some(Status::RESOURCE)),
            CloseReason::Local(LocalReason::Evicted) => (End::Evicted, how.can_send.then_some(Status::RESOURCE)),
        };
        self.ended.add(end);
        if let Some(status) = said {
            self.frames_sent.add(1);
            self.disconnects_sent.add(Code::of(status));
        }
    }
}

fn fault(error: &PeerError) -> Fault {
    match error {
        PeerError::Malformed { .. } => Fault::Malformed,
        PeerError::FrameTooShort { .. } => Fault::TooShort,
        PeerError::FrameTooBig { .. } if error.other_protocol().is_some() => Fault::OtherProtocol,
        PeerError::FrameTooBig { .. } => Fault::TooBig,
        PeerError::Unexpected(_) => Fault::Unexpected,
        PeerError::NonZeroId(_) => Fault::NonZeroId,
        PeerError::Fragmented(_) => Fault::Fragmented,
        PeerError::Interlaced(_) => Fault::Interlaced,
        PeerError::NoVersion => Fault::NoVersion,
        PeerError::NoMaxFrameSize => Fault::NoMaxFrameSize,
        PeerError::NoCapabilities => Fault::NoCapabilities,
        PeerError::BadVersion => Fault::BadVersion,
        PeerError::BadMaxFrameSize => Fault::BadMaxFrameSize,
        PeerError::HelloTimeout => Fault::HelloTimeout,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_label_has_a_place() {
        fn check<L: Label>() {
            assert!(L::ALL.len() <= LABELS_MAX);
            assert!(L::ALL.iter().enumerate().all(|(at, label)| label.index() == at));
        }
        check::<End>();
        check::<Hello>();
        check::<Capability>();
        check::<Fault>();
        check::<Code>();
    }

    #[test]
    fn codes_are_those_of_spoe_txt_and_one_for_the_rest() {
        let name = |code: u32| Code::NAMES[Code::of(Status(code)).index()];
        assert_eq!([0, 4, 13, 14, 98, 99, 100, u32::MAX].map(name), ["0", "4", "13", "99", "99", "99", "99", "99"]);
    }

    #[test]
    fn times_go_to_the_bucket_that_bounds_them() {
        let histogram = Histogram::default();
        for micros in [0, 1, 2, 3, 10_000_000, 10_000_001] {
            histogram.add(Duration::from_micros(micros));
        }
        let (counts, nanos) = histogram.get();
        assert_eq!((counts[0], counts[1], counts[2], counts[19], counts[20]), (2, 1, 1, 1, 1));
        assert_eq!(nanos, 20_000_007_000);
    }
}
