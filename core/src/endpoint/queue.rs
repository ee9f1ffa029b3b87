//! The queue of connections that need a permit for their next NOTIFY.

use alloc::collections::BTreeMap;

use crate::endpoint::Key;

/// The keys of queued connections, in the order in which they were queued.
#[derive(Debug, Default)]
pub(super) struct Queue {
    order: BTreeMap<u64, Key>,
    last: u64,
}

/// A queue position.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Position(u64);

impl Position {
    /// Returns its number: a lower one was queued earlier.
    pub(super) const fn number(self) -> u64 {
        self.0
    }
}

impl Queue {
    /// Queues a connection at the end, or at the position that it had before.
    pub(super) fn push(&mut self, key: Key, before: Option<Position>) -> Position {
        let Position(position) = before.unwrap_or_else(|| {
            self.last += 1;
            Position(self.last)
        });
        let other = self.order.insert(position, key);
        debug_assert!(other.is_none(), "a queue position belongs to one connection");
        Position(position)
    }

    /// Removes a connection from the queue.
    pub(super) fn remove(&mut self, Position(position): Position) {
        let removed = self.order.remove(&position);
        debug_assert!(removed.is_some(), "only a queued connection leaves the queue");
    }

    /// Removes and returns the connection at the head of the queue.
    pub(super) fn pop(&mut self) -> Option<(Position, Key)> {
        self.order.pop_first().map(|(position, key)| (Position(position), key))
    }

    /// Returns the key at a position.
    pub(super) fn at(&self, Position(position): Position) -> Option<Key> {
        self.order.get(&position).copied()
    }

    /// Returns the number of queued connections.
    pub(super) fn len(&self) -> usize {
        self.order.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(index: u32) -> Key {
        Key { index, serial: 0 }
    }

    #[test]
    fn connections_are_served_in_the_order_in_which_they_were_queued() {
        let mut queue = Queue::default();
        let [first, ..] = [7, 8, 7].map(|index| queue.push(key(index), None));
        queue.remove(first);
        assert_eq!((queue.len(), queue.pop().map(|(_, key)| key)), (2, Some(key(8))));
        queue.push(key(9), None);
        queue.push(key(6), Some(first));
        let rest = [queue.pop(), queue.pop(), queue.pop(), queue.pop()];
        assert_eq!(rest.map(|popped| popped.map(|(_, key)| key.index)), [Some(6), Some(7), Some(9), None]);
    }
}
