//! The priority of threads that workers must not wait for.

/// Lowers the priority of this thread, so that workers run first while they have something to do. It still has a tenth of the
/// processor time that a busy worker has, or with `is_lowest` a hundredth. Only Linux has priorities of threads.
pub fn lower_priority(is_lowest: bool) {
    #[cfg(target_os = "linux")]
    {
        let nice = if is_lowest { 19 } else { 10 };
        // An error is ignored: without permission, the thread keeps its priority.
        let _ = rustix::process::setpriority_process(Some(rustix::thread::gettid()), nice);
    }
    #[cfg(not(target_os = "linux"))]
    let _ = is_lowest;
}
