//! Writes scripts as text.

use std::fmt::{self, Display, Formatter};
use std::net::{Ipv4Addr, Ipv6Addr};

use spoa_sim_checker::Limits;

use super::{MAGIC, VERSION};
use crate::plan::Plan;
use crate::script::{
    AgentId, AgentSetup, Cuts, Damage, EventSpec, FrameKind, FrameSpec, Haproxy, Link, MessageSpec, Nanos, Script,
    Value,
};

impl Display for Script {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        writeln!(f, "{MAGIC} {VERSION}")?;
        for line in &self.story {
            writeln!(f, "# {line}")?;
        }
        if self.agent != AgentSetup::default() {
            writeln!(f, "agent{}", self.agent)?;
        }
        self.steps.iter().try_for_each(|step| writeln!(f, "{step}"))
    }
}

/// Writes the limits that differ from the defaults, each after a space.
impl Display for AgentSetup {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let defaults = Self::default();
        let offer = |limits: &Limits| {
            [(limits.pipelining, "pipelining"), (limits.fragmentation, "fragmentation"), (limits.asynchronous, "async")]
        };
        let offered = offer(&self.connection);
        if offered != offer(&defaults.connection) {
            let names: Vec<_> = offered.iter().filter(|(on, _)| *on).map(|(_, name)| *name).collect();
            write!(f, " capabilities={}", if names.is_empty() { "none".into() } else { names.join(",") })?;
        }
        macro_rules! of_unit {
            (s) => {
                Time
            };
            ($number_or_flag:ident) => {
                u32::from
            };
        }
        macro_rules! show {
            ($(($($field:tt)*) $name:ident $unit:ident;)*) => {
                $(if self.$($field)* != defaults.$($field)* {
                    write!(f, " {}={}", Dashed(stringify!($name)), of_unit!($unit)(self.$($field)*))?;
                })*
            };
        }
        each_limit!(show);
        Ok(())
    }
}

/// Displays the name of a field with `-` for `_`.
struct Dashed(&'static str);

impl Display for Dashed {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        self.0.split('_').enumerate().try_for_each(|(n, word)| {
            if n > 0 {
                f.write_str("-")?;
            }
            f.write_str(word)
        })
    }
}

impl Display for Link {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        match self {
            Self::Scripted(number) => write!(f, "c{number}"),
            Self::Of(haproxy, number) => write!(f, "{haproxy}.{number}"),
            Self::All(haproxy) => write!(f, "{haproxy}"),
            Self::Agent(agent) => write!(f, "{agent}"),
        }
    }
}

impl Display for AgentId {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        write!(f, "a{}", self.0)
    }
}

impl Display for Haproxy {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        write!(f, "h{}", self.0)
    }
}

impl Display for EventSpec {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let thread = (self.thread > 0).then(|| format!("thread={}", self.thread));
        let stream = self.stream.map(|stream| format!("stream={stream}"));
        let messages = self.messages.iter().map(ToString::to_string);
        let parts: Vec<_> = thread.into_iter().chain(stream).chain(messages).collect();
        f.write_str(&parts.join(" "))
    }
}

impl Display for Cuts {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        for size in &self.sizes {
            write!(f, "{size},")?;
        }
        f.write_str(if self.repeat { "..." } else { "*" })
    }
}

impl Display for FrameSpec {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        match &self.kind {
            FrameKind::Hello(_) => f.write_str("hello")?,
            FrameKind::Notify(_) => f.write_str("notify")?,
            FrameKind::Unset(_) => f.write_str("unset")?,
            FrameKind::Disconnect(_) => f.write_str("disconnect")?,
            FrameKind::Other(kind, _) => write!(f, "type {kind}")?,
        }
        if (self.stream_id, self.frame_id) != (0, 0) {
            write!(f, " sid={} fid={}", self.stream_id, self.frame_id)?;
        }
        if self.flags != 1 {
            write!(f, " flags={:#x}", self.flags)?;
        }
        if let Some((start, end)) = self.slice {
            write!(f, " slice={start}..{end}")?;
        }
        macro_rules! show {
            ($(#[$doc:meta] $variant:ident = $word:literal;)*) => {
                match self.damage {
                    Damage::None => {}
                    $(Damage::$variant(number) => write!(f, concat!(" ", $word, "={}"), number)?,)*
                }
            };
        }
        each_damage!(show);
        match &self.kind {
            FrameKind::Hello(items) | FrameKind::Disconnect(items) => {
                items.iter().try_for_each(|(key, value)| write!(f, " {}={value}", Name(key)))
            }
            FrameKind::Notify(messages) | FrameKind::Unset(messages) => {
                messages.iter().try_for_each(|message| write!(f, " {message}"))
            }
            FrameKind::Other(_, payload) if payload.is_empty() => Ok(()),
            FrameKind::Other(_, payload) => write!(f, " {}", Hex(payload)),
        }
    }
}

impl Display for MessageSpec {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        write!(f, "{}(", Name(&self.name))?;
        for (n, (name, value)) in self.args.iter().enumerate() {
            let comma = if n > 0 { ", " } else { "" };
            // An unnamed argument has only the equals sign.
            if name.is_empty() {
                write!(f, "{comma}={value}")?;
            } else {
                write!(f, "{comma}{}={value}", Name(name))?;
            }
        }
        f.write_str(")")
    }
}

impl Display for Value {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        match self {
            Self::Null => f.write_str("null"),
            Self::Bool(value) => write!(f, "{value}"),
            Self::Int32(value) => write!(f, "i32:{value}"),
            Self::Uint32(value) => write!(f, "u32:{value}"),
            Self::Int64(value) => write!(f, "i64:{value}"),
            Self::Uint64(value) => write!(f, "u64:{value}"),
            Self::Ipv4(octets) => write!(f, "{}", Ipv4Addr::from(*octets)),
            Self::Ipv6(octets) => write!(f, "{}", Ipv6Addr::from(*octets)),
            Self::Text(bytes) => write!(f, "\"{}\"", bytes.escape_ascii()),
            Self::LongText(len) => write!(f, "text:{len}"),
            Self::Binary(bytes) => write!(f, "bin:{}", Hex(bytes)),
            Self::Bytes(bytes) => write!(f, "raw:{}", Hex(bytes)),
            Self::Plan(plan) => write!(f, "{plan}"),
        }
    }
}

impl Display for Plan {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        f.write_str(self.answer.word())?;
        if self.delay > 0 {
            write!(f, "@{}", Time(self.delay))?;
        }
        Ok(())
    }
}

/// Displays a name, in quotes if it would not be read as one word otherwise.
struct Name<'b>(&'b [u8]);

impl Display for Name<'_> {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let plain = self.0.iter().all(|byte| byte.is_ascii_alphanumeric() || b"-_.".contains(byte));
        match std::str::from_utf8(self.0) {
            Ok(name) if plain && !name.is_empty() && !super::parts::is_modifier(name) => f.write_str(name),
            _ => write!(f, "\"{}\"", self.0.escape_ascii()),
        }
    }
}

/// Displays a time as a whole number of the largest possible unit.
pub struct Time(pub Nanos);

impl Display for Time {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let (unit, size) = [("s", 1_000_000_000), ("ms", 1_000_000), ("us", 1000)]
            .into_iter()
            .find(|(_, size)| self.0.is_multiple_of(*size))
            .unwrap_or(("ns", 1));
        write!(f, "{}{unit}", self.0 / size)
    }
}

/// Returns a number of bytes as text; `*` for any number.
pub(super) fn or_all(number: &Option<u32>) -> String {
    number.map_or("*".into(), |number| number.to_string())
}

/// Returns bytes in hexadecimal; `-` for none.
pub(super) fn hex(bytes: &[u8]) -> String {
    Hex(bytes).to_string()
}

/// Displays bytes in hexadecimal; `-` for none.
struct Hex<'b>(&'b [u8]);

impl Display for Hex<'_> {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        if self.0.is_empty() {
            return f.write_str("-");
        }
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}
