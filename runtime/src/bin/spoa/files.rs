//! The limit of open files, of which each connection is one.

use rlimit::Resource;

/// What is kept for all that is no connection to be served: those that are turned away and told so, those that ask for
/// metrics, lists, a few for each worker.
const OTHERS: u64 = 2048;

/// Raises the limit as far as it may be: the usual one of 1024 is for programs that still use select().
pub(crate) fn raise_limit() {
    if let Err(error) = rlimit::increase_nofile_limit(u64::MAX) {
        tracing::warn!("cannot raise the limit of open files: {error}");
    }
}

/// How many connections there is room for, and the limit that leaves it.
pub(crate) fn room() -> (usize, u64) {
    let limit = Resource::NOFILE.get_soft().unwrap_or(u64::MAX);
    (usize::try_from(room_within(limit)).unwrap_or(usize::MAX), limit)
}

fn room_within(limit: u64) -> u64 {
    // Where there are few files most of them are for connections all the same.
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
