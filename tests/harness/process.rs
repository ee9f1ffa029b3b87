//! Processor time, memory and file limits of a process, from Linux.

use std::fs;
use std::time::Duration;

use rustix::param::clock_ticks_per_second;
use rustix::process::{Pid, Resource, Rlimit, getrlimit, setrlimit};

/// Returns the processor time that a process has used, in steps of ten milliseconds.
///
/// # Panics
/// If the process does not exist.
pub fn cpu_time(process: Pid) -> Duration {
    let stat = fs::read_to_string(format!("/proc/{}/stat", process.as_raw_nonzero())).expect("the process exists");
    // Fields 14 and 15 are user and system time in ticks. The second field, the name, may contain spaces and
    // parentheses, so fields are counted from the last parenthesis.
    let fields: Vec<&str> = stat.rsplit(')').next().unwrap_or_default().split(' ').collect();
    let ticks = |field: usize| fields[field - 2].parse::<f64>().expect("times are numbers of ticks");
    Duration::from_secs_f64((ticks(14) + ticks(15)) / clock_ticks_per_second() as f64)
}

/// Returns the resident memory of a process, in bytes.
///
/// # Panics
/// If the process does not exist.
pub fn memory(process: Pid) -> u64 {
    status(process, "VmRSS:")
}

/// Returns the peak of the resident memory of a process, in bytes.
///
/// # Panics
/// If the process does not exist.
pub fn memory_peak(process: Pid) -> u64 {
    status(process, "VmHWM:")
}

fn status(process: Pid, figure: &str) -> u64 {
    let status = fs::read_to_string(format!("/proc/{}/status", process.as_raw_nonzero())).expect("the process exists");
    let line = status.lines().find_map(|line| line.strip_prefix(figure)).expect("every process has this figure");
    line.trim().trim_end_matches(" kB").parse::<u64>().expect("the figure is a number of kB") * 1024
}

/// Raises the soft limit of open files of this process to its hard limit.
///
/// # Panics
/// Never: Linux allows every process to do this.
pub fn raise_file_limit() {
    let Rlimit { maximum, .. } = getrlimit(Resource::Nofile);
    setrlimit(Resource::Nofile, Rlimit { current: maximum, maximum })
        .expect("every soft limit up to the maximum is allowed");
}
