//! The command line of `spoa`: the options of HAProxy's example agent with the same meaning, and more.

use std::io;
use std::net::IpAddr;
use std::path::{Path, PathBuf};

use clap::{Args, CommandFactory, Parser, Subcommand, ValueEnum};
use clap_complete::{Shell, generate};
use clap_mangen::Man;
use spoa_runtime::ListenAddr;
use spoa_runtime::reputation::ListConfig;

use crate::file;
use crate::options::Options;
use crate::values::{Percent, Time};

/// An IP reputation agent for HAProxy (SPOE): scores clients from 0 (bad) to 100 (trusted), by lists or at random.
#[derive(Debug, Parser)]
#[command(name = "spoa", version, args_override_self = true, args_conflicts_with_subcommands = true)]
pub(crate) struct Cli {
    #[command(subcommand)]
    pub(crate) command: Option<Command>,

    #[command(flatten)]
    pub(crate) given: Given,
}

/// Options, and where there are more.
#[derive(Args, Clone, Debug)]
pub(crate) struct Given {
    #[command(flatten)]
    file: ConfigFile,

    #[command(flatten)]
    options: Options,
}

#[derive(Args, Clone, Debug)]
pub(crate) struct ConfigFile {
    /// Read options from this file; those given here count before those in it
    ///
    /// It is TOML: each option without its dashes, as in "grace = '5s'", and an array of tables called "list".
    #[arg(long = "config", value_name = "FILE")]
    path: Option<PathBuf>,
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
    /// Write what is installed beside the program: its man page, or what a shell completes
    #[command(hide = true)]
    Generate {
        /// Which
        #[arg(value_enum)]
        what: Generated,
    },
    /// Do HAProxy's health check on an agent; fail if it is not in good health
    Probe {
        /// Where it listens: IP:PORT or unix:PATH
        #[arg(value_name = "ADDR")]
        agent: ListenAddr,

        /// Ask about this address too
        #[arg(long, value_name = "IP")]
        notify: Option<IpAddr>,

        /// The message to ask in
        #[arg(long, value_name = "NAME", default_value = "check-client-ip")]
        message: String,

        /// Time to answer in
        #[arg(long, value_name = "TIME", default_value = "2s")]
        timeout: Time,
    },
    /// Tell what is wrong with a configuration file and which lines of lists are bad; fail if anything is
    Validate {
        #[command(flatten)]
        lists: ListArgs,
    },
}

/// What is made of the definition of the command line.
#[derive(Clone, Copy, Debug, ValueEnum)]
pub(crate) enum Generated {
    /// `spoa.1`
    Man,
    /// For bash
    Bash,
    /// For fish
    Fish,
    /// For zsh
    Zsh,
}

impl Generated {
    /// The text.
    ///
    /// # Errors
    /// It cannot be written.
    pub(crate) fn text(self) -> io::Result<Vec<u8>> {
        let (mut command, mut text) = (Cli::command(), Vec::new());
        let shell = match self {
            Self::Man => {
                Man::new(command).render(&mut text)?;
                return Ok(text);
            }
            Self::Bash => Shell::Bash,
            Self::Fish => Shell::Fish,
            Self::Zsh => Shell::Zsh,
        };
        generate(shell, &mut command, "spoa", &mut text);
        Ok(text)
    }
}

/// Which lists there are.
#[derive(Args, Clone, Debug)]
pub(crate) struct ListArgs {
    #[command(flatten)]
    file: ConfigFile,

    /// A list: NAME=PATH and more, see spoa --help; repeatable
    #[arg(long = "list", value_name = "LIST")]
    lists: Option<Vec<ListConfig>>,

    /// Score of an address in no list [default: 50]
    #[arg(long, value_name = "NUMBER")]
    default_score: Option<Percent>,
}

impl Given {
    /// Whether there is a configuration file.
    pub(crate) const fn has_file(&self) -> bool {
        self.file.path.is_some()
    }

    /// The options given here, and what they leave open as the file has it now.
    ///
    /// # Errors
    /// One line: what is wrong with the file, or with all of them together.
    pub(crate) fn options(&self) -> Result<Options, String> {
        let options = match &self.file.path {
            Some(path) => self.options.clone().or(file::read(path)?),
            None => self.options.clone(),
        };
        options.check()?;
        Ok(options)
    }
}

impl ListArgs {
    /// The options that these are part of.
    ///
    /// # Errors
    /// As [`Given::options`].
    pub(crate) fn options(&self) -> Result<Options, String> {
        let Self { file, lists, default_score } = self.clone();
        Given { file, options: Options::of_lists(lists, default_score) }.options()
    }

    /// The configuration file.
    pub(crate) fn file(&self) -> Option<&Path> {
        self.file.path.as_deref()
    }
}
