//! The queue of connections that need a permit for their next NOTIFY: fair among peers first, then in order of arrival.

use alloc::collections::BTreeMap;
use alloc::collections::btree_map::Entry;
use alloc::vec::Vec;

use crate::endpoint::{Key, Origin};

/// The keys of queued connections, in the order in which they are served.
///
/// Peers with queued connections take turns, and each turn serves the first connection of the peer. So a peer with thousands of
/// queued connections delays another by one NOTIFY at a time. A peer without queued connections is not remembered: it has no
/// debt and no credit, and costs no memory.
#[derive(Debug, Default)]
pub(super) struct Queue {
    lines: BTreeMap<Origin, Line>,
    /// The peers by their turns.
    turns: BTreeMap<u64, Origin>,
    len: usize,
    /// The last number that was drawn, for a turn or a connection.
    drawn: u64,
}

/// The queued connections of a peer, of which there is at least one.
#[derive(Debug)]
struct Line {
    turn: u64,
    /// The connections by their numbers.
    keys: BTreeMap<u64, Key>,
}

/// A queue position.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Position {
    origin: Origin,
    /// The place among the connections of its peer.
    number: u64,
    /// The turn of its peer in which it left the head of the queue.
    turn: Option<u64>,
}

/// The order in which a queued connection would be served if nothing changed: its place among those of its peer, then the turn of
/// its peer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Rank {
    place: usize,
    turn: u64,
}

impl Position {
    /// Returns the same place among the connections of its peer, for the peer's next turn.
    pub(super) const fn in_next_turn(self) -> Self {
        Self { turn: None, ..self }
    }
}

impl Queue {
    /// Queues a connection at the end of its peer's line, or at the position that it had before.
    pub(super) fn push(&mut self, key: Key, origin: Origin, before: Option<Position>) -> Position {
        let fresh = self.draw();
        let number = before.map_or(fresh, |before| before.number);
        let turn = before.and_then(|before| before.turn);
        let line = match self.lines.entry(origin) {
            Entry::Vacant(vacant) => {
                let turn = turn.unwrap_or(fresh);
                self.turns.insert(turn, origin);
                vacant.insert(Line { turn, keys: BTreeMap::new() })
            }
            Entry::Occupied(line) => line.into_mut(),
        };
        if let Some(turn) = turn.filter(|turn| *turn < line.turn) {
            self.turns.remove(&line.turn);
            self.turns.insert(turn, origin);
            line.turn = turn;
        }
        let other = line.keys.insert(number, key);
        debug_assert!(other.is_none(), "a queue position belongs to one connection");
        self.len += 1;
        debug_assert!(number <= fresh, "a connection that was queued before is not behind a new one");
        Position { origin, number, turn: None }
    }

    /// Checks that lines, turns and the length agree.
    pub(super) fn invariants(&self) {
        assert_eq!(self.lines.len(), self.turns.len(), "a peer has one turn");
        assert_eq!(self.lines.values().map(|line| line.keys.len()).sum::<usize>(), self.len, "each is counted once");
        for (turn, origin) in &self.turns {
            let line = self.lines.get(origin);
            assert!(line.is_some_and(|line| line.turn == *turn), "a turn is that of a peer with queued connections");
            assert!(line.is_some_and(|line| !line.keys.is_empty()), "a peer without queued connections is forgotten");
            assert!(*turn <= self.drawn, "a turn was drawn before");
        }
    }

    const fn draw(&mut self) -> u64 {
        self.drawn += 1;
        self.drawn
    }

    /// Removes a connection from the queue.
    pub(super) fn remove(&mut self, position: Position) {
        let Entry::Occupied(mut line) = self.lines.entry(position.origin) else {
            debug_assert!(false, "only a peer with queued connections has a position");
            return;
        };
        let removed = line.get_mut().keys.remove(&position.number);
        debug_assert!(removed.is_some(), "only a queued connection leaves the queue");
        self.len -= usize::from(removed.is_some());
        if line.get().keys.is_empty() {
            self.turns.remove(&line.remove().turn);
        }
    }

    /// Removes and returns the connection at the head of the queue.
    pub(super) fn pop(&mut self) -> Option<(Position, Key)> {
        let next_turn = self.draw();
        let (turn, origin) = self.turns.pop_first()?;
        let Entry::Occupied(mut line) = self.lines.entry(origin) else { unreachable!("a turn belongs to a line") };
        let (number, key) = line.get_mut().keys.pop_first()?;
        debug_assert_eq!(line.get().turn, turn, "a peer knows its turn");
        debug_assert!(self.turns.first_key_value().is_none_or(|(next, _)| turn < *next), "the first turn is next");
        if line.get().keys.is_empty() {
            line.remove();
        } else {
            line.get_mut().turn = next_turn;
            self.turns.insert(next_turn, origin);
        }
        self.len -= 1;
        Some((Position { origin, number, turn: Some(turn) }, key))
    }

    /// Returns the key at a position.
    pub(super) fn at(&self, position: Position) -> Option<Key> {
        self.lines.get(&position.origin)?.keys.get(&position.number).copied()
    }

    /// Returns the rank of each queued connection. This takes time in proportion to the length of the queue.
    pub(super) fn ranks(&self) -> BTreeMap<usize, Rank> {
        let ranks = |line: &Line| {
            let turn = line.turn;
            line.keys
                .values()
                .enumerate()
                .map(move |(place, key)| (key.index(), Rank { place, turn }))
                .collect::<Vec<_>>()
        };
        self.lines.values().flat_map(ranks).collect()
    }

    /// Returns the number of queued connections.
    pub(super) const fn len(&self) -> usize {
        self.len
    }

    /// Returns the number of peers that are remembered.
    #[cfg(test)]
    fn peers(&self) -> usize {
        self.lines.len().max(self.turns.len())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(index: u32) -> Key {
        Key { index, serial: 0 }
    }

    fn queue_all(queue: &mut Queue, origin: Origin, indexes: &[u32]) {
        indexes.iter().for_each(|index| _ = queue.push(key(*index), origin, None));
    }

    fn drain(queue: &mut Queue) -> Vec<u32> {
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
        assert_eq!(queue.len(), 0);
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

    /// Many peers with one connection each, which is always queued again, leave a peer with several its share.
    #[test]
    fn a_peer_with_several_connections_gets_its_share_beside_many_with_one() {
        let mut queue = Queue::default();
        (0..10).for_each(|index| _ = queue.push(key(index), Origin(0), None));
        (1..=200).for_each(|peer| _ = queue.push(key(100), Origin(peer), None));
        let served = (0..2010).filter(|_| {
            let (position, key) = queue.pop().expect("connections are queued again");
            queue.push(key, position.origin, None);
            position.origin == Origin(0)
        });
        assert_eq!(served.count(), 10);
    }

    #[test]
    fn connections_that_leave_the_queue_leave_no_debt() {
        let mut queue = Queue::default();
        let positions: Vec<_> = (0..1000).map(|index| queue.push(key(index), Origin(1), None)).collect();
        positions.into_iter().for_each(|position| queue.remove(position));
        queue.push(key(1), Origin(1), None);
        queue_all(&mut queue, Origin(2), &[5, 6]);
        assert_eq!(drain(&mut queue), [1, 5, 6]);
    }

    /// A permit that was not used returns the turn; a half-received NOTIFY keeps only the place among those of its peer.
    #[test]
    fn a_position_of_before_has_its_turn_only_if_its_permit_was_not_used() {
        let mut queue = Queue::default();
        queue_all(&mut queue, Origin(1), &[1, 2]);
        queue.push(key(5), Origin(2), None);
        let (position, _) = queue.pop().expect("three are queued");
        queue.push(key(1), Origin(1), Some(position));
        let (position, first) = queue.pop().expect("three are queued");
        assert_eq!(first, key(1));
        queue.push(key(1), Origin(1), Some(position.in_next_turn()));
        assert_eq!(drain(&mut queue), [5, 1, 2]);
    }

    #[test]
    fn ranks_are_the_order_in_which_connections_would_be_served() {
        let mut queue = Queue::default();
        queue_all(&mut queue, Origin(9), &[3, 4, 5]);
        queue_all(&mut queue, Origin(2), &[6, 7]);
        let mut by_rank: Vec<_> = queue.ranks().into_iter().map(|(index, rank)| (rank, index as u32)).collect();
        by_rank.sort_unstable();
        assert_eq!(by_rank.into_iter().map(|(_, index)| index).collect::<Vec<_>>(), drain(&mut queue));
    }

    #[test]
    fn peers_without_queued_connections_are_forgotten() {
        let mut queue = Queue::default();
        for origin in 0..10_000 {
            let position = queue.push(key(0), Origin(origin), None);
            if origin % 2 == 0 {
                queue.pop();
            } else {
                queue.remove(position);
            }
        }
        assert_eq!((queue.peers(), queue.len()), (0, 0));
    }
}
