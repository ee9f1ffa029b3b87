//! Counts the allocations of the core on a connection that has served NOTIFYs before. The counts do not depend on the
//! load of the machine.

use allocation_counter::measure;
use spoa_core::Notify;
use spoa_tests::steady::{DeferredAnswer, Steady, deferred, deferred_with_copy, immediate, notifys};

/// Number of reads per count, so that an allocation that happens only occasionally is counted, too.
const READS: u64 = 1_000;

/// Returns the number of allocations in [`READS`] reads of `batch` NOTIFYs each, after one read that is not counted.
fn allocations(batch: u64, handle: impl Fn(Notify<'_>) -> Option<DeferredAnswer> + Copy) -> u64 {
    let (mut steady, input) = (Steady::default(), notifys(batch));
    let mut sent = 0;
    let mut turn = || steady.turn(&input, handle, |bytes| sent += bytes.len());
    turn();
    let count = measure(|| (0..READS).for_each(|_| turn())).count_total;
    let ack_len = 4 + 0x15;
    assert_eq!(sent as u64, (READS + 1) * batch * ack_len, "expected an ACK with a score for every NOTIFY");
    count
}

#[test]
fn an_immediate_answer_allocates_nothing() {
    for batch in [1, 16, 64] {
        assert_eq!(allocations(batch, immediate), 0, "{batch} NOTIFYs per read");
    }
}

#[test]
fn a_deferred_answer_without_a_copy_allocates_nothing() {
    for in_flight in [1, 16, 64] {
        assert_eq!(allocations(in_flight, deferred), 0, "{in_flight} NOTIFYs in flight");
    }
}

#[test]
fn a_deferred_answer_with_a_copy_allocates_only_the_copy() {
    for in_flight in [1, 16, 64] {
        assert_eq!(allocations(in_flight, deferred_with_copy), READS * in_flight, "{in_flight} NOTIFYs in flight");
    }
}
