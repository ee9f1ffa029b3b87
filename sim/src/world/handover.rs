//! The checker's idea of the handover of a connection during a drain.

use crate::script::Nanos;

/// The way of a connection to its end.
#[derive(Clone, Copy, Debug, Default)]
pub(super) enum Ending {
    /// It is served.
    #[default]
    No,
    /// The agent drains, and waits for the best moment to close it.
    Handover { close_at: Nanos, grace_end: Nanos, held: Option<Held> },
    /// It was told to end, or has ended.
    Begun,
}

/// ACKs that wait for AGENT-DISCONNECT.
#[derive(Clone, Copy, Debug)]
pub(super) struct Held {
    quiet_at: Nanos,
    until: Nanos,
}

/// How long no NOTIFY may arrive before held ACKs are sent.
const QUIET: Nanos = 2_000_000;
/// The longest time that an ACK is held back.
const HELD_MAX: Nanos = 10_000_000;

impl Ending {
    /// Returns the rest of the grace period if the connection is to be closed now.
    pub(super) fn close_now(&mut self, now: Nanos, unsent: bool, is_idle: bool, notified: bool) -> Option<Nanos> {
        let Self::Handover { close_at, grace_end, held } = self else { return None };
        if held.is_none() && unsent && is_idle {
            *held = Some(Held { quiet_at: now + QUIET, until: now + HELD_MAX });
        }
        let is_time = match held {
            None => now >= *close_at,
            Some(held) => {
                if notified {
                    held.quiet_at = now + QUIET;
                }
                now >= held.until || is_idle && now >= held.quiet_at
            }
        };
        let rest = grace_end.saturating_sub(now);
        is_time.then(|| {
            *self = Self::Begun;
            rest
        })
    }

    /// True while ACKs are held back.
    pub(super) const fn holds_acks(&self) -> bool {
        matches!(self, Self::Handover { held: Some(_), .. })
    }
}
