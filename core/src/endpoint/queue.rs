//! The queue of connections that need a permit for their next NOTIFY: fair among peers first, then in order of arrival.

use alloc::collections::BTreeMap;

use crate::endpoint::{Key, Origin};

/// The keys of queued connections, in the order in which they are served.
///
/// Each peer has one connection in each round, so that a peer with thousands of queued connections delays another by one NOTIFY at a
/// time. This is start-time fair queueing: a connection enters the round after the last one of its peer, but not one that is over.
#[derive(Debug, Default)]
pub(super) struct Queue {
    order: BTreeMap<Position, Key>,
    /// The last round of each peer that is not over.
    last_rounds: BTreeMap<Origin, u64>,
    /// The round of the last connection that left the head of the queue.
    round: u64,
    /// The number of connections that were ever queued.
    count: u64,
}

/// A queue position.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Position {
    round: u64,
    /// The order of those in the same round.
    number: u64,
}

/// The number of peers whose rounds are remembered. Beyond it, rounds that are over are forgotten.
const ORIGINS_MAX: usize = 64;

impl Queue {
    /// Queues a connection at the end of its peer's, or at the position that it had before.
    pub(super) fn push(&mut self, key: Key, origin: Origin, before: Option<Position>) -> Position {
        let position = before.unwrap_or_else(|| self.next(origin));
        let other = self.order.insert(position, key);
        debug_assert!(other.is_none(), "a queue position belongs to one connection");
        position
    }

    fn next(&mut self, origin: Origin) -> Position {
        if self.last_rounds.len() >= ORIGINS_MAX {
            let round = self.round;
            self.last_rounds.retain(|_, last| *last > round);
        }
        let last = self.last_rounds.entry(origin).or_default();
        *last = self.round.max(*last + 1);
        self.count += 1;
        Position { round: *last, number: self.count }
    }

    /// Removes a connection from the queue.
    pub(super) fn remove(&mut self, position: Position) {
        let removed = self.order.remove(&position);
        debug_assert!(removed.is_some(), "only a queued connection leaves the queue");
    }

    /// Removes and returns the connection at the head of the queue.
    pub(super) fn pop(&mut self) -> Option<(Position, Key)> {
        let (position, key) = self.order.pop_first()?;
        self.round = self.round.max(position.round);
        Some((position, key))
    }

    /// Returns the key at a position.
    pub(super) fn at(&self, position: Position) -> Option<Key> {
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

    fn drain(queue: &mut Queue) -> alloc::vec::Vec<u32> {
        core::iter::from_fn(|| queue.pop()).map(|(_, key)| key.index).collect()
    }

    #[test]
    fn connections_of_one_peer_are_served_in_the_order_in_which_they_were_queued() {
        let mut queue = Queue::default();
        let [first, ..] = [7, 8, 7].map(|index| queue.push(key(index), Origin(1), None));
        queue.remove(first);
        assert_eq!((queue.len(), queue.pop().map(|(_, key)| key)), (2, Some(key(8))));
        queue.push(key(9), Origin(1), None);
        queue.push(key(6), Origin(1), Some(first));
        assert_eq!(drain(&mut queue), [6, 7, 9]);
    }

    #[test]
    fn peers_take_turns_however_many_connections_one_has() {
        let mut queue = Queue::default();
        (0..1000).for_each(|index| _ = queue.push(key(index), Origin(1), None));
        (2000..2003).for_each(|index| _ = queue.push(key(index), Origin(2), None));
        assert_eq!(drain(&mut queue)[..7], [0, 2000, 1, 2001, 2, 2002, 3]);
        queue.push(key(5), Origin(2), None);
        queue.push(key(6), Origin(1), None);
        assert_eq!(drain(&mut queue), [5, 6], "a peer that was away has no debt and no credit");
    }

    #[test]
    fn peers_that_are_gone_are_forgotten() {
        let mut queue = Queue::default();
        for origin in 0..10_000 {
            queue.push(key(0), Origin(origin), None);
            queue.pop();
        }
        assert!(queue.last_rounds.len() <= ORIGINS_MAX + 1, "{}", queue.last_rounds.len());
    }
}
