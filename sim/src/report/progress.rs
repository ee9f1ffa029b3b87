//! The progress of a run: one line that is rewritten on a terminal, otherwise one line per second.

use std::io::{IsTerminal, Write, stderr};
use std::time::{Duration, Instant};

use spoa_sim::search::Progress;

use crate::cli::Seeds;

/// The time after which the line on a terminal is rewritten.
const TERMINAL_PERIOD: Duration = Duration::from_millis(100);
/// The time after which another line is written if standard error is not a terminal.
const LOG_PERIOD: Duration = Duration::from_secs(1);

pub(super) struct ProgressLine {
    /// The number of seeds, if there is an end.
    all: Option<u64>,
    start: Instant,
    shown: Instant,
    terminal: bool,
}

impl ProgressLine {
    pub(super) fn new(seeds: &Seeds) -> Self {
        let now = Instant::now();
        let all = (!seeds.is_open()).then(|| seeds.0.end - seeds.0.start);
        Self { all, start: now, shown: now, terminal: stderr().is_terminal() }
    }

    pub(super) fn show(&mut self, progress: Progress) {
        let period = if self.terminal { TERMINAL_PERIOD } else { LOG_PERIOD };
        if self.shown.elapsed() < period {
            return;
        }
        self.shown = Instant::now();
        let Progress { done, cells: (hit, cells), failed } = progress;
        let rate = done as f64 / self.start.elapsed().as_secs_f64();
        let of = self.all.map_or(String::new(), |all| format!(" of {all}"));
        let text = format!("{done}{of} seeds, {rate:.0} per second, {hit} of {cells} cells, {failed} failed");
        if self.terminal {
            const WIDTH: u64 = 30;
            let full = self.all.map_or(0, |all| (done * WIDTH / all.max(1)).min(WIDTH)) as usize;
            eprint!("\r\x1b[2K[{}{}] {text}", "#".repeat(full), ".".repeat(WIDTH as usize - full));
            let _ = stderr().flush();
        } else {
            eprintln!("{text}");
        }
    }

    /// Removes the line from the terminal.
    pub(super) fn clear(&self) {
        if self.terminal {
            eprint!("\r\x1b[2K");
        }
    }
}
