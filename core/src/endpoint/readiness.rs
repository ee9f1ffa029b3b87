//! The directions of a socket, as the endpoint knows them.

use crate::endpoint::host::Readiness;

/// The bytes that a socket may have.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Inbound {
    /// It has none until it is reported readable.
    Empty,
    /// It may have some.
    Readable,
    /// It may have some, and then it ends. The end was reported once and is not reported again, so that reading goes on until it
    /// is found.
    Ended,
    /// It was reset. It may have some, but nobody waits for an answer.
    Reset,
}

/// The room that a socket may have.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Outbound {
    /// It may have room.
    Open,
    /// It has none until it is reported writable.
    Blocked,
    /// The end of the stream was sent.
    Shut,
}

impl Inbound {
    pub(super) fn report(&mut self, readiness: Readiness) {
        *self = match (*self, readiness) {
            (Self::Reset, _) | (_, Readiness { reset: true, .. }) => Self::Reset,
            (Self::Ended, _) | (_, Readiness { ended: true, .. }) => Self::Ended,
            (_, Readiness { readable: true, .. }) => Self::Readable,
            (state, _) => state,
        };
    }

    /// True if a read may find something.
    pub(super) const fn is_readable(self) -> bool {
        !matches!(self, Self::Empty)
    }

    /// Notes a read that did not fill the buffer: later bytes are reported again, but an end that was reported together with
    /// these is not.
    ///
    /// (Urgent data or descriptors, which HAProxy never sends, also shorten a read: bytes after them wait for more bytes, the end
    /// or a deadline.)
    pub(super) fn was_short(&mut self) {
        if *self == Self::Readable {
            *self = Self::Empty;
        }
    }

    /// Notes that the socket had nothing to read, not even the end.
    pub(super) const fn was_empty(&mut self) {
        debug_assert!(self.is_readable(), "a socket is read only if it may have bytes");
        *self = Self::Empty;
    }

    /// Assumes that bytes have arrived without a report.
    pub(super) fn suspect(&mut self) {
        if *self == Self::Empty {
            *self = Self::Readable;
        }
    }
}

impl Outbound {
    pub(super) fn report(&mut self, readiness: Readiness) {
        if *self == Self::Blocked && (readiness.writable || readiness.ended || readiness.reset) {
            *self = Self::Open;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NONE: Readiness = Readiness { readable: false, writable: false, ended: false, reset: false };

    #[test]
    fn an_end_that_was_reported_is_read_until_it_is_found() {
        let mut inbound = Inbound::Empty;
        inbound.report(Readiness { readable: true, ..NONE });
        inbound.was_short();
        assert_eq!(inbound, Inbound::Empty);
        inbound.report(Readiness { ended: true, ..NONE });
        inbound.was_short();
        inbound.report(Readiness { readable: true, ..NONE });
        assert_eq!(inbound, Inbound::Ended);
        inbound.was_empty();
        assert_eq!(inbound, Inbound::Empty, "a false report is not repeated");
        inbound.report(Readiness { reset: true, ..NONE });
        inbound.report(Readiness { ended: true, readable: true, ..NONE });
        assert_eq!(inbound, Inbound::Reset);
    }

    #[test]
    fn only_a_blocked_socket_opens() {
        let mut outbound = Outbound::Blocked;
        outbound.report(Readiness { readable: true, ..NONE });
        assert_eq!(outbound, Outbound::Blocked);
        outbound.report(Readiness { writable: true, ..NONE });
        assert_eq!(outbound, Outbound::Open);
        let mut shut = Outbound::Shut;
        shut.report(Readiness { writable: true, ended: true, ..NONE });
        assert_eq!(shut, Outbound::Shut);
    }
}
