//! The heap memory of a connection, by buffer.

/// The heap memory of a connection, in bytes: what it holds now, or the most that it may hold.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Memory {
    /// The receive buffer.
    pub recv: usize,
    /// The send buffer, with the ACK under construction.
    pub send: usize,
    /// The list of the deferred NOTIFYs in flight.
    pub in_flight: usize,
    /// The fragments of a NOTIFY.
    pub reassembly: usize,
}

impl Memory {
    /// Returns the sum in bytes, or `usize::MAX` if it is larger.
    pub const fn total(&self) -> usize {
        let Self { recv, send, in_flight, reassembly } = *self;
        recv.saturating_add(send).saturating_add(in_flight).saturating_add(reassembly)
    }
}
