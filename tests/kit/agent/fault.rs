//! A fault: the case that has to fail, and the wrong thing that the agent does.

use spoa_tests::bytes::Frame;

/// A fault.
pub(crate) struct Fault {
    /// The case that has to fail.
    pub(crate) case: &'static str,
    /// Other cases that have to fail; `*` if any may.
    pub(crate) also: &'static [&'static str],
    /// The fault in what the agent does with its input. `None` if the unit is not concerned.
    pub(crate) input: fn(&Unit<'_>, &Memory) -> Option<Vec<Effect>>,
    /// The fault in a frame that the agent sends: what it sends in its place. `None` if the frame is not concerned.
    pub(crate) output: fn(&Frame, &Memory) -> Option<Vec<Vec<u8>>>,
    /// The fault in the agent as a whole.
    pub(crate) special: Special,
    /// True if the agent announces fragmentation.
    pub(crate) fragmentation: bool,
}

/// An agent without a fault.
pub(crate) const NONE: Fault =
    Fault { case: "", also: &[], input: |_, _| None, output: |_, _| None, special: Special::None, fragmentation: true };

/// A part of the input.
pub(crate) enum Unit<'u> {
    /// A whole frame.
    Frame(&'u Frame),
    /// Bytes that cannot be a frame.
    Raw(&'u [u8]),
    /// The beginning of a frame, whose rest is not read yet.
    Partial,
    /// The end of the connection, inside a frame or not.
    Eof { inside: bool },
    /// A reset of the connection, inside a frame or not.
    Reset { inside: bool },
}

/// An action of a faulty agent in place of the right one.
pub(crate) enum Effect {
    /// Handles these bytes as if it had read them.
    Feed(Vec<u8>),
    /// Sends these bytes.
    Send(Vec<u8>),
    /// Keeps the unit.
    Stash,
    /// Handles the unit, then the one that it has kept.
    FeedStash,
    /// Closes the connection.
    Close,
    /// Leaves the connection open and does nothing more with it.
    Hang,
    /// Works for ever.
    Spin,
    /// Ends its process.
    Die,
}

/// The history of a connection.
#[derive(Default)]
pub(crate) struct Memory {
    /// The first HELLO.
    pub(crate) hello: Option<Frame>,
    /// True after the handshake.
    pub(crate) is_ready: bool,
    /// The number of NOTIFYs.
    pub(crate) notifys: usize,
    /// The ids of all NOTIFYs, the current one last.
    pub(crate) ids: Vec<(u64, u64)>,
    /// The number of NOTIFYs in fragments.
    pub(crate) fragmented: usize,
    /// True if a NOTIFY in fragments is not complete.
    pub(crate) is_fragmented: bool,
    /// The number of frames in the last read, up to the current one.
    pub(crate) units_in_read: usize,
    /// The number of reads that have not completed the current frame.
    pub(crate) partials: usize,
    /// True if the last read had the HELLO.
    pub(crate) has_read_hello: bool,
    /// True if no bytes follow in the last read.
    pub(crate) is_last: bool,
    /// True if a frame of length 0 follows.
    pub(crate) next_is_bad: bool,
    /// True if the connection ignores what it reads.
    pub(crate) forgets: bool,
    /// A unit that is kept.
    pub(crate) stash: Vec<u8>,
}

/// A fault in the agent as a whole.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Special {
    None,
    /// Waits for a HELLO for ever.
    WaitsForHello,
    /// Accepts the next connection after the handshake of the last one.
    HandshakesInTurn,
    /// Serves fifty connections.
    ServesFifty,
    /// Counts connections that were reset as open.
    CountsResets,
    /// Answers fifty health checks.
    TiresOfChecks,
    /// Sends ACKs on another connection.
    AnswersElsewhere,
    /// Sends frames in parts.
    WritesInParts,
    /// Drops what a full socket does not accept.
    DropsUnwritten,
    /// Writes on one connection at a time, and waits for it.
    WritesAlone,
    /// Keeps what a full socket does not accept, without a limit.
    QueuesWithoutLimit,
    /// Keeps all fragments.
    KeepsFragments,
    /// Reserves memory for what a length announces.
    ReservesAnnounced,
    /// Ends without AGENT-DISCONNECT.
    DiesWhenStopped,
    /// Forgets what it has read when it stops.
    ForgetsWhenStopped,
}

/// Returns a fault in what the agent does with its input.
pub(crate) const fn input(case: &'static str, input: fn(&Unit<'_>, &Memory) -> Option<Vec<Effect>>) -> Fault {
    Fault { case, input, ..NONE }
}

/// Returns a fault in what the agent sends.
pub(crate) const fn output(case: &'static str, output: fn(&Frame, &Memory) -> Option<Vec<Vec<u8>>>) -> Fault {
    Fault { case, output, ..NONE }
}

/// Returns a fault in the agent as a whole.
pub(crate) const fn special(case: &'static str, special: Special) -> Fault {
    Fault { case, special, ..NONE }
}

impl Fault {
    /// Names other cases that have to fail.
    pub(crate) const fn also(self, also: &'static [&'static str]) -> Self {
        Self { also, ..self }
    }

    /// Makes the agent announce no fragmentation.
    pub(crate) const fn unfragmented(self) -> Self {
        Self { fragmentation: false, ..self }
    }
}
