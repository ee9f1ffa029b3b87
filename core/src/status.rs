//! The status codes of the DISCONNECT frames (SPOE.txt section 3.5).

use core::fmt;

/// A `status-code`, known or not. HAProxy logs an event that failed with code N as `st=256+N`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Status(pub u32);

impl Status {
    /// Orderly end.
    pub const NORMAL: Self = Self(0);
    /// The socket failed. Never sent by us: we just close.
    pub const IO: Self = Self(1);
    /// No HELLO in time.
    pub const TIMEOUT: Self = Self(2);
    /// A frame is longer than the limit in force.
    pub const TOO_BIG: Self = Self(3);
    /// Anything malformed or out of order.
    pub const INVALID: Self = Self(4);
    /// A HELLO without versions.
    pub const NO_VERSION: Self = Self(5);
    /// A HELLO without `max-frame-size`.
    pub const NO_FRAME_SIZE: Self = Self(6);
    /// A HELLO without `capabilities`.
    pub const NO_CAPABILITIES: Self = Self(7);
    /// No version in common.
    pub const BAD_VERSION: Self = Self(8);
    /// A `max-frame-size` outside its range.
    pub const BAD_FRAME_SIZE: Self = Self(9);
    /// FIN is clear where fragments are not agreed on.
    pub const FRAGMENTED: Self = Self(10);
    /// A fragment out of its sequence.
    pub const INTERLACED: Self = Self(11);
    /// An ACK for a frame nobody sent. HAProxy's to send.
    pub const UNKNOWN_FRAME_ID: Self = Self(12);
    /// No room for this connection, or no time: the agent is going away.
    pub const RESOURCE: Self = Self(13);
    /// Everything else.
    pub const UNKNOWN: Self = Self(99);

    /// True for the codes of SPOE.txt, 0..=13 and 99.
    pub const fn is_known(self) -> bool {
        matches!(self.0, 0..=13 | 99)
    }

    /// This code if it is known, else [`Status::UNKNOWN`].
    ///
    /// HAProxy up to 3.0 looks the code of a health check's AGENT-DISCONNECT up in its table of texts: 14..=98 point
    /// to nothing there and crash it. So no code that is not in SPOE.txt ever leaves us, not even as an echo.
    #[must_use]
    pub const fn known_or_unknown(self) -> Self {
        if self.is_known() { self } else { Self::UNKNOWN }
    }

    /// The canonical text, the same in HAProxy and its reference agent; an unknown code has that of 99.
    pub const fn reason(self) -> &'static str {
        match self.0 {
            0 => "normal",
            1 => "I/O error",
            2 => "a timeout occurred",
            3 => "frame is too big",
            4 => "invalid frame received",
            5 => "version value not found",
            6 => "max-frame-size value not found",
            7 => "capabilities value not found",
            8 => "unsupported version",
            9 => "max-frame-size too big or too small",
            10 => "fragmentation not supported",
            11 => "invalid interlaced frames",
            12 => "frame-id not found",
            13 => "resource allocation error",
            _ => "an unknown error occurred",
        }
    }
}

/// `4 (invalid frame received)`.
impl fmt::Display for Status {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ({})", self.0, self.reason())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn unknown_codes_are_never_echoed() {
        for code in (14..99).chain([100, 1000, u32::MAX]) {
            assert_eq!(Status(code).known_or_unknown(), Status::UNKNOWN, "{code}");
        }
        for code in (0..=13).chain([99]) {
            assert_eq!(Status(code).known_or_unknown(), Status(code));
        }
    }

    #[test]
    fn each_known_code_has_its_own_text() {
        let texts: alloc::collections::BTreeSet<_> = (0..=13).chain([99]).map(|code| Status(code).reason()).collect();
        assert_eq!(texts.len(), 15);
    }
}
