//! The script of a run, step by step. Nothing in it is drawn at random, so a script means the same for ever.

use std::borrow::Cow;

use spoa_sim_haproxy::Settings;

use crate::plan::Plan;

/// Nanoseconds since the start of a run.
pub type Nanos = u64;

/// Names and texts of frames. The generator's are all known beforehand: to copy each would take longer than to draw it.
pub type Bytes = Cow<'static, [u8]>;

/// One whole run.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Script {
    /// A description for people.
    pub story: Vec<String>,
    /// The agent's limits.
    pub agent: AgentSetup,
    /// The steps, in order.
    pub steps: Vec<Step>,
}

/// The limits of the agent, which all connections of a run share.
#[derive(Clone, Debug, PartialEq, Eq)]
#[expect(missing_docs, reason = "each is the field of that name in `spoa_core::Config`; times in nanoseconds")]
pub struct AgentSetup {
    pub max_frame_size: u32,
    pub pipelining: bool,
    pub fragmentation: bool,
    pub asynchronous: bool,
    pub in_flight_max: u32,
    pub deferred_max: u32,
    pub unsent_max: u32,
    pub reassembly_max: u32,
    pub notify_max: u32,
    /// The number of connections that are served at once; further ones are refused.
    pub connections_max: u32,
    /// The number of NOTIFYs in flight on all connections.
    pub total_in_flight_max: u32,
    pub hello_timeout: Nanos,
    /// 0 for none.
    pub idle_timeout: Nanos,
    pub ack_timeout: Nanos,
    pub refuse_delay: Nanos,
    /// Not 0 if health checks are refused.
    pub refuse_healthchecks: u32,
    pub linger: Nanos,
    pub send_timeout: Nanos,
}

/// One millisecond.
pub const MS: Nanos = 1_000_000;

impl Default for AgentSetup {
    fn default() -> Self {
        Self {
            max_frame_size: 16_384,
            pipelining: true,
            fragmentation: true,
            asynchronous: false,
            in_flight_max: 64,
            deferred_max: 1 << 20,
            unsent_max: 64 << 10,
            reassembly_max: 1 << 20,
            notify_max: 0,
            connections_max: 65_536,
            total_in_flight_max: 65_536,
            hello_timeout: 5_000 * MS,
            idle_timeout: 0,
            ack_timeout: 10_000 * MS,
            refuse_delay: 1_000 * MS,
            refuse_healthchecks: 0,
            linger: 1_000 * MS,
            send_timeout: 30_000 * MS,
        }
    }
}

/// A socket between HAProxy and the agent, or all those of one process.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Link {
    /// `c1`: the script itself says what HAProxy sends on it.
    Scripted(u8),
    /// `h1.0`: the first connection that this process opened.
    Of(Haproxy, u32),
    /// `h1`: all connections of this process, those it has and those it will open.
    All(Haproxy),
}

/// An HAProxy process, played by a model of its engine.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Haproxy(pub u8);

/// One step. Every step is total: on a link that is not open it does nothing, so that any line of a script can go.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Step {
    /// HAProxy connects.
    Connect(Link),
    /// HAProxy sends a frame.
    Send(Link, FrameSpec),
    /// HAProxy sends bytes.
    Raw(Link, Vec<u8>),
    /// How what HAProxy sends reaches the agent from now on.
    Cut(Link, Cuts),
    /// Holds back what HAProxy sends until it is released.
    Hold(Link),
    /// Delivers what was held back.
    Release(Link),
    /// Sets the number of bytes that the socket still takes from the agent; `None` for any number.
    Room(Link, Option<u32>),
    /// Sets the number of bytes that the socket takes from the agent at once; `None` for any number.
    Take(Link, Option<u32>),
    /// HAProxy ends its side; what is under way arrives before that.
    Fin(Link),
    /// HAProxy resets the connection; what is under way is lost.
    Reset(Link),
    /// The agent has no memory left for the connection.
    Shed(Link),
    /// An HAProxy process starts.
    Start(Haproxy, Box<Settings>),
    /// A client's transaction reaches an event of this process.
    Ask(Haproxy, EventSpec),
    /// The process checks the agent's health.
    Check(Haproxy),
    /// The process is to go, as the old one at a reload.
    SoftStop(Haproxy),
    /// Time passes.
    Wait(Nanos),
    /// The agent is told to stop: all its connections, while it takes new ones.
    Stop {
        /// For how long it may answer what is in flight.
        grace: Nanos,
    },
}

impl Step {
    /// The link it is about.
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
            | Self::Shed(link) => Some(*link),
            Self::Start(..)
            | Self::Ask(..)
            | Self::Check(_)
            | Self::SoftStop(_)
            | Self::Wait(_)
            | Self::Stop { .. } => None,
        }
    }

    /// The process it is about, or whose connection.
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

    /// Gives what it is about another name: a link of the script's own, or a process and its connections.
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
            | Self::Shed(at) => match at {
                Link::Scripted(number) => *number = link(*number),
                Link::Of(haproxy, _) | Link::All(haproxy) => haproxy.0 = process(haproxy.0),
            },
            Self::Start(haproxy, _) | Self::Ask(haproxy, _) | Self::Check(haproxy) | Self::SoftStop(haproxy) => {
                haproxy.0 = process(haproxy.0);
            }
            Self::Wait(_) | Self::Stop { .. } => {}
        }
    }
}

/// An event of a client's transaction, about which HAProxy asks the agent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EventSpec {
    /// The thread that handles it, from 0.
    pub thread: u32,
    /// HAProxy's number of the client's stream; `None` for one that had no event yet.
    pub stream: Option<u32>,
    /// The status that it sends to the agent.
    pub messages: Vec<MessageSpec>,
}

/// The sizes of the pieces in which each delivery arrives, from its start; what is left comes whole.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Cuts {
    /// Sizes of the first pieces, each at least 1.
    pub sizes: Vec<u32>,
    /// True if the last size goes on, for 64 pieces at most.
    pub repeat: bool,
}

/// A frame as a line tells it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FrameSpec {
    /// Its type and payload.
    pub kind: FrameKind,
    /// Its flags, 1 for FIN.
    pub flags: u32,
    /// Its stream-id.
    pub stream_id: u64,
    /// Its frame-id.
    pub frame_id: u64,
    /// The part of its payload that is sent, for fragments; `None` for all.
    pub slice: Option<(u32, u32)>,
    /// The fault in it.
    pub damage: Damage,
}

/// The type of a frame and what it carries.
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
    /// Any type, with any payload.
    Other(u8, Vec<u8>),
}

/// A message of a NOTIFY.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MessageSpec {
    /// Its name.
    pub name: Bytes,
    /// Its arguments: names, empty for none, and values.
    pub args: Vec<(Bytes, Value)>,
}

/// A fault in the bytes of a frame.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Damage {
    /// Nothing.
    #[default]
    None,
    /// Its length says this, whatever follows.
    Length(u32),
    /// So many of its last bytes are missing, and its length knows.
    Trim(u32),
    /// So many zero bytes follow its payload, and its length knows.
    Pad(u32),
    /// One bit of the payload is turned over.
    Flip(u32),
}

/// A value with its type.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Value {
    /// NULL.
    Null,
    /// BOOL.
    Bool(bool),
    /// INT32, perhaps out of its range.
    Int32(i64),
    /// UINT32, perhaps out of its range.
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
    /// A STRING of so many bytes.
    LongText(u32),
    /// BINARY.
    Binary(Vec<u8>),
    /// A value of any type byte: its bytes.
    Bytes(Bytes),
    /// How the handler is to answer: an INT64 on the wire.
    Plan(Plan),
}
