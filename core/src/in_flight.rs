//! The deferred NOTIFYs of a connection.

use alloc::vec::Vec;

use crate::spare;
use crate::time::Instant;
use crate::wire::{FrameId, StreamId};

/// The right to answer one deferred NOTIFY, once, on the connection that it came from.
///
/// A ticket cannot be copied or constructed, so an ACK cannot be sent twice or for an unknown frame. But the types do
/// not show the connection of a ticket, and another connection may mistake it for one of its own tickets: always keep a
/// ticket together with its connection. If an ACK has an unknown id, HAProxy closes the connection and fails every
/// event that is pipelined on it.
#[derive(Debug, PartialEq, Eq)]
#[must_use = "a NOTIFY whose ticket is dropped gets an empty ACK, but only at its deadline"]
pub struct Ticket(TicketId);

/// The id of a [`Ticket`], for keeping track of work in progress. It does not give the right to answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TicketId {
    index: u32,
    serial: u64,
}

impl Ticket {
    /// Returns the id of this ticket. It is unique within its connection.
    pub const fn id(&self) -> TicketId {
        self.0
    }
}

/// The deferred NOTIFYs, in a flat array of slots.
///
/// HAProxy has about 20 NOTIFYs in flight per connection, so scanning the array is faster than any index. A ring in
/// order of arrival would keep the slots of answered NOTIFYs until the slowest earlier one is answered.
///
/// Invariants: `len` slots are taken, and `len` is at most `max`; the NOTIFYs in them have `bytes` bytes of payload in
/// total; every slot before `full_to` is taken; serial numbers are never reused.
#[derive(Debug)]
pub(crate) struct InFlight {
    slots: Vec<Option<Slot>>,
    /// No slot before this index is free, so a search for a free slot starts here. Otherwise a burst of NOTIFYs would
    /// scan the taken slots again for each insertion.
    full_to: usize,
    len: usize,
    bytes: usize,
    max: usize,
    serial: u64,
}

/// The ids of the ACK to send, and its deadline.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Slot {
    /// Distinguishes the NOTIFY from earlier ones in the same slot. It is never 0, so that `Option<Slot>` needs no
    /// extra space.
    serial: core::num::NonZeroU64,
    pub(crate) stream_id: StreamId,
    pub(crate) frame_id: FrameId,
    pub(crate) deadline: Instant,
    payload_len: u32,
}

impl InFlight {
    pub(crate) const fn new(max: usize) -> Self {
        Self { slots: Vec::new(), full_to: 0, len: 0, bytes: 0, max, serial: 0 }
    }

    pub(crate) const fn len(&self) -> usize {
        self.len
    }

    /// Returns the total payload of the NOTIFYs in flight, in bytes.
    pub(crate) const fn bytes(&self) -> usize {
        self.bytes
    }

    /// Takes a slot for a NOTIFY with `payload_len` bytes of payload.
    ///
    /// # Panics
    /// If `max` slots are taken. This cannot happen, because the connection then hands out no NOTIFY.
    pub(crate) fn insert(&mut self, ids: (StreamId, FrameId), payload_len: usize, deadline: Instant) -> Ticket {
        let (stream_id, frame_id) = ids;
        assert!(self.len < self.max, "a NOTIFY beyond the limit was handed out");
        self.serial += 1;
        let serial = core::num::NonZeroU64::new(self.serial).expect("a counter of 64 bits does not wrap to 0");
        let payload_len = u32::try_from(payload_len).unwrap_or(u32::MAX);
        let slot = Some(Slot { serial, stream_id, frame_id, deadline, payload_len });
        let index = self.free_slot();
        self.slots[index] = slot;
        self.full_to = index + 1;
        self.len += 1;
        self.bytes += payload_len as usize;
        self.invariants();
        Ticket(TicketId { index: index as u32, serial: self.serial })
    }

    /// Returns the index of a free slot, which may be a new one.
    fn free_slot(&mut self) -> usize {
        match self.slots[self.full_to..].iter().position(Option::is_none) {
            Some(free) => self.full_to + free,
            None => self.new_slot(),
        }
    }

    #[cold]
    fn new_slot(&mut self) -> usize {
        if self.slots.len() == self.slots.capacity() {
            let capacity = (2 * self.slots.len()).clamp(4, self.max.max(4)).min(self.max);
            self.slots.reserve_exact(capacity - self.slots.len());
        }
        self.slots.push(None);
        self.slots.len() - 1
    }

    /// Frees the slot of a ticket and returns its content, or `None` if the ticket is void.
    pub(crate) fn remove(&mut self, Ticket(id): Ticket) -> Option<Slot> {
        if !self.contains(id) {
            return None;
        }
        self.free(id.index as usize)
    }

    pub(crate) fn contains(&self, id: TicketId) -> bool {
        matches!(self.slots.get(id.index as usize), Some(Some(slot)) if slot.serial.get() == id.serial)
    }

    /// Frees the slot of the first NOTIFY, in order of arrival, whose deadline is at or before `now`, and returns its
    /// content.
    pub(crate) fn pop_expired(&mut self, now: Instant) -> Option<Slot> {
        let expired = self.taken().filter(|slot| slot.deadline <= now).map(|slot| slot.serial).min()?;
        self.free(self.slots.iter().position(|slot| slot.is_some_and(|slot| slot.serial == expired))?)
    }

    fn free(&mut self, index: usize) -> Option<Slot> {
        let slot = self.slots[index].take()?;
        debug_assert!(self.len > 0, "a slot that was taken is counted");
        debug_assert!(self.bytes >= slot.payload_len as usize, "the payload of a NOTIFY in flight is counted");
        self.full_to = self.full_to.min(index);
        self.len -= 1;
        self.bytes -= slot.payload_len as usize;
        Some(slot)
    }

    /// Returns the earliest deadline.
    pub(crate) fn deadline(&self) -> Option<Instant> {
        if self.len == 0 {
            return None;
        }
        self.taken().map(|slot| slot.deadline).min()
    }

    /// Cancels every NOTIFY in flight.
    pub(crate) fn clear(&mut self) {
        self.slots.clear();
        (self.full_to, self.len, self.bytes) = (0, 0, 0);
    }

    /// Takes the memory of `spare` if this has none.
    #[inline]
    pub(crate) fn lend(&mut self, spare: &mut Vec<Option<Slot>>) {
        spare::lend(&mut self.slots, spare, self.max);
    }

    /// Moves the memory to `spare` if no NOTIFY is in flight. The serial numbers continue, so old tickets stay void.
    #[inline]
    pub(crate) fn release(&mut self, spare: &mut Vec<Option<Slot>>) {
        if self.len == 0 {
            debug_assert_eq!(self.bytes, 0, "without a NOTIFY there is no payload");
            self.clear();
            spare::release(&mut self.slots, spare);
        }
    }

    pub(crate) fn memory(&self) -> usize {
        self.slots.capacity() * size_of::<Option<Slot>>()
    }

    fn taken(&self) -> impl Iterator<Item = &Slot> {
        self.slots.iter().flatten()
    }

    fn invariants(&self) {
        debug_assert_eq!(self.taken().count(), self.len);
        debug_assert_eq!(self.taken().map(|slot| slot.payload_len as usize).sum::<usize>(), self.bytes);
        debug_assert!(self.slots[..self.full_to].iter().all(Option::is_some));
        debug_assert!(self.len <= self.max && self.slots.capacity() <= self.max);
    }
}

const _: () = assert!(size_of::<Option<Slot>>() == size_of::<Slot>());

#[cfg(test)]
mod tests {
    use super::*;

    fn at(nanos: u64) -> Instant {
        Instant::from_nanos(nanos)
    }

    #[test]
    fn a_ticket_is_valid_only_for_its_own_notify() {
        let mut in_flight = InFlight::new(2);
        let first = in_flight.insert((StreamId(1), FrameId(1)), 10, at(0));
        let id = first.id();
        let stale = || Ticket(id);
        assert_eq!(in_flight.remove(first).unwrap().stream_id, StreamId(1));
        let second = in_flight.insert((StreamId(2), FrameId(1)), 10, at(0));
        assert!(in_flight.remove(stale()).is_none(), "a used ticket answers the next NOTIFY in its slot");
        assert_eq!(in_flight.remove(second).unwrap().stream_id, StreamId(2));
        in_flight.release(&mut Vec::new());
        let third = in_flight.insert((StreamId(3), FrameId(1)), 10, at(0));
        assert!(in_flight.remove(stale()).is_none(), "a used ticket is valid after the array was freed");
        assert!(in_flight.contains(third.id()));
    }

    #[test]
    fn expired_notifies_are_returned_in_order_of_arrival() {
        let mut in_flight = InFlight::new(9);
        let tickets: Vec<_> = [5, 3, 3, 9]
            .into_iter()
            .zip(1..)
            .map(|(t, id)| in_flight.insert((StreamId(id), FrameId(1)), 10, at(t)))
            .collect();
        assert_eq!(in_flight.deadline(), Some(at(3)));
        let mut expired = Vec::new();
        while let Some(slot) = in_flight.pop_expired(at(5)) {
            expired.push(slot.stream_id.0);
        }
        assert_eq!(expired, [1, 2, 3]);
        assert_eq!(in_flight.deadline(), Some(at(9)));
        assert!(in_flight.contains(tickets[3].id()) && !in_flight.contains(tickets[0].id()));
    }

    #[test]
    #[should_panic(expected = "beyond the limit")]
    fn an_insertion_beyond_the_limit_panics() {
        let mut in_flight = InFlight::new(1);
        let _first = in_flight.insert((StreamId(1), FrameId(1)), 10, at(0));
        let _second = in_flight.insert((StreamId(2), FrameId(1)), 10, at(0));
    }
}
