//! The steps of scripts, one per row.

use spoa_sim_haproxy::Settings;

use super::{AgentId, Cuts, EventSpec, FrameSpec, Haproxy, Link, Nanos};

/// Calls the macro `$visit` with the steps, one per row:
///
/// ```text
/// /// Documentation.
/// Variant = "word" target [form: Type] [effects];
/// ```
///
/// - The word is the first one of the line. A second one follows the target.
/// - The target is the first field of the variant: `scripted` (`c1`), `link` (`c1`, `h1.0` or `h1`), `process` or `agent`.
///   The rows of `untargeted` have none.
/// - The form is in `text/forms.rs`. It reads, writes and simplifies the second field.
/// - The effects are fields of [`Effects`].
///
/// These are generated from the rows: [`Step`], its target and effects; its text, its parser and its simplification.
macro_rules! each_step {
    ($visit:ident) => {
        $visit! {
            targeted {
                /// HAProxy connects.
                Connect = "connect" scripted [] [];
                /// HAProxy sends bytes.
                Raw = "send" "raw" scripted [hex: Vec<u8>] [];
                /// HAProxy sends a frame.
                Send = "send" scripted [frame: FrameSpec] [];
                /// Sets the pieces in which later bytes of HAProxy arrive.
                Cut = "cut" link [sizes: Cuts] [lasting];
                /// Holds back what HAProxy sends until it is released.
                Hold = "hold" link [] [lasting loses_events];
                /// Delivers what was held back.
                Release = "release" link [] [lasting];
                /// Sets the number of bytes that the socket still accepts from the agent; `None` for any number.
                Room = "room" link [room: Option<u32>] [lasting loses_events cuts_short];
                /// Sets the number of bytes that the socket accepts from the agent at once; `None` for any number.
                Take = "take" link [take: Option<u32>] [lasting];
                /// HAProxy closes the connection. Bytes in transit arrive before that.
                Fin = "fin" scripted [] [];
                /// HAProxy resets the connection. Bytes that the agent has not read are lost.
                Reset = "reset" link [] [loses_events cuts_short];
                /// The agent sheds the connection: it closes it to free its memory. On an endpoint the limits choose which one
                /// is shed, and this step does nothing.
                Shed = "shed" link [] [];
                /// The agent loses the connection to a fault of its own, whatever its state.
                Lose = "lose" link [] [loses_events cuts_short];
                /// A HAProxy process starts.
                Start = "haproxy" process [settings: Box<Settings>] [];
                /// A client's transaction reaches an event of this process.
                Ask = "ask" process [event: EventSpec] [];
                /// The process starts a health check.
                Check = "check" process [] [];
                /// The process starts a soft-stop, as the old process does at a reload.
                SoftStop = "soft-stop" process [] [];
                /// An agent refuses health checks, and serves everything else.
                LameDuck = "lame-duck" agent [] [];
                /// An agent drains all its connections within this grace period, then ends.
                Drain = "drain" agent [grace: Nanos] [];
                /// An agent ends at once.
                Kill = "kill" agent [] [];
                /// An agent does nothing until it is resumed, but the kernel accepts connections for it.
                Hang = "hang" agent [] [];
                /// An agent that hangs is resumed.
                Resume = "resume" agent [] [];
                /// An agent that has ended starts again.
                Launch = "launch" agent [] [];
            }
            untargeted {
                /// Time passes.
                Wait = "wait" [time: Nanos];
                /// All agents drain all their connections within this grace period, the longest time to wait for the answers to
                /// NOTIFYs in flight. Each bare connection drains by itself, and connections that are opened later are served.
                Stop = "stop" [grace: Nanos];
            }
        }
    };
}

/// The type of a target.
macro_rules! target {
    (scripted) => {
        Link
    };
    (link) => {
        Link
    };
    (process) => {
        Haproxy
    };
    (agent) => {
        AgentId
    };
}

macro_rules! step {
    (targeted {
        $($(#[doc = $doc:literal])* $variant:ident = $word:literal $($second:literal)? $target:ident
          [$($form:ident: $type:ty)?] [$($effect:ident)*];)*
    } untargeted {
        $($(#[doc = $free_doc:literal])* $free:ident = $free_word:literal [$free_form:ident: $free_type:ty];)*
    }) => {
        /// A step. Every step is total: on a connection that is not open it does nothing, so that any line of a script can be
        /// removed.
        #[derive(Clone, Debug, PartialEq, Eq)]
        pub enum Step {
            $($(#[doc = $doc])* $variant(target!($target) $(, $type)?),)*
            $($(#[doc = $free_doc])* $free($free_type),)*
        }

        impl Step {
            /// The words that name each step: the first of its line, and for some the one after the target.
            pub const NAMES: &[&str] = &[$(concat!($word $(, " ", $second)?),)* $($free_word,)*];

            /// Returns the words that name the step.
            pub const fn name(&self) -> &'static str {
                match self {
                    $(Self::$variant(..) => concat!($word $(, " ", $second)?),)*
                    $(Self::$free(_) => $free_word,)*
                }
            }

            /// Returns the target of the step.
            #[inline]
            pub const fn target(&self) -> Target {
                match self {
                    $(Self::$variant(target, ..) => target.as_target(),)*
                    $(Self::$free(_) => Target::None,)*
                }
            }

            /// Returns the effects of the step on the connections of a process.
            pub const fn effects(&self) -> Effects {
                let mut effects = Effects { lasting: false, loses_events: false, cuts_short: false };
                match self {
                    $(Self::$variant(..) => {
                        $(effects.$effect = true;)*
                    })*
                    $(Self::$free(_) => {})*
                }
                effects
            }

            /// Renames the link of the step with `link` if it is scripted, or its process with `process`.
            pub fn rename(&mut self, link: impl Fn(u8) -> u8, process: impl Fn(u8) -> u8) {
                match self {
                    $(Self::$variant(target, ..) => target.rename(link, process),)*
                    $(Self::$free(_) => {})*
                }
            }
        }
    };
}
each_step!(step);

/// The connection, process or agent that a step concerns.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Target {
    /// A connection, or all connections of a process.
    Link(Link),
    /// A HAProxy process.
    Process(Haproxy),
    /// An agent.
    Agent(AgentId),
    /// None: the step concerns everything.
    None,
}

/// The effects of a step on the connections of a process.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Effects {
    /// A step for all connections of a process applies to later ones too.
    pub lasting: bool,
    /// An event may be lost.
    pub loses_events: bool,
    /// A connection may end inside a frame.
    pub cuts_short: bool,
}

impl Step {
    /// Returns the link that the step concerns.
    pub const fn link(&self) -> Option<Link> {
        if let Target::Link(link) = self.target() { Some(link) } else { None }
    }

    /// Returns the agent that the step concerns alone.
    pub const fn agent(&self) -> Option<AgentId> {
        if let Target::Agent(agent) = self.target() { Some(agent) } else { None }
    }

    /// Returns the process that the step concerns, or the process of its link.
    pub const fn haproxy(&self) -> Option<Haproxy> {
        match self.target() {
            Target::Process(haproxy) | Target::Link(Link::Of(haproxy, _) | Link::All(haproxy)) => Some(haproxy),
            _ => None,
        }
    }
}

impl Link {
    const fn as_target(self) -> Target {
        Target::Link(self)
    }

    fn rename(&mut self, link: impl Fn(u8) -> u8, process: impl Fn(u8) -> u8) {
        match self {
            Self::Scripted(number) => *number = link(*number),
            Self::Of(haproxy, _) | Self::All(haproxy) => haproxy.0 = process(haproxy.0),
            Self::Agent(_) => {}
        }
    }
}

impl Haproxy {
    const fn as_target(self) -> Target {
        Target::Process(self)
    }

    fn rename(&mut self, _: impl Fn(u8) -> u8, process: impl Fn(u8) -> u8) {
        self.0 = process(self.0);
    }
}

impl AgentId {
    const fn as_target(self) -> Target {
        Target::Agent(self)
    }

    /// Agents keep their numbers, because their number is a limit of the script.
    fn rename(&self, _: impl Fn(u8) -> u8, _: impl Fn(u8) -> u8) {}
}
