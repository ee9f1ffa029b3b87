//! What the connections of one worker share.

use std::time::Duration;

use spoa_core::Buffers;

use crate::answers::Answers;
use crate::clock::Clock;
use crate::log_limit::LogLimit;
use crate::settings::Settings;

/// One thread's own; no other thread ever sees any of it.
pub(crate) struct Shared<H> {
    pub(crate) settings: Settings,
    pub(crate) clock: Clock,
    pub(crate) handler: H,
    pub(crate) answers: Answers,
    /// The buffers of whichever connection has its turn.
    pub(crate) spare: Buffers,
    pub(crate) log_limit: LogLimit,
    /// Set once, when the agent drains: for how long.
    pub(crate) drain: Option<Duration>,
}

impl<H> Shared<H> {
    pub(crate) fn new(settings: Settings, handler: H) -> Self {
        Self {
            settings,
            clock: Clock::new(),
            handler,
            answers: Answers::new(),
            spare: Buffers::default(),
            log_limit: LogLimit::default(),
            drain: None,
        }
    }
}
