//! The marks: faults and situations that were observed in a run. A run that does not reach them proves little.

use spoa_core::{CloseReason, Event, Fault, LocalReason, PeerError, Status};

use super::Coverage;
use crate::plan::{Answer, Plan};
use crate::script::{Damage, FrameKind, FrameSpec};

macro_rules! marks {
    ($($group:literal { $($mark:ident $words:literal)* })*) => {
        /// A fault or situation that was observed in a run.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        #[expect(missing_docs, reason = "`words` describes each mark")]
        pub enum Mark { $($($mark),*),* }

        impl Mark {
            /// All marks.
            pub const ALL: [Self; [$($($words),*),*].len()] = [$($(Self::$mark),*),*];

            /// Returns the description of the mark.
            pub const fn words(self) -> &'static str {
                match self { $($(Self::$mark => $words),*),* }
            }

            /// True if a large number of seeds has to reach the mark, not only the corpus.
            pub fn is_frequent(self) -> bool {
                self.group() != "rare"
            }

            /// Returns the group of the mark.
            pub const fn group(self) -> &'static str {
                match self { $($(Self::$mark)|* => $group),* }
            }
        }
    };
}

marks! {
    "transport" {
        ByteByByte "a frame read byte by byte"
        CutInLength "a read that ends inside a length"
        CutAfterLength "a read that ends after a length"
        CutInHeader "a read that ends inside a header"
        CutAfterHeader "a read that ends after a header"
        SeveralFrames "several frames in one read"
        Delayed "bytes that were delayed"
        Blocked "a socket that accepts no bytes"
        PartialWrite "a socket that accepts some of the bytes"
        OneByteWrite "a socket that accepts one byte"
        EofIdle "the end between two frames"
        EofMidFrame "the end inside a frame"
        EofInFlight "the end with NOTIFYs in flight"
        EndInLength "the end inside a length"
        EndInHeader "the end inside a header"
        EndInPayload "the end inside a payload"
        ResetIdle "a reset that loses no bytes"
        ResetQueued "a reset that loses bytes"
        Crowd "eight connections opened at once"
    }
    "frame" {
        LengthZero "a length of 0"
        LengthShort "a length of 1 to 6"
        LengthAbove "a length above the limit"
        LengthNegative "a length of 2^31 or more"
        LengthMax "a length of 2^32-1"
        ReservedFlags "reserved flags"
        FirstFragment "a NOTIFY with FIN clear"
        AbortAlone "an ABORT of nothing"
        HelloWithIds "a HELLO with ids"
        Truncated "a frame that ends too early"
        VarintOverflow "a varint of more than 64 bits"
        ReservedType "a value of a reserved type"
        WrongType "a value of the wrong type"
        EmptyKey "an empty key"
        Trailing "bytes after a payload"
        NotUtf8 "a name that is not UTF-8"
        Long "a NOTIFY above 64 KiB"
        LongEngineId "an engine-id of 240 bytes or more"
        TooBig "a frame above the limit (3)"
        Invalid "a malformed frame (4)"
    }
    "conversation" {
        Ready "a HELLO accepted"
        HealthCheck "a health check answered"
        Notify "a NOTIFY handed out"
        NoVersion "a HELLO without version (5)"
        NoFrameSize "a HELLO without frame size (6)"
        NoCapabilities "a HELLO without capabilities (7)"
        BadVersion "a HELLO of another version (8)"
        BadFrameSize "a HELLO with a frame size below 256 (9)"
        KeyTwice "a HELLO with a key twice"
        Fragmented "a fragment where none is agreed on (10)"
        Interlaced "a fragment out of sequence (11)"
        LastFragment "a NOTIFY reassembled from fragments"
        Aborted "a NOTIFY aborted between its fragments"
        NotPipelined "a NOTIFY before the ACK it has to wait for"
        IdsInFlight "the ids of a NOTIFY in flight used again"
        IdsAgain "the ids of an answered NOTIFY used again"
        DisconnectIdle "HAPROXY-DISCONNECT with nothing in flight"
        DisconnectInFlight "HAPROXY-DISCONNECT with NOTIFYs in flight"
        DisconnectAmidFragments "HAPROXY-DISCONNECT between fragments"
        Status0 "HAPROXY-DISCONNECT 0"
        Status1 "HAPROXY-DISCONNECT 1"
        Status2 "HAPROXY-DISCONNECT 2"
        Status3 "HAPROXY-DISCONNECT 3"
        Status4 "HAPROXY-DISCONNECT 4"
        Status5 "HAPROXY-DISCONNECT 5"
        Status6 "HAPROXY-DISCONNECT 6"
        Status7 "HAPROXY-DISCONNECT 7"
        Status8 "HAPROXY-DISCONNECT 8"
        Status9 "HAPROXY-DISCONNECT 9"
        Status10 "HAPROXY-DISCONNECT 10"
        Status11 "HAPROXY-DISCONNECT 11"
        Status12 "HAPROXY-DISCONNECT 12"
        Status13 "HAPROXY-DISCONNECT 13"
        Status99 "HAPROXY-DISCONNECT 99"
        UnknownStatus "HAPROXY-DISCONNECT of an unknown status"
    }
    "handler" {
        Deferred "a deferred answer"
        Never "a NOTIFY that is never answered"
        Empty "an empty answer"
        Oversized "an answer that is too large"
        Dropped "a handler that fails"
        Half "a handler that fails during its answer"
        Echo "an answer with the values of the arguments"
        LateForDeadline "an answer after its deadline"
        LateForConversation "an answer after the end"
    }
    "time" {
        Coincidence "two deadlines in the same nanosecond"
        Timeout "no HELLO in time (2)"
        Idle "closed because of the idle timeout"
        SendTimeout "closed because HAProxy does not read"
        NotifyMax "drained after the largest number of NOTIFYs"
        Stopped "stopped by the agent"
        StoppedInFlight "stopped with NOTIFYs in flight"
        Refused "a connection above the limit rejected (13)"
        CheckRefused "a health check refused by an agent that is stopping (13)"
        Shed "closed to free memory (13)"
        CheckAboveLimit "a health check answered above the limit of connections"
        HeldForOthers "a NOTIFY held back by a limit of all connections"
    }
    "HAProxy" {
        MuxAnswered "an event of HAProxy 3.1 or later answered"
        AppletAnswered "an event of HAProxy 3.0 or earlier answered"
        EventTimeout "an event whose processing timeout ended"
        EventTooBig "an event that is too big for HAProxy"
        EventLost "an event lost with its connection"
        CheckUp "a health check that passed"
        CheckDown "a health check that failed"
        SoftStopInFlight "a soft-stop of a process that waits for answers"
        Defects "an event of a version with known bugs answered"
        Engines "connections of several processes at once"
        ConnectionRefused "a connection refused because no agent listens"
    }
    "fleet" {
        HandedOver "a connection closed at the best moment of a drain"
        Drained "an agent that has drained its last connection"
        Launched "an agent started again"
        Hung "an agent that hung and went on"
        KeptInDrain "an event of HAProxy 3.1 or later that crossed a drain and must not be lost"
    }
    "rare" {
        Evicted "a connection without a NOTIFY closed because another one needs its place"
        LostInDrain "an event of HAProxy 3.0 or earlier lost because it crossed a drain"
    }
}

const STATUSES: [Mark; 14] = [
    Mark::Status0,
    Mark::Status1,
    Mark::Status2,
    Mark::Status3,
    Mark::Status4,
    Mark::Status5,
    Mark::Status6,
    Mark::Status7,
    Mark::Status8,
    Mark::Status9,
    Mark::Status10,
    Mark::Status11,
    Mark::Status12,
    Mark::Status13,
];

impl Coverage {
    /// Counts the marks of an event of the core.
    pub fn event(&mut self, event: &Event<'_>) {
        match event {
            Event::Ready { engine_id: Some(id), .. } if id.len() >= 240 => self.reach(Mark::LongEngineId),
            Event::Notify(notify) if notify.payload().len() > 1 << 16 => self.reach(Mark::Long),
            _ => {}
        }
        self.reach(match event {
            Event::Ready { .. } => Mark::Ready,
            Event::Notify(_) => Mark::Notify,
            Event::Closed(CloseReason::Error(error)) => {
                self.error(error);
                return;
            }
            Event::Closed(reason) => of_close(*reason),
        });
    }

    fn error(&mut self, error: &PeerError) {
        self.reach(match error.status() {
            Status::TIMEOUT => Mark::Timeout,
            Status::TOO_BIG => Mark::TooBig,
            Status::NO_VERSION => Mark::NoVersion,
            Status::NO_FRAME_SIZE => Mark::NoFrameSize,
            Status::NO_CAPABILITIES => Mark::NoCapabilities,
            Status::BAD_VERSION => Mark::BadVersion,
            Status::BAD_FRAME_SIZE => Mark::BadFrameSize,
            Status::FRAGMENTED => Mark::Fragmented,
            Status::INTERLACED => Mark::Interlaced,
            _ => Mark::Invalid,
        });
        let PeerError::Malformed { error, .. } = error else { return };
        self.reach(match error.fault {
            Fault::Truncated => Mark::Truncated,
            Fault::VarintOverflow => Mark::VarintOverflow,
            Fault::ReservedType(_) => Mark::ReservedType,
            Fault::WrongType => Mark::WrongType,
            Fault::Empty => Mark::EmptyKey,
            Fault::OutOfRange | Fault::Missing => return,
        });
    }

    /// Counts the marks of a frame that the script sends on an open connection.
    pub fn sent(&mut self, frame: &FrameSpec) {
        if let Damage::Pad(_) = frame.damage {
            self.reach(Mark::Trailing);
        }
        match &frame.kind {
            FrameKind::Hello(items) => {
                let twice = |n: usize| items[..n].iter().any(|(key, _)| *key == items[n].0);
                if (0..items.len()).any(twice) {
                    self.reach(Mark::KeyTwice);
                }
            }
            FrameKind::Notify(messages) => {
                let mut names = messages.iter().flat_map(|message| &message.args).map(|(name, _)| name);
                // The first byte is enough to recognise the names that the generator draws.
                if names.any(|name| matches!(name.first(), Some(0x80..=0xbf | 0xff))) {
                    self.reach(Mark::NotUtf8);
                }
            }
            _ => {}
        }
    }

    /// Counts the marks of a NOTIFY that is answered by this plan.
    pub fn planned(&mut self, plan: Plan) {
        if plan.delay > 0 {
            self.reach(Mark::Deferred);
        }
        self.reach(match plan.answer {
            Answer::Empty => Mark::Empty,
            Answer::Big => Mark::Oversized,
            Answer::Drop => Mark::Dropped,
            Answer::Half => Mark::Half,
            Answer::Never => Mark::Never,
            Answer::Echo => Mark::Echo,
            Answer::Score | Answer::Types | Answer::Unset => return,
        });
    }
}

const fn of_close(reason: CloseReason) -> Mark {
    match reason {
        CloseReason::HealthCheck => Mark::HealthCheck,
        CloseReason::Peer(Status(code)) if (code as usize) < STATUSES.len() => STATUSES[code as usize],
        CloseReason::Peer(Status(99)) => Mark::Status99,
        CloseReason::Peer(_) => Mark::UnknownStatus,
        CloseReason::Local(LocalReason::Requested) => Mark::Stopped,
        CloseReason::Local(LocalReason::ConnectionLimit) => Mark::Refused,
        CloseReason::Local(LocalReason::HealthCheckRefused) => Mark::CheckRefused,
        CloseReason::Local(LocalReason::NotifyMax) => Mark::NotifyMax,
        CloseReason::Local(LocalReason::Idle) => Mark::Idle,
        CloseReason::Local(LocalReason::SendTimeout) => Mark::SendTimeout,
        CloseReason::Local(LocalReason::NoMemory) => Mark::Shed,
        CloseReason::Local(LocalReason::Evicted) => Mark::Evicted,
        CloseReason::Eof { unprocessed: true, .. } => Mark::EofMidFrame,
        CloseReason::Eof { in_flight: 0, .. } => Mark::EofIdle,
        CloseReason::Eof { .. } => Mark::EofInFlight,
        CloseReason::Error(_) => Mark::Invalid,
    }
}
