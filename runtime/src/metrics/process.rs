//! The metrics of the process, with the names that Prometheus client libraries use.

use std::fmt;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use procfs::process;

use super::{Families, Source, Unit};

/// The process, as it is in `/proc`.
#[derive(Debug)]
pub(super) struct Process {
    started: SystemTime,
}

impl Default for Process {
    fn default() -> Self {
        // The start of the process, nearly. The kernel's own figure is relative to a file that systemd can hide.
        Self { started: SystemTime::now() }
    }
}

impl Source for Process {
    fn write(&self, families: &mut Families<'_>) -> fmt::Result {
        let started = self.started.duration_since(UNIX_EPOCH).map_or(0.0, |time| time.as_secs_f64());
        let help = "Start of the process, in seconds since 1970.";
        families.measure("process_start_time", help, Some(Unit::Seconds), started)?;
        let Ok(process) = process::Process::myself() else { return Ok(()) };
        if let Ok(stat) = process.stat() {
            let ticks = (stat.utime + stat.stime) as f64 / procfs::ticks_per_second() as f64;
            families.seconds("process_cpu", "Processor time of the process.", Duration::from_secs_f64(ticks))?;
            let resident = (stat.rss * procfs::page_size()) as f64;
            let help = "Resident memory of the process.";
            families.measure("process_resident_memory", help, Some(Unit::Bytes), resident)?;
            let help = "Virtual memory of the process.";
            families.measure("process_virtual_memory", help, Some(Unit::Bytes), stat.vsize as f64)?;
            families.measure("process_threads", "Threads of the process.", None, stat.num_threads as f64)?;
        }
        if let Ok(count) = process.fd_count() {
            families.measure("process_open_fds", "Open files and sockets of the process.", None, count as f64)?;
        }
        match process.limits().map(|limits| limits.max_open_files.soft_limit) {
            Ok(process::LimitValue::Value(limit)) => {
                families.measure("process_max_fds", "The limit of open files and sockets.", None, limit as f64)
            }
            _ => Ok(()),
        }
    }
}
