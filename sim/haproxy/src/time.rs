//! Time as a number of nanoseconds.

/// Nanoseconds: a time since a start that the caller chooses, or a duration.
pub type Time = u64;

/// One microsecond.
pub const MICROSECOND: Time = 1_000;
/// One millisecond.
pub const MILLISECOND: Time = 1_000_000;
/// One second.
pub const SECOND: Time = 1_000_000_000;
