//! Processor time, memory and file limits of a process, from Linux, and programs that tests need.

use std::process::Command;
use std::time::Duration;
use std::{env, fs};

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

/// True if a program can be run. If it cannot, its test is skipped, and standard error says so.
///
/// # Panics
/// If it cannot be run and the environment variable `required` is set, as `.ci/run` does.
pub fn is_installed(program: &str, required: &str) -> bool {
    if Command::new(program).arg("--version").output().is_ok() {
        return true;
    }
    assert!(env::var_os(required).is_none(), "{program} is not installed");
    eprintln!("skipped: {program} is not installed");
    false
}
