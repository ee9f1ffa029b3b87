//! What a run, or many of them, made happen: the state × input matrix and the marks.

use spoa_core::table::{Input, StateName, Step, step};
use spoa_core::wire::FrameType;
use spoa_core::{CloseReason, Event, LocalReason, Status};

const STATES: usize = StateName::ALL.len();
const INPUTS: usize = Input::ALL.len();

/// How often each thing happened.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Coverage {
    cells: [[u64; INPUTS]; STATES],
    marks: [u64; Mark::ALL.len()],
}

impl Default for Coverage {
    fn default() -> Self {
        Self { cells: [[0; INPUTS]; STATES], marks: [0; Mark::ALL.len()] }
    }
}

macro_rules! marks {
    ($($mark:ident $words:literal)*) => {
        /// Something that a run must have made happen for its verdict to be worth anything.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        #[expect(missing_docs, reason = "each is shown by its words")]
        pub enum Mark { $($mark),* }

        impl Mark {
            /// All of them.
            pub const ALL: [Self; [$($words),*].len()] = [$(Self::$mark),*];

            /// It in words.
            pub const fn words(self) -> &'static str {
                match self { $(Self::$mark => $words),* }
            }
        }
    };
}

marks! {
    Ready "a HELLO accepted"
    HealthCheck "a health check answered"
    Notify "a NOTIFY handed out"
    PeerDisconnect "a HAPROXY-DISCONNECT answered"
    UnknownStatus "an unknown status echoed as 99"
    Timeout "no HELLO in time (2)"
    TooBig "a frame above the limit (3)"
    Invalid "a malformed frame (4)"
    NoVersion "a HELLO without version (5)"
    NoFrameSize "a HELLO without frame size (6)"
    NoCapabilities "a HELLO without capabilities (7)"
    BadVersion "a HELLO of another version (8)"
    BadFrameSize "a HELLO with a frame size below 256 (9)"
    Fragmented "a fragment where none is agreed on (10)"
    Interlaced "a fragment out of sequence (11)"
    Stopped "stopped by the agent"
    NotifyMax "ended after so many NOTIFYs"
    Idle "ended for being idle"
    SendTimeout "ended for reading nothing"
    EofIdle "the end between two frames"
    EofMidFrame "the end inside a frame"
    EofInFlight "the end with NOTIFYs in flight"
    Refused "a connection above the limit refused (13)"
    MuxAnswered "an event of HAProxy 3.1 or later answered"
    AppletAnswered "an event of HAProxy 3.0 or earlier answered"
    EventTimeout "an event that HAProxy gave up"
    EventTooBig "an event that HAProxy found too big"
    EventLost "an event lost with its connection"
    CheckUp "a health check of HAProxy's passed"
    CheckDown "a health check of HAProxy's failed"
    SoftStopInFlight "an HAProxy told to go while it waits for answers"
}

impl Coverage {
    /// An input met a state.
    pub fn cell(&mut self, state: StateName, input: Input) {
        self.cells[state as usize][input as usize] += 1;
    }

    /// Bytes came in `state`: counts the frames that begin in them, as far as they are whole.
    pub fn frames_in(&mut self, state: StateName, bytes: &[u8]) {
        let mut rest = bytes;
        // A frame cut over several reads is not seen here; others of its kind are.
        while let Some((length, behind)) = rest.split_first_chunk::<4>() {
            let len = u32::from_be_bytes(*length) as usize;
            let Some((frame, behind)) = behind.split_at_checked(len) else { break };
            match frame.first() {
                Some(&kind) if len >= 7 => self.cell(state, Input::of_frame(FrameType(kind))),
                _ => self.cell(state, Input::Malformed),
            }
            rest = behind;
        }
    }

    /// The core told something.
    pub fn event(&mut self, event: &Event<'_>) {
        let mark = match event {
            Event::Ready { .. } => Mark::Ready,
            Event::Notify(_) => Mark::Notify,
            Event::Closed(reason) => match *reason {
                CloseReason::HealthCheck => Mark::HealthCheck,
                CloseReason::Peer(status) if status.is_known() => Mark::PeerDisconnect,
                CloseReason::Peer(_) => Mark::UnknownStatus,
                CloseReason::Local(LocalReason::Asked) => Mark::Stopped,
                CloseReason::Local(LocalReason::NoRoom) => Mark::Refused,
                CloseReason::Local(LocalReason::NotifyMax) => Mark::NotifyMax,
                CloseReason::Local(LocalReason::Idle) => Mark::Idle,
                CloseReason::Local(LocalReason::SendTimeout) => Mark::SendTimeout,
                CloseReason::Eof { mid_frame: true, .. } => Mark::EofMidFrame,
                CloseReason::Eof { in_flight: 0, .. } => Mark::EofIdle,
                CloseReason::Eof { .. } => Mark::EofInFlight,
                CloseReason::Error(error) => match error.status() {
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
                },
            },
        };
        self.reach(mark);
    }

    /// Something happened that has to.
    pub fn reach(&mut self, mark: Mark) {
        self.marks[mark as usize] += 1;
    }

    /// Adds what another run made happen.
    pub fn add(&mut self, other: &Self) {
        for (mine, theirs) in self.cells.as_flattened_mut().iter_mut().zip(other.cells.as_flattened()) {
            *mine += theirs;
        }
        for (mine, theirs) in self.marks.iter_mut().zip(other.marks) {
            *mine += theirs;
        }
    }

    /// How often `input` met `state`.
    pub const fn hits(&self, state: StateName, input: Input) -> u64 {
        self.cells[state as usize][input as usize]
    }

    /// How often a mark was reached.
    pub const fn mark(&self, mark: Mark) -> u64 {
        self.marks[mark as usize]
    }

    /// The cells hit, and how many can be.
    pub fn cells(&self) -> (usize, usize) {
        let reachable = all_cells().filter(|&(state, input)| is_reachable(state, input));
        let hit = reachable.clone().filter(|&(state, input)| self.hits(state, input) > 0).count();
        (hit, reachable.count())
    }

    /// What a run of many seeds had to reach and did not, in words.
    pub fn missing(&self, marks_min: u64) -> Vec<String> {
        let cells = all_cells()
            .filter(|&(state, input)| is_reachable(state, input) && self.hits(state, input) == 0)
            .map(|(state, input)| format!("{input:?} in {state:?} never happened"));
        let impossible = all_cells()
            .filter(|&(state, input)| !is_reachable(state, input) && self.hits(state, input) > 0)
            .map(|(state, input)| format!("{input:?} in {state:?} happened, and cannot"));
        let marks = Mark::ALL
            .into_iter()
            .filter(|&mark| self.mark(mark) < marks_min)
            .map(|mark| format!("{}: {} times, below {marks_min}", mark.words(), self.mark(mark)));
        cells.chain(impossible).chain(marks).collect()
    }
}

fn all_cells() -> impl Iterator<Item = (StateName, Input)> + Clone {
    StateName::ALL.into_iter().flat_map(|state| Input::ALL.map(|input| (state, input)))
}

/// A connection that is closed is not asked any more; everything else can happen.
fn is_reachable(state: StateName, input: Input) -> bool {
    state != StateName::Closed || step(state, input) != Step::Ignore
}
