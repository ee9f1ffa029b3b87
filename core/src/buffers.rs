//! Memory that the connections of one driver share.

use alloc::vec::Vec;

use crate::in_flight::Slot;

/// Spare buffers for the connection that the driver serves next.
///
/// Most connections are idle most of the time, and even a busy one needs its buffers only while it is served. A driver
/// of many connections keeps one `Buffers` for all of them: it calls [`lend_buffers`](crate::Connection::lend_buffers)
/// before it serves a connection and [`release_buffers`](crate::Connection::release_buffers) afterwards. Idle
/// connections then have no buffers at all, and busy ones share buffers that stay in the processor's cache.
///
/// `Buffers` keeps the largest buffer of each kind that it was given, so it never holds more than one connection [may
/// have](crate::Config::memory_max).
///
/// Buffers are not zeroed: [`recv_buf`] may expose bytes from another connection to code that reads before it writes.
/// Bytes from another connection are never parsed as input and never sent.
///
/// [`recv_buf`]: crate::Connection::recv_buf
#[derive(Debug, Default)]
pub struct Buffers {
    pub(crate) recv: Vec<u8>,
    pub(crate) send: Vec<u8>,
    pub(crate) slots: Vec<Option<Slot>>,
}
