//! Assigns processors: the server runs on the first one and the client on the last one, which is the same if there is
//! only one.

use std::fs;
use std::sync::LazyLock;

use rustix::process::Pid;
use rustix::thread::{CpuSet, sched_getaffinity, sched_setaffinity};

/// The processors that this process had at its start.
static ALL: LazyLock<Vec<usize>> = LazyLock::new(|| {
    let set = sched_getaffinity(None).expect("the affinity can be read");
    (0..CpuSet::MAX_CPU).filter(|&cpu| set.is_set(cpu)).collect()
});

/// Pins this thread, and the threads that it starts, to the client's processor.
pub(crate) fn pin_client() {
    pin(None, client_processor());
}

/// Calls `start`, which starts a process, so that the process is pinned to the server's processor.
pub(crate) fn start_server<T>(start: impl FnOnce() -> T) -> T {
    pin(None, ALL[0]);
    let started = start();
    pin_client();
    started
}

/// Moves every thread of a process to the client's processor.
pub(crate) fn move_to_client_processor(process: Pid) {
    let threads = fs::read_dir(format!("/proc/{}/task", process.as_raw_nonzero())).expect("the process runs");
    for thread in threads {
        let id = thread.expect("the directory can be read").file_name().to_str().and_then(|id| id.parse().ok());
        pin(id.and_then(Pid::from_raw), client_processor());
    }
}

fn client_processor() -> usize {
    *ALL.last().expect("there is a processor")
}

/// Pins a thread, by default this one, to a processor.
fn pin(thread: Option<Pid>, cpu: usize) {
    let mut set = CpuSet::new();
    set.set(cpu);
    sched_setaffinity(thread, &set).expect("the processor is allowed");
}
