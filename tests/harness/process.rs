//! What a process takes, as Linux tells.

use std::fs;
use std::time::Duration;

use rustix::param::clock_ticks_per_second;
use rustix::process::{Pid, Resource, Rlimit, getrlimit, setrlimit};

/// The processor time that it has used, in steps of ten milliseconds.
///
/// # Panics
/// If it has ended.
pub fn cpu_time(process: Pid) -> Duration {
    let stat = fs::read_to_string(format!("/proc/{}/stat", process.as_raw_nonzero())).expect("it runs");
    // Behind the name, which may hold anything: fields 14 and 15, user and system time in ticks.
    let fields: Vec<&str> = stat.rsplit(')').next().unwrap_or_default().split(' ').collect();
    let ticks = |field: usize| fields[field - 2].parse::<f64>().expect("a number of ticks");
    Duration::from_secs_f64((ticks(14) + ticks(15)) / clock_ticks_per_second() as f64)
}

/// The memory that it holds, in bytes.
///
/// # Panics
/// If it has ended.
pub fn memory(process: Pid) -> u64 {
    status(process, "VmRSS:")
}

/// The most memory that it ever held, in bytes.
///
/// # Panics
/// If it has ended.
pub fn memory_peak(process: Pid) -> u64 {
    status(process, "VmHWM:")
}

fn status(process: Pid, figure: &str) -> u64 {
    let status = fs::read_to_string(format!("/proc/{}/status", process.as_raw_nonzero())).expect("it runs");
    let line = status.lines().find_map(|line| line.strip_prefix(figure)).expect("a line of every process");
    line.trim().trim_end_matches(" kB").parse::<u64>().expect("a number of kB") * 1024
}

/// Lets this process open as many files as it may.
///
/// # Panics
/// Never: up to the maximum it is allowed.
pub fn raise_file_limit() {
    let Rlimit { maximum, .. } = getrlimit(Resource::Nofile);
    setrlimit(Resource::Nofile, Rlimit { current: maximum, maximum }).expect("up to the maximum it is allowed");
}
