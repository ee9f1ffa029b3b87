//! The checker's idea of the limits of all connections: a list of who waits, and a number of permits.

use crate::script::AgentSetup;

/// The queue and the permits. Connections are named by their number.
#[derive(Debug, Default)]
pub(super) struct Admission {
    in_flight_max: usize,
    copies_max: usize,
    notify_len: usize,
    /// The queued connections, each with the number that it drew when it was queued first.
    queue: Vec<(u64, usize)>,
    /// The connections with a permit, each with its number from the queue.
    permits: Vec<(u64, usize)>,
    drawn: u64,
}

/// The NOTIFYs in flight on all connections, and the bytes of their payloads.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Load {
    pub(super) in_flight: usize,
    pub(super) copies: usize,
}

impl Admission {
    pub(super) fn new(agent: &AgentSetup) -> Self {
        Self {
            in_flight_max: agent.total_in_flight_max.max(1) as usize,
            copies_max: agent.total_bytes_max() / 2,
            notify_len: agent.config().max_frame_size as usize,
            ..Self::default()
        }
    }

    /// Returns the number of NOTIFYs of the largest size that fit under both limits.
    fn free(&self, load: Load) -> usize {
        let by_bytes = self.copies_max.saturating_sub(load.copies).div_ceil(self.notify_len);
        by_bytes.min(self.in_flight_max.saturating_sub(load.in_flight))
    }

    /// True if a connection may take a NOTIFY.
    pub(super) fn admits(&self, at: usize, load: Load) -> bool {
        let has_room = load.in_flight < self.in_flight_max && load.copies < self.copies_max;
        let is_granted = self.permits.iter().any(|(_, holder)| *holder == at);
        let is_spare = self.permits.is_empty() || self.permits.len() < self.free(load);
        has_room && (is_granted || self.queue.is_empty() && is_spare)
    }

    /// The connection has deferred a NOTIFY, which uses its permit.
    pub(super) fn deferred(&mut self, at: usize) {
        self.permits.retain(|(_, holder)| *holder != at);
    }

    /// The turn of a connection has ended; `needs` is true if it has a NOTIFY that it may not take.
    pub(super) fn turn_ended(&mut self, at: usize, needs: bool) {
        let unused =
            self.permits.iter().position(|(_, holder)| *holder == at).map(|place| self.permits.remove(place).0);
        let is_queued = self.queue.iter().any(|(_, queued)| *queued == at);
        if needs && !is_queued {
            let number = unused.unwrap_or_else(|| {
                self.drawn += 1;
                self.drawn
            });
            let place = self.queue.partition_point(|(other, _)| *other < number);
            self.queue.insert(place, (number, at));
        } else if !needs {
            self.queue.retain(|(_, queued)| *queued != at);
        }
    }

    /// The pass has ended: free permits go to the connections at the head of the queue.
    pub(super) fn pass_ended(&mut self, load: Load) {
        while self.permits.len() < self.free(load) && !self.queue.is_empty() {
            self.permits.push(self.queue.remove(0));
        }
    }

    /// The connection has ended.
    pub(super) fn ended(&mut self, at: usize) {
        self.permits.retain(|(_, holder)| *holder != at);
        self.queue.retain(|(_, queued)| *queued != at);
    }

    /// Returns the number that a queued connection drew.
    pub(super) fn number(&self, at: usize) -> Option<u64> {
        self.queue.iter().find(|(_, queued)| *queued == at).map(|(number, _)| *number)
    }

    pub(super) fn queued(&self) -> usize {
        self.queue.len()
    }
}
