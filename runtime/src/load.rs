//! What connections hold between their turns: one of them, and all of a worker together.

use std::num::NonZeroUsize;
use std::sync::Arc;

use spoa_core::Connection;

use crate::counters::Counters;
use crate::settings::Settings;
use crate::waiting::{Number, Waiting};

/// What a connection holds, or many.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Load {
    /// NOTIFYs in flight.
    in_flight: usize,
    /// Bytes of their payloads, copies of which their handlers may keep. They come free by themselves, within the time that
    /// an answer may take.
    copies: usize,
    /// Bytes of the connection itself: parts of frames, what waits to be sent, what it knows of NOTIFYs in flight.
    buffers: usize,
}

impl Load {
    /// Returns the load of a connection whose turn is over, with so many bytes in buffers outside of it.
    pub(crate) fn of(connection: &Connection, besides: usize) -> Self {
        Self { buffers: connection.memory() + besides, ..Self::default().within(connection) }
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
    /// How many of them copies of NOTIFYs in flight may have.
    copies_max: usize,
    /// The bytes that a NOTIFY may have, if it comes in one frame.
    notify_len: usize,
    /// The connections that wait for a place.
    waiting: Waiting,
    /// How many were called to a place that they have not taken yet.
    called: usize,
    counters: Arc<Counters>,
}

impl Loads {
    /// Nothing yet.
    pub(crate) fn new(settings: &Settings, counters: Arc<Counters>) -> Self {
        let bytes_max = settings.worker_bytes_max();
        Self {
            sum: Load::default(),
            in_flight_max: settings.worker_in_flight_max(),
            bytes_max,
            copies_max: bytes_max / 2,
            notify_len: settings.connection.max_frame_size as usize,
            waiting: Waiting::default(),
            called: 0,
            counters,
        }
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

    /// A connection waits for a place: where it was, if it had been called and found none.
    pub(crate) fn wait(&mut self, key: usize, before: Option<Number>) -> Number {
        let number = self.waiting.push(key, before);
        self.counters.on_hold.set(self.waiting.len() as u64);
        number
    }

    /// It waits no longer.
    pub(crate) fn leave(&mut self, number: Number) {
        self.waiting.remove(number);
        self.counters.on_hold.set(self.waiting.len() as u64);
    }

    /// Calls whoever has waited longest to a place that nobody else is called to, if there is one.
    pub(crate) fn call(&mut self) -> Option<usize> {
        if self.called >= self.places() {
            return None;
        }
        let key = self.waiting.pop()?;
        self.called += 1;
        self.counters.on_hold.set(self.waiting.len() as u64);
        Some(key)
    }

    /// One that was called has taken its place, or leaves it to others.
    pub(crate) const fn answer_call(&mut self) {
        self.called -= 1;
    }

    /// How many wait.
    pub(crate) fn waiting(&self) -> usize {
        self.waiting.len()
    }

    /// True if a NOTIFY may be taken: by one that was called, or on a place that nobody waits for.
    #[inline]
    pub(crate) fn has_place(&self, is_called: bool) -> bool {
        let is_free = || self.waiting.len() == 0 && (self.called == 0 || self.called < self.places());
        self.has_room() && (is_called || is_free())
    }

    /// False while as many NOTIFYs wait for their answer as may, or those that do have half of the bytes.
    #[inline]
    const fn has_room(&self) -> bool {
        self.sum.in_flight < self.in_flight_max && self.sum.copies < self.copies_max
    }

    /// How many NOTIFYs may be taken that are not answered at once, however large.
    const fn places(&self) -> usize {
        let by_bytes = self.copies_max.saturating_sub(self.sum.copies).div_ceil(self.notify_len);
        let by_number = self.in_flight_max.saturating_sub(self.sum.in_flight);
        if by_bytes < by_number { by_bytes } else { by_number }
    }

    /// The limit that leaves fewer places.
    pub(crate) const fn limit(&self) -> &'static str {
        if self.sum.in_flight >= self.in_flight_max { "--total-in-flight-max" } else { "--total-bytes-max" }
    }

    /// How many bytes are too many.
    pub(crate) const fn excess(&self) -> usize {
        self.sum.bytes().saturating_sub(self.bytes_max)
    }

    /// How many bytes may be held.
    pub(crate) const fn bytes_max(&self) -> usize {
        self.bytes_max
    }

    /// How many NOTIFYs are in flight.
    pub(crate) const fn in_flight(&self) -> usize {
        self.sum.in_flight
    }
}

/// The share of each worker in `total`, at least 1.
pub(crate) fn share(total: usize, workers: NonZeroUsize) -> usize {
    (total / workers).max(1)
}

#[cfg(test)]
mod tests {
    use super::*;

    const FRAME: usize = 16_384;

    fn loads() -> Loads {
        let settings = Settings {
            workers: NonZeroUsize::MIN,
            total_in_flight_max: Some(3),
            total_bytes_max: Some(4 * FRAME),
            ..Settings::default()
        };
        Loads::new(&settings, Arc::default())
    }

    #[test]
    fn places_are_left_until_there_are_as_many_as_may_be_or_they_have_half_of_the_bytes() {
        let (mut loads, mut one, mut other) = (loads(), Load::default(), Load::default());
        assert_eq!(loads.places(), 2, "for the largest ones");
        loads.change(&mut one, Load { in_flight: 2, copies: 100, buffers: 4 * FRAME });
        assert_eq!((loads.places(), loads.excess()), (1, 100));
        loads.change(&mut other, Load { in_flight: 1, copies: 0, buffers: 0 });
        assert_eq!(loads.places(), 0);
        loads.change(&mut one, Load { in_flight: 1, copies: 2 * FRAME, buffers: 0 });
        assert_eq!((loads.places(), loads.excess()), (0, 0));
        loads.change(&mut one, Load::default());
        assert_eq!(loads.places(), 2);
        assert_eq!((loads.counters.in_flight.get(), loads.counters.held_bytes.get()), (1, 0));
    }

    #[test]
    fn a_place_is_of_whoever_was_called_to_it() {
        let (mut loads, mut one) = (loads(), Load::default());
        loads.change(&mut one, Load { in_flight: 2, ..Load::default() });
        loads.wait(7, None);
        let second = loads.wait(8, None);
        assert!(!loads.has_place(false), "others have waited longer");
        assert_eq!([loads.call(), loads.call()], [Some(7), None], "there is one place");
        loads.leave(second);
        assert_eq!([true, false].map(|is_called| loads.has_place(is_called)), [true, false]);
        loads.answer_call();
        assert!(loads.has_place(false));
        assert_eq!((loads.call(), loads.counters.on_hold.get()), (None, 0));
    }

    #[test]
    fn every_worker_has_a_share() {
        let share = |total, workers| share(total, NonZeroUsize::new(workers).unwrap());
        assert_eq!([share(100, 1), share(100, 3), share(1, 64), share(0, 1)], [100, 33, 1, 1]);
    }
}
