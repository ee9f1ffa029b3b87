//! The commands of `spoa-sim`.

use std::ops::Range;
use std::path::PathBuf;

use clap::{Parser, Subcommand, ValueEnum};
use spoa_sim::generate::Profile;

/// Plays HAProxy against the core, from seeds or scripts, and checks every byte
#[derive(Debug, Parser)]
#[command(name = "spoa-sim", version)]
pub(crate) struct Cli {
    #[command(subcommand)]
    pub(crate) command: Command,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Run a range of seeds; shrink the first that fails
    Run {
        /// The seeds: FIRST..END, END not included
        #[arg(long, default_value = "0..10000", value_parser = range)]
        seeds: Range<u64>,
        /// Which kind of runs: standard, calm, mux or applet
        #[arg(long, default_value = "standard", value_parser = profile)]
        profile: Profile,
        /// Threads [default: one a processor]
        #[arg(long, value_parser = clap::value_parser!(u16).range(1..))]
        jobs: Option<u16>,
        /// Fail unless every reachable cell and mark was reached
        #[arg(long)]
        require_coverage: bool,
    },
    /// Run one seed and show its trace
    Replay {
        /// The seed
        seed: u64,
        /// Which kind of run: standard, calm, mux or applet
        #[arg(long, default_value = "standard", value_parser = profile)]
        profile: Profile,
        /// How to show it
        #[arg(long, default_value = "text")]
        trace: TraceFormat,
    },
    /// Show the script of a seed
    Show {
        /// The seed
        seed: u64,
        /// Which kind of run: standard, calm, mux or applet
        #[arg(long, default_value = "standard", value_parser = profile)]
        profile: Profile,
    },
    /// Run scripts
    Script {
        /// Files
        #[arg(required = true)]
        files: Vec<PathBuf>,
        /// Show the trace of each
        #[arg(long)]
        trace: Option<TraceFormat>,
    },
    /// Make the script of a failing seed or file as small as it can be
    Shrink {
        /// A seed, or a file
        what: String,
        /// Which kind of run, for a seed: standard, calm, mux or applet
        #[arg(long, default_value = "standard", value_parser = profile)]
        profile: Profile,
        /// Where to write it [default: standard output]
        #[arg(short, long)]
        output: Option<PathBuf>,
    },
    /// Run all scripts of a folder, and tell the story of each
    Corpus {
        /// The folder
        #[arg(default_value = "sim/corpus")]
        folder: PathBuf,
    },
    /// Plant bugs into copies of the core and look how many seeds it takes to find each
    Bugs {
        /// Their names [default: all, which rewrites their table]
        names: Vec<String>,
    },
    /// Show what a range of seeds makes happen
    Coverage {
        /// The seeds: FIRST..END, END not included
        #[arg(long, default_value = "0..100000", value_parser = range)]
        seeds: Range<u64>,
        /// Write into this folder, for each thing that has to happen, a small script in which it does
        #[arg(long)]
        distil: Option<PathBuf>,
    },
}

/// How a trace is shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum TraceFormat {
    /// A line for each thing that happens
    Text,
    /// The same as JSON, one object a line
    Json,
    /// A sequence chart, as one HTML page
    Chart,
}

fn range(text: &str) -> Result<Range<u64>, String> {
    let (start, end) = text.split_once("..").ok_or("it takes FIRST..END")?;
    let number = |text: &str| text.parse::<u64>().map_err(|_| format!("{text} is no seed"));
    let range = number(start)?..number(end)?;
    if range.is_empty() { Err(format!("there is no seed in {text}")) } else { Ok(range) }
}

fn profile(name: &str) -> Result<Profile, &'static str> {
    Profile::from_name(name).ok_or("there are standard, calm, mux and applet")
}
