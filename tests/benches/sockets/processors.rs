//! Who runs where: the server on one processor, the client on another, if there are two.

use std::sync::LazyLock;

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use rustix::thread::{CpuSet, sched_getaffinity, sched_setaffinity};

/// The processors that this process had at its start.
static ALL: LazyLock<Vec<usize>> = LazyLock::new(|| {
    let set = sched_getaffinity(None).expect("it can be asked");
    (0..CpuSet::MAX_CPU).filter(|&cpu| set.is_set(cpu)).collect()
});

/// This thread, and those it starts, have the last processor.
pub(crate) fn be_the_client() {
    use_only(*ALL.last().expect("there is one"));
}

/// Starts a process that has the first.
pub(crate) fn start_server<T>(start: impl FnOnce() -> T) -> T {
    use_only(ALL[0]);
    let started = start();
    be_the_client();
    started
}

fn use_only(cpu: usize) {
    let mut set = CpuSet::new();
    set.set(cpu);
    sched_setaffinity(None, &set).expect("it is one of those allowed");
}

/// Ten thousand connections are as many files.
pub(crate) fn raise_file_limit() {
    let Rlimit { maximum, .. } = getrlimit(Resource::Nofile);
    setrlimit(Resource::Nofile, Rlimit { current: maximum, maximum }).expect("up to the maximum it is allowed");
}
