//! A timer of smol for the next deadline.

use std::pin::Pin;
use std::task::Context;
use std::time::Instant;

use smol::Timer;

/// A timer that is changed only if the new time is earlier: arming one takes a lock of smol.
#[derive(Debug, Default)]
pub(crate) struct LazyTimer(Option<(Instant, Timer)>);

impl LazyTimer {
    /// True if it expired, which may be before `at`.
    pub(crate) fn poll(&mut self, cx: &mut Context<'_>, at: Instant) -> bool {
        let timer = match &mut self.0 {
            Some((armed, timer)) if *armed <= at => timer,
            Some((armed, timer)) => {
                *armed = at;
                timer.set_at(at);
                timer
            }
            None => &mut self.0.insert((at, Timer::at(at))).1,
        };
        let has_expired = Pin::new(timer).poll(cx).is_ready();
        if has_expired {
            self.0 = None;
        }
        has_expired
    }
}
