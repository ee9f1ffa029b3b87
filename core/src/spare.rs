//! Moves one buffer between a connection and the spare buffers of its driver.

use alloc::vec::Vec;
use core::mem;

/// Moves the memory of `spare` to `own` if `own` has none and `spare` has room for at most `max` elements.
#[inline]
pub(crate) fn lend<T>(own: &mut Vec<T>, spare: &mut Vec<T>, max: usize) {
    if own.capacity() == 0 && spare.capacity() <= max {
        mem::swap(own, spare);
        debug_assert!(own.capacity() <= max, "a loan keeps the limit of its owner");
    }
}

/// Moves the memory of `own` to `spare` if it is larger, and frees the smaller one of both. The elements in `own` are
/// not needed any more.
#[inline]
pub(crate) fn release<T>(own: &mut Vec<T>, spare: &mut Vec<T>) {
    if own.capacity() > spare.capacity() {
        mem::swap(own, spare);
    }
    if own.capacity() > 0 {
        *own = Vec::new();
    }
    debug_assert_eq!(own.capacity(), 0, "a buffer that was given back is not kept");
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_larger_buffer_is_saved_and_none_above_the_limit_is_lent() {
        let (mut own, mut spare) = (Vec::<u8>::with_capacity(100), Vec::with_capacity(50));
        release(&mut own, &mut spare);
        assert_eq!((own.capacity(), spare.capacity()), (0, 100));
        own = Vec::with_capacity(50);
        lend(&mut own, &mut spare, 1000);
        assert_eq!((own.capacity(), spare.capacity()), (50, 100), "expected no loan to an owner with a buffer");
        release(&mut own, &mut spare);
        assert_eq!((own.capacity(), spare.capacity()), (0, 100));
        lend(&mut own, &mut spare, 99);
        assert_eq!((own.capacity(), spare.capacity()), (0, 100), "expected no loan above the limit of the owner");
        lend(&mut own, &mut spare, 100);
        assert_eq!((own.capacity(), spare.capacity()), (100, 0));
    }
}
