//! Raises the limit of open files: each connection takes one.

use rlimit::Resource;

/// Files that are reserved for everything but served connections: connections that are being rejected, requests for metrics,
/// lists, and a few for each worker.
const OTHERS: u64 = 2048;

/// Raises the limit as far as the system allows: the usual one of 1024 is for programs that use select().
pub(crate) fn raise_limit() {
    if let Err(error) = rlimit::increase_nofile_limit(u64::MAX) {
        tracing::warn!("cannot raise the limit of open files: {error}");
    }
}

/// Returns how many connections the limit leaves room for, and the limit.
pub(crate) fn room() -> (usize, u64) {
    let limit = Resource::NOFILE.get_soft().unwrap_or(u64::MAX);
    (usize::try_from(room_within(limit)).unwrap_or(usize::MAX), limit)
}

fn room_within(limit: u64) -> u64 {
    // Of a low limit most is for connections all the same.
    limit - OTHERS.min(limit / 4)
}

#[cfg(test)]
mod tests {
    use super::room_within;

    #[test]
    fn some_files_are_for_other_things() {
        assert_eq!([0, 40, 1024, 20_000, 1 << 20].map(room_within), [0, 30, 768, 17_952, (1 << 20) - 2048]);
    }
}
