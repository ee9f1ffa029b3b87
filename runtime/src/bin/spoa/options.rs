//! The options of `spoa`, of the command line and of its configuration file.

use std::num::{NonZeroU16, NonZeroU64, NonZeroUsize};
use std::thread;
use std::time::Duration;

use clap::Args;
use serde::Deserialize;
use spoa_runtime::reputation::{Config, ListConfig, MessageRule, RandomScores, Scores};
use spoa_runtime::{Agent, Capabilities, ConnectionConfig, ListenAddr};

use crate::file;
use crate::files;
use crate::log::{Format, Level, Log};
use crate::values::{Capability, Percent, Time, text, texts};

/// What can be said of how it serves, each part of it or not: on the command line as `--hello-timeout 5s`, in the file as
/// `hello-timeout = "5s"`. The defaults that their help tells are those in [`Options::agent`] and what else is made of them.
#[derive(Args, Clone, Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
pub(crate) struct Options {
    /// Log each frame and connection: --log-level debug
    #[arg(short, long)]
    debug: bool,

    /// The least to log: error, warn, info or debug; SIGUSR1 switches debug on and off [default: info]
    #[arg(long, value_name = "LEVEL", hide_possible_values = true)]
    log_level: Option<Level>,

    /// How to log: text, or json for an object a line [default: text]
    #[arg(long, value_name = "FORMAT", hide_possible_values = true)]
    log_format: Option<Format>,

    /// Time to warn after when HAProxy checks the agent's health but asks it nothing; 0 for never [default: 5m]
    ///
    /// The likely mistake is an SPOE filter that is configured and never used.
    #[arg(long, value_name = "TIME")]
    #[serde(deserialize_with = "text")]
    silence_warning: Option<Time>,

    /// Port of 127.0.0.1 to listen on [default: 12345, or none with --listen]
    #[arg(short, long)]
    port: Option<NonZeroU16>,

    /// Where to listen: IP:PORT (IPv6 in brackets) or unix:PATH; repeatable
    ///
    /// SPOP has no authentication: whoever can connect is served.
    #[arg(long, value_name = "ADDR")]
    #[serde(deserialize_with = "texts")]
    listen: Option<Vec<ListenAddr>>,

    /// Where to tell of health and metrics over HTTP: /healthz, /readyz, /metrics; IP:PORT or unix:PATH; repeatable
    ///
    /// Whoever can connect is answered.
    #[arg(long, value_name = "ADDR")]
    #[serde(deserialize_with = "texts")]
    admin: Option<Vec<ListenAddr>>,

    /// Threads that serve connections, at most one a processor [default: one a processor]
    ///
    /// None of them ever waits for anything but its sockets, so that more would only keep each other waiting.
    #[arg(short = 'n', long, value_name = "NUMBER")]
    workers: Option<NonZeroUsize>,

    /// Largest frame; at most HAProxy's tune.bufsize - 4 is best [default: 16384]
    #[arg(short, long, value_name = "BYTES")]
    max_frame_size: Option<u32>,

    /// Capabilities to offer, just these; or none [default: pipelining,fragmentation]
    ///
    /// One of pipelining, fragmentation, async; can be given several times. With none of them named, the defaults are
    /// offered.
    #[arg(short, long, value_name = "NAME", value_delimiter = ',')]
    #[serde(deserialize_with = "texts")]
    capability: Option<Vec<Capability>>,

    /// Time before each answer: in ms, or with a unit (us, ms, s, m, h) [default: 0]
    #[arg(short = 't', long, value_name = "TIME")]
    #[serde(deserialize_with = "text")]
    delay: Option<Time>,

    /// NOTIFYs before a connection is ended; 0 for no limit [default: 0]
    #[arg(short, long, value_name = "NUMBER")]
    frames: Option<u64>,

    /// Scores are a function of this and the address, not fresh each time
    #[arg(long, value_name = "NUMBER")]
    seed: Option<u64>,

    /// The lists to answer by.
    #[arg(long = "list", value_name = "LIST", help = LIST_HELP, long_help = format!("{LIST_HELP}\n\n{LIST_HELP_MORE}"))]
    #[serde(rename = "list", deserialize_with = "file::lists")]
    pub(crate) lists: Option<Vec<ListConfig>>,

    /// Which messages are answered, and by what variables: in the file alone.
    #[arg(skip)]
    #[serde(rename = "message", deserialize_with = "file::message_rules")]
    message_rules: Option<Vec<MessageRule>>,

    /// Score of an address in no list [default: 50]
    #[arg(long, value_name = "NUMBER")]
    #[serde(deserialize_with = "text")]
    default_score: Option<Percent>,

    /// Percent of a list's prefixes that may go from one time to the next [default: 50]
    ///
    /// Where more are gone, the file may have been cut off: the list stays as it was.
    #[arg(long, value_name = "PERCENT")]
    #[serde(deserialize_with = "text")]
    max_shrink: Option<Percent>,

    /// Load lists anew at SIGHUP alone, not when their files change
    #[arg(long)]
    pub(crate) no_watch: bool,

    /// Time to refuse health checks and serve on after SIGTERM, so that HAProxy asks others [default: 0]
    ///
    /// Longer than HAProxy takes to mark a server DOWN ("inter 2s fall 2": 4 s) no event is lost to the end of this agent.
    #[arg(long, value_name = "TIME")]
    #[serde(deserialize_with = "text")]
    drain: Option<Time>,

    /// Time to end after that, or after SIGINT, most of it to answer what is in flight [default: 5s]
    #[arg(long, value_name = "TIME")]
    #[serde(deserialize_with = "text")]
    grace: Option<Time>,

    /// Time to wait for a HELLO [default: 5s]
    #[arg(long, value_name = "TIME")]
    #[serde(deserialize_with = "text")]
    hello_timeout: Option<Time>,

    /// Time without NOTIFY before a connection is ended [default: no limit]
    #[arg(long, value_name = "TIME")]
    #[serde(deserialize_with = "text")]
    idle_timeout: Option<Time>,

    /// Time before an empty ACK takes an answer's place, beside --delay [default: 10s]
    #[arg(long, value_name = "TIME")]
    #[serde(deserialize_with = "text")]
    ack_timeout: Option<Time>,

    /// Time before a HELLO is refused: HAProxy <= 3.0 comes back at once [default: 1s]
    #[arg(long, value_name = "TIME")]
    #[serde(deserialize_with = "text")]
    refuse_delay: Option<Time>,

    /// Time a peer may read nothing before its connection is ended [default: 30s]
    #[arg(long, value_name = "TIME")]
    #[serde(deserialize_with = "text")]
    send_timeout: Option<Time>,

    /// NOTIFYs of a connection that may wait for their ACK [default: 64]
    #[arg(long, value_name = "NUMBER")]
    in_flight_max: Option<usize>,

    /// Bytes that the NOTIFYs of a connection that wait for their ACK may have [default: 1048576]
    #[arg(long, value_name = "BYTES")]
    deferred_max: Option<usize>,

    /// Largest NOTIFY taken in fragments [default: 1048576]
    #[arg(long, value_name = "BYTES")]
    reassembly_max: Option<usize>,

    /// Connections to serve at once; more are turned away [default: 65536, or what the limit of open files leaves]
    #[arg(long, value_name = "NUMBER")]
    connections_max: Option<usize>,

    /// NOTIFYs of all connections that may wait for their ACK [default: 16384 a worker]
    ///
    /// No other is taken until one is answered or overdue. Each worker has an equal share, of one at least.
    #[arg(long, value_name = "NUMBER")]
    total_in_flight_max: Option<usize>,

    /// Bytes that all connections may hold [default: 64 MiB a worker]
    ///
    /// In buffers and as copies of NOTIFYs in flight; more a worker by default if one connection may hold much. Above it those
    /// connections are ended that have kept something in buffers for longest, with code 13 if they read what they are sent.
    /// Each worker has an equal share.
    #[arg(long, value_name = "BYTES")]
    total_bytes_max: Option<usize>,
}

// No doc comments: rustdoc takes brackets for links.
const LIST_HELP: &str =
    "Answer by this list: NAME=PATH[,score=N][,category=TEXT][,allow][,strict][,column=C]; repeatable";
const LIST_HELP_MORE: &str = "The file has an address, prefix or range a line, JSON lines or CSV, and may be compressed \
with gzip. An address in an \"allow\" list is let in; else the lowest score of the lists that it is in counts. The score \
is 0 unless given, 100 with \"allow\". Formats are told by the first line, or with \"format=lines\", \"json\" or \"csv\"; \
with a column, a number from 1 or a name in the first line, it is CSV. A list that is \"strict\" is not used if any line is \
bad. Those given here are in place of all that a configuration file has.";

/// Calls a macro with the fields that are fixed from start to end, and with those that a SIGHUP may change.
macro_rules! each_field {
    ($do:ident) => {
        $do! {
            fixed: log_level, log_format, silence_warning, port, listen, admin, workers, max_frame_size, capability, delay, frames, seed, drain, grace, hello_timeout,
                idle_timeout, ack_timeout, refuse_delay, send_timeout, in_flight_max, deferred_max, reassembly_max,
                connections_max, total_in_flight_max, total_bytes_max;
            fixed flags: debug, no_watch;
            live: lists, message_rules, default_score, max_shrink
        }
    };
}

impl Options {
    /// Lists alone.
    pub(crate) fn of_lists(lists: Option<Vec<ListConfig>>, default_score: Option<Percent>) -> Self {
        Self { lists, default_score, ..Self::default() }
    }

    /// These, and what they leave open as `others` have it.
    pub(crate) fn or(self, mut others: Self) -> Self {
        // Where it listens is one thing, said in two ways.
        if self.port.is_some() || self.listen.is_some() {
            (others.port, others.listen) = (None, None);
        }
        macro_rules! or {
            (fixed: $($fixed:ident),*; fixed flags: $($flag:ident),*; live: $($live:ident),*) => {
                Self {
                    $($fixed: self.$fixed.or(others.$fixed),)*
                    $($flag: self.$flag || others.$flag,)*
                    $($live: self.$live.or(others.$live),)*
                }
            };
        }
        each_field!(or)
    }

    /// The options that differ and count only at the next start, as the file calls them.
    pub(crate) fn fixed_differences(&self, others: &Self) -> Vec<String> {
        let mut names = Vec::new();
        if self.is_by_lists() != others.is_by_lists() {
            names.push("whether scores come from lists".into());
        } else if !self.is_by_lists() && self.message_rules != others.message_rules {
            names.push("message".into());
        }
        macro_rules! differ {
            (fixed: $($fixed:ident),*; fixed flags: $($flag:ident),*; live: $($live:ident),*) => {
                $(if self.$fixed != others.$fixed { names.push(stringify!($fixed).replace('_', "-")); })*
                $(if self.$flag != others.$flag { names.push(stringify!($flag).replace('_', "-")); })*
            };
        }
        each_field!(differ);
        names
    }

    /// Says what is wrong with options that are right one by one.
    pub(crate) fn check(&self) -> Result<(), String> {
        if self.is_by_lists() && (self.delay.is_some() || self.seed.is_some()) {
            return Err("delay and seed are for random scores, and there are lists".into());
        }
        self.agent().validate().map_err(|error| error.to_string())?;
        self.reputation().check().map_err(|error| error.to_string())?;
        let mut messages: Vec<_> = self.message_rules.iter().flatten().map(MessageRule::message).collect();
        messages.sort_unstable();
        match messages.windows(2).find(|pair| pair[0] == pair[1]) {
            Some(pair) => Err(format!("two messages are called {}", pair[0])),
            None => Ok(()),
        }
    }

    /// Whether scores come from lists, not at random.
    pub(crate) fn is_by_lists(&self) -> bool {
        self.lists.as_ref().is_some_and(|lists| !lists.is_empty())
    }

    /// What lists say, and of which messages.
    pub(crate) fn reputation(&self) -> Config {
        let defaults = Config::default();
        Config {
            lists: self.lists.clone().unwrap_or_default(),
            default_score: self.default_score.map_or(defaults.default_score, |Percent(score)| score.into()),
            max_shrink: self.max_shrink.map_or(defaults.max_shrink, |Percent(max)| max),
            message_rules: self.message_rules.clone().unwrap_or(defaults.message_rules),
        }
    }

    /// The service of random scores.
    pub(crate) fn random(&self) -> RandomScores {
        let scores = self.seed.map_or(Scores::Fresh, Scores::Seeded);
        RandomScores::new(scores, self.delay(), self.reputation().message_rules)
    }

    /// How to log.
    pub(crate) fn log(&self) -> Log {
        let level = if self.debug { Level::Debug } else { self.log_level.unwrap_or_default() };
        Log::start(self.log_format.unwrap_or_default(), level)
    }

    /// The agent.
    pub(crate) fn agent(&self) -> Agent {
        let mut agent = Agent::new()
            .connection(self.connection())
            .drain(time(self.drain, Duration::ZERO))
            .grace(time(self.grace, Duration::from_secs(5)))
            .connections_max(self.connections_max())
            .silence_warning(time(self.silence_warning, Duration::from_secs(300)))
            // As far as the level says so.
            .log_frames(true);
        if let Some(asked) = self.workers {
            agent = agent.workers(at_most_one_a_processor(asked));
        }
        if let Some(max) = self.total_in_flight_max {
            agent = agent.total_in_flight_max(max);
        }
        if let Some(max) = self.total_bytes_max {
            agent = agent.total_bytes_max(max);
        }
        self.admin.iter().flatten().cloned().fold(agent, Agent::admin)
    }

    /// Says what the machine does not have room for.
    pub(crate) fn tell_of_machine(&self) {
        if let Some(asked) = self.workers
            && at_most_one_a_processor(asked) < asked
        {
            let workers = at_most_one_a_processor(asked);
            tracing::info!("{workers} workers, not {asked}: there is a processor for each of these");
        }
        let ((room, limit), max) = (files::room(), self.connections_max());
        match self.connections_max {
            Some(asked) if room < asked => tracing::warn!(
                "{room} connections at most, not {asked}: the limit of open files is {limit}, and cannot be raised"
            ),
            None if room <= max => tracing::info!("{max} connections at most: the limit of open files is {limit}"),
            _ => {}
        }
    }

    fn connections_max(&self) -> usize {
        self.connections_max.unwrap_or(65_536).min(files::room().0)
    }

    /// Listens where the options say or, if they do not, on the port of HAProxy's example.
    pub(crate) fn listen(&self, agent: Agent) -> Agent {
        self.addrs().into_iter().fold(agent, Agent::listen)
    }

    /// Listens where the options say, if they do.
    pub(crate) fn listen_where_said(&self, agent: Agent) -> Agent {
        if self.port.is_some() || self.listen.is_some() { self.listen(agent) } else { agent }
    }

    fn addrs(&self) -> Vec<ListenAddr> {
        let local = |port: NonZeroU16| ListenAddr::Tcp(([127, 0, 0, 1], port.get()).into());
        let listen = self.listen.as_deref().unwrap_or_default();
        let port = match self.port {
            None if listen.is_empty() => NonZeroU16::new(12345),
            port => port,
        };
        port.map(local).into_iter().chain(listen.iter().cloned()).collect()
    }

    fn delay(&self) -> Duration {
        time(self.delay, Duration::ZERO)
    }

    fn connection(&self) -> ConnectionConfig {
        let defaults = ConnectionConfig::default();
        let capabilities = match self.capability.as_deref().unwrap_or_default() {
            [] => defaults.capabilities,
            named => named.iter().fold(Capabilities::NONE, |all, Capability(one)| all | *one),
        };
        ConnectionConfig {
            max_frame_size: self.max_frame_size.unwrap_or(defaults.max_frame_size),
            capabilities,
            in_flight_max: self.in_flight_max.unwrap_or(defaults.in_flight_max),
            deferred_max: self.deferred_max.unwrap_or(defaults.deferred_max),
            reassembly_max: self.reassembly_max.unwrap_or(defaults.reassembly_max),
            notify_max: self.frames.and_then(NonZeroU64::new),
            hello_timeout: time(self.hello_timeout, Duration::from_secs(5)),
            idle_timeout: self.idle_timeout.map(|Time(time)| time),
            ack_timeout: time(self.ack_timeout, Duration::from_secs(10)).saturating_add(self.delay()),
            refuse_delay: time(self.refuse_delay, Duration::from_secs(1)),
            send_timeout: time(self.send_timeout, Duration::from_secs(30)),
            ..defaults
        }
    }
}

fn time(given: Option<Time>, default: Duration) -> Duration {
    given.map_or(default, |Time(time)| time)
}

/// Two workers on one processor answer fewer NOTIFYs than one does, and the slowest of them several times later: each
/// keeps the other from running for a whole time slice.
fn at_most_one_a_processor(workers: NonZeroUsize) -> NonZeroUsize {
    thread::available_parallelism().map_or(workers, |processors| workers.min(processors))
}

#[cfg(test)]
mod tests {
    use clap::{CommandFactory, Parser};

    use super::*;

    #[derive(Parser)]
    #[command(args_override_self = true)]
    struct Only {
        #[command(flatten)]
        options: Options,
    }

    fn options(options: &[&str]) -> Options {
        Only::try_parse_from(["spoa"].iter().chain(options)).unwrap().options
    }

    #[test]
    fn the_options_of_the_example_agent() {
        let of_it =
            ["-d", "-p", "7000", "-n", "3", "-m", "8192", "-c", "async", "-c", "pipelining", "-t", "5", "-f", "9"];
        let options = options(&of_it);
        assert!(options.debug);
        assert_eq!(options.addrs(), ["127.0.0.1:7000".parse().unwrap()]);
        assert_eq!(options.workers, NonZeroUsize::new(3));
        let config = options.connection();
        assert_eq!(config.max_frame_size, 8192);
        assert_eq!(config.capabilities, Capabilities::ASYNC | Capabilities::PIPELINING);
        assert_eq!(config.notify_max, NonZeroU64::new(9));
        assert_eq!(options.delay(), Duration::from_millis(5));
        assert_eq!(config.ack_timeout, Duration::from_millis(10_005));
    }

    /// What the help says of a default is what comes of the option not being given.
    #[test]
    fn defaults_are_those_that_the_help_tells() {
        let made = |options: &Options| {
            format!("{:?} {:?} {:?}", options.listen(options.agent()), options.reputation(), options.random())
        };
        let mut told = 0;
        for arg in Only::command().get_arguments() {
            let help = arg.get_help().map(ToString::to_string).unwrap_or_default();
            let default = help.rsplit_once("[default: ").and_then(|(_, rest)| rest.strip_suffix(']'));
            let Some(default) = default.filter(|default| !default.contains(' ')) else { continue };
            let given = options(&[&format!("--{}", arg.get_long().unwrap()), default]);
            assert_eq!(made(&given), made(&options(&[])), "{help}");
            told += 1;
        }
        assert_eq!(told, 18, "of these options the help tells the default");
    }

    #[test]
    fn there_is_a_worker_a_processor_at_most() {
        let processors = thread::available_parallelism().unwrap();
        assert_eq!(at_most_one_a_processor(NonZeroUsize::MIN), NonZeroUsize::MIN);
        assert_eq!(at_most_one_a_processor(processors), processors);
        assert_eq!(at_most_one_a_processor(NonZeroUsize::MAX), processors);
    }

    #[test]
    fn where_it_listens() {
        let addrs = |given: &[&str]| options(given).addrs().iter().map(ToString::to_string).collect::<Vec<_>>();
        assert_eq!(addrs(&[]), ["127.0.0.1:12345"]);
        assert_eq!(addrs(&["--listen", "[::1]:1"]), ["[::1]:1"]);
        assert_eq!(addrs(&["-p", "5", "--listen", "unix:/x", "--listen", "/y"]), ["127.0.0.1:5", "unix:/x", "unix:/y"]);
    }

    #[test]
    fn of_an_option_given_twice_the_last_counts() {
        let options = options(&["-d", "-d", "-p", "1", "-p", "2", "-c", "async", "-c", "pipelining"]);
        assert_eq!(options.port, NonZeroU16::new(2));
        assert_eq!(options.connection().capabilities, Capabilities::ASYNC | Capabilities::PIPELINING);
    }

    #[test]
    fn capabilities_are_exactly_those_named() {
        let offered = |given: &[&str]| options(given).connection().capabilities;
        assert_eq!(offered(&[]), Capabilities::PIPELINING | Capabilities::FRAGMENTATION);
        assert_eq!(offered(&["-c", "none"]), Capabilities::NONE);
        assert_eq!(offered(&["-c", "async,fragmentation"]), Capabilities::ASYNC | Capabilities::FRAGMENTATION);
        assert!(Only::try_parse_from(["spoa", "-c", "Pipelining"]).is_err());
    }

    #[test]
    fn what_is_given_counts_before_what_is_not() {
        let file = options(&["-p", "7", "--grace", "1s", "-d", "--list", "a=/a"]);
        let both = options(&["-p", "8", "--list", "b=/b", "--list", "c=/c"]).or(file.clone());
        assert_eq!((both.port, both.grace, both.debug), (NonZeroU16::new(8), file.grace, true));
        let names = both.lists.iter().flatten().map(|list| list.name.as_str()).collect::<Vec<_>>();
        assert_eq!(names, ["b", "c"]);
        assert_eq!(both.fixed_differences(&file), ["port"]);
        assert_eq!(file.fixed_differences(&options(&["-p", "7", "--list", "a=/a"])), ["grace", "debug"]);
    }
}
