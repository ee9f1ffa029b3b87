//! Scripts. A script contains every step of a run and nothing random, so it keeps its meaning.

#[macro_use]
mod agent;
#[macro_use]
mod settings;
#[macro_use]
mod steps;

use std::borrow::Cow;
use std::collections::BTreeSet;

use crate::plan::Plan;

pub use crate::time::{MS, Nanos};
pub use agent::AgentSetup;
pub use steps::{Effects, Step, Target};

/// Names and texts of frames. Most of them are constants of the generator, which are not copied.
pub type Bytes = Cow<'static, [u8]>;

/// A script: everything that happens in a run.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Script {
    /// The lines with `#`: a description for people.
    pub story: Vec<String>,
    /// The limits of the agent.
    pub agent: AgentSetup,
    /// The steps, in order.
    pub steps: Vec<Step>,
}

impl Script {
    /// Returns the steps that never do anything, because their connection was not opened or their process not started before: the
    /// number of each, from 1, and the reason.
    pub fn idle_steps(&self) -> Vec<(usize, String)> {
        let (mut links, mut processes) = (BTreeSet::new(), BTreeSet::new());
        let mut idle = Vec::new();
        for (number, step) in (1..).zip(&self.steps) {
            match (step, step.link(), step.haproxy()) {
                (Step::Connect(link), ..) => drop(links.insert(*link)),
                (Step::Start(name, _), ..) => drop(processes.insert(*name)),
                (_, Some(link @ Link::Scripted(_)), _) if !links.contains(&link) => {
                    idle.push((number, format!("{link} is not connected before")));
                }
                (_, _, Some(name)) if !processes.contains(&name) => {
                    idle.push((number, format!("{} is not started before", Link::All(name))));
                }
                _ => {}
            }
        }
        idle
    }
}

/// A connection between HAProxy and the agent, or all connections of a process.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Link {
    /// `c1`: a connection on which the script itself says what HAProxy sends.
    Scripted(u8),
    /// `h1.0`: the first connection that this process opens.
    Of(Haproxy, u32),
    /// `h1`: all connections of this process, including later ones.
    All(Haproxy),
    /// `a1`: an agent, which traces name where no connection is concerned.
    Agent(AgentId),
}

/// An agent, from 1. HAProxy's servers are the agents in this order.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct AgentId(pub u8);

/// A HAProxy process that a model plays.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Haproxy(pub u8);

/// An event of a client's transaction, for which HAProxy sends a NOTIFY.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EventSpec {
    /// The number of the thread that handles the event, from 0.
    pub thread: u32,
    /// The number of the client's stream; `None` for a new stream.
    pub stream: Option<u32>,
    /// The messages of the NOTIFY.
    pub messages: Vec<MessageSpec>,
}

/// The sizes of the pieces in which each delivery arrives. The bytes after these pieces arrive together.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Cuts {
    /// The sizes of the first pieces, each at least 1.
    pub sizes: Vec<u32>,
    /// True if the last size is repeated, up to 64 pieces.
    pub repeat: bool,
}

/// A frame in a script.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FrameSpec {
    /// The type and the payload.
    pub kind: FrameKind,
    /// The flags; 1 is FIN.
    pub flags: u32,
    /// The stream-id.
    pub stream_id: u64,
    /// The frame-id.
    pub frame_id: u64,
    /// The range of the payload that is sent, for fragments; `None` for the whole payload.
    pub slice: Option<(u32, u32)>,
    /// The fault of the frame.
    pub damage: Damage,
}

/// The type and payload of a frame.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum FrameKind {
    /// HAPROXY-HELLO: keys and values.
    Hello(Vec<(Bytes, Value)>),
    /// NOTIFY.
    Notify(Vec<MessageSpec>),
    /// A further fragment of a NOTIFY.
    Unset(Vec<MessageSpec>),
    /// HAPROXY-DISCONNECT: keys and values.
    Disconnect(Vec<(Bytes, Value)>),
    /// A frame of any type with any payload.
    Other(u8, Vec<u8>),
}

/// A message of a NOTIFY.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MessageSpec {
    /// The name.
    pub name: Bytes,
    /// The arguments: names and values. The name of an unnamed argument is empty.
    pub args: Vec<(Bytes, Value)>,
}

/// Calls the macro `$visit` with the faults in the bytes of a frame, one per row: `Variant = "word";` after its documentation.
macro_rules! each_damage {
    ($visit:ident) => {
        $visit! {
            /// The length is this number, whatever the size of the frame.
            Length = "length";
            /// This number of bytes is removed from the end. The length fits the shorter frame.
            Trim = "trim";
            /// This number of zero bytes is appended to the payload. The length fits the longer frame.
            Pad = "pad";
            /// This bit of the payload is inverted.
            Flip = "flip";
        }
    };
}

macro_rules! damage {
    ($(#[doc = $doc:literal] $variant:ident = $word:literal;)*) => {
        /// A fault in the bytes of a frame.
        #[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
        pub enum Damage {
            /// No fault.
            #[default]
            None,
            $(#[doc = $doc] $variant(u32),)*
        }
    };
}
each_damage!(damage);

/// A value with its type.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Value {
    /// NULL.
    Null,
    /// BOOL.
    Bool(bool),
    /// INT32, also with values outside its range.
    Int32(i64),
    /// UINT32, also with values outside its range.
    Uint32(u64),
    /// INT64.
    Int64(i64),
    /// UINT64.
    Uint64(u64),
    /// IPV4.
    Ipv4([u8; 4]),
    /// IPV6.
    Ipv6([u8; 16]),
    /// STRING.
    Text(Bytes),
    /// A STRING of this length in bytes.
    LongText(u32),
    /// BINARY.
    Binary(Vec<u8>),
    /// A value as bytes, with its type byte.
    Bytes(Bytes),
    /// The plan of the handler, encoded as INT64.
    Plan(Plan),
}
