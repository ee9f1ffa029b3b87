//! The futures that are ready to be polled, as their wakers report from any thread.

use std::sync::PoisonError;
use std::task::Waker;

use super::sync::{AtomicBool, Mutex, Ordering};

/// The numbers of the futures that are ready, and the waker of the worker that polls them.
pub(crate) struct Ready(Mutex<Raised>);

#[derive(Default)]
struct Raised {
    numbers: Vec<usize>,
    worker: Option<Waker>,
}

/// The state of one future.
pub(crate) struct Flag {
    number: usize,
    /// True while the future is among those to be polled.
    is_up: AtomicBool,
}

impl Flag {
    /// Returns the flag of a new future, which will be polled.
    pub(crate) fn up(number: usize) -> Self {
        Self { number, is_up: AtomicBool::new(true) }
    }

    /// Lowers the flag before the future is polled, so that a wake-up during the poll raises it again. Returns false if it was not
    /// up.
    pub(crate) fn lower(&self) -> bool {
        self.is_up.swap(false, Ordering::AcqRel)
    }
}

impl Ready {
    pub(crate) fn new() -> Self {
        Self(Mutex::new(Raised::default()))
    }

    /// Adds a future, and wakes the worker, unless the future has been added already.
    pub(crate) fn raise(&self, flag: &Flag) {
        if !flag.is_up.swap(true, Ordering::AcqRel) {
            let mut raised = self.0.lock().unwrap_or_else(PoisonError::into_inner);
            raised.numbers.push(flag.number);
            // Once is enough, because the worker polls all of them.
            let worker = raised.worker.take();
            drop(raised);
            worker.iter().for_each(Waker::wake_by_ref);
        }
    }

    /// Appends the numbers to `running`. From now on `worker` is woken for new ones.
    pub(crate) fn hand_over(&self, running: &mut Vec<usize>, worker: &Waker) {
        let mut raised = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        running.append(&mut raised.numbers);
        match &mut raised.worker {
            Some(known) => known.clone_from(worker),
            none => *none = Some(worker.clone()),
        }
    }
}
