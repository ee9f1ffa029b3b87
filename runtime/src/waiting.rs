//! The queue of connections that need a permit for their next NOTIFY.

use std::collections::BTreeMap;

/// The keys of queued connections, in the order in which they were queued.
#[derive(Debug, Default)]
pub(crate) struct Waiting {
    order: BTreeMap<u64, usize>,
    last: u64,
}

/// A queue position.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Number(u64);

impl Waiting {
    /// Queues a connection at the end, or at the position that it had before.
    pub(crate) fn push(&mut self, key: usize, before: Option<Number>) -> Number {
        let Number(number) = before.unwrap_or_else(|| {
            self.last += 1;
            Number(self.last)
        });
        self.order.insert(number, key);
        Number(number)
    }

    /// Removes a connection from the queue.
    pub(crate) fn remove(&mut self, Number(number): Number) {
        self.order.remove(&number);
    }

    /// Removes and returns the connection at the head of the queue.
    pub(crate) fn pop(&mut self) -> Option<usize> {
        self.order.pop_first().map(|(_, key)| key)
    }

    /// Returns the number of queued connections.
    pub(crate) fn len(&self) -> usize {
        self.order.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whoever_leaves_is_not_waited_for() {
        let mut waiting = Waiting::default();
        let [first, _, third] = [7, 8, 7].map(|key| waiting.push(key, None));
        waiting.remove(first);
        assert_eq!((waiting.len(), waiting.pop()), (2, Some(8)));
        waiting.push(9, None);
        waiting.remove(third);
        waiting.push(7, Some(first));
        assert_eq!([waiting.pop(), waiting.pop(), waiting.pop()], [Some(7), Some(9), None]);
    }
}
