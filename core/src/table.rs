//! The state machine of a connection as a table: the step for each state and input.
//!
//! | state | HELLO | NOTIFY | UNSET | DISCONNECT | agent's frame | unknown frame | malformed | eof | deadline | stop | shed |
//! |---|---|---|---|---|---|---|---|---|---|---|---|
//! | `AwaitHello` | `Negotiate` | `Unexpected` | `Unexpected` | `Echo` | `Unexpected` | `Unexpected` | `Fail` | `End` | `HelloTimeout` | `Reject` | `Shed` |
//! | `Refusing` | `Ignore` | `Ignore` | `Ignore` | `Ignore` | `Ignore` | `Ignore` | `Ignore` | `End` | `Refuse` | `Refuse` | `Refuse` |
//! | `Running` | `Unexpected` | `Deliver` | `Reassemble` | `Echo` | `Unexpected` | `Skip` | `Fail` | `End` | `Expire` | `Drain` | `Shed` |
//! | `Draining` | `Unexpected` | `Decline` | `Reassemble` | `Echo` | `Unexpected` | `Skip` | `Fail` | `End` | `Expire` | `Drain` | `Shed` |
//! | `Closing` | `Ignore` | `Ignore` | `Ignore` | `Ignore` | `Ignore` | `Ignore` | `Ignore` | `End` | `End` | `Ignore` | `End` |
//! | `Closed` | `Ignore` | `Ignore` | `Ignore` | `Ignore` | `Ignore` | `Ignore` | `Ignore` | `Ignore` | `Ignore` | `Ignore` | `Ignore` |
//!
//! A HELLO that is refused leads to `Refusing`. A health check, or a frame that ends the conversation, leads to
//! `Closing`. In `Refusing`, `Closing` and `Closed` further input is dropped without being parsed.

use crate::wire::FrameType;

/// The state of a conversation. The data of each state is in the connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum StateName {
    /// No whole HELLO has arrived yet.
    AwaitHello,
    /// A HELLO or a connection will be refused, after a delay that keeps HAProxy from reconnecting immediately.
    Refusing,
    /// NOTIFYs are received and answered.
    Running,
    /// NOTIFYs in flight are still answered, then the conversation ends.
    Draining,
    /// The conversation has ended, and HAProxy has some time to read our last frames.
    Closing,
    /// The socket can be closed.
    Closed,
}

/// An input of the state machine.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Input {
    /// A HAPROXY-HELLO.
    Hello,
    /// A NOTIFY, whole or its first fragment.
    Notify,
    /// An UNSET frame: a further fragment of a NOTIFY.
    Unset,
    /// A HAPROXY-DISCONNECT.
    Disconnect,
    /// A frame of a type that only agents send.
    AgentFrame,
    /// A frame of an unknown type.
    UnknownFrame,
    /// Bytes that are not a frame.
    Malformed,
    /// The peer closed the connection, or the socket failed.
    Eof,
    /// A deadline passed.
    Deadline,
    /// The agent is stopping.
    Stop,
    /// The agent needs the memory of the connection.
    Shed,
}

/// The reaction to an input.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Step {
    /// Answer the HELLO, or refuse it.
    Negotiate,
    /// Hand out the NOTIFY, or store its first fragment.
    Deliver,
    /// Answer the NOTIFY with an empty ACK, because the connection is draining.
    Decline,
    /// Add the fragment to its NOTIFY.
    Reassemble,
    /// Close and echo the status of the HAPROXY-DISCONNECT.
    Echo,
    /// Close with code 4: the frame is not allowed in this state.
    Unexpected,
    /// Count the frame and ignore it.
    Skip,
    /// Close with the error's own code.
    Fail,
    /// Do nothing.
    Ignore,
    /// Close with code 2: no HELLO arrived in time.
    HelloTimeout,
    /// Close with the code of the refusal.
    Refuse,
    /// Send an empty ACK for each overdue NOTIFY, and close if a time limit of the connection is reached.
    Expire,
    /// Decline new NOTIFYs, answer those in flight, then close.
    Drain,
    /// Close with code 13 before the HELLO: the agent is stopping.
    Reject,
    /// Close with code 13 and free the memory: the agent is short of it.
    Shed,
    /// Close without sending anything more.
    End,
}

const INPUTS: usize = Input::Shed as usize + 1;
const STATES: usize = StateName::Closed as usize + 1;

#[rustfmt::skip]
const TABLE: [[Step; INPUTS]; STATES] = {
    use Step::*;
    [
        //             HELLO       NOTIFY      UNSET       DISCON. agent's     unknown     malf.   eof     deadline      stop      shed
        /* AwaitH.  */ [Negotiate,  Unexpected, Unexpected, Echo,   Unexpected, Unexpected, Fail,   End,    HelloTimeout, Reject, Shed],
        /* Refusing */ [Ignore,     Ignore,     Ignore,     Ignore, Ignore,     Ignore,     Ignore, End,    Refuse,       Refuse,   Refuse],
        /* Running  */ [Unexpected, Deliver,    Reassemble, Echo,   Unexpected, Skip,       Fail,   End,    Expire,       Drain,    Shed],
        /* Draining */ [Unexpected, Decline,    Reassemble, Echo,   Unexpected, Skip,       Fail,   End,    Expire,       Drain,    Shed],
        /* Closing  */ [Ignore,     Ignore,     Ignore,     Ignore, Ignore,     Ignore,     Ignore, End,    End,          Ignore,   End],
        /* Closed   */ [Ignore,     Ignore,     Ignore,     Ignore, Ignore,     Ignore,     Ignore, Ignore, Ignore,       Ignore,   Ignore],
    ]
};

// A connection that is closed stays so, and the end of the socket closes every other one.
const _: () = {
    let mut input = 0;
    while input < INPUTS {
        assert!(matches!(TABLE[StateName::Closed as usize][input], Step::Ignore), "nothing happens after the end");
        input += 1;
    }
    let mut state = 0;
    while state < StateName::Closed as usize {
        assert!(matches!(TABLE[state][Input::Eof as usize], Step::End), "no state outlives its socket");
        state += 1;
    }
};

/// Returns the step that `state` takes for `input`.
#[inline]
pub const fn step(state: StateName, input: Input) -> Step {
    TABLE[state as usize][input as usize]
}

impl Input {
    /// Every input, in the order of the table's columns.
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

    /// Returns the input for a frame of this type.
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
    /// Every state, in the order of the table's rows.
    pub const ALL: [Self; STATES] =
        [Self::AwaitHello, Self::Refusing, Self::Running, Self::Draining, Self::Closing, Self::Closed];
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::format;
    use alloc::string::String;

    #[test]
    fn the_documented_table_is_the_one_in_the_code() {
        let rows = StateName::ALL.map(|state| {
            let cells: String = Input::ALL.iter().map(|&input| format!(" `{:?}` |", step(state, input))).collect();
            format!("//! | `{state:?}` |{cells}")
        });
        let source = include_str!("table.rs");
        for row in rows {
            assert!(source.lines().any(|line| line == row), "expected this row in the documentation:\n{row}");
        }
    }
}
