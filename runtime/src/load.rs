//! What connections hold between their turns: one of them, and all of a worker together.

use std::num::NonZeroUsize;
use std::sync::Arc;

use spoa_core::Connection;

use crate::counters::Counters;
use crate::settings::Settings;

/// What a connection holds, or many.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Load {
    /// NOTIFYs in flight.
    in_flight: usize,
    /// Bytes of their payloads, copies of which their handlers may keep.
    copies: usize,
    /// Bytes in buffers: parts of frames, and what waits to be sent.
    buffers: usize,
}

impl Load {
    /// That of a connection whose turn is over.
    pub(crate) fn of(connection: &Connection) -> Self {
        Self { in_flight: connection.in_flight(), copies: connection.in_flight_bytes(), buffers: connection.memory() }
    }

    /// That of a connection in its turn: what it has in its buffers then is not counted yet.
    pub(crate) const fn within(self, connection: &Connection) -> Self {
        Self { in_flight: connection.in_flight(), copies: connection.in_flight_bytes(), ..self }
    }

    /// All bytes of it.
    pub(crate) const fn bytes(self) -> usize {
        self.copies + self.buffers
    }

    const fn with(self, one: Self) -> Self {
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

/// What the connections of one worker hold together, and may hold: its share of what all workers may.
///
/// A share of its own costs no look at other threads, on which the answers of this one would wait.
#[derive(Debug)]
pub(crate) struct Loads {
    sum: Load,
    in_flight_max: usize,
    bytes_max: usize,
    counters: Arc<Counters>,
}

impl Loads {
    /// Nothing yet.
    pub(crate) fn new(settings: &Settings, counters: Arc<Counters>) -> Self {
        let (in_flight_max, bytes_max) = (settings.total_in_flight_max(), settings.total_bytes_max());
        let share = |total| share(total, settings.workers);
        Self { sum: Load::default(), in_flight_max: share(in_flight_max), bytes_max: share(bytes_max), counters }
    }

    /// A connection holds `now` and no longer `before`.
    #[inline]
    pub(crate) fn change(&mut self, before: &mut Load, now: Load) {
        if *before != now {
            self.sum = self.sum.without(*before).with(now);
            *before = now;
            self.counters.in_flight.set(self.sum.in_flight as u64);
            self.counters.held_bytes.set(self.sum.bytes() as u64);
        }
    }

    /// How many NOTIFYs may be taken that are not answered at once: none while as many wait for their answer as may, or
    /// those that do have half of the bytes. What they have comes free by itself, within the time that an answer may take.
    #[inline]
    pub(crate) const fn places(&self) -> usize {
        if self.sum.copies < self.bytes_max.div_ceil(2) {
            self.in_flight_max.saturating_sub(self.sum.in_flight)
        } else {
            0
        }
    }

    /// How many bytes are too many: those that peers let lie here need not ever come free by themselves.
    pub(crate) const fn excess(&self) -> usize {
        self.sum.bytes().saturating_sub(self.bytes_max)
    }

    /// How many bytes may be held.
    pub(crate) const fn bytes_max(&self) -> usize {
        self.bytes_max
    }
}

/// The share of each worker in `total`, at least 1.
pub(crate) fn share(total: usize, workers: NonZeroUsize) -> usize {
    (total / workers).max(1)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn loads() -> Loads {
        let settings = Settings {
            workers: NonZeroUsize::MIN,
            total_in_flight_max: Some(3),
            total_bytes_max: Some(100),
            ..Settings::default()
        };
        Loads::new(&settings, Arc::default())
    }

    #[test]
    fn places_are_left_until_there_are_as_many_as_may_be_or_they_have_half_of_the_bytes() {
        let (mut loads, mut one, mut other) = (loads(), Load::default(), Load::default());
        assert_eq!(loads.places(), 3);
        loads.change(&mut one, Load { in_flight: 2, copies: 49, buffers: 60 });
        assert_eq!((loads.places(), loads.excess()), (1, 9));
        loads.change(&mut other, Load { in_flight: 1, copies: 0, buffers: 0 });
        assert_eq!(loads.places(), 0);
        loads.change(&mut one, Load { in_flight: 1, copies: 50, buffers: 0 });
        assert_eq!((loads.places(), loads.excess()), (0, 0));
        loads.change(&mut one, Load::default());
        assert_eq!(loads.places(), 2);
        assert_eq!((loads.counters.in_flight.get(), loads.counters.held_bytes.get()), (1, 0));
    }

    #[test]
    fn every_worker_has_a_share() {
        let share = |total, workers| share(total, NonZeroUsize::new(workers).unwrap());
        assert_eq!([share(100, 1), share(100, 3), share(1, 64), share(0, 1)], [100, 33, 1, 1]);
    }
}
