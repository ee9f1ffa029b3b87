//! The priority of threads that work in the background.

/// Gives this thread the lowest priority, so that workers run first. On Linux each thread has its own priority.
pub(crate) fn lower() {
    const PRIORITY_LOWEST: i32 = 19;
    // An error is ignored: without permission, the thread keeps its priority.
    let _ = rustix::process::setpriority_process(Some(rustix::thread::gettid()), PRIORITY_LOWEST);
}
