//! What else goes on while a load is measured.

use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

use crate::Load;
use crate::figures::{Ratio, grouped, median};

/// Loads with and without something else going on, in turns.
#[derive(Default)]
pub(crate) struct Both {
    alone: Vec<Load>,
    meanwhile: Vec<Load>,
}

impl Both {
    /// Takes `turns` of each; `step` goes on, again and again, during every other load.
    pub(crate) fn measure(turns: usize, load: impl Fn() -> Load, mut step: impl FnMut() + Send) -> Self {
        let mut both = Self::default();
        for _ in 0..turns {
            both.alone.push(load());
            let is_over = AtomicBool::new(false);
            both.meanwhile.push(thread::scope(|scope| {
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
        both
    }

    /// The figures, as part of a sentence.
    pub(crate) fn told(&self) -> String {
        let p99 = |loads: &[Load]| loads.iter().map(|load| load.p99.as_secs_f64() * 1e6).collect::<Vec<_>>();
        let rates = |loads: &[Load]| loads.iter().map(|load| load.acks_per_sec).collect::<Vec<_>>();
        let Self { alone, meanwhile } = self;
        format!(
            "p99 {} µs, {} µs without; of it {}. ACKs a second, of those without: {}.\n",
            grouped(median(p99(meanwhile))),
            grouped(median(p99(alone))),
            Ratio::of(&p99(meanwhile), &p99(alone)),
            Ratio::of(&rates(meanwhile), &rates(alone)),
        )
    }
}
