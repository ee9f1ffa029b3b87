//! Reports messages that cannot be judged because HAProxy's configuration and the message rules do not fit together.

use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use spoa_core::wire::{Message, TypedData};

use crate::message_rule::MessageRule;
use spoa_runtime::text::Count;

/// The time between two reports of misfits of kinds that were reported before.
const PERIOD: Duration = Duration::from_secs(60);

/// The number of kinds that are reported as soon as they are seen. Peers choose names, so it is bounded.
const KINDS_MAX: usize = 16;

/// The number of bytes of a name that are shown.
const NAME_MAX: usize = 64;

/// Logs misfits: each kind when it is first seen, then one line per [`PERIOD`] for all of them.
#[derive(Debug, Default)]
pub(crate) struct Misfits(Mutex<Reported>);

#[derive(Debug, Default)]
struct Reported {
    kinds: Vec<(Kind, String)>,
    last: Option<Instant>,
    left_out: u64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Unknown,
    NoArgument,
    NoAddress,
}

impl Misfits {
    /// Reports a message that no rule serves.
    #[cold]
    pub(crate) fn unknown(&self, rules: &[MessageRule], message: &Message<'_>) {
        let name = shown(message.name());
        let Some(more) = self.report(Kind::Unknown, &name, Instant::now()) else { return };
        let served = join(rules.iter().map(MessageRule::message));
        tracing::warn!(
            spoe_message = name,
            "the message \"{name}\" is not served, so HAProxy gets no variables for it{more}; served are: {served}. Is the name in \
             HAProxy's SPOE file right, or is a [[message]] missing in the configuration?"
        );
    }

    /// Reports a message that has none of the arguments that its rule names.
    #[cold]
    pub(crate) fn no_argument(&self, rule: &MessageRule, message: &Message<'_>) {
        let name = rule.message();
        let Some(more) = self.report(Kind::NoArgument, name, Instant::now()) else { return };
        let wanted = join(rule.arguments().iter().map(String::as_str));
        let args: Vec<_> = message.args().take(KINDS_MAX).map(|(name, _)| shown(name)).collect();
        let sent = join(args.iter().map(|name| if name.is_empty() { "(unnamed)" } else { name }));
        tracing::warn!(
            spoe_message = name,
            "the message \"{name}\" has none of the arguments that its rule names ({wanted}), so no address is judged{more}; \
             HAProxy sends: {sent}"
        );
    }

    /// Reports a message in which no address was found, unless that is because the argument for it is NULL: a client of a unix
    /// socket has no address, and a header may be missing.
    #[cold]
    pub(crate) fn no_address(&self, rule: &MessageRule, message: &Message<'_>) {
        if address_is_null(message, rule.arguments()) {
            return;
        }
        let name = rule.message();
        let Some(more) = self.report(Kind::NoAddress, name, Instant::now()) else { return };
        let args: Vec<_> = message.args().take(KINDS_MAX).map(|(name, _)| shown(name)).collect();
        let sent = join(args.iter().map(|name| if name.is_empty() { "(unnamed)" } else { name }));
        tracing::warn!(
            spoe_message = name,
            "no address was found in the message \"{name}\", so it is not judged{more}; HAProxy sends: {sent}. A string counts only \
             in an argument \"ip\", in one that the rule names, or if it is the only argument"
        );
    }

    /// Returns what to add about misfits that were not reported, or `None` if this one is not to be reported either.
    fn report(&self, kind: Kind, name: &str, now: Instant) -> Option<String> {
        let mut reported = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let is_known = reported.kinds.iter().any(|(known, of)| *known == kind && of == name);
        let is_new = !is_known && reported.kinds.len() < KINDS_MAX;
        let is_due = reported.last.is_none_or(|last| now.duration_since(last) >= PERIOD);
        if !is_new && !is_due {
            reported.left_out += 1;
            return None;
        }
        if is_new {
            reported.kinds.push((kind, name.to_owned()));
        }
        reported.last = Some(now);
        Some(match std::mem::take(&mut reported.left_out) {
            0 => String::new(),
            left_out => format!(" ({} like this not logged)", Count(left_out, "more message")),
        })
    }
}

/// True if an argument in which [`addresses`](crate::addresses) looks for the address is NULL. A named argument that the rule
/// does not name is none of these, since a missing header must not hide that no other argument has an address.
fn address_is_null(message: &Message<'_>, wanted: &[String]) -> bool {
    let args = message.args();
    let has_ip = args.clone().any(|(name, _)| name == b"ip");
    let is_only = args.len() == 1;
    args.into_iter().any(|(name, value)| {
        let is_used = match wanted {
            [] if has_ip => name == b"ip",
            [] => name.is_empty() || is_only,
            wanted => wanted.iter().any(|wanted| wanted.as_bytes() == name),
        };
        is_used && value == TypedData::Null
    })
}

fn shown(name: &[u8]) -> String {
    String::from_utf8_lossy(&name[..name.len().min(NAME_MAX)]).into_owned()
}

fn join<'n>(names: impl Iterator<Item = &'n str>) -> String {
    match names.collect::<Vec<_>>() {
        names if names.is_empty() => "none".into(),
        names => names.join(", "),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use spoa_core::wire::{MessageEncoder, Messages};

    #[test]
    fn only_an_argument_that_may_hold_the_address_explains_its_absence() {
        let (null, text) = (TypedData::Null, TypedData::String(b"x"));
        let is_null = |wanted: &[&str], args: &[(&str, TypedData<'_>)]| {
            let mut payload = Vec::new();
            let mut message = MessageEncoder::begin(&mut payload, "m");
            args.iter().for_each(|(name, value)| _ = message.arg(name, *value).unwrap());
            let wanted: Vec<_> = wanted.iter().map(|name| (*name).to_owned()).collect();
            address_is_null(&Messages::decode(&payload).unwrap().next().unwrap(), &wanted)
        };
        assert!(is_null(&[], &[("ip", null)]) && is_null(&[], &[("host", text), ("ip", null)]));
        assert!(!is_null(&[], &[("host", null), ("ip", text)]));
        assert!(is_null(&[], &[("", text), ("", null)]) && is_null(&[], &[("any", null)]));
        assert!(!is_null(&[], &[("host", text), ("cookie", null)]));
        assert!(is_null(&["src"], &[("cookie", text), ("src", null)]));
        assert!(!is_null(&["src"], &[("cookie", null), ("src", text)]) && !is_null(&["src"], &[("ip", null)]));
    }

    #[test]
    fn each_kind_is_reported_when_first_seen_then_one_line_per_period() {
        let (misfits, start) = (Misfits::default(), Instant::now());
        let report = |kind, name: &str, seconds| misfits.report(kind, name, start + Duration::from_secs(seconds));
        assert_eq!(report(Kind::Unknown, "a", 0), Some(String::new()));
        assert_eq!(report(Kind::Unknown, "a", 1), None);
        assert_eq!(report(Kind::NoArgument, "a", 1), Some(" (1 more message like this not logged)".into()));
        assert_eq!(report(Kind::Unknown, "a", 60), None);
        assert!(report(Kind::Unknown, "a", 61).is_some());
        let seen = (0..1000).filter(|n| report(Kind::Unknown, &n.to_string(), 62).is_some()).count();
        assert_eq!(seen, KINDS_MAX - 2, "a peer that invents names fills no log");
    }
}
