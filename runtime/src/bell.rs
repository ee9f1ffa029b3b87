//! Wakes a worker for its commands: once, however many there are.

use super::sync::{AtomicBool, Ordering};

/// True if the worker was woken and has not looked since.
#[derive(Debug)]
pub(crate) struct Bell(AtomicBool);

impl Bell {
    pub(crate) fn new() -> Self {
        Self(AtomicBool::new(false))
    }

    /// Calls `wake`, which wakes the worker, unless it was woken and has not looked since. A command has to be sent before that.
    ///
    /// # Errors
    /// The error of `wake`. The next call tries again.
    pub(crate) fn ring<E>(&self, wake: impl FnOnce() -> Result<(), E>) -> Result<(), E> {
        if self.0.swap(true, Ordering::AcqRel) {
            return Ok(());
        }
        wake().inspect_err(|_| self.0.store(false, Ordering::Release))
    }

    /// Called by the worker before it looks for commands: a later one wakes it again.
    pub(crate) fn answer(&self) {
        self.0.swap(false, Ordering::AcqRel);
    }
}
