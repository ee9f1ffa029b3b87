//! The latest changes, for agents that follow this one.

use std::collections::VecDeque;

/// The number of changes that are kept.
const KEPT: usize = 10_000;

/// The latest changes, each as a JSON object.
#[derive(Debug)]
pub(crate) struct Feed {
    /// Distinguishes this run of the agent from others.
    run: u64,
    changes: VecDeque<String>,
    /// The number of changes since the start.
    count: u64,
}

impl Feed {
    pub(crate) fn new(run: u64) -> Self {
        Self { run, changes: VecDeque::new(), count: 0 }
    }

    pub(crate) fn push(&mut self, change: String) {
        if self.changes.len() == KEPT {
            self.changes.pop_front();
        }
        self.changes.push_back(change);
        self.count += 1;
    }

    /// Returns the position after the last change.
    pub(crate) fn position(&self) -> String {
        format!("{:x}-{}", self.run, self.count)
    }

    /// Returns at most `max` changes after a position, and the position after them; `None` if they are not known any more, or of
    /// another run of the agent.
    pub(crate) fn after(&self, position: &str, max: usize) -> Option<(Vec<String>, String)> {
        let (run, at) = position.split_once('-')?;
        let at =
            at.parse::<u64>().ok().filter(|at| u64::from_str_radix(run, 16) == Ok(self.run) && *at <= self.count)?;
        let first = self.count - self.changes.len() as u64;
        let skipped = usize::try_from(at.checked_sub(first)?).ok()?;
        let changes: Vec<_> = self.changes.iter().skip(skipped).take(max).cloned().collect();
        let next = format!("{run}-{}", at + changes.len() as u64);
        Some((changes, next))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn changes_after_a_position_are_returned_while_they_are_kept() {
        let mut feed = Feed::new(7);
        let start = feed.position();
        assert_eq!(feed.after(&start, 5), Some((Vec::new(), start.clone())));
        (0..4).for_each(|change| feed.push(change.to_string()));
        let (changes, next) = feed.after(&start, 3).expect("they are kept");
        assert_eq!((changes, &*next), (vec!["0".into(), "1".into(), "2".into()], "7-3"));
        assert_eq!(feed.after(&next, 3), Some((vec!["3".into()], "7-4".into())));
        (0..KEPT).for_each(|change| feed.push(change.to_string()));
        assert_eq!(feed.after(&next, 3), None, "it is older than what is kept");
        assert_eq!(feed.after("8-3", 3), None, "it is of another run");
        assert_eq!(feed.after("7-20000", 3), None, "it is in the future");
        assert_eq!(feed.after("nonsense", 3), None);
    }
}
