//! Memory that connections lend each other.

use alloc::vec::Vec;
use core::mem;

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

/// Moves `spare` to `own`, which has none, unless that would be more than `max` elements.
#[inline]
pub(crate) fn lend<T>(own: &mut Vec<T>, spare: &mut Vec<T>, max: usize) {
    if own.capacity() == 0 && spare.capacity() <= max {
        mem::swap(own, spare);
    }
}

/// Moves `own`, of which nothing is needed any more, to `spare`, or frees it if what is there is as large.
#[inline]
pub(crate) fn release<T>(own: &mut Vec<T>, spare: &mut Vec<T>) {
    if own.capacity() > spare.capacity() {
        mem::swap(own, spare);
    }
    if own.capacity() > 0 {
        *own = Vec::new();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_larger_one_stays_and_none_exceeds_what_its_owner_may_have() {
        let (mut own, mut spare) = (Vec::<u8>::with_capacity(100), Vec::with_capacity(50));
        release(&mut own, &mut spare);
        assert_eq!((own.capacity(), spare.capacity()), (0, 100));
        own = Vec::with_capacity(50);
        lend(&mut own, &mut spare, 1000);
        assert_eq!((own.capacity(), spare.capacity()), (50, 100), "it has one");
        release(&mut own, &mut spare);
        assert_eq!((own.capacity(), spare.capacity()), (0, 100));
        lend(&mut own, &mut spare, 99);
        assert_eq!((own.capacity(), spare.capacity()), (0, 100), "it may not have as much");
        lend(&mut own, &mut spare, 100);
        assert_eq!((own.capacity(), spare.capacity()), (100, 0));
    }
}
