//! Times of a run.

/// Nanoseconds since the start of a run.
pub type Nanos = u64;

/// One millisecond.
pub const MS: Nanos = 1_000_000;
