//! The options of `spoa`: those of HAProxy's example agent with the same meaning, and more.

use std::net::IpAddr;
use std::num::{NonZeroU64, NonZeroUsize};
use std::thread;
use std::time::Duration;

use clap::{Args, Parser, Subcommand};
use spoa_runtime::reputation::lists::ListConfig;
use spoa_runtime::reputation::{Scores, Service};
use spoa_runtime::{Agent, Capabilities, ConnectionConfig, ListenAddr};

/// An IP reputation agent for HAProxy (SPOE): scores clients from 0 (bad) to 100 (trusted), by lists or at random.
#[derive(Debug, Parser)]
#[command(name = "spoa", version, args_override_self = true, args_conflicts_with_subcommands = true)]
pub(crate) struct Cli {
    #[command(subcommand)]
    pub(crate) command: Option<Command>,

    /// Log each frame and connection
    #[arg(short, long)]
    pub(crate) debug: bool,

    /// Port of 127.0.0.1 to listen on [default: 12345, or none with --listen]
    #[arg(short, long, value_parser = clap::value_parser!(u16).range(1..))]
    port: Option<u16>,

    /// Where to listen: IP:PORT (IPv6 in brackets) or unix:PATH; repeatable
    ///
    /// SPOP has no authentication: whoever can connect is served.
    #[arg(long, value_name = "ADDR")]
    listen: Vec<ListenAddr>,

    /// Threads that serve connections, at most one a processor [default: one a processor]
    ///
    /// None of them ever waits for anything but its sockets, so that more would only keep each other waiting.
    #[arg(short = 'n', long, value_name = "NUMBER")]
    workers: Option<NonZeroUsize>,

    /// Largest frame; at most HAProxy's tune.bufsize - 4 is best
    #[arg(short, long, value_name = "BYTES", default_value_t = ConnectionConfig::default().max_frame_size)]
    max_frame_size: u32,

    /// Capabilities to offer, just these; or none [default: pipelining,fragmentation]
    ///
    /// One of pipelining, fragmentation, async; can be given several times. With none of them named, the defaults are
    /// offered.
    #[arg(short, long = "capability", value_name = "NAME", value_delimiter = ',', value_parser = capability)]
    capabilities: Vec<Capabilities>,

    /// Time before each answer: in ms, or with a unit (us, ms, s)
    #[arg(short = 't', long, value_name = "TIME", default_value = "0", value_parser = time, conflicts_with = "lists")]
    delay: Duration,

    /// NOTIFYs before a connection is ended; 0 for no limit
    #[arg(short, long, value_name = "NUMBER", default_value_t = 0)]
    frames: u64,

    /// Scores are a function of this and the address, not fresh each time
    #[arg(long, value_name = "NUMBER", conflicts_with = "lists")]
    seed: Option<u64>,

    #[command(flatten)]
    pub(crate) lists: ListArgs,

    /// Percent of a list's prefixes that may go at a SIGHUP
    ///
    /// Where more are gone, the file may have been cut off: all lists stay as they are.
    #[arg(long, value_name = "PERCENT", default_value_t = 50, value_parser = clap::value_parser!(u8).range(..=100))]
    pub(crate) max_shrink: u8,

    /// Time to end after SIGTERM or SIGINT, most of it to answer what is in flight
    #[arg(long, value_name = "TIME", default_value = "5s", value_parser = time)]
    grace: Duration,

    /// Time to wait for a HELLO
    #[arg(long, value_name = "TIME", default_value = "5s", value_parser = time)]
    hello_timeout: Duration,

    /// Time without NOTIFY before a connection is ended [default: no limit]
    #[arg(long, value_name = "TIME", value_parser = time)]
    idle_timeout: Option<Duration>,

    /// Time before an empty ACK takes an answer's place, beside --delay
    #[arg(long, value_name = "TIME", default_value = "10s", value_parser = time)]
    ack_timeout: Duration,

    /// Time before a HELLO is refused: HAProxy <= 3.0 comes back at once
    #[arg(long, value_name = "TIME", default_value = "1s", value_parser = time)]
    refuse_delay: Duration,

    /// Time a peer may read nothing before its connection is ended
    #[arg(long, value_name = "TIME", default_value = "30s", value_parser = time)]
    send_timeout: Duration,

    /// NOTIFYs of a connection that may wait for their ACK
    #[arg(long, value_name = "NUMBER", default_value_t = ConnectionConfig::default().in_flight_max)]
    in_flight_max: usize,

    /// Bytes that the NOTIFYs waiting for their ACK may have in all
    #[arg(long, value_name = "BYTES", default_value_t = ConnectionConfig::default().deferred_max)]
    deferred_max: usize,

    /// Largest NOTIFY taken in fragments
    #[arg(long, value_name = "BYTES", default_value_t = ConnectionConfig::default().reassembly_max)]
    reassembly_max: usize,

    /// Connections to serve at once; more are turned away
    #[arg(long, value_name = "NUMBER", default_value_t = 65_536)]
    connections_max: usize,
}

/// What it does instead of serving.
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Tell what lists say of addresses, and why
    Check {
        /// The addresses
        #[arg(required = true, value_name = "IP")]
        addresses: Vec<IpAddr>,

        #[command(flatten)]
        lists: ListArgs,
    },
    /// Tell which lines of lists are bad; fail if any is
    Validate {
        #[command(flatten)]
        lists: ListArgs,
    },
}

impl Command {
    /// What it is called.
    const fn name(&self) -> &'static str {
        match self {
            Self::Check { .. } => "check",
            Self::Validate { .. } => "validate",
        }
    }

    /// The lists it is about.
    pub(crate) const fn lists(&self) -> &ListArgs {
        match self {
            Self::Check { lists, .. } | Self::Validate { lists } => lists,
        }
    }
}

// No doc comments: rustdoc takes brackets for links.
const LIST_HELP: &str = "Answer by this list: NAME=PATH[,score=N][,category=TEXT][,allow][,column=C]; repeatable";
const LIST_HELP_MORE: &str = "The file has an address, prefix or range a line, JSON lines or CSV, and may be compressed \
with gzip. An address in an \"allow\" list is let in; else the lowest score of the lists that it is in counts. The score \
is 0 unless given, 100 with \"allow\". Formats are told by the first line, or with \"format=lines\", \"json\" or \"csv\"; \
with a column, a number from 1 or a name in the first line, it is CSV.";

/// Which lists there are.
#[derive(Debug, Args)]
pub(crate) struct ListArgs {
    /// The lists to answer by.
    #[arg(long = "list", value_name = "LIST", help = LIST_HELP, long_help = format!("{LIST_HELP}\n\n{LIST_HELP_MORE}"))]
    pub(crate) lists: Vec<ListConfig>,

    /// Score of an address in no list
    #[arg(long, value_name = "NUMBER", default_value_t = 50, value_parser = clap::value_parser!(u32).range(..=100))]
    pub(crate) default_score: u32,
}

impl Cli {
    /// Says what is wrong with options that are right one by one.
    pub(crate) fn check(&self) -> Result<(), String> {
        let lists = &self.command.as_ref().map_or(&self.lists, Command::lists).lists;
        if let Some(command) = self.command.as_ref().filter(|_| lists.is_empty()) {
            return Err(format!("{} takes a --list", command.name()));
        }
        Ok(())
    }

    /// The agent these options describe.
    pub(crate) fn agent(&self) -> Agent {
        let mut agent = Agent::new()
            .connection(self.connection())
            .grace(self.grace)
            .connections_max(self.connections_max)
            .log_frames(self.debug);
        if let Some(asked) = self.workers {
            let workers = at_most_one_a_processor(asked);
            if workers < asked {
                tracing::info!("{workers} workers, not {asked}: there is a processor for each of these");
            }
            agent = agent.workers(workers);
        }
        self.addrs().into_iter().fold(agent, Agent::listen)
    }

    /// The service these options describe.
    pub(crate) fn service(&self) -> Service {
        Service::new(self.seed.map_or(Scores::Fresh, Scores::Seeded), self.delay)
    }

    fn addrs(&self) -> Vec<ListenAddr> {
        let local = |port| ListenAddr::Tcp(([127, 0, 0, 1], port).into());
        let port = match self.port {
            None if self.listen.is_empty() => Some(12345),
            port => port,
        };
        port.map(local).into_iter().chain(self.listen.iter().cloned()).collect()
    }

    fn connection(&self) -> ConnectionConfig {
        let defaults = ConnectionConfig::default();
        let capabilities = match &self.capabilities[..] {
            [] => defaults.capabilities,
            named => named.iter().fold(Capabilities::NONE, |all, one| all | *one),
        };
        ConnectionConfig {
            max_frame_size: self.max_frame_size,
            capabilities,
            in_flight_max: self.in_flight_max,
            deferred_max: self.deferred_max,
            reassembly_max: self.reassembly_max,
            notify_max: NonZeroU64::new(self.frames),
            hello_timeout: self.hello_timeout,
            idle_timeout: self.idle_timeout,
            ack_timeout: self.ack_timeout.saturating_add(self.delay),
            refuse_delay: self.refuse_delay,
            send_timeout: self.send_timeout,
            ..defaults
        }
    }
}

/// Two workers on one processor answer fewer NOTIFYs than one does, and the slowest of them several times later: each
/// keeps the other from running for a whole time slice.
fn at_most_one_a_processor(workers: NonZeroUsize) -> NonZeroUsize {
    thread::available_parallelism().map_or(workers, |processors| workers.min(processors))
}

fn capability(name: &str) -> Result<Capabilities, &'static str> {
    if name == "none" {
        return Ok(Capabilities::NONE);
    }
    Capabilities::from_name(name).ok_or("it takes pipelining, fragmentation, async or none")
}

/// A time as HAProxy's example agent takes it: a whole number of milliseconds, or of the unit that follows it.
fn time(text: &str) -> Result<Duration, &'static str> {
    let digits = text.bytes().take_while(u8::is_ascii_digit).count();
    let (number, unit) = text.split_at(digits);
    let micros = match unit {
        "us" => 1,
        "" | "ms" => 1_000,
        "s" => 1_000_000,
        _ => return Err("it takes a whole number and us, ms or s"),
    };
    let number = number.parse::<u64>().map_err(|_| "it takes a whole number and us, ms or s")?;
    number.checked_mul(micros).map(Duration::from_micros).ok_or("that is longer than can be counted")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cli(options: &[&str]) -> Cli {
        Cli::try_parse_from(["spoa"].iter().chain(options)).unwrap()
    }

    #[test]
    fn the_options_of_the_example_agent() {
        let cli = cli(&[
            "-d",
            "-p",
            "7000",
            "-n",
            "3",
            "-m",
            "8192",
            "-c",
            "async",
            "-c",
            "pipelining",
            "-t",
            "5",
            "-f",
            "9",
        ]);
        assert!(cli.debug);
        assert_eq!(cli.addrs(), ["127.0.0.1:7000".parse().unwrap()]);
        assert_eq!(cli.workers, NonZeroUsize::new(3));
        let config = cli.connection();
        assert_eq!(config.max_frame_size, 8192);
        assert_eq!(config.capabilities, Capabilities::ASYNC | Capabilities::PIPELINING);
        assert_eq!(config.notify_max, NonZeroU64::new(9));
        assert_eq!(cli.delay, Duration::from_millis(5));
        assert_eq!(config.ack_timeout, Duration::from_millis(10_005));
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
        let addrs = |options: &[&str]| cli(options).addrs().iter().map(ToString::to_string).collect::<Vec<_>>();
        assert_eq!(addrs(&[]), ["127.0.0.1:12345"]);
        assert_eq!(addrs(&["--listen", "[::1]:1"]), ["[::1]:1"]);
        assert_eq!(addrs(&["-p", "5", "--listen", "unix:/x", "--listen", "/y"]), ["127.0.0.1:5", "unix:/x", "unix:/y"]);
    }

    #[test]
    fn of_an_option_given_twice_the_last_counts() {
        let cli = cli(&["-d", "-d", "-p", "1", "-p", "2", "-c", "async", "-c", "pipelining"]);
        assert_eq!(cli.port, Some(2));
        assert_eq!(cli.connection().capabilities, Capabilities::ASYNC | Capabilities::PIPELINING);
    }

    #[test]
    fn capabilities_are_exactly_those_named() {
        assert_eq!(cli(&[]).connection().capabilities, Capabilities::PIPELINING | Capabilities::FRAGMENTATION);
        assert_eq!(cli(&["-c", "none"]).connection().capabilities, Capabilities::NONE);
        assert_eq!(
            cli(&["-c", "async,fragmentation"]).connection().capabilities,
            Capabilities::ASYNC | Capabilities::FRAGMENTATION
        );
        assert!(Cli::try_parse_from(["spoa", "-c", "Pipelining"]).is_err());
    }

    #[test]
    fn times() {
        for (text, micros) in [("0", 0), ("15", 15_000), ("15ms", 15_000), ("7us", 7), ("2s", 2_000_000)] {
            assert_eq!(time(text), Ok(Duration::from_micros(micros)));
        }
        for text in ["", "s", "1m", "1.5s", "-1", "1 s", "1sec", "99999999999999999999", "18446744073709551615s"] {
            assert!(time(text).is_err(), "{text}");
        }
    }
}
