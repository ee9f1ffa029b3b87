//! Who runs where: the server on one processor, the client on another, if there are two.

use std::fs;
use std::sync::LazyLock;

use rustix::process::Pid;
use rustix::thread::{CpuSet, sched_getaffinity, sched_setaffinity};

/// The processors that this process had at its start.
static ALL: LazyLock<Vec<usize>> = LazyLock::new(|| {
    let set = sched_getaffinity(None).expect("it can be asked");
    (0..CpuSet::MAX_CPU).filter(|&cpu| set.is_set(cpu)).collect()
});

/// This thread, and those it starts, have the last processor.
pub(crate) fn be_the_client() {
    place(None, client());
}

/// Starts a process that has the first.
pub(crate) fn start_server<T>(start: impl FnOnce() -> T) -> T {
    place(None, ALL[0]);
    let started = start();
    be_the_client();
    started
}

/// Moves every thread of a process to the client's processor.
pub(crate) fn move_to_the_client(process: Pid) {
    let threads = fs::read_dir(format!("/proc/{}/task", process.as_raw_nonzero())).expect("it runs");
    for thread in threads {
        let id = thread.expect("it can be read").file_name().to_str().and_then(|id| id.parse().ok());
        place(id.and_then(Pid::from_raw), client());
    }
}

fn client() -> usize {
    *ALL.last().expect("there is one")
}

/// Gives a thread, or this one, a single processor.
fn place(thread: Option<Pid>, cpu: usize) {
    let mut set = CpuSet::new();
    set.set(cpu);
    sched_setaffinity(thread, &set).expect("it is one of those allowed");
}
