//! How one buffer changes hands.

use alloc::vec::Vec;
use core::mem;

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
