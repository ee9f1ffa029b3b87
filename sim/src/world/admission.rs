//! The checker's idea of the limits of all connections: a list of who waits, and a number of permits.

use spoa_core::endpoint::Limits;

/// The queue and the permits. Connections are named by their number.
#[derive(Debug)]
pub(super) struct Admission {
    limits: Limits,
    copies_max: usize,
    notify_len: usize,
    /// The queued connections, each with the place that it got when it was queued first.
    queue: Vec<(Place, usize)>,
    /// The connections with a permit, each with its place from the queue.
    permits: Vec<(Place, usize)>,
    /// The last round of each peer.
    last_rounds: Vec<(u8, u64)>,
    /// The latest round of a connection that was granted a permit.
    round: u64,
    drawn: u64,
}

/// A place in the queue: each peer has one connection in each round; within a round the first to come is first.
pub(super) type Place = (u64, u64);

/// The NOTIFYs in flight on all connections, and the bytes of their payloads.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Load {
    pub(super) in_flight: usize,
    pub(super) copies: usize,
}

impl Admission {
    pub(super) fn new(limits: Limits, notify_len: usize) -> Self {
        Self {
            limits,
            copies_max: limits.bytes_max / 2,
            notify_len,
            queue: Vec::new(),
            permits: Vec::new(),
            last_rounds: Vec::new(),
            round: 0,
            drawn: 0,
        }
    }

    /// Returns the limits.
    pub(super) const fn limits(&self) -> Limits {
        self.limits
    }

    /// Returns the number of NOTIFYs of the largest size that fit under both limits.
    fn free(&self, load: Load) -> usize {
        let by_bytes = self.copies_max.saturating_sub(load.copies).div_ceil(self.notify_len);
        by_bytes.min(self.limits.in_flight_max.saturating_sub(load.in_flight))
    }

    /// True if a connection may take a NOTIFY.
    pub(super) fn admits(&self, at: usize, load: Load) -> bool {
        let has_room = load.in_flight < self.limits.in_flight_max && load.copies < self.copies_max;
        let is_granted = self.permits.iter().any(|(_, holder)| *holder == at);
        let is_spare = self.permits.is_empty() || self.permits.len() < self.free(load);
        has_room && (is_granted || self.queue.is_empty() && is_spare)
    }

    /// The connection has deferred a NOTIFY, which uses its permit.
    pub(super) fn deferred(&mut self, at: usize) {
        self.permits.retain(|(_, holder)| *holder != at);
    }

    /// The turn of a connection has ended; `needs` is true if it has a NOTIFY that it may not take. Its peer is `origin`.
    pub(super) fn turn_ended(&mut self, at: usize, origin: u8, needs: bool) {
        let unused =
            self.permits.iter().position(|(_, holder)| *holder == at).map(|place| self.permits.remove(place).0);
        let is_queued = self.queue.iter().any(|(_, queued)| *queued == at);
        if needs && !is_queued {
            let place = unused.unwrap_or_else(|| self.new_place(origin));
            let index = self.queue.partition_point(|(other, _)| *other < place);
            self.queue.insert(index, (place, at));
        } else if !needs {
            self.queue.retain(|(_, queued)| *queued != at);
        }
    }

    fn new_place(&mut self, origin: u8) -> Place {
        let known = self.last_rounds.iter().position(|(peer, _)| *peer == origin);
        let at = known.unwrap_or_else(|| {
            self.last_rounds.push((origin, 0));
            self.last_rounds.len() - 1
        });
        let (_, last) = &mut self.last_rounds[at];
        *last = (*last + 1).max(self.round);
        self.drawn += 1;
        (*last, self.drawn)
    }

    /// The pass has ended: free permits go to the connections at the head of the queue.
    pub(super) fn pass_ended(&mut self, load: Load) {
        while self.permits.len() < self.free(load) && !self.queue.is_empty() {
            let first = self.queue.remove(0);
            self.round = self.round.max(first.0.0);
            self.permits.push(first);
        }
    }

    /// The connection has ended.
    pub(super) fn ended(&mut self, at: usize) {
        self.permits.retain(|(_, holder)| *holder != at);
        self.queue.retain(|(_, queued)| *queued != at);
    }

    /// Returns the place of a queued connection.
    pub(super) fn place(&self, at: usize) -> Option<Place> {
        self.queue.iter().find(|(_, queued)| *queued == at).map(|(place, _)| *place)
    }

    pub(super) fn queued(&self) -> usize {
        self.queue.len()
    }
}
