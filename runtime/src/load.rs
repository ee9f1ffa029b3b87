//! The resources that connections hold between their turns: one of them, and all of a worker together.

use std::sync::Arc;

use spoa_core::Connection;

use crate::counters::Counters;
use crate::settings::Settings;
use crate::waiting::{Number, Waiting};

/// The resources that a connection holds, or several.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Load {
    /// The number of NOTIFYs in flight.
    in_flight: usize,
    /// Bytes of their payloads, of which their handlers may keep copies. They are freed within the time that an answer
    /// may take.
    copies: usize,
    /// Bytes of the connection itself: parts of frames, unsent output, and the slots of NOTIFYs in flight.
    buffers: usize,
}

impl Load {
    /// Returns the load of a connection whose turn is over, with so many bytes in buffers outside of it.
    pub(crate) fn of(connection: &Connection, besides: usize) -> Self {
        Self { buffers: connection.memory() + besides, ..Self::default().within(connection) }
    }

    /// Returns the load of a connection during its turn: what it has in its buffers then is not counted yet.
    pub(crate) const fn within(self, connection: &Connection) -> Self {
        Self { in_flight: connection.in_flight(), copies: connection.in_flight_bytes(), ..self }
    }

    /// Returns all bytes.
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

/// The resources that the connections of one worker hold together, and their limits: its share of the limits of all
/// workers.
///
/// With a share of its own a worker never has to look at another thread before it answers.
#[derive(Debug)]
pub(crate) struct Loads {
    sum: Load,
    in_flight_max: usize,
    bytes_max: usize,
    /// The limit of bytes in copies of NOTIFYs in flight.
    copies_max: usize,
    /// The largest NOTIFY that is not fragmented, in bytes.
    notify_len: usize,
    /// The queued connections.
    waiting: Waiting,
    /// The number of permits that were granted and not used yet.
    called: usize,
    counters: Arc<Counters>,
}

impl Loads {
    /// Returns the loads of a worker without connections.
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

    /// Replaces the load of a connection, `before`, by `now`.
    #[inline]
    pub(crate) fn change(&mut self, before: &mut Load, now: Load) {
        if *before != now {
            self.sum = self.sum.without(*before).with(now);
            *before = now;
            self.counters.in_flight.set(self.sum.in_flight as u64);
            self.counters.held_bytes.set(self.sum.bytes() as u64);
        }
    }

    /// Queues a connection: at its position of before, if it had been granted a permit that it could not use.
    pub(crate) fn wait(&mut self, key: usize, before: Option<Number>) -> Number {
        let number = self.waiting.push(key, before);
        self.counters.on_hold.set(self.waiting.len() as u64);
        number
    }

    /// Removes a connection from the queue.
    pub(crate) fn leave(&mut self, number: Number) {
        self.waiting.remove(number);
        self.counters.on_hold.set(self.waiting.len() as u64);
    }

    /// Grants a free permit to the connection that has been queued for longest, and returns it.
    pub(crate) fn call(&mut self) -> Option<usize> {
        if self.called >= self.places() {
            return None;
        }
        let key = self.waiting.pop()?;
        self.called += 1;
        self.counters.on_hold.set(self.waiting.len() as u64);
        Some(key)
    }

    /// Notes that a granted permit was used, or is free again.
    pub(crate) const fn answer_call(&mut self) {
        self.called -= 1;
    }

    /// Returns the number of queued connections.
    pub(crate) fn waiting(&self) -> usize {
        self.waiting.len()
    }

    /// True if a NOTIFY may be accepted: by a connection with a permit, or because a permit is free and nobody is
    /// queued for it.
    #[inline]
    pub(crate) fn has_place(&self, is_called: bool) -> bool {
        let is_free = || self.waiting.len() == 0 && (self.called == 0 || self.called < self.places());
        self.has_room() && (is_called || is_free())
    }

    /// False while as many NOTIFYs are in flight as may be, or their copies take half of the bytes.
    #[inline]
    const fn has_room(&self) -> bool {
        self.sum.in_flight < self.in_flight_max && self.sum.copies < self.copies_max
    }

    /// Returns the number of free permits for deferred NOTIFYs of the largest size.
    const fn places(&self) -> usize {
        let by_bytes = self.copies_max.saturating_sub(self.sum.copies).div_ceil(self.notify_len);
        let by_number = self.in_flight_max.saturating_sub(self.sum.in_flight);
        if by_bytes < by_number { by_bytes } else { by_number }
    }

    /// Returns the limit that leaves fewer permits.
    pub(crate) const fn limit(&self) -> &'static str {
        if self.sum.in_flight >= self.in_flight_max { "--total-in-flight-max" } else { "--total-bytes-max" }
    }

    /// Returns the number of bytes above the limit.
    pub(crate) const fn excess(&self) -> usize {
        self.sum.bytes().saturating_sub(self.bytes_max)
    }

    /// Returns the limit of bytes.
    pub(crate) const fn bytes_max(&self) -> usize {
        self.bytes_max
    }

    /// Returns the number of NOTIFYs in flight.
    pub(crate) const fn in_flight(&self) -> usize {
        self.sum.in_flight
    }
}

#[cfg(test)]
mod tests {
    use std::num::NonZeroUsize;

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
}
