//! The two clocks of bans.
//!
//! A ban ends by the clock that counts since the system started: nobody sets it, it goes on while the system sleeps, and it survives
//! a restart of the agent. Only after a restart of the system the end is taken from the clock of the day.

use std::fmt::Debug;
use std::fs;
use std::time::{SystemTime, UNIX_EPOCH};

use rustix::time::{ClockId, clock_gettime};

/// One time on both clocks, in milliseconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Moment {
    /// Since the system started.
    pub boot: u64,
    /// Since 1970, in UTC.
    pub wall: u64,
}

/// Reads the clocks.
pub trait Clock: Debug + Send + Sync {
    /// Returns the time.
    fn now(&self) -> Moment;

    /// Returns a text that is another one after each start of the system.
    fn boot_id(&self) -> String;
}

/// The clocks of the system.
#[derive(Clone, Copy, Debug, Default)]
pub struct SystemClock;

impl Clock for SystemClock {
    fn now(&self) -> Moment {
        let boot = clock_gettime(ClockId::Boottime);
        let boot = boot.tv_sec.unsigned_abs() * 1000 + boot.tv_nsec.unsigned_abs() / 1_000_000;
        let wall = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        Moment { boot, wall: u64::try_from(wall.as_millis()).unwrap_or(u64::MAX) }
    }

    fn boot_id(&self) -> String {
        // Without it no two starts are the same one, so that ends are taken from the clock of the day.
        let id = fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap_or_default();
        id.trim().replace(|c: char| !c.is_ascii_graphic(), "")
    }
}
