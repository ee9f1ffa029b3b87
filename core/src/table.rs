//! The state machine, as a table.
//!
//! | state | HELLO | NOTIFY | UNSET | DISCONNECT | agent's frame | unknown frame | malformed | eof | deadline | stop | shed |
//! |---|---|---|---|---|---|---|---|---|---|---|---|
//! | `AwaitHello` | `Negotiate` | `Unexpected` | `Unexpected` | `Echo` | `Unexpected` | `Unexpected` | `Fail` | `End` | `HelloTimeout` | `TurnAway` | `Shed` |
//! | `Refusing` | `Ignore` | `Ignore` | `Ignore` | `Ignore` | `Ignore` | `Ignore` | `Ignore` | `End` | `Refuse` | `Refuse` | `Refuse` |
//! | `Running` | `Unexpected` | `Deliver` | `Reassemble` | `Echo` | `Unexpected` | `Skip` | `Fail` | `End` | `Expire` | `Drain` | `Shed` |
//! | `Draining` | `Unexpected` | `Decline` | `Reassemble` | `Echo` | `Unexpected` | `Skip` | `Fail` | `End` | `Expire` | `Drain` | `Shed` |
//! | `Closing` | `Ignore` | `Ignore` | `Ignore` | `Ignore` | `Ignore` | `Ignore` | `Ignore` | `End` | `End` | `Ignore` | `End` |
//! | `Closed` | `Ignore` | `Ignore` | `Ignore` | `Ignore` | `Ignore` | `Ignore` | `Ignore` | `Ignore` | `Ignore` | `Ignore` | `Ignore` |
//!
//! A HELLO that is refused leads to `Refusing`, a health check or a frame that ends things to `Closing`; in both, and
//! behind them, what still comes is read and dropped without being looked at.

use crate::wire::FrameType;

/// Where the conversation is. What each state needs to know is the connection's.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum StateName {
    /// Nothing whole has come yet.
    AwaitHello,
    /// A HELLO will be refused, when HAProxy has waited long enough not to come back at once.
    Refusing,
    /// NOTIFYs come, ACKs go.
    Running,
    /// What is in flight is still answered, then the conversation ends.
    Draining,
    /// Our last frame is written; HAProxy has some time to read it.
    Closing,
    /// The socket can go.
    Closed,
}

/// What can happen to a conversation.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Input {
    /// A HAPROXY-HELLO.
    Hello,
    /// A NOTIFY, whole or the first fragment.
    Notify,
    /// A further fragment.
    Unset,
    /// A HAPROXY-DISCONNECT.
    Disconnect,
    /// A frame that only agents send.
    AgentFrame,
    /// A frame of an unknown type.
    UnknownFrame,
    /// Bytes that are no frame.
    Malformed,
    /// The end of the peer's bytes, or of the socket.
    Eof,
    /// A deadline has passed.
    Deadline,
    /// The agent wants to stop.
    Stop,
    /// The agent has no memory left for it.
    Shed,
}

/// What the conversation does.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Step {
    /// Answer the HELLO, or refuse it.
    Negotiate,
    /// Hand the NOTIFY out, or begin to collect its fragments.
    Deliver,
    /// Answer the NOTIFY empty: it came too late.
    Decline,
    /// Add the fragment to its NOTIFY.
    Reassemble,
    /// Echo the status of a HAPROXY-DISCONNECT and close.
    Echo,
    /// Close: the frame is out of order here (code 4).
    Unexpected,
    /// Count the frame and read on.
    Skip,
    /// Close with the error's own code.
    Fail,
    /// Nothing.
    Ignore,
    /// Close: no HELLO in time (code 2).
    HelloTimeout,
    /// Send the refusal that was held back.
    Refuse,
    /// Answer what is overdue empty, and end what has lasted too long.
    Expire,
    /// Take nothing new, answer what is in flight, then close.
    Drain,
    /// Close before the HELLO (code 13): the agent is going away.
    TurnAway,
    /// Close and keep nothing (code 13): the agent is short of memory.
    Shed,
    /// The socket can go.
    End,
}

const INPUTS: usize = Input::Shed as usize + 1;
const STATES: usize = StateName::Closed as usize + 1;

#[rustfmt::skip]
const TABLE: [[Step; INPUTS]; STATES] = {
    use Step::*;
    [
        //             HELLO       NOTIFY      UNSET       DISCON. agent's     unknown     malf.   eof     deadline      stop      shed
        /* AwaitH.  */ [Negotiate,  Unexpected, Unexpected, Echo,   Unexpected, Unexpected, Fail,   End,    HelloTimeout, TurnAway, Shed],
        /* Refusing */ [Ignore,     Ignore,     Ignore,     Ignore, Ignore,     Ignore,     Ignore, End,    Refuse,       Refuse,   Refuse],
        /* Running  */ [Unexpected, Deliver,    Reassemble, Echo,   Unexpected, Skip,       Fail,   End,    Expire,       Drain,    Shed],
        /* Draining */ [Unexpected, Decline,    Reassemble, Echo,   Unexpected, Skip,       Fail,   End,    Expire,       Drain,    Shed],
        /* Closing  */ [Ignore,     Ignore,     Ignore,     Ignore, Ignore,     Ignore,     Ignore, End,    End,          Ignore,   End],
        /* Closed   */ [Ignore,     Ignore,     Ignore,     Ignore, Ignore,     Ignore,     Ignore, Ignore, Ignore,       Ignore,   Ignore],
    ]
};

/// What happens in `state` at `input`.
#[inline]
pub const fn step(state: StateName, input: Input) -> Step {
    TABLE[state as usize][input as usize]
}

impl Input {
    /// Every input, in the table's order.
    pub const ALL: [Self; INPUTS] = [
        Self::Hello,
        Self::Notify,
        Self::Unset,
        Self::Disconnect,
        Self::AgentFrame,
        Self::UnknownFrame,
        Self::Malformed,
        Self::Eof,
        Self::Deadline,
        Self::Stop,
        Self::Shed,
    ];

    /// The input that a frame of this type is.
    #[inline]
    pub const fn of_frame(frame_type: FrameType) -> Self {
        match frame_type {
            FrameType::HAPROXY_HELLO => Self::Hello,
            FrameType::NOTIFY => Self::Notify,
            FrameType::UNSET => Self::Unset,
            FrameType::HAPROXY_DISCONNECT => Self::Disconnect,
            FrameType::AGENT_HELLO | FrameType::AGENT_DISCONNECT | FrameType::ACK => Self::AgentFrame,
            _ => Self::UnknownFrame,
        }
    }
}

impl StateName {
    /// Every state, in the table's order.
    pub const ALL: [Self; STATES] =
        [Self::AwaitHello, Self::Refusing, Self::Running, Self::Draining, Self::Closing, Self::Closed];
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::format;
    use alloc::string::String;

    /// The docs above are the table, cell by cell.
    #[test]
    fn the_documented_table_is_this_one() {
        let rows = StateName::ALL.map(|state| {
            let cells: String = Input::ALL.iter().map(|&input| format!(" `{:?}` |", step(state, input))).collect();
            format!("//! | `{state:?}` |{cells}")
        });
        let source = include_str!("table.rs");
        for row in rows {
            assert!(source.lines().any(|line| line == row), "not in the docs:\n{row}");
        }
    }
}
