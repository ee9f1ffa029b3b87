//! The command line of `spoa-sim`.

use std::ops::Range;
use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, Parser, Subcommand, ValueEnum};
use spoa_sim::generate::Profile;
use spoa_sim::script::MessageSpec;
use spoa_sim::text::{parse_duration, parse_message};
use spoa_sim_kit::capture::AGENT_PORT;
use spoa_sim_kit::conformance::{Engine, Level};
use spoa_sim_kit::socket::Address;

/// Plays HAProxy against the agent, from seeds or scripts, and checks every byte
#[derive(Debug, Parser)]
#[command(name = "spoa-sim", version, arg_required_else_help = true, after_help = EXITS)]
pub(crate) struct Cli {
    #[command(subcommand)]
    pub(crate) command: Command,
}

/// The exit codes, for the help.
const EXITS: &str = "\
Exit codes:
  0   every check held, or every result is as expected
  1   a check failed
  2   a wrong option, or a file that cannot be read or written
  3   one seed had two different traces
  4   a coverage goal was not reached, or nothing was checked
  5   a run never ends, or bytes are never read
  6   a script or a folder of scripts that cannot be used
  70  the simulator itself has failed";

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Run seeds, and make the script of each kind of failure small
    Run(RunArgs),
    /// Find the step of a failing script at which the failure begins
    ///
    /// The script is made small. Then everything from some step on is drawn again, many times. The share of these scripts that still
    /// fail jumps at the step that is the cause.
    When {
        /// A seed, or a file with a script
        #[arg(value_name = "FILE_OR_SEED")]
        source: String,
        /// The kind of run of a seed: standard, calm, mux, applet, endpoint or fleet
        #[arg(long, default_value = "standard", value_parser = profile)]
        profile: Profile,
        /// The number of scripts that are drawn for each step
        #[arg(long, default_value = "200", value_parser = clap::value_parser!(u32).range(1..))]
        draws: u32,
        /// Use the whole script instead of a small one
        #[arg(long)]
        whole: bool,
    },
    /// Run one seed and print its trace
    Replay {
        /// The seed
        seed: u64,
        /// The kind of run: standard, calm, mux, applet, endpoint or fleet
        #[arg(long, default_value = "standard", value_parser = profile)]
        profile: Profile,
        /// The format of the trace [default: text]
        #[arg(long)]
        trace: Option<TraceFormat>,
        #[command(flatten)]
        view: View,
    },
    /// Print the script of a seed
    Show {
        /// The seed
        seed: u64,
        /// The kind of run: standard, calm, mux, applet, endpoint or fleet
        #[arg(long, default_value = "standard", value_parser = profile)]
        profile: Profile,
    },
    /// Run scripts
    Script {
        /// The files with the scripts
        #[arg(required = true)]
        files: Vec<PathBuf>,
        /// Print the trace of each script in this format
        #[arg(long)]
        trace: Option<TraceFormat>,
        #[command(flatten)]
        view: View,
    },
    /// Make a script that fails as small as possible
    Shrink {
        /// A seed, or a file with a script
        #[arg(value_name = "FILE_OR_SEED")]
        source: String,
        /// The kind of run of a seed: standard, calm, mux, applet, endpoint or fleet
        #[arg(long, default_value = "standard", value_parser = profile)]
        profile: Profile,
        /// The file for the small script [default: standard output]
        #[arg(short, long)]
        output: Option<PathBuf>,
    },
    /// Run all scripts of a folder, and print the story of each
    Corpus {
        /// The folder, which has scripts (*.spop) [default: sim/corpus of the workspace]
        folder: Option<PathBuf>,
    },
    /// Run the same seeds with another build of spoa-sim, and show the first difference
    Diff {
        /// The program of the other build, for example of the last release
        build: PathBuf,
        /// The seeds: FIRST..END, or the number of seeds from 0 on
        #[arg(long, default_value = "10000", value_parser = seeds)]
        seeds: Seeds,
        /// The kind of runs: standard, calm, mux, applet, endpoint or fleet
        #[arg(long, default_value = "standard", value_parser = profile)]
        profile: Profile,
    },
    /// Print the hash of the trace of each seed
    #[command(hide = true)]
    Hashes {
        #[arg(long, value_parser = seeds)]
        seeds: Seeds,
        #[arg(long, default_value = "standard", value_parser = profile)]
        profile: Profile,
    },
    /// Plant bugs into a copy of the core, and count the seeds until each is found
    Bugs {
        /// Names of bugs in sim/bugs, or files: a bug (*.bug), or a patch (*.patch, *.diff). Without any, all bugs are planted, and if
        /// all are found the table in sim/bugs/README.md is rewritten
        bugs: Vec<String>,
    },
    /// Test any agent over a socket against the rules of the protocol
    Conform(Box<Conform>),
    /// Compare the results of several agents in one table
    Matrix(Matrix),
    /// Put any agent under load, and measure answers per second, latencies and processor time
    Load(Load),
    /// Judge the agent in a capture of packets, and make a script of each connection
    Import(Import),
    /// Print how often a range of seeds reaches each cell of the state tables and each mark
    Coverage {
        /// The seeds: FIRST..END, or the number of seeds from 0 on
        #[arg(long, default_value = "100000", value_parser = seeds)]
        seeds: Seeds,
        /// The kind of runs: standard, calm, mux, applet, endpoint or fleet
        #[arg(long, default_value = "standard", value_parser = profile)]
        profile: Profile,
        /// Write a small script for each coverage goal to this folder
        #[arg(long)]
        distil: Option<PathBuf>,
    },
}

/// The arguments of `run`.
#[derive(Args, Debug)]
pub(crate) struct RunArgs {
    /// The seeds: FIRST..END, FIRST.. without an end, or the number of seeds from 0 on [default: 10000, or without an end with --for]
    #[arg(long, value_parser = seeds)]
    pub(crate) seeds: Option<Seeds>,
    /// Stop after this time
    #[arg(long = "for", value_name = "TIME", value_parser = duration)]
    pub(crate) time: Option<Duration>,
    /// The kind of runs: standard, calm, mux, applet, endpoint, fleet, or any: all kinds, most often those that reach rare marks
    #[arg(long, default_value = "standard", value_parser = profiles)]
    pub(crate) profile: Profiles,
    /// The number of threads [default: one per processor]
    #[arg(long, value_parser = clap::value_parser!(u16).range(1..))]
    pub(crate) jobs: Option<u16>,
    /// Fail unless each coverage goal is reached: cells of the state tables once, marks ten times
    #[arg(long)]
    pub(crate) require_coverage: bool,
    /// Change scripts that have reached something new instead of running seeds alone, in one thread
    #[arg(long, conflicts_with_all = ["jobs", "require_coverage", "time"])]
    pub(crate) guided: bool,
    /// The folder for scripts of failures, which are run first the next time; or none [default: target/spoa-sim of the workspace]
    #[arg(long, value_name = "FOLDER")]
    pub(crate) failures: Option<PathBuf>,
}

/// A range of seeds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Seeds(pub(crate) Range<u64>);

impl Seeds {
    /// The end of all seeds. Draws of changed scripts are above it.
    pub(crate) const END: u64 = 1 << 48;

    /// True if the range has no end.
    pub(crate) const fn is_open(&self) -> bool {
        self.0.end == Self::END
    }

    /// Returns the number of seeds.
    pub(crate) const fn count(&self) -> u64 {
        self.0.end - self.0.start
    }
}

/// The kinds of runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Profiles {
    /// One kind.
    One(Profile),
    /// All kinds.
    Any,
}

/// The part of a run that is shown.
#[derive(Args, Clone, Copy, Debug)]
pub(crate) struct View {
    /// Run only the steps up to this one, from 1
    #[arg(long, value_name = "STEP", value_parser = step)]
    pub(crate) until: Option<usize>,
    /// Show the state of core and checker after each step, or with --until after that step: values, or full for all that the
    /// core has stored
    #[arg(long, num_args = 0..=1, default_missing_value = "values", require_equals = true, conflicts_with = "trace")]
    pub(crate) state: Option<StateFormat>,
}

/// The amount of state that is shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum StateFormat {
    /// Values of the core beside those of the checker
    Values,
    /// Everything that the core has stored
    Full,
}

/// The agent under test.
#[derive(Args, Debug)]
pub(crate) struct SubjectArgs {
    /// The address of the agent: HOST:PORT or unix:PATH [default: a free port of 127.0.0.1 if --cmd is given]
    #[arg(long, value_name = "ADDR")]
    pub(crate) addr: Option<Address>,
    /// A shell command that starts the agent; {port} stands for the port of its address
    #[arg(long, value_name = "COMMAND")]
    pub(crate) cmd: Option<String>,
    /// Show what the agent prints
    #[arg(long, requires = "cmd")]
    pub(crate) show_output: bool,
}

/// The question that is asked.
#[derive(Args, Debug)]
pub(crate) struct QuestionArgs {
    /// A message that the agent knows, as in a script
    #[arg(long, value_name = "MESSAGE", default_value = "check-client-ip(=192.0.2.1)", value_parser = parse_message)]
    pub(crate) message: MessageSpec,
    /// The variable that the answer to the message sets, or none
    #[arg(long, value_name = "NAME", default_value = "ip_score")]
    pub(crate) variable: String,
}

/// The arguments of `conform`.
#[derive(Args, Debug)]
pub(crate) struct Conform {
    #[command(flatten)]
    pub(crate) subject: SubjectArgs,
    /// The name of the agent in reports [default: its command or address]
    #[arg(long)]
    pub(crate) name: Option<String>,
    /// Run only cases whose id contains this text (repeatable)
    #[arg(short = 'k', long = "filter", value_name = "PATTERN")]
    pub(crate) patterns: Vec<String>,
    /// The least important rules that are checked: must (HAProxy or the agent fails without them), should (SPOE.txt requires
    /// them), or haproxy (HAProxy relies on them)
    #[arg(long, default_value = "haproxy", value_parser = level)]
    pub(crate) level: Level,
    /// The engine of HAProxy: applet (up to 3.0) or mux (3.1 and later) [default: the cases of both, with the HELLO of mux where both send it]
    #[arg(long, value_parser = engine)]
    pub(crate) engine: Option<Engine>,
    #[command(flatten)]
    pub(crate) question: QuestionArgs,
    /// The time that the agent has for each answer; above the delay after which it refuses a HELLO
    #[arg(long, value_name = "TIME", default_value = "3s", value_parser = duration)]
    pub(crate) timeout: Duration,
    /// The time after which the agent must have closed a connection without a HELLO, or have stopped
    #[arg(long, value_name = "TIME", default_value = "15s", value_parser = duration)]
    pub(crate) patience: Duration,
    /// The largest growth of the agent's memory in a case, in MiB
    #[arg(long, value_name = "MIB", default_value = "64")]
    pub(crate) memory_max: u32,
    /// List the cases and exit
    #[arg(long)]
    pub(crate) list: bool,
    /// Print the rule of a case, its source and what it needs, and exit
    #[arg(long, value_name = "CASE")]
    pub(crate) explain: Option<String>,
    /// Connect once, print what the agent announces and which cases would run, and exit
    #[arg(long)]
    pub(crate) dry_run: bool,
    /// A file with the expected results: any difference fails. A case that it does not name is expected not to fail
    #[arg(long, value_name = "FILE", conflicts_with = "known_failing")]
    pub(crate) expected: Option<PathBuf>,
    /// Write the results as a file for --expected
    #[arg(long, value_name = "FILE")]
    pub(crate) write_expected: Option<PathBuf>,
    /// A file with cases that fail: they run, and one that passes is a difference
    #[arg(long, value_name = "FILE")]
    pub(crate) known_failing: Option<PathBuf>,
    /// Write the results as JSON
    #[arg(long, value_name = "FILE")]
    pub(crate) json: Option<PathBuf>,
    /// Write the results as JUnit XML
    #[arg(long, value_name = "FILE")]
    pub(crate) junit: Option<PathBuf>,
    /// Write the results as one HTML page
    #[arg(long, value_name = "FILE")]
    pub(crate) html: Option<PathBuf>,
    /// Write a capture of each case to this folder
    #[arg(long, value_name = "FOLDER")]
    pub(crate) pcapng: Option<PathBuf>,
    #[command(flatten)]
    pub(crate) conversations: Conversations,
}

/// The conversations that are played instead of cases.
#[derive(Args, Debug)]
pub(crate) struct Conversations {
    /// Play the conversations of HAProxy with these seeds instead of the cases, and make those small that fail: FIRST..END, FIRST..
    /// without an end, or the number of seeds from 0 on
    #[arg(long, value_name = "SEEDS", value_parser = seeds, conflicts_with_all = ["script", "patterns", "expected"])]
    pub(crate) seeds: Option<Seeds>,
    /// Stop the seeds after this time
    #[arg(long = "for", value_name = "TIME", value_parser = duration, requires = "seeds")]
    pub(crate) time: Option<Duration>,
    /// Play a script instead of the cases, for example one that --seeds or import has written (repeatable)
    #[arg(long, value_name = "FILE", conflicts_with_all = ["patterns", "expected"])]
    pub(crate) script: Vec<PathBuf>,
    /// Write the small script of each kind of failure to this folder
    #[arg(long, value_name = "FOLDER")]
    pub(crate) scripts: Option<PathBuf>,
    /// The longest time to spend on making the script of a failure small
    #[arg(long, value_name = "TIME", default_value = "60s", value_parser = duration)]
    pub(crate) shrink_time: Duration,
}

/// The arguments of `load`.
#[derive(Args, Debug)]
pub(crate) struct Load {
    #[command(flatten)]
    pub(crate) subject: SubjectArgs,
    #[command(flatten)]
    pub(crate) question: QuestionArgs,
    /// The number of connections; with --churn, of clients
    #[arg(short, long, default_value = "8", value_parser = clap::value_parser!(u16).range(1..))]
    pub(crate) connections: u16,
    /// The number of NOTIFYs in flight on each connection; HAProxy has up to 20
    #[arg(short, long, default_value = "16", value_parser = clap::value_parser!(u16).range(1..=1000), conflicts_with = "churn")]
    pub(crate) in_flight: u16,
    /// Open a connection for each NOTIFY, as HAProxy 3.1 and later does where it does not reuse connections
    #[arg(long, conflicts_with = "warm_up")]
    pub(crate) churn: bool,
    /// The time before the measurement starts
    #[arg(long, value_name = "TIME", default_value = "500ms", value_parser = duration)]
    pub(crate) warm_up: Duration,
    /// The time of the measurement
    #[arg(short, long, value_name = "TIME", default_value = "5s", value_parser = duration)]
    pub(crate) time: Duration,
    /// Print the figures as JSON
    #[arg(long)]
    pub(crate) json: bool,
}

/// The arguments of `import`.
#[derive(Args, Debug)]
pub(crate) struct Import {
    /// A capture in pcap or pcapng format, for example of tcpdump, or several files of it in the order of time
    #[arg(required = true)]
    pub(crate) captures: Vec<PathBuf>,
    /// The port of the agent
    #[arg(short, long, default_value_t = AGENT_PORT)]
    pub(crate) port: u16,
    /// Write a script of each connection to this folder
    #[arg(short, long, value_name = "FOLDER")]
    pub(crate) output: Option<PathBuf>,
    /// Keep addresses, strings and binaries in scripts; otherwise they are replaced, by equal ones for equal ones
    #[arg(long)]
    pub(crate) keep_values: bool,
}

/// The arguments of `matrix`.
#[derive(Args, Debug)]
pub(crate) struct Matrix {
    /// Reports that `conform --json` has written
    #[arg(required = true)]
    pub(crate) reports: Vec<PathBuf>,
    /// Write one HTML page instead of a Markdown table
    #[arg(long, value_name = "FILE")]
    pub(crate) html: Option<PathBuf>,
}

/// The format of a trace.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum TraceFormat {
    /// One line per record
    Text,
    /// JSON, one object per line
    Json,
    /// A sequence chart, as one HTML page
    Chart,
    /// A capture for Wireshark
    Pcapng,
}

impl TraceFormat {
    /// True if the output is a file, to which no other line may be added.
    pub(crate) const fn is_file(self) -> bool {
        matches!(self, Self::Chart | Self::Pcapng)
    }
}

/// Reads the number of a step.
fn step(text: &str) -> Result<usize, &'static str> {
    text.parse().ok().filter(|step| *step > 0).ok_or("expected the number of a step, from 1")
}

/// Reads a range of seeds.
fn seeds(text: &str) -> Result<Seeds, String> {
    let number = |text: &str, missing: u64| match text {
        "" => Ok(missing),
        text => match text.parse::<u64>() {
            Ok(seed) if seed < Seeds::END => Ok(seed),
            Ok(_) => Err(format!("'{text}' is above the largest seed, which is {}", Seeds::END - 1)),
            Err(_) => Err(format!("'{text}' is not a seed: expected a number")),
        },
    };
    let range = match text.split_once("..") {
        Some((start, end)) => number(start, 0)?..number(end, Seeds::END)?,
        None if text.is_empty() => return Err("expected FIRST..END, FIRST.. or a number of seeds".into()),
        None => 0..number(text, 0)?,
    };
    if range.is_empty() { Err(format!("'{text}' contains no seed: END must be above FIRST")) } else { Ok(Seeds(range)) }
}

fn level(word: &str) -> Result<Level, &'static str> {
    Level::from_word(word).ok_or("expected must, should or haproxy")
}

fn engine(word: &str) -> Result<Engine, &'static str> {
    Engine::from_word(word).ok_or("expected applet or mux")
}

/// Reads a time above zero.
fn duration(text: &str) -> Result<Duration, String> {
    let time = parse_duration(text)?;
    if time.is_zero() { Err("expected a time above zero".into()) } else { Ok(time) }
}

fn profiles(name: &str) -> Result<Profiles, &'static str> {
    if name == "any" {
        return Ok(Profiles::Any);
    }
    let profile = Profile::from_name(name).ok_or("expected standard, calm, mux, applet, endpoint, fleet or any")?;
    Ok(Profiles::One(profile))
}

fn profile(name: &str) -> Result<Profile, &'static str> {
    Profile::from_name(name).ok_or("expected standard, calm, mux, applet, endpoint or fleet")
}
