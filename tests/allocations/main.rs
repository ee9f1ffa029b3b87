//! What the core allocates once a connection has warmed up: a count, which no other load on the machine changes.

use allocation_counter::measure;
use spoa_core::Notify;
use spoa_tests::steady::{Steady, Waiting, copied, deferred, in_place, notifys};

/// How often each count is taken: an allocation now and then would show, too.
const TURNS: u64 = 1_000;

/// Allocations of [`TURNS`] reads of `batch` NOTIFYs each, on a connection that had a read of them before.
fn allocations(batch: u64, handle: impl Fn(Notify<'_>) -> Option<Waiting> + Copy) -> u64 {
    let (mut steady, input) = (Steady::default(), notifys(batch));
    let mut sent = 0;
    let mut turn = || steady.turn(&input, handle, |bytes| sent += bytes.len());
    turn();
    let count = measure(|| (0..TURNS).for_each(|_| turn())).count_total;
    let ack_len = 4 + 0x15;
    assert_eq!(sent as u64, (TURNS + 1) * batch * ack_len, "every NOTIFY was answered with a score");
    count
}

#[test]
fn an_answer_in_place_allocates_nothing() {
    for batch in [1, 16, 64] {
        assert_eq!(allocations(batch, in_place), 0, "{batch} a read");
    }
}

#[test]
fn a_deferred_answer_that_keeps_nothing_allocates_nothing() {
    for in_flight in [1, 16, 64] {
        assert_eq!(allocations(in_flight, deferred), 0, "{in_flight} in flight");
    }
}

#[test]
fn a_deferred_answer_allocates_the_copy_of_its_payload_alone() {
    for in_flight in [1, 16, 64] {
        assert_eq!(allocations(in_flight, copied), TURNS * in_flight, "{in_flight} in flight");
    }
}
