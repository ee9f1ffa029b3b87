//! The effect of the options: the agent, its lists and its log.

use std::num::{NonZeroU64, NonZeroUsize};
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use spoa_bans::{BanStore, SystemClock};
use spoa_reputation::{Config, Library, MessageRule, RandomScores, Scores};
use spoa_runtime::text::Count;
use spoa_runtime::{Agent, Capabilities, ConnectionConfig, LimitValue, ListenAddr, connection_limits};

use super::Options;
use crate::bans::{self, ServedBans, Token};
use crate::capture::{self, Capture};
use crate::files;
use crate::log::{Flush, Level, Log};
use crate::values::{Capability, FilePath, Folder, Percent, Positive, Time};
use crate::verdict_log::{self, VerdictLog};
use crate::{Failure, VERSION};

impl Options {
    /// Returns the lists and message rules.
    pub(crate) fn reputation(&self) -> Config {
        let defaults = Config::default();
        let mut lists = self.lists.clone().unwrap_or_default();
        if self.bans.is_some() {
            bans::add_lists(&mut lists);
        }
        Config {
            lists,
            default_score: self.default_score.map_or(defaults.default_score, |Percent(score)| score.into()),
            max_shrink: self.max_shrink.map_or(defaults.max_shrink, |Percent(max)| max),
            message_rules: self.message_rules.clone().unwrap_or(defaults.message_rules),
            policies: self.policies.clone().unwrap_or_default(),
        }
    }

    /// Returns the handler with random scores.
    pub(crate) fn random(&self) -> RandomScores {
        let scores = self.seed.map_or(Scores::Fresh, |seed| Scores::Seeded(seed.0));
        RandomScores::new(scores, self.delay(), self.reputation().message_rules)
    }

    /// Starts the log.
    pub(crate) fn log(&self) -> (Log, Flush) {
        let level = if self.debug { Level::Debug } else { self.log_level.unwrap_or_default() };
        Log::start(self.log_format.unwrap_or_default(), level)
    }

    /// Starts the log of verdicts, if there is one.
    ///
    /// # Errors
    /// Its file cannot be opened.
    pub(crate) fn verdict_log(&self) -> Result<Option<(Arc<VerdictLog>, verdict_log::Flush)>, String> {
        let Some(target) = &self.verdict_log else { return Ok(None) };
        VerdictLog::start(target, self.verdict_settings()).map(Some)
    }

    /// Starts to capture connections, if that is asked for.
    ///
    /// # Errors
    /// The first file cannot be created.
    pub(crate) fn capture(&self) -> Result<Option<(Arc<Capture>, capture::Flush)>, String> {
        let Some(Folder(folder)) = &self.capture else { return Ok(None) };
        Capture::start(folder, self.capture_size()).map(Some)
    }

    /// Loads the bans and begins to serve them, if there are any to keep.
    ///
    /// # Errors
    /// The file of the bans or of the token cannot be used.
    pub(crate) fn bans(&self, library: &Library) -> Result<Option<ServedBans>, Failure> {
        let Some(FilePath(path)) = &self.bans else { return Ok(None) };
        let token = self.admin_token_file.as_ref().map(|FilePath(path)| Token::read(path)).transpose();
        let settings = spoa_bans::Settings { path: path.clone(), max: self.bans_max() };
        let store = BanStore::open(&settings, library.clone(), Box::new(SystemClock))?;
        Ok(Some(ServedBans::new(store, library.clone(), token.map_err(Failure::Usage)?)))
    }

    pub(super) fn bans_max(&self) -> usize {
        self.bans_max.map_or(BANS_MAX, Positive::size)
    }

    pub(super) fn capture_size(&self) -> u64 {
        self.capture_max.map_or(capture::SIZE, |max| max.0)
    }

    pub(super) fn verdict_settings(&self) -> verdict_log::Settings {
        let rate = self.verdict_log_rate.map_or(VERDICTS_PER_SECOND, |rate| rate.0);
        verdict_log::Settings {
            which: self.verdict_log_which.unwrap_or_default(),
            sample: self.verdict_log_sample.map_or(1, |sample| sample.0),
            rate: (rate > 0).then_some(rate),
        }
    }

    /// Returns the agent, without addresses to listen on.
    pub(crate) fn agent(&self) -> Agent {
        let mut agent = Agent::new()
            .connection(self.connection())
            .silence_warning(self.silence_warning.map_or(SILENCE_WARNING, |Time(time)| time))
            // While the log level is debug.
            .log_frames(true);
        let connections_max = self.connections_max(&agent);
        agent = agent.connections_max(connections_max);
        if let Some(Time(drain)) = self.drain {
            agent = agent.drain(drain);
        }
        if let Some(Time(grace)) = self.grace {
            agent = agent.grace(grace);
        }
        if self.bans.is_some() && !self.can_change_bans() {
            tracing::warn!(
                "nobody can change the bans: add a unix socket to admin, or a TCP address and admin-token-file"
            );
        }
        if let Some(asked) = self.asked_workers() {
            agent = agent.workers(at_most_one_per_processor(asked));
        }
        if let Some(max) = self.total_in_flight_max {
            agent = agent.total_in_flight_max(max.size());
        }
        if let Some(max) = self.total_bytes_max {
            agent = agent.total_bytes_max(max.size());
        }
        self.admin.iter().flatten().cloned().fold(agent, Agent::admin)
    }

    pub(super) fn asked_workers(&self) -> Option<NonZeroUsize> {
        self.workers.and_then(|workers| NonZeroUsize::new(workers.size()))
    }

    /// Logs what is starting, and what differs from what was asked for.
    pub(crate) fn log_start(&self) {
        let (agent, (room, limit)) = (self.agent(), files::room());
        let (workers, connections) = (agent.worker_count().get() as u64, agent.connection_limit() as u64);
        let config = self.reputation();
        let messages: Vec<_> = config.message_rules.iter().map(MessageRule::message).collect();
        let messages = messages.join(", ");
        tracing::info!(
            version = VERSION,
            workers,
            connections_max = connections,
            open_files_max = limit,
            messages,
            "spoa {VERSION}: {}, at most {} (the limit of open files is {limit}), serves the messages {messages}",
            Count(workers, "worker"),
            Count(connections, "connection"),
        );
        for rule in config.message_rules.iter().filter(|rule| rule.is_shadow()) {
            let message = rule.message();
            tracing::warn!(message, "the message {message} is in shadow mode: its verdict is always unknown");
        }
        if !self.has_lists() {
            tracing::warn!(
                "scores are random, because there is no list: use this to try HAProxy's configuration only, since HAProxy refuses \
                 clients by these scores"
            );
        }
        if let Some(Folder(folder)) = &self.capture {
            let folder = folder.display();
            tracing::warn!(
                "records all connections, with what clients send, in {folder}: remove the files when they are not needed"
            );
        }
        if let Some(asked) = self.asked_workers().filter(|asked| asked.get() as u64 > workers) {
            tracing::info!("{}, not {asked}: the maximum is one per processor", Count(workers, "worker"));
        }
        if let Some(asked) = self.connections_max.filter(|asked| asked.size() > room) {
            let asked = asked.0;
            tracing::warn!(
                "{} at most, not {asked}: the limit of open files is {limit}, and cannot be raised",
                Count(connections, "connection")
            );
        }
    }

    pub(super) fn connections_max(&self, defaults: &Agent) -> usize {
        self.connections_max.map_or(defaults.connection_limit(), Positive::size).min(files::room().0)
    }

    /// Listens on the addresses of the options or, without any, on the port of HAProxy's example.
    pub(crate) fn listen(&self, agent: Agent) -> Agent {
        self.addrs().into_iter().fold(agent, Agent::listen)
    }

    /// Listens on the addresses in the options, but not on the default address.
    pub(crate) fn listen_if_given(&self, agent: Agent) -> Agent {
        if self.port.is_some() || self.listen.is_some() { self.listen(agent) } else { agent }
    }

    pub(super) fn addrs(&self) -> Vec<ListenAddr> {
        let local = |port: u16| ListenAddr::Tcp(([127, 0, 0, 1], port).into());
        let listen = self.listen.as_deref().unwrap_or_default();
        let port = match self.port {
            None if listen.is_empty() => Some(PORT),
            port => port.and_then(|port| u16::try_from(port.0).ok()),
        };
        port.map(local).into_iter().chain(listen.iter().cloned()).collect()
    }

    pub(super) fn delay(&self) -> Duration {
        self.delay.map_or(Duration::ZERO, |Time(time)| time)
    }

    /// Returns the capabilities, limits and timeouts of connections.
    pub(crate) fn connection(&self) -> ConnectionConfig {
        let defaults = ConnectionConfig::default();
        let capabilities = match self.capability.as_deref().unwrap_or_default() {
            [] => defaults.capabilities,
            named => named.iter().fold(Capabilities::NONE, |all, Capability(one)| all | *one),
        };
        let mut config = ConnectionConfig {
            capabilities,
            notify_max: self.frames.and_then(|frames| NonZeroU64::new(frames.0)),
            ..defaults
        };
        macro_rules! set {
            (options { $($(#[$details:meta])* $limit:ident $(($short:ident))?: $type:ty = $default:tt $unit:ident,
               $range:expr, $summary:literal $(, $note:literal)?;)* } $($others:tt)*) => {
                $(if let Some(given) = self.$limit {
                    config.$limit = LimitValue::from_number(given.number());
                })*
            };
        }
        connection_limits!(set);
        config.ack_timeout = config.ack_timeout.saturating_add(self.delay());
        config
    }
}

/// The port of HAProxy's example agent.
const PORT: u16 = 12345;

/// The default of [`Options::bans_max`].
const BANS_MAX: usize = 1_000_000;

/// The default of [`Options::verdict_log_rate`].
const VERDICTS_PER_SECOND: u64 = 100;

/// The default of [`Options::silence_warning`].
const SILENCE_WARNING: Duration = Duration::from_secs(300);

/// Limits the number of workers to the number of processors. Two workers on one processor answer fewer NOTIFYs than one, and
/// the slowest answers take several times longer, because each worker takes whole time slices from the other.
fn at_most_one_per_processor(workers: NonZeroUsize) -> NonZeroUsize {
    thread::available_parallelism().map_or(workers, |processors| workers.min(processors))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn there_is_a_worker_a_processor_at_most() {
        let processors = thread::available_parallelism().unwrap();
        assert_eq!(at_most_one_per_processor(NonZeroUsize::MIN), NonZeroUsize::MIN);
        assert_eq!(at_most_one_per_processor(processors), processors);
        assert_eq!(at_most_one_per_processor(NonZeroUsize::MAX), processors);
    }
}
