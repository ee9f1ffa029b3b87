//! Limits of the parts of a configuration that are checked. No real configuration reaches them; they bound time and memory for all
//! others.

/// The number of items in a comparison of each with each, or of each with a long list: filters of an engine, messages of a proxy,
/// values of a test, tests of one name, networks of a condition, proxies before and after a proxy.
pub(crate) const COMPARED_MAX: usize = 64;

/// The number of variables of a rule that are checked.
pub(crate) const READS_MAX: usize = 32;

/// The number of engines.
pub(crate) const ENGINES_MAX: usize = 256;

/// The number of messages of an engine, and of its groups.
pub(crate) const MESSAGES_MAX: usize = 256;

/// The number of messages that all engines together send, each counted for each filter.
pub(crate) const SENT_MAX: usize = 100_000;

/// The number of lines that all proxies together inherit from `defaults`. Proxies after that inherit nothing.
pub(crate) const INHERITED_MAX: usize = 1_000_000;
