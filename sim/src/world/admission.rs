//! The checker's idea of the limits of all connections: a list of who waits, and a number of permits.

use spoa_core::endpoint::Limits;

/// The queue and the permits. Connections are named by their number.
#[derive(Debug)]
pub(super) struct Admission {
    limits: Limits,
    copies_max: usize,
    notify_len: usize,
    /// The queued connections of each peer.
    lines: Vec<Line>,
    /// The connections with a permit, each with its place from the queue.
    permits: Vec<(Place, usize)>,
    /// The places that connections keep until a NOTIFY in fragments is whole.
    kept: Vec<(u64, usize)>,
    drawn: u64,
}

/// The queued connections of a peer, by their numbers, and its turn. The peer with the lowest turn is next.
#[derive(Debug)]
struct Line {
    origin: u8,
    turn: u64,
    waiting: Vec<(u64, usize)>,
}

/// A place in the queue: the turn of the peer, and the number among its connections.
#[derive(Clone, Copy, Debug)]
struct Place {
    turn: u64,
    number: u64,
}

/// The NOTIFYs in flight on all connections, and the bytes of their payloads.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Load {
    pub(super) in_flight: usize,
    pub(super) copies: usize,
}

impl Admission {
    pub(super) const fn new(limits: Limits, notify_len: usize) -> Self {
        Self {
            limits,
            copies_max: limits.bytes_max / 2,
            notify_len,
            lines: Vec::new(),
            permits: Vec::new(),
            kept: Vec::new(),
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
        has_room && (is_granted || self.lines.is_empty() && is_spare)
    }

    /// The connection has taken a NOTIFY, for which it had kept its place.
    pub(super) fn taken(&mut self, at: usize) {
        self.kept.retain(|(_, keeper)| *keeper != at);
    }

    /// The connection has deferred a NOTIFY, which uses its permit.
    pub(super) fn deferred(&mut self, at: usize) {
        self.permits.retain(|(_, holder)| *holder != at);
    }

    /// The turn of a connection has ended; `needs` is true if it has a NOTIFY that it may not take, `is_amid` if it has a NOTIFY of
    /// which the last fragment has not arrived. Its peer is `origin`.
    pub(super) fn turn_ended(&mut self, at: usize, origin: u8, needs: bool, is_amid: bool) {
        let unused =
            self.permits.iter().position(|(_, holder)| *holder == at).map(|place| self.permits.remove(place).0);
        let is_queued = self.lines.iter().any(|line| line.waiting.iter().any(|(_, queued)| *queued == at));
        let kept = self.kept.iter().position(|(_, keeper)| *keeper == at);
        if needs {
            if !is_queued {
                let kept = kept.map(|kept| self.kept.remove(kept).0);
                self.enter(at, origin, unused, kept);
            }
            return;
        }
        self.leave(at);
        let place = unused.map(|place| place.number).or(kept.map(|kept| self.kept[kept].0));
        self.kept.retain(|(_, keeper)| *keeper != at);
        self.kept.extend(place.filter(|_| is_amid).map(|number| (number, at)));
    }

    /// Queues a connection: with a permit that it could not use, at its place and turn of before; with a number that it has kept,
    /// before later ones of its peer.
    fn enter(&mut self, at: usize, origin: u8, unused: Option<Place>, kept: Option<u64>) {
        self.drawn += 1;
        let number = unused.map(|place| place.number).or(kept).unwrap_or(self.drawn);
        let known = self.lines.iter().position(|line| line.origin == origin);
        let index = known.unwrap_or_else(|| {
            self.lines.push(Line { origin, turn: self.drawn, waiting: Vec::new() });
            self.lines.len() - 1
        });
        let line = &mut self.lines[index];
        if let Some(place) = unused {
            line.turn = if line.waiting.is_empty() { place.turn } else { line.turn.min(place.turn) };
        }
        line.waiting.push((number, at));
        line.waiting.sort_unstable();
    }

    fn leave(&mut self, at: usize) {
        self.lines.iter_mut().for_each(|line| line.waiting.retain(|(_, queued)| *queued != at));
        self.lines.retain(|line| !line.waiting.is_empty());
    }

    /// The pass has ended: free permits go to the connections at the head of the queue.
    pub(super) fn pass_ended(&mut self, load: Load) {
        while self.permits.len() < self.free(load)
            && let Some(next) = self.lines.iter_mut().min_by_key(|line| line.turn)
        {
            self.drawn += 1;
            let turn = std::mem::replace(&mut next.turn, self.drawn);
            let (number, at) = next.waiting.remove(0);
            self.permits.push((Place { turn, number }, at));
            self.lines.retain(|line| !line.waiting.is_empty());
        }
    }

    /// The connection is shed: it is not queued any more.
    pub(super) fn shed(&mut self, at: usize) {
        self.leave(at);
    }

    /// The connection has ended.
    pub(super) fn ended(&mut self, at: usize) {
        self.leave(at);
        self.permits.retain(|(_, holder)| *holder != at);
        self.kept.retain(|(_, keeper)| *keeper != at);
    }

    /// Returns the rank of a queued connection: its place among those of its peer, then the turn of the peer.
    pub(super) fn rank(&self, at: usize) -> Option<(usize, u64)> {
        let place = |line: &Line| line.waiting.iter().position(|(_, queued)| *queued == at);
        self.lines.iter().find_map(|line| Some((place(line)?, line.turn)))
    }

    pub(super) fn queued(&self) -> usize {
        self.lines.iter().map(|line| line.waiting.len()).sum()
    }
}
