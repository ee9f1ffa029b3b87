//! The command line of `spoa-sim`.

use std::ops::Range;
use std::path::PathBuf;

use clap::{Parser, Subcommand, ValueEnum};
use spoa_sim::generate::Profile;

/// Plays HAProxy against the agent, from seeds or scripts, and checks every byte
#[derive(Debug, Parser)]
#[command(name = "spoa-sim", version)]
pub(crate) struct Cli {
    #[command(subcommand)]
    pub(crate) command: Command,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Run a range of seeds, and shrink the first one that fails
    Run {
        /// The seeds from FIRST to END - 1, written FIRST..END
        #[arg(long, default_value = "0..10000", value_parser = range)]
        seeds: Range<u64>,
        /// The kind of runs: standard, calm, mux, applet, endpoint or fleet
        #[arg(long, default_value = "standard", value_parser = profile)]
        profile: Profile,
        /// The number of threads [default: one per processor]
        #[arg(long, value_parser = clap::value_parser!(u16).range(1..))]
        jobs: Option<u16>,
        /// Fail unless each coverage goal is reached: cells of the state tables once, marks ten times
        #[arg(long)]
        require_coverage: bool,
    },
    /// Run one seed and print its trace
    Replay {
        /// The seed
        seed: u64,
        /// The kind of run: standard, calm, mux, applet, endpoint or fleet
        #[arg(long, default_value = "standard", value_parser = profile)]
        profile: Profile,
        /// The format of the trace
        #[arg(long, default_value = "text")]
        trace: TraceFormat,
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
        /// The folder
        #[arg(default_value = "sim/corpus")]
        folder: PathBuf,
    },
    /// Plant bugs into a copy of the core, and count the seeds until each is found
    Bugs {
        /// The names of the bugs; without any, all are planted, and if all are found the table in sim/bugs/README.md is rewritten
        names: Vec<String>,
    },
    /// Print how often a range of seeds reaches each cell of the state tables and each mark
    Coverage {
        /// The seeds from FIRST to END - 1, written FIRST..END
        #[arg(long, default_value = "0..100000", value_parser = range)]
        seeds: Range<u64>,
        /// The kind of runs: standard, calm, mux, applet, endpoint or fleet
        #[arg(long, default_value = "standard", value_parser = profile)]
        profile: Profile,
        /// Write a small script for each coverage goal to this folder
        #[arg(long)]
        distil: Option<PathBuf>,
    },
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
}

fn range(text: &str) -> Result<Range<u64>, String> {
    let (start, end) = text.split_once("..").ok_or("expected FIRST..END")?;
    let number = |text: &str| text.parse::<u64>().map_err(|_| format!("'{text}' is not a seed: expected a number"));
    let range = number(start)?..number(end)?;
    if range.is_empty() { Err(format!("'{text}' contains no seed: END must be above FIRST")) } else { Ok(range) }
}

fn profile(name: &str) -> Result<Profile, &'static str> {
    Profile::from_name(name).ok_or("expected standard, calm, mux, applet, endpoint or fleet")
}
