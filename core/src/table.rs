//! The state machine of a connection as tables: the step for each state and input, the step for each state and timer that is
//! due, and the states that each step may lead to.
//!
//! | state | HELLO | NOTIFY | UNSET | DISCONNECT | agent's frame | unknown frame | malformed | eof | stop | shed |
//! |---|---|---|---|---|---|---|---|---|---|---|
//! | `AwaitHello` | `Negotiate` | `Unexpected` | `Unexpected` | `Echo` | `Unexpected` | `Unexpected` | `Fail` | `End` | `Reject` | `Shed` |
//! | `Refusing` | `Ignore` | `Ignore` | `Ignore` | `Ignore` | `Ignore` | `Ignore` | `Ignore` | `End` | `Refuse` | `Refuse` |
//! | `Running` | `Unexpected` | `Deliver` | `Reassemble` | `Echo` | `Unexpected` | `Skip` | `Fail` | `End` | `Drain` | `Shed` |
//! | `Draining` | `Unexpected` | `Decline` | `Reassemble` | `Echo` | `Unexpected` | `Skip` | `Fail` | `End` | `Drain` | `Shed` |
//! | `Closing` | `Ignore` | `Ignore` | `Ignore` | `Ignore` | `Ignore` | `Ignore` | `Ignore` | `End` | `Ignore` | `End` |
//! | `Closed` | `Ignore` | `Ignore` | `Ignore` | `Ignore` | `Ignore` | `Ignore` | `Ignore` | `Ignore` | `Ignore` | `Ignore` |
//!
//! | state | hello | refusal | answer | send | idle | grace | linger |
//! |---|---|---|---|---|---|---|---|
//! | `AwaitHello` | `HelloTimeout` | `Ignore` | `Ignore` | `Ignore` | `Ignore` | `Ignore` | `Ignore` |
//! | `Refusing` | `Ignore` | `Refuse` | `Ignore` | `Ignore` | `Ignore` | `Ignore` | `Ignore` |
//! | `Running` | `Ignore` | `Ignore` | `Expire` | `End` | `CloseIdle` | `Ignore` | `Ignore` |
//! | `Draining` | `Ignore` | `Ignore` | `Expire` | `End` | `Ignore` | `FinishDrain` | `Ignore` |
//! | `Closing` | `Ignore` | `Ignore` | `Ignore` | `End` | `Ignore` | `Ignore` | `End` |
//! | `Closed` | `Ignore` | `Ignore` | `Ignore` | `Ignore` | `Ignore` | `Ignore` | `Ignore` |
//!
//! | step | the next state |
//! |---|---|
//! | `Negotiate` | `Refusing`, `Running`, `Closing` |
//! | `Deliver` | the same, `Draining`, `Closing` |
//! | `Decline` | the same, `Closing` |
//! | `Reassemble` | the same, `Draining`, `Closing` |
//! | `Echo` | `Closing` |
//! | `Unexpected` | `Closing` |
//! | `Skip` | the same |
//! | `Fail` | `Closing` |
//! | `Ignore` | the same |
//! | `HelloTimeout` | `Closing` |
//! | `Refuse` | `Closing` |
//! | `Expire` | the same |
//! | `CloseIdle` | `Closing` |
//! | `Drain` | `Draining` |
//! | `FinishDrain` | `Closing` |
//! | `Reject` | `Closing` |
//! | `Shed` | `Closing`, `Closed` |
//! | `End` | `Closed` |
//!
//! In `Refusing`, `Closing` and `Closed` further input is dropped without being parsed. A drain is finished when its grace
//! period is over, or earlier, once no NOTIFY is in flight.

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
    /// The agent is stopping.
    Stop,
    /// The agent needs the memory of the connection.
    Shed,
}

/// A time limit of the state machine. Timers that are due at the same time run in this order.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Timer {
    /// [`hello_timeout`](crate::Config::hello_timeout): the HELLO has to arrive.
    Hello,
    /// [`refuse_delay`](crate::Config::refuse_delay): the refusal is sent.
    Refusal,
    /// [`ack_timeout`](crate::Config::ack_timeout): the oldest NOTIFY in flight has to be answered.
    Answer,
    /// [`send_timeout`](crate::Config::send_timeout): HAProxy has to read.
    Send,
    /// [`idle_timeout`](crate::Config::idle_timeout): a NOTIFY has to arrive.
    Idle,
    /// The grace period of [`disconnect`](crate::Connection::disconnect): the NOTIFYs in flight have to be answered.
    Grace,
    /// [`linger`](crate::Config::linger): HAProxy has to close its side. While our last frames are unsent, it is the
    /// [`send_timeout`](crate::Config::send_timeout).
    Linger,
}

/// The reaction to an input or timer.
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
    /// Send an empty ACK for each overdue NOTIFY.
    Expire,
    /// Close with code 0: no NOTIFY has arrived within the idle timeout.
    CloseIdle,
    /// Decline new NOTIFYs, answer those in flight, then close.
    Drain,
    /// Close with code 0: the NOTIFYs in flight are answered, or the grace period is over.
    FinishDrain,
    /// Close with code 13 before the HELLO: the agent is stopping.
    Reject,
    /// Close with code 13 and free the memory: the agent is short of it.
    Shed,
    /// Close without sending anything more.
    End,
}

const INPUTS: usize = Input::Shed as usize + 1;
const TIMERS: usize = Timer::Linger as usize + 1;
const STATES: usize = StateName::Closed as usize + 1;

#[rustfmt::skip]
const OF_INPUTS: [[Step; INPUTS]; STATES] = {
    use Step::*;
    [
        //             HELLO       NOTIFY      UNSET       DISCON. agent's     unknown     malf.   eof     stop    shed
        /* AwaitH.  */ [Negotiate,  Unexpected, Unexpected, Echo,   Unexpected, Unexpected, Fail,   End,    Reject, Shed],
        /* Refusing */ [Ignore,     Ignore,     Ignore,     Ignore, Ignore,     Ignore,     Ignore, End,    Refuse, Refuse],
        /* Running  */ [Unexpected, Deliver,    Reassemble, Echo,   Unexpected, Skip,       Fail,   End,    Drain,  Shed],
        /* Draining */ [Unexpected, Decline,    Reassemble, Echo,   Unexpected, Skip,       Fail,   End,    Drain,  Shed],
        /* Closing  */ [Ignore,     Ignore,     Ignore,     Ignore, Ignore,     Ignore,     Ignore, End,    Ignore, End],
        /* Closed   */ [Ignore,     Ignore,     Ignore,     Ignore, Ignore,     Ignore,     Ignore, Ignore, Ignore, Ignore],
    ]
};

#[rustfmt::skip]
const OF_TIMERS: [[Step; TIMERS]; STATES] = {
    use Step::*;
    [
        //             hello         refusal answer  send    idle       grace        linger
        /* AwaitH.  */ [HelloTimeout, Ignore, Ignore, Ignore, Ignore,    Ignore,      Ignore],
        /* Refusing */ [Ignore,       Refuse, Ignore, Ignore, Ignore,    Ignore,      Ignore],
        /* Running  */ [Ignore,       Ignore, Expire, End,    CloseIdle, Ignore,      Ignore],
        /* Draining */ [Ignore,       Ignore, Expire, End,    Ignore,    FinishDrain, Ignore],
        /* Closing  */ [Ignore,       Ignore, Ignore, End,    Ignore,    Ignore,      End],
        /* Closed   */ [Ignore,       Ignore, Ignore, Ignore, Ignore,    Ignore,      Ignore],
    ]
};

// A connection that is closed stays so, the end of the socket closes every other one, and no state waits for ever but `Running`.
const _: () = {
    let mut input = 0;
    while input < INPUTS {
        assert!(matches!(OF_INPUTS[StateName::Closed as usize][input], Step::Ignore), "nothing happens after the end");
        input += 1;
    }
    let mut state = 0;
    while state < StateName::Closed as usize {
        assert!(matches!(OF_INPUTS[state][Input::Eof as usize], Step::End), "no state outlives its socket");
        state += 1;
    }
};

/// A set of states.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct States(u8);

impl States {
    const fn of(names: &[StateName]) -> Self {
        let (mut bits, mut at) = (0, 0);
        while at < names.len() {
            bits |= 1 << names[at] as u8;
            at += 1;
        }
        Self(bits)
    }

    /// True if the state is in the set.
    pub const fn contains(self, name: StateName) -> bool {
        self.0 & 1 << name as u8 != 0
    }
}

impl Step {
    /// Every step.
    pub const ALL: [Self; STEPS] = [
        Self::Negotiate,
        Self::Deliver,
        Self::Decline,
        Self::Reassemble,
        Self::Echo,
        Self::Unexpected,
        Self::Skip,
        Self::Fail,
        Self::Ignore,
        Self::HelloTimeout,
        Self::Refuse,
        Self::Expire,
        Self::CloseIdle,
        Self::Drain,
        Self::FinishDrain,
        Self::Reject,
        Self::Shed,
        Self::End,
    ];

    /// Returns the states that it may lead to if it is taken in `state`.
    pub const fn next(self, state: StateName) -> States {
        use StateName::{Closed, Closing, Draining, Refusing, Running};
        match self {
            Self::Skip | Self::Ignore | Self::Expire => States::of(&[state]),
            Self::Negotiate => States::of(&[Refusing, Running, Closing]),
            Self::Deliver | Self::Reassemble => States::of(&[state, Draining, Closing]),
            Self::Decline => States::of(&[state, Closing]),
            Self::Drain => States::of(&[Draining]),
            Self::Shed => States::of(&[Closing, Closed]),
            Self::End => States::of(&[Closed]),
            Self::Echo
            | Self::Unexpected
            | Self::Fail
            | Self::HelloTimeout
            | Self::Refuse
            | Self::CloseIdle
            | Self::FinishDrain
            | Self::Reject => States::of(&[Closing]),
        }
    }
}

const STEPS: usize = Step::End as usize + 1;

/// Returns the step that `state` takes for `input`.
#[inline]
pub const fn step(state: StateName, input: Input) -> Step {
    OF_INPUTS[state as usize][input as usize]
}

/// Returns the step that `state` takes when `timer` is due.
#[inline]
pub const fn timer_step(state: StateName, timer: Timer) -> Step {
    OF_TIMERS[state as usize][timer as usize]
}

impl Timer {
    /// Every timer, in the order of the table's columns.
    pub const ALL: [Self; TIMERS] =
        [Self::Hello, Self::Refusal, Self::Answer, Self::Send, Self::Idle, Self::Grace, Self::Linger];
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
    use alloc::vec::Vec;

    #[test]
    fn the_documented_tables_are_those_in_the_code() {
        let row = |state, cells: String| format!("| `{state:?}` |{cells}");
        let of_inputs = StateName::ALL.map(|state| {
            row(state, Input::ALL.iter().map(|&input| format!(" `{:?}` |", step(state, input))).collect())
        });
        let of_timers = StateName::ALL.map(|state| {
            row(state, Timer::ALL.iter().map(|&timer| format!(" `{:?}` |", timer_step(state, timer))).collect())
        });
        let next = Step::ALL.map(|step| {
            // No step leads to this state but one that may stay in it.
            let may_stay = step.next(StateName::AwaitHello).contains(StateName::AwaitHello);
            let same = may_stay.then(|| "the same".into());
            let others = StateName::ALL.into_iter().skip(1);
            let others = others.filter(|name| step.next(StateName::AwaitHello).contains(*name));
            let names: Vec<String> = same.into_iter().chain(others.map(|name| format!("`{name:?}`"))).collect();
            format!("| `{step:?}` | {} |", names.join(", "))
        });
        let source = include_str!("table.rs");
        for row in of_inputs.iter().chain(&of_timers).chain(&next) {
            let documented = format!("//! {row}");
            assert!(source.lines().any(|line| line == documented), "expected this row in table.rs:\n{documented}");
        }
    }

    /// Each cell leads somewhere, nothing leads out of `Closed`, and nothing but `AwaitHello` leads back to it.
    #[test]
    fn every_cell_has_a_next_state() {
        for state in StateName::ALL {
            let of_inputs = Input::ALL.map(|input| step(state, input));
            let of_timers = Timer::ALL.map(|timer| timer_step(state, timer));
            for step in of_inputs.into_iter().chain(of_timers) {
                let next = step.next(state);
                assert!(StateName::ALL.iter().any(|name| next.contains(*name)), "{step:?} in {state:?}");
                assert!(
                    !next.contains(StateName::AwaitHello) || state == StateName::AwaitHello,
                    "{step:?} in {state:?}"
                );
                assert!(state != StateName::Closed || next == States::of(&[StateName::Closed]), "{step:?}");
            }
        }
    }
}
