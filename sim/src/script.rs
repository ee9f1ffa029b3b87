//! Scripts. A script contains every step of a run and nothing random, so it keeps its meaning.

#[macro_use]
mod agent;

use std::borrow::Cow;

use spoa_sim_haproxy::Settings;

use crate::plan::Plan;

pub use agent::AgentSetup;

/// Nanoseconds since the start of a run.
pub type Nanos = u64;

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

/// One millisecond.
pub const MS: Nanos = 1_000_000;

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

/// A step. Every step is total: on a connection that is not open it does nothing, so that any line of a script can be
/// removed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Step {
    /// HAProxy connects.
    Connect(Link),
    /// HAProxy sends a frame.
    Send(Link, FrameSpec),
    /// HAProxy sends bytes.
    Raw(Link, Vec<u8>),
    /// Sets the pieces in which later bytes of HAProxy arrive.
    Cut(Link, Cuts),
    /// Holds back what HAProxy sends until it is released.
    Hold(Link),
    /// Delivers what was held back.
    Release(Link),
    /// Sets the number of bytes that the socket still accepts from the agent; `None` for any number.
    Room(Link, Option<u32>),
    /// Sets the number of bytes that the socket accepts from the agent at once; `None` for any number.
    Take(Link, Option<u32>),
    /// HAProxy closes the connection. Bytes in transit arrive before that.
    Fin(Link),
    /// HAProxy resets the connection. Bytes that the agent has not read are lost.
    Reset(Link),
    /// The agent sheds the connection: it closes it to free its memory. On an endpoint the limits choose which one is shed, and
    /// this step does nothing.
    Shed(Link),
    /// The agent loses the connection to a fault of its own, whatever its state.
    Lose(Link),
    /// A HAProxy process starts.
    Start(Haproxy, Box<Settings>),
    /// A client's transaction reaches an event of this process.
    Ask(Haproxy, EventSpec),
    /// The process starts a health check.
    Check(Haproxy),
    /// The process starts a soft-stop, as the old process does at a reload.
    SoftStop(Haproxy),
    /// An agent refuses health checks, and serves everything else.
    LameDuck(AgentId),
    /// An agent drains all its connections within this grace period, then ends.
    Drain(AgentId, Nanos),
    /// An agent ends at once.
    Kill(AgentId),
    /// An agent does nothing until it is resumed, but the kernel accepts connections for it.
    Hang(AgentId),
    /// An agent goes on.
    Resume(AgentId),
    /// An agent that has ended starts again.
    Launch(AgentId),
    /// Time passes.
    Wait(Nanos),
    /// All agents drain all their connections. Bare connections drain each for itself, and later ones are served.
    Stop {
        /// The grace period: the longest time to wait for the answers to NOTIFYs in flight.
        grace: Nanos,
    },
}

impl Step {
    /// Returns the link that the step concerns.
    pub const fn link(&self) -> Option<Link> {
        match self {
            Self::Connect(link)
            | Self::Send(link, _)
            | Self::Raw(link, _)
            | Self::Cut(link, _)
            | Self::Hold(link)
            | Self::Release(link)
            | Self::Room(link, _)
            | Self::Take(link, _)
            | Self::Fin(link)
            | Self::Reset(link)
            | Self::Shed(link)
            | Self::Lose(link) => Some(*link),
            Self::Start(..)
            | Self::Ask(..)
            | Self::Check(_)
            | Self::SoftStop(_)
            | Self::LameDuck(_)
            | Self::Drain(..)
            | Self::Kill(_)
            | Self::Hang(_)
            | Self::Resume(_)
            | Self::Launch(_)
            | Self::Wait(_)
            | Self::Stop { .. } => None,
        }
    }

    /// Returns the agent that the step concerns alone.
    pub const fn agent(&self) -> Option<AgentId> {
        match self {
            Self::LameDuck(agent)
            | Self::Drain(agent, _)
            | Self::Kill(agent)
            | Self::Hang(agent)
            | Self::Resume(agent)
            | Self::Launch(agent) => Some(*agent),
            _ => None,
        }
    }

    /// Returns the process that the step concerns, or the process of its link.
    pub const fn haproxy(&self) -> Option<Haproxy> {
        match self {
            Self::Start(haproxy, _) | Self::Ask(haproxy, _) | Self::Check(haproxy) | Self::SoftStop(haproxy) => {
                Some(*haproxy)
            }
            _ => match self.link() {
                Some(Link::Of(haproxy, _) | Link::All(haproxy)) => Some(haproxy),
                _ => None,
            },
        }
    }

    /// Renames the link of the step with `link` if it is scripted, or its process with `process`.
    pub fn rename(&mut self, link: impl Fn(u8) -> u8, process: impl Fn(u8) -> u8) {
        match self {
            Self::Connect(at)
            | Self::Send(at, _)
            | Self::Raw(at, _)
            | Self::Cut(at, _)
            | Self::Hold(at)
            | Self::Release(at)
            | Self::Room(at, _)
            | Self::Take(at, _)
            | Self::Fin(at)
            | Self::Reset(at)
            | Self::Shed(at)
            | Self::Lose(at) => match at {
                Link::Scripted(number) => *number = link(*number),
                Link::Of(haproxy, _) | Link::All(haproxy) => haproxy.0 = process(haproxy.0),
                Link::Agent(_) => {}
            },
            Self::Start(haproxy, _) | Self::Ask(haproxy, _) | Self::Check(haproxy) | Self::SoftStop(haproxy) => {
                haproxy.0 = process(haproxy.0);
            }
            _ => {}
        }
    }
}

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

/// A fault in the bytes of a frame.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Damage {
    /// No fault.
    #[default]
    None,
    /// The length is this number, whatever the size of the frame.
    Length(u32),
    /// This number of bytes is removed from the end. The length fits the shorter frame.
    Trim(u32),
    /// This number of zero bytes is appended to the payload. The length fits the longer frame.
    Pad(u32),
    /// This bit of the payload is inverted.
    Flip(u32),
}

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
