//! Processor time, memory and file limits of a process, from Linux, and programs that tests need.

use std::env;
use std::process::Command;
use std::time::Duration;

use rustix::process::{Pid, Resource, Rlimit, getrlimit, setrlimit};
use spoa_sim_kit::process as kit;

/// Returns the processor time that a process has used, in steps of ten milliseconds.
///
/// # Panics
/// If the process does not exist.
pub fn cpu_time(process: Pid) -> Duration {
    kit::cpu_time(id(process)).expect("the process exists")
}

/// Returns the resident memory of a process, in bytes.
///
/// # Panics
/// If the process does not exist.
pub fn memory(process: Pid) -> u64 {
    kit::memory(id(process)).expect("the process exists")
}

/// Returns the peak of the resident memory of a process, in bytes.
///
/// # Panics
/// If the process does not exist.
pub fn memory_peak(process: Pid) -> u64 {
    kit::memory_peak(id(process)).expect("the process exists")
}

const fn id(process: Pid) -> u32 {
    process.as_raw_nonzero().get() as u32
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
