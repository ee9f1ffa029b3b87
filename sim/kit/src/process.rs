//! Memory and processor time of a process, as Linux reports them.

use std::fs;
use std::time::Duration;

use rustix::param::clock_ticks_per_second;

/// Returns the resident memory of a process in bytes, or `None` if it does not exist.
pub fn memory(pid: u32) -> Option<u64> {
    status(pid, "VmRSS:")
}

/// Returns the peak of the resident memory of a process in bytes, or `None` if it does not exist.
pub fn memory_peak(pid: u32) -> Option<u64> {
    status(pid, "VmHWM:")
}

fn status(pid: u32, figure: &str) -> Option<u64> {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix(figure))?;
    Some(line.trim().trim_end_matches(" kB").parse::<u64>().ok()? * 1024)
}

/// Returns the processor time that a process has used, in steps of ten milliseconds, or `None` if it does not exist.
pub fn cpu_time(pid: u32) -> Option<Duration> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    // Fields 14 and 15 are user and system time in ticks. The second field, the name, may contain spaces and parentheses, so
    // fields are counted from the last parenthesis.
    let fields: Vec<&str> = stat.rsplit(')').next()?.split(' ').collect();
    let ticks = |field: usize| fields.get(field - 2)?.parse::<f64>().ok();
    Some(Duration::from_secs_f64((ticks(14)? + ticks(15)?) / clock_ticks_per_second() as f64))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn this_process_has_memory_and_a_process_that_does_not_exist_has_none() {
        let pid = std::process::id();
        let now = memory(pid).expect("this process exists");
        assert!(now > 1 << 16 && memory_peak(pid) >= Some(now));
        assert!(cpu_time(pid).is_some());
        assert_eq!((memory(u32::MAX), cpu_time(u32::MAX)), (None, None));
    }
}
