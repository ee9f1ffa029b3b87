//! What the connections of one worker share.

use std::cell::{Cell, RefCell};
use std::rc::{Rc, Weak};
use std::sync::Arc;
use std::sync::atomic::AtomicUsize;
use std::task::Waker;
use std::time::Duration;

use slab::Slab;
use smol::LocalExecutor;

use crate::clock::Clock;
use crate::handler::Handler;
use crate::log_limit::LogLimit;
use crate::settings::Settings;

/// One thread's own. No other thread ever sees any of it but `connections`, which changes once at each end of a
/// connection.
pub(crate) struct Shared<H> {
    pub(crate) settings: Settings,
    pub(crate) clock: Clock,
    pub(crate) handler: RefCell<H>,
    /// Runs the connections and their deferred answers. Weak, since its tasks own this: when the thread is done it
    /// drops the executor and with it whatever is left of them.
    pub(crate) executor: Weak<LocalExecutor<'static>>,
    pub(crate) log_limit: LogLimit,
    /// Set once, when the agent drains: for how long.
    pub(crate) drain: Cell<Option<Duration>>,
    /// The task of each connection, to wake them all when that is set.
    pub(crate) wakers: RefCell<Slab<Waker>>,
    pub(crate) connections: Arc<AtomicUsize>,
}

impl<H: Handler> Shared<H> {
    pub(crate) fn new(
        settings: Settings,
        handler: H,
        connections: Arc<AtomicUsize>,
        executor: &Rc<LocalExecutor<'static>>,
    ) -> Self {
        Self {
            settings,
            clock: Clock::new(),
            handler: RefCell::new(handler),
            executor: Rc::downgrade(executor),
            log_limit: LogLimit::default(),
            drain: Cell::new(None),
            wakers: RefCell::default(),
            connections,
        }
    }
}
