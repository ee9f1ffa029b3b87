//! The limits of all connections together: who may have one more NOTIFY in flight, and how many bytes are held.

use alloc::collections::BTreeMap;

use crate::connection::Connection;
use crate::endpoint::host::Congestion;
use crate::endpoint::queue::{Position, Queue, Rank};
use crate::endpoint::{Key, Limits, Origin};

/// The resources that a connection holds, or several.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Usage {
    /// The number of NOTIFYs in flight.
    pub in_flight: usize,
    /// Bytes of their payloads, of which their handlers may keep copies. They are freed within the time that an answer
    /// may take.
    pub copies: usize,
    /// Bytes of the connection itself: parts of frames, unsent output, and the slots of NOTIFYs in flight.
    pub buffers: usize,
}

impl Usage {
    /// Returns the usage of a connection whose turn is over, with so many bytes in buffers outside of it.
    pub(super) fn of(connection: &Connection, besides: usize) -> Self {
        Self { buffers: connection.usage().memory.total() + besides, ..Self::default().during_turn(connection) }
    }

    /// Returns the usage of a connection during its turn: what it has in its buffers then is not counted yet.
    pub(super) fn during_turn(self, connection: &Connection) -> Self {
        let own = connection.usage();
        Self { in_flight: own.in_flight, copies: own.in_flight_bytes, ..self }
    }

    /// Returns all bytes.
    pub const fn bytes(self) -> usize {
        self.copies + self.buffers
    }

    pub(super) const fn with(self, one: Self) -> Self {
        Self {
            in_flight: self.in_flight + one.in_flight,
            copies: self.copies + one.copies,
            buffers: self.buffers + one.buffers,
        }
    }

    const fn without(self, one: Self) -> Self {
        Self {
            in_flight: self.in_flight - one.in_flight,
            copies: self.copies - one.copies,
            buffers: self.buffers - one.buffers,
        }
    }
}

/// The right to take NOTIFYs although others are queued, up to the first that is deferred. It is given back after the next turn of
/// its connection, and cannot be copied.
#[derive(Debug)]
pub(super) struct Permit {
    /// The queue position before it was granted, for a connection that cannot use it.
    position: Position,
}

/// The usage of all connections of an endpoint, its limits, and the queue for permits.
#[derive(Debug)]
pub(super) struct Admission {
    usage: Usage,
    limits: Limits,
    /// The limit of bytes in copies of NOTIFYs in flight.
    copies_max: usize,
    /// The largest NOTIFY that is not fragmented, in bytes.
    notify_len: usize,
    queue: Queue,
    /// The number of permits that were granted and not given back yet.
    granted: usize,
}

impl Admission {
    /// Returns the admission of an endpoint without connections.
    pub(super) fn new(limits: Limits, notify_len: usize) -> Self {
        debug_assert!(notify_len > 0, "a frame has at least 256 bytes");
        Self {
            usage: Usage::default(),
            limits,
            copies_max: limits.bytes_max / 2,
            notify_len,
            queue: Queue::default(),
            granted: 0,
        }
    }

    /// Replaces the usage of a connection, `before`, by `now`.
    #[inline]
    pub(super) fn change(&mut self, before: &mut Usage, now: Usage) {
        if *before != now {
            debug_assert!(self.usage.in_flight >= before.in_flight, "a part is at most the sum");
            debug_assert!(self.usage.bytes() >= before.bytes(), "a part is at most the sum");
            self.usage = self.usage.without(*before).with(now);
            *before = now;
        }
    }

    /// Queues a connection: at its position of before, if it was granted a permit that it could not use, or if it has kept one.
    pub(super) fn queue(
        &mut self,
        key: Key,
        origin: Origin,
        unused: Option<Permit>,
        kept: Option<Position>,
    ) -> Position {
        let position = unused.map(|permit| self.put_back(permit)).or(kept);
        self.queue.push(key, origin, position)
    }

    /// Removes a connection from the queue.
    pub(super) fn leave(&mut self, position: Position) {
        self.queue.remove(position);
    }

    /// Grants a free permit to the connection at the head of the queue, and returns it.
    pub(super) fn grant(&mut self) -> Option<(Key, Permit)> {
        if self.granted >= self.free() {
            return None;
        }
        let (position, key) = self.queue.pop()?;
        self.granted += 1;
        debug_assert!(self.granted <= self.free(), "a permit is granted only if one is free");
        Some((key, Permit { position }))
    }

    /// Takes a permit back, used or not, and returns the queue position that it was granted at.
    pub(super) const fn put_back(&mut self, Permit { position }: Permit) -> Position {
        debug_assert!(self.granted > 0, "only a permit that was granted is given back");
        self.granted -= 1;
        position
    }

    /// True if a NOTIFY may be accepted: by a connection with a permit, or because one is free and nobody is queued for it.
    #[inline]
    pub(super) fn admits(&self, has_permit: bool) -> bool {
        let is_free = || self.queue.len() == 0 && (self.granted == 0 || self.granted < self.free());
        self.has_room() && (has_permit || is_free())
    }

    /// False while as many NOTIFYs are in flight as may be, or their copies take half of the bytes.
    #[inline]
    const fn has_room(&self) -> bool {
        self.usage.in_flight < self.limits.in_flight_max && self.usage.copies < self.copies_max
    }

    /// Returns the number of deferred NOTIFYs of the largest size for which there is room, granted permits included.
    const fn free(&self) -> usize {
        let (by_number, by_bytes) = self.room();
        if by_bytes < by_number { by_bytes } else { by_number }
    }

    /// Returns the number of deferred NOTIFYs for which there is room under the limit of their number, and under that of bytes.
    const fn room(&self) -> (usize, usize) {
        let by_bytes = self.copies_max.saturating_sub(self.usage.copies).div_ceil(self.notify_len);
        (self.limits.in_flight_max.saturating_sub(self.usage.in_flight), by_bytes)
    }

    /// Returns the number of bytes above the limit.
    pub(super) const fn excess(&self) -> usize {
        self.usage.bytes().saturating_sub(self.limits.bytes_max)
    }

    pub(super) const fn limits(&self) -> Limits {
        self.limits
    }

    pub(super) const fn usage(&self) -> Usage {
        self.usage
    }

    pub(super) const fn granted(&self) -> usize {
        self.granted
    }

    pub(super) const fn queued(&self) -> usize {
        self.queue.len()
    }

    /// Returns the rank of each queued connection, by its index.
    pub(super) fn ranks(&self) -> BTreeMap<usize, Rank> {
        self.queue.ranks()
    }

    /// Returns the key that is queued at a position.
    pub(super) fn queued_at(&self, position: Position) -> Option<Key> {
        self.queue.at(position)
    }

    pub(super) fn check_queue(&self) {
        self.queue.invariants();
    }

    pub(super) fn congestion(&self) -> Congestion {
        let (by_number, by_bytes) = self.room();
        Congestion { queued: self.queue.len(), in_flight: self.usage.in_flight, is_by_number: by_number <= by_bytes }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const FRAME: usize = 16_384;

    fn admission() -> Admission {
        Admission::new(Limits { in_flight_max: 3, bytes_max: 4 * FRAME }, FRAME)
    }

    fn key(index: u32) -> Key {
        Key { index, serial: 0 }
    }

    #[test]
    fn permits_are_free_up_to_the_number_and_half_of_the_bytes() {
        let (mut admission, mut one, mut other) = (admission(), Usage::default(), Usage::default());
        assert_eq!(admission.free(), 2, "for NOTIFYs of the largest size");
        admission.change(&mut one, Usage { in_flight: 2, copies: 100, buffers: 4 * FRAME });
        assert_eq!((admission.free(), admission.excess()), (1, 100));
        admission.change(&mut other, Usage { in_flight: 1, copies: 0, buffers: 0 });
        assert_eq!(admission.free(), 0);
        admission.change(&mut one, Usage { in_flight: 1, copies: 2 * FRAME, buffers: 0 });
        assert_eq!((admission.free(), admission.excess()), (0, 0));
        admission.change(&mut one, Usage::default());
        assert_eq!((admission.free(), admission.usage().in_flight), (2, 1));
    }

    #[test]
    fn a_permit_is_for_the_connection_that_it_was_granted_to() {
        let (mut admission, mut one) = (admission(), Usage::default());
        admission.change(&mut one, Usage { in_flight: 2, ..Usage::default() });
        admission.queue(key(7), Origin(1), None, None);
        let second = admission.queue(key(8), Origin(1), None, None);
        assert!(!admission.admits(false), "others are queued");
        let (first, permit) = admission.grant().expect("one permit is free");
        assert!(first == key(7) && admission.grant().is_none(), "only one permit is free");
        admission.leave(second);
        assert_eq!([true, false].map(|has_permit| admission.admits(has_permit)), [true, false]);
        admission.put_back(permit);
        assert!(admission.admits(false) && admission.grant().is_none());
    }

    #[test]
    fn a_connection_that_cannot_use_its_permit_keeps_its_position() {
        let mut admission = admission();
        for index in [7, 8] {
            admission.queue(key(index), Origin(1), None, None);
        }
        let (_, permit) = admission.grant().expect("a permit is free");
        admission.queue(key(7), Origin(1), Some(permit), None);
        assert_eq!((admission.granted(), admission.grant().map(|(first, _)| first)), (0, Some(key(7))));
    }
}
