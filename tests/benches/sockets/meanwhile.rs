//! Loads with and without background work.

use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

use crate::Load;
use crate::figures::{Ratio, grouped, median};

/// Results of loads with and without background work, which are measured in turns.
#[derive(Default)]
pub(crate) struct Comparison {
    without: Vec<Load>,
    with: Vec<Load>,
}

impl Comparison {
    /// Measures `turns` loads of each kind. During every other load, `step` runs again and again.
    pub(crate) fn measure(turns: usize, load: impl Fn() -> Load, mut step: impl FnMut() + Send) -> Self {
        let mut comparison = Self::default();
        for _ in 0..turns {
            comparison.without.push(load());
            let is_over = AtomicBool::new(false);
            comparison.with.push(thread::scope(|scope| {
                scope.spawn(|| {
                    while !is_over.load(Ordering::Relaxed) {
                        step();
                    }
                });
                let load = load();
                is_over.store(true, Ordering::Relaxed);
                load
            }));
        }
        comparison
    }

    /// Measures `turns` loads of each kind, one after the other.
    pub(crate) fn of_two(turns: usize, without: impl Fn() -> Load, with: impl Fn() -> Load) -> Self {
        let mut comparison = Self::default();
        for _ in 0..turns {
            comparison.without.push(without());
            comparison.with.push(with());
        }
        comparison
    }

    /// Returns the results as the end of a sentence.
    pub(crate) fn summary(&self) -> String {
        let p99 = |loads: &[Load]| loads.iter().map(|load| load.p99.as_secs_f64() * 1e6).collect::<Vec<_>>();
        let rates = |loads: &[Load]| loads.iter().map(|load| load.acks_per_sec).collect::<Vec<_>>();
        let Self { without, with } = self;
        format!(
            "p99 {} µs, {} µs without, ratio {}. ACKs per second, ratio to those without: {}.\n",
            grouped(median(p99(with))),
            grouped(median(p99(without))),
            Ratio::of(&p99(with), &p99(without)),
            Ratio::of(&rates(with), &rates(without)),
        )
    }
}
