//! Memory that connections lend each other.

use alloc::vec::Vec;

use crate::in_flight::Slot;

/// Buffers that hold nothing at the moment, for whichever connection has its turn next.
///
/// Most connections are quiet most of the time, and even a busy one holds something only while it has its turn. A driver
/// that serves many keeps one value of this for all of them: [`lend`](crate::Connection::lend_buffers) before a turn,
/// [`release`](crate::Connection::release_buffers) behind it. Idle connections then have no buffer at all, and busy ones
/// share one that stays in the processor's cache.
///
/// It keeps the largest of each kind that it was given: no more than one connection [may have](crate::Config::memory_max).
/// What is left in it of earlier connections is never handed out as input or sent, but [`recv_buf`] shows it to whoever
/// reads there before writing.
///
/// [`recv_buf`]: crate::Connection::recv_buf
#[derive(Debug, Default)]
pub struct Buffers {
    pub(crate) recv: Vec<u8>,
    pub(crate) send: Vec<u8>,
    pub(crate) slots: Vec<Option<Slot>>,
}
