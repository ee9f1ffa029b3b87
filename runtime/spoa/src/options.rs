//! The options of `spoa`, from the command line and its configuration file.

mod effect;

use std::path::Path;

use clap::Args;
use serde::Deserialize;
use spoa_reputation::{ListConfig, MessageRule, NamedPolicy, Policy};
use spoa_runtime::{Capabilities, ListenAddr, connection_limits};

use crate::capture;
use crate::log::{Format, Level};
use crate::tables;
use crate::values::{Capability, FilePath, Folder, Number, Percent, Port, Positive, Time, Whole, text, texts};
use crate::verdict_log::{Target, Which};

/// The size of captures, in bytes.
type CaptureMax = Whole<{ capture::SIZE_MIN }, { u64::MAX }>;

/// The help of the option of a limit.
macro_rules! limit_help {
    ($summary:literal $note:literal, 0 s) => {
        concat!($summary, $note, "; 0 for no limit [default: 0]")
    };
    ($summary:literal $note:literal, $default:tt s) => {
        concat!($summary, $note, " [default: ", $default, "s]")
    };
    ($summary:literal $note:literal, $default:tt $unit:ident) => {
        concat!($summary, $note, " [default: ", $default, "]")
    };
    ($summary:literal, $($default:tt)*) => {
        limit_help!($summary "", $($default)*)
    };
}

/// Returns the help and, in paragraphs after it, the details of the row.
fn long_help(help: &str, details: &[&str]) -> String {
    let lines = details.iter().map(|line| line.trim_start());
    lines.fold(help.to_owned() + "\n", |mut text, line| {
        let separator = if line.is_empty() || text.ends_with('\n') { "\n" } else { " " };
        text.push_str(separator);
        text.push_str(line);
        text
    })
}

/// The type of the option of a limit.
macro_rules! limit_type {
    (s, $range:expr) => {
        Time
    };
    ($unit:ident, $range:expr) => {
        Whole<{ *($range).start() }, { *($range).end() }>
    };
}

/// The name of the value of the option of a limit.
macro_rules! value_name {
    (s) => {
        "TIME"
    };
    (bytes) => {
        "BYTES"
    };
    (NOTIFYs) => {
        "NUMBER"
    };
}

/// Defines [`Options`] with an option for each limit of a connection that has one.
macro_rules! options {
    (options {
        $($(#[doc = $details:literal])* $name:ident $(($short:ident))?: $type:ty = $default:tt $unit:ident,
          $range:expr, $summary:literal $(, $note:literal)?;)*
    } $($others:tt)*) => {
        /// The options, each of them given or not: on the command line as `--hello-timeout 5s`, in the file as `hello-timeout = "5s"`.
        /// A test compares the defaults in their help with those in use.
        #[derive(Args, Clone, Debug, Default, Deserialize)]
        #[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
        pub(crate) struct Options {
            /// Log each frame and connection; the same as --log-level debug
            #[arg(short, long)]
            debug: bool,

            /// Log level: error, warn, info or debug; SIGUSR1 switches debug on and off [default: info]
            #[arg(long, value_name = "LEVEL", hide_possible_values = true)]
            log_level: Option<Level>,

            /// Log format: text, or json for one object per line [default: text]
            #[arg(long, value_name = "FORMAT", hide_possible_values = true)]
            log_format: Option<Format>,

            /// Warn if HAProxy sends health checks but no NOTIFY for this long after the start; 0 for never [default: 5m]
            ///
            /// The likely mistake is an SPOE filter that is configured and never used.
            #[arg(long, value_name = "TIME")]
            #[serde(deserialize_with = "text")]
            silence_warning: Option<Time>,

            /// Port of 127.0.0.1 to listen on [default: 12345, or none with --listen or sockets of systemd]
            #[arg(short, long, value_name = "PORT")]
            #[serde(deserialize_with = "text")]
            port: Option<Port>,

            /// Address to listen on: IP:PORT (IPv6 in brackets), or unix:PATH with ,mode=0660 ,group=NAME ,user=NAME; repeatable
            ///
            /// SPOP has no authentication: everyone who can connect is served. A path of a unix socket may not have a comma; HAProxy
            /// needs the permission to write to it. If systemd has opened a socket with one of the addresses, that socket is used.
            #[arg(long, value_name = "ADDR")]
            #[serde(deserialize_with = "texts")]
            listen: Option<Vec<ListenAddr>>,

            /// Address for the status page /, /healthz, /readyz, /metrics and /verdict over HTTP, in the form of --listen; repeatable
            ///
            /// Everyone who can connect is answered. Bans can be changed over a unix socket by everyone who can connect, and over TCP
            /// with the token of --admin-token-file.
            #[arg(long, value_name = "ADDR")]
            #[serde(deserialize_with = "texts")]
            admin: Option<Vec<ListenAddr>>,

            /// File with the token for changing bans over TCP, with "Authorization: Bearer TOKEN" [default: not allowed]
            ///
            /// A line of 16 characters or more. There is no encryption: use it on networks that are trusted, or behind a TLS proxy.
            #[arg(long, value_name = "FILE")]
            #[serde(deserialize_with = "text")]
            admin_token_file: Option<FilePath>,

            /// Threads that serve connections, at most one per processor [default: one per processor]
            ///
            /// A worker waits for nothing but its sockets, so more of them would only take processor time from each other.
            #[arg(short = 'n', long, value_name = "NUMBER")]
            #[serde(deserialize_with = "text")]
            workers: Option<Positive>,

            /// Capabilities to offer, exactly these, or none [default: pipelining,fragmentation]
            ///
            /// pipelining, fragmentation, async, or "none" alone for no capability; repeatable, or separated by commas.
            #[arg(short, long, value_name = "NAME", value_delimiter = ',')]
            #[serde(deserialize_with = "texts")]
            capability: Option<Vec<Capability>>,

            /// Wait this long before each answer: in ms, or with a unit (us, ms, s, m, h) [default: 0]
            ///
            /// The time is added to --ack-timeout. It is an error if there are lists, because it is for random scores.
            #[arg(short = 't', long, value_name = "TIME")]
            #[serde(deserialize_with = "text")]
            delay: Option<Time>,

            /// Close a connection after this many NOTIFYs; 0 for no limit [default: 0]
            #[arg(short, long, value_name = "NUMBER")]
            #[serde(deserialize_with = "text")]
            frames: Option<Number>,

            /// Make random scores a function of this number and the address
            ///
            /// It is an error if there are lists.
            #[arg(long, value_name = "NUMBER")]
            #[serde(deserialize_with = "text")]
            seed: Option<Number>,

            /// The lists to answer by.
            #[arg(long = "list", value_name = "LIST", help = LIST_HELP, long_help = format!("{LIST_HELP}\n\n{LIST_HELP_MORE}"))]
            #[serde(rename = "list", deserialize_with = "tables::lists")]
            pub(crate) lists: Option<Vec<ListConfig>>,

            /// The message rules, which only the file can have.
            #[arg(skip)]
            #[serde(rename = "message", deserialize_with = "tables::message_rules")]
            message_rules: Option<Vec<MessageRule>>,

            /// The policies, which only the file can have.
            #[arg(skip)]
            #[serde(rename = "policy", deserialize_with = "tables::policies")]
            policies: Option<Vec<NamedPolicy>>,

            /// Score of an address in no list [default: 50]
            #[arg(long, value_name = "NUMBER")]
            #[serde(deserialize_with = "text")]
            default_score: Option<Percent>,

            /// File that keeps the bans of "spoa ban" across restarts; without it there are no bans
            ///
            /// Bans count for the list that they name, by default the lists "bans" (score 0) and "allowed", which this option adds
            /// if they are not configured. A list in the configuration file needs no path then. Each agent needs a file of its own.
            #[arg(long, value_name = "FILE")]
            #[serde(deserialize_with = "text")]
            bans: Option<FilePath>,

            /// Bans that are possible [default: 1000000]
            #[arg(long, value_name = "NUMBER")]
            #[serde(deserialize_with = "text")]
            bans_max: Option<Positive>,

            /// File for a JSON line per verdict, or - for standard error; reopened at SIGUSR2 and SIGHUP [default: no log]
            ///
            /// No answer waits for it: lines that cannot be written are lost and counted, as on a full disk or in a FIFO
            /// without a reader.
            #[arg(long, value_name = "FILE", allow_hyphen_values = true)]
            #[serde(deserialize_with = "text")]
            verdict_log: Option<Target>,

            /// Verdicts in the log: listed or all; listed includes verdicts that would be listed without shadow mode [default: listed]
            #[arg(long, value_name = "WHICH", hide_possible_values = true)]
            verdict_log_which: Option<Which>,

            /// Log one of this many verdicts [default: 1]
            #[arg(long, value_name = "NUMBER")]
            #[serde(deserialize_with = "text")]
            verdict_log_sample: Option<Positive>,

            /// Lines of verdicts per second; further ones are lost; 0 for no limit [default: 100]
            #[arg(long, value_name = "NUMBER")]
            #[serde(deserialize_with = "text")]
            verdict_log_rate: Option<Number>,

            /// Folder for captures of all connections, with what clients send, as pcapng files for Wireshark [default: no capture]
            ///
            /// Eight files at most, of which the oldest is removed when a new one is needed. No answer waits for them: packets that
            /// cannot be written are lost and counted. Only the user of the agent can read the files.
            #[arg(long, value_name = "FOLDER")]
            #[serde(deserialize_with = "text")]
            capture: Option<Folder>,

            /// Bytes of all files in the folder of captures [default: 134217728]
            #[arg(long, value_name = "BYTES")]
            #[serde(deserialize_with = "text")]
            capture_max: Option<CaptureMax>,

            /// Percentage by which a list of 100 prefixes or more may shrink in one reload [default: 50]
            ///
            /// If it shrinks by more, the file may have been cut off, and the previous version stays in use. A list's own max-shrink
            /// overrides this, and applies to fewer than 100 prefixes too.
            #[arg(long, value_name = "PERCENT")]
            #[serde(deserialize_with = "text")]
            max_shrink: Option<Percent>,

            /// Reload lists at SIGHUP only, not when their files change
            #[arg(long)]
            pub(crate) no_watch: bool,

            /// After SIGTERM, refuse health checks but serve everything else for this long, so that HAProxy uses other agents [default: 0]
            ///
            /// If it is longer than HAProxy takes to mark a server DOWN ("inter 2s fall 2": 4 s), a stop loses no event.
            #[arg(long, value_name = "TIME")]
            #[serde(deserialize_with = "text")]
            drain: Option<Time>,

            /// Time that a stop may take after --drain, or after SIGINT, to answer what is in flight [default: 5s]
            #[arg(long, value_name = "TIME")]
            #[serde(deserialize_with = "text")]
            grace: Option<Time>,

            $(
                #[arg(
                    $($short,)?
                    long,
                    value_name = value_name!($unit),
                    help = limit_help!($summary $($note)?, $default $unit),
                    long_help = long_help(limit_help!($summary $($note)?, $default $unit), &[$($details),*])
                )]
                #[serde(deserialize_with = "text")]
                $name: Option<limit_type!($unit, $range)>,
            )*

            /// Connections that may be open; further ones are rejected [default: 65536, or what the limit of open files allows]
            #[arg(long, value_name = "NUMBER")]
            #[serde(deserialize_with = "text")]
            connections_max: Option<Positive>,

            /// NOTIFYs that may be in flight on all connections [default: 16384 per worker]
            ///
            /// At the limit no further NOTIFY is accepted until one is answered or overdue. Each worker has an equal share.
            #[arg(long, value_name = "NUMBER")]
            #[serde(deserialize_with = "text")]
            total_in_flight_max: Option<Positive>,

            /// Bytes that all connections may hold [default: 64 MiB per worker]
            ///
            /// In buffers and as copies of NOTIFYs in flight. The default per worker is twice the most that one connection may hold, if
            /// that is more than 64 MiB. Above the limit the connections that have held partial frames or unsent output for longest are
            /// closed, with code 13 if they read what they are sent. Each worker has an equal share.
            #[arg(long, value_name = "BYTES")]
            #[serde(deserialize_with = "text")]
            total_bytes_max: Option<Positive>,
        }
    };
}
connection_limits!(options);

// Not a doc comment, because rustdoc takes brackets for links.
const LIST_HELP: &str = "List of addresses: NAME=PATH[,score=N][,category=TEXT][,allow][,shadow][,strict][,optional][,KEY=VALUE ...]; repeatable";
const LIST_HELP_MORE: &str = "The file has an address, prefix or range per line, columns, or JSON, and may be compressed with gzip. \
An address in an \"allow\" list is allowed; otherwise the lowest score of the lists that contain it counts. The default score is 0, or \
100 with \"allow\". A \"shadow\" list has no effect on verdicts, but what it would change is in variables of its own, metrics and the \
verdict log. The format and the column of the address are detected from the first lines, or given by \"format=lines\", \
\"csv\", \"json\" or \"ranges\", by \"column=\" (a number from 1, or a name in the header) or by \"key=\" (of JSON). \"min=5\", or \
\"min=COLUMN:5\", skips lines with a smaller number. \"score-column=\" has a score for each address, or with \"invert-score\" a number \
from 0 (harmless) to 100 (bad). \"host-bits=accept\" reads 192.0.2.77/24 as its network; \"ipv6-host=64\" widens \
single IPv6 addresses. A \"strict\" list is not used if any of its lines is bad, and no list if more than \"max-bad=50\" percent \
are. A list that covers more than \"max-cover=10\" percent of all public addresses, or grows by more than \"max-growth=900\" percent, is \
not used either. An \"optional\" list does not prevent the start if its file cannot be used. Lists on the command line replace all \
lists of the configuration file.";

/// Calls the macro `$do` with the fields that cannot change while the agent runs, and with those that a SIGHUP may change.
macro_rules! each_field {
    ($do:ident) => {
        connection_limits!(with_limits $do)
    };
}

macro_rules! with_limits {
    ($do:ident options { $($(#[$details:meta])* $limit:ident $(($short:ident))?: $type:ty = $default:tt $unit:ident,
       $range:expr, $summary:literal $(, $note:literal)?;)* } $($others:tt)*) => {
        $do! {
            fixed: log_level, log_format, silence_warning, port, listen, admin, admin_token_file, workers, capability, delay, frames, seed, drain, grace,
                verdict_log, verdict_log_which, verdict_log_sample, verdict_log_rate,
                capture, capture_max, bans, bans_max,
                $($limit,)* connections_max, total_in_flight_max, total_bytes_max;
            fixed flags: debug, no_watch;
            live: lists, message_rules, policies, default_score, max_shrink
        }
    };
}

impl Options {
    /// Returns options with lists alone.
    pub(crate) fn of_lists(lists: Option<Vec<ListConfig>>, default_score: Option<Percent>) -> Self {
        Self { lists, default_score, ..Self::default() }
    }

    /// Returns these options, and `others` where these are not given.
    pub(crate) fn or(self, mut others: Self) -> Self {
        // Both say where to listen.
        if self.port.is_some() || self.listen.is_some() {
            (others.port, others.listen) = (None, None);
        }
        // Both say what to log.
        if self.log_level.is_some() {
            others.debug = false;
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

    /// Makes the paths of other files than lists relative to a folder.
    pub(crate) fn files_below(&mut self, folder: &Path) {
        if let Some(Folder(path)) = &mut self.capture {
            *path = folder.join(&path);
        }
        for FilePath(path) in self.bans.iter_mut().chain(&mut self.admin_token_file) {
            *path = folder.join(&path);
        }
        if let Some(Target::File(path)) = &mut self.verdict_log {
            *path = folder.join(&path);
        }
    }

    /// Returns the names of options that differ and take effect only at the next start.
    pub(crate) fn fixed_differences(&self, others: &Self) -> Vec<String> {
        let mut names = Vec::new();
        if self.has_lists() != others.has_lists() {
            names.push("whether there are lists".into());
        } else if !self.has_lists() && self.message_rules != others.message_rules {
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

    /// Checks the options against each other.
    pub(crate) fn check(&self) -> Result<(), String> {
        if self.has_lists() && (self.delay.is_some() || self.seed.is_some()) {
            return Err("delay and seed are for random scores, but there are lists".into());
        }
        self.check_verdict_log()?;
        if self.capture_max.is_some() && self.capture.is_none() {
            return Err("capture-max has no effect without capture".into());
        }
        self.check_bans()?;
        self.check_needs_lists()?;
        let capabilities = self.capability.as_deref().unwrap_or_default();
        if capabilities.len() > 1 && capabilities.iter().any(|Capability(one)| *one == Capabilities::NONE) {
            return Err("the capability \"none\" stands alone: it means that no other is offered".into());
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

    /// Checks that no option of the verdict log is without effect.
    fn check_verdict_log(&self) -> Result<(), String> {
        let details = [
            ("verdict-log-which", self.verdict_log_which.is_some()),
            ("verdict-log-sample", self.verdict_log_sample.is_some()),
            ("verdict-log-rate", self.verdict_log_rate.is_some()),
        ];
        match details.iter().find(|(_, is_given)| *is_given && self.verdict_log.is_none()) {
            Some((name, _)) => Err(format!("{name} has no effect without verdict-log")),
            None => Ok(()),
        }
    }

    /// Checks that nothing that is for bans is given without them.
    fn check_bans(&self) -> Result<(), String> {
        if self.bans.is_some() {
            return Ok(());
        }
        if self.bans_max.is_some() || self.admin_token_file.is_some() {
            return Err("bans-max and admin-token-file have no effect without bans".into());
        }
        match self.lists.iter().flatten().find(|list| list.path.is_none()) {
            Some(list) => Err(format!("the list {} needs a path: only with bans a list may have none", list.name)),
            None => Ok(()),
        }
    }

    /// Checks that nothing that is for lists is given without them.
    fn check_needs_lists(&self) -> Result<(), String> {
        if self.has_lists() {
            return Ok(());
        }
        if self.verdict_log.is_some() {
            return Err("verdict-log is for the verdicts of lists, but there is none".into());
        }
        if let Some(named) = self.policies.iter().flatten().next() {
            return Err(format!("the policy {} is for lists, but there is none", named.name));
        }
        let needs_lists = |rule: &&MessageRule| {
            rule.is_shadow() || rule.policy_argument().is_some() || *rule.policy() != Policy::default()
        };
        match self.message_rules.iter().flatten().find(needs_lists) {
            Some(rule) => {
                Err(format!("shadow and the policy of the message {} are for lists, but there is none", rule.message()))
            }
            None => Ok(()),
        }
    }

    /// Returns the first admin address.
    pub(crate) fn first_admin(&self) -> Option<ListenAddr> {
        self.admin.as_ref()?.first().cloned()
    }

    /// Returns the admin address on which bans can be changed: the first unix socket or, if there is none, the first address.
    pub(crate) fn admin_of_bans(&self) -> Option<ListenAddr> {
        let unix = self.admin.iter().flatten().find(|addr| matches!(addr, ListenAddr::Unix(_)));
        unix.cloned().or_else(|| self.first_admin())
    }

    /// True if there are bans, and an admin address on which somebody can change them.
    pub(crate) fn can_change_bans(&self) -> bool {
        let is_unix = |addr: &ListenAddr| matches!(addr, ListenAddr::Unix(_));
        let has_token = self.admin_token_file.is_some();
        self.bans.is_some() && self.admin.iter().flatten().any(|addr| has_token || is_unix(addr))
    }

    /// True if scores come from lists or bans, false if they are random.
    pub(crate) fn has_lists(&self) -> bool {
        self.bans.is_some() || self.lists.as_ref().is_some_and(|lists| !lists.is_empty())
    }
}

#[cfg(test)]
mod tests {
    use std::num::NonZeroU64;
    use std::time::Duration;

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
        assert_eq!(options.workers, Some(Whole(3)));
        let config = options.connection();
        assert_eq!(config.max_frame_size, 8192);
        assert_eq!(config.capabilities, Capabilities::ASYNC | Capabilities::PIPELINING);
        assert_eq!(config.notify_max, NonZeroU64::new(9));
        assert_eq!(options.delay(), Duration::from_millis(5));
        assert_eq!(config.ack_timeout, Duration::from_millis(10_005));
    }

    /// An option that is given its default from the help has the same effect as one that is not given.
    #[test]
    fn defaults_in_the_help_are_those_in_use() {
        let made = |options: &Options| {
            let agent = options.listen(options.agent());
            let verdicts = options.verdict_settings();
            let (size, bans) = (options.capture_size(), options.bans_max());
            format!("{agent:?} {:?} {:?} {verdicts:?} {size} {bans}", options.reputation(), options.random())
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
        assert_eq!(told, 24, "the number of options with a default in their help");
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
        assert_eq!(options.port, Some(Whole(2)));
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
        assert_eq!((both.port, both.grace, both.debug), (Some(Whole(8)), file.grace, true));
        let names = both.lists.iter().flatten().map(|list| list.name.as_str()).collect::<Vec<_>>();
        assert_eq!(names, ["b", "c"]);
        assert_eq!(both.fixed_differences(&file), ["port"]);
        assert_eq!(file.fixed_differences(&options(&["-p", "7", "--list", "a=/a"])), ["grace", "debug"]);
    }
}
