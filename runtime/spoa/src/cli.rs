//! The command line of `spoa`: the options of HAProxy's example agent with the same meaning, and more.

use std::io;
use std::net::IpAddr;
use std::path::{Path, PathBuf};

use clap::{Args, CommandFactory, FromArgMatches, Parser, Subcommand, ValueEnum};
use clap_complete::{Shell, generate};
use spoa_doctor::Version;
use spoa_reputation::ListConfig;
use spoa_runtime::ListenAddr;

use crate::bans::{BanArgs, BansArgs, ChangeArgs, UnbanArgs};
use crate::doctor;
use crate::file;
use crate::man;
use crate::options::Options;
use crate::values::{Percent, Time};
use crate::{Failure, VERSION};

/// An IP reputation agent for HAProxy (SPOE): scores clients from 0 (bad) to 100 (trusted), by lists or at random.
#[derive(Debug, Parser)]
#[command(name = "spoa", version = VERSION, args_override_self = true, args_conflicts_with_subcommands = true)]
pub(crate) struct Cli {
    #[command(subcommand)]
    pub(crate) command: Option<Command>,

    #[command(flatten)]
    pub(crate) given: Given,
}

impl Cli {
    /// Reads the command line and, for options that are not on it, the environment: SPOA_LOG_LEVEL for `--log-level`.
    ///
    /// # Errors
    /// A wrong option, or a request for help.
    pub(crate) fn parse_args() -> Result<Self, clap::Error> {
        let command = Self::command().mut_args(|arg| match arg.get_long() {
            // Kubernetes sets SPOA_PORT to something else in each pod beside a service that is called spoa.
            None | Some("help" | "port" | "version") => arg,
            Some(long) => {
                let name = format!("SPOA_{}", long.replace('-', "_").to_uppercase());
                // The manual has the rule, which would be repeated for each option in the help.
                arg.env(name).hide_env(true)
            }
        });
        Self::from_arg_matches(&command.try_get_matches()?)
    }
}

/// Options, and the file with more of them.
#[derive(Args, Clone, Debug)]
pub(crate) struct Given {
    #[command(flatten)]
    file: ConfigFile,

    #[command(flatten)]
    options: Options,
}

#[derive(Args, Clone, Debug)]
pub(crate) struct ConfigFile {
    /// Read options from this file; options on the command line override those in it
    ///
    /// The file is TOML: each option without its dashes, as in "grace = '5s'"; see spoa.toml(5). "check" and "validate" read
    /// /etc/spoa/spoa.toml if neither a file nor a list is given.
    #[arg(long = "config", value_name = "FILE")]
    path: Option<PathBuf>,
}

/// A command other than to serve.
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Let addresses in, whatever lists say, on a running agent
    Allow(ChangeArgs),
    /// Ban addresses on a running agent
    ///
    /// The ban is in effect when the command ends, and kept across restarts. "spoa unban" removes it.
    Ban(BanArgs),
    /// Show the bans of a running agent
    Bans(BansArgs),
    /// Show the verdict of lists on addresses, and the lines that decide
    Check(CheckArgs),
    /// Find what makes a setup of HAProxy and agents protect nothing, or fail open unnoticed; fail if there is something
    Doctor(DoctorArgs),
    /// Write a file that is installed with the program: its man page, or completions of a shell
    #[command(hide = true)]
    Generate {
        /// The file
        #[arg(value_enum)]
        what: Generated,
    },
    /// Send HAProxy's health check to an agent, and a NOTIFY if asked to; fail if the answer is not as expected
    Probe {
        /// Address of the agent: IP:PORT or unix:PATH
        #[arg(value_name = "ADDR")]
        agent: ListenAddr,

        /// Send a NOTIFY about this address too; fail if its answer sets no variable
        #[arg(long, value_name = "IP", value_parser = address)]
        notify: Option<IpAddr>,

        /// Name of the message in the NOTIFY
        #[arg(long, value_name = "NAME", default_value = "check-client-ip")]
        message: String,

        /// Name of the argument with the address
        #[arg(long, value_name = "NAME", default_value = "ip")]
        argument: String,

        /// Fail unless the answer sets this variable (to this value); with or without its scope; repeatable
        #[arg(long, value_name = "NAME[=VALUE]", requires = "notify")]
        expect: Vec<String>,

        /// Time that all answers together may take
        #[arg(long, value_name = "TIME", default_value = "2s")]
        timeout: Time,
    },
    /// Show the status of a running agent, and update it
    ///
    /// The keys are named in the last line. If standard output is no terminal, the status is printed once.
    Top {
        /// Admin address of the agent: IP:PORT or unix:PATH
        #[arg(value_name = "ADDR")]
        agent: ListenAddr,

        /// Time between two updates, 1s or more
        #[arg(long, value_name = "TIME", default_value = "2s")]
        interval: Time,

        /// Print the status once as text, with the rates of one interval
        #[arg(long)]
        once: bool,
    },
    /// Remove bans on a running agent
    Unban(UnbanArgs),
    /// Check a configuration file and lists, and show each fault; fail if there is one
    Validate {
        #[command(flatten)]
        lists: ListArgs,

        /// Check that this user can read the files [default: spoa, if run as root]
        #[arg(long, value_name = "NAME")]
        user: Option<String>,
    },
}

/// The options of `check`.
#[derive(Args, Clone, Debug)]
pub(crate) struct CheckArgs {
    /// The addresses; without any they are read from standard input, one per line
    #[arg(value_name = "IP", value_parser = address_to_check)]
    pub(crate) addresses: Vec<IpAddr>,

    /// Print a JSON object per address
    #[arg(long)]
    pub(crate) json: bool,

    /// Exit with status 3 if an address is listed
    #[arg(long)]
    pub(crate) fail_if_listed: bool,

    /// Judge by the policy of this message [default: all lists]
    #[arg(long, value_name = "NAME")]
    pub(crate) message: Option<String>,

    /// Judge by this policy, which a message selects by an argument
    #[arg(long, value_name = "NAME")]
    pub(crate) policy: Option<String>,

    /// Ask the running agent at this admin address: IP:PORT or unix:PATH [default: the first "admin" of the configuration file]
    ///
    /// The answer is that of the lists in use, which may be older than their files. Lines of files are not known then.
    #[arg(long, value_name = "ADDR", num_args = 0..=1, require_equals = true, conflicts_with_all = ["lists", "default_score"])]
    live: Option<Option<ListenAddr>>,

    #[command(flatten)]
    pub(crate) lists: ListArgs,
}

impl CheckArgs {
    /// Returns the admin address of the agent to ask; `None` without `--live`.
    ///
    /// # Errors
    /// Neither the option nor the configuration file has one, or the file cannot be used.
    pub(crate) fn live(&self) -> Result<Option<ListenAddr>, Failure> {
        match &self.live {
            None => Ok(None),
            Some(Some(given)) => Ok(Some(given.clone())),
            Some(None) => match self.lists.options()?.first_admin() {
                Some(addr) => Ok(Some(addr)),
                None => Err(Failure::Usage("check --live needs --live=ADDR, or a --config with admin".into())),
            },
        }
    }
}

/// The options of `doctor`.
#[derive(Args, Clone, Debug)]
pub(crate) struct DoctorArgs {
    /// HAProxy's configuration, as after its -f, and perhaps SPOE files and the agent's configuration (.toml)
    ///
    /// SPOE files are found by the "filter spoe" lines; name one that is elsewhere on this machine. Without a HAProxy configuration it is
    /// /etc/haproxy/haproxy.cfg, and with that the agent's is /etc/spoa/spoa.toml if it exists.
    #[arg(value_name = "FILE")]
    pub(crate) files: Vec<PathBuf>,

    /// Version of HAProxy, such as 3.2 [default: that of "haproxy -v", or the newest]
    #[arg(long, value_name = "VERSION", value_parser = haproxy_version)]
    pub(crate) haproxy_version: Option<Version>,

    /// Explain the SPOE lines of this log of HAProxy instead, or of standard input with "-"
    #[arg(long, value_name = "FILE", conflicts_with_all = ["files", "live"])]
    pub(crate) log: Option<PathBuf>,

    /// Ask the running agent at this admin address, too, which messages arrive: IP:PORT or unix:PATH
    #[arg(long, value_name = "ADDR")]
    pub(crate) live: Option<ListenAddr>,

    /// Print a JSON object per finding
    #[arg(long)]
    pub(crate) json: bool,
}

fn haproxy_version(text: &str) -> Result<Version, String> {
    Version::find(text).ok_or_else(|| "expected a version of HAProxy, such as 3.2".into())
}

/// A file that is made of the definition of the command line.
#[derive(Clone, Copy, Debug, ValueEnum)]
pub(crate) enum Generated {
    /// `spoa.1`
    Man,
    /// The findings of `doctor`, for the manual
    Findings,
    /// For bash
    Bash,
    /// For fish
    Fish,
    /// For zsh
    Zsh,
}

impl Generated {
    /// Returns the content of the file.
    ///
    /// # Errors
    /// It cannot be written.
    pub(crate) fn text(self) -> io::Result<Vec<u8>> {
        let (mut command, mut text) = (Cli::command(), Vec::new());
        let shell = match self {
            Self::Man => {
                man::page(command, &mut text)?;
                return Ok(text);
            }
            Self::Findings => return Ok(doctor::findings().into_bytes()),
            Self::Bash => Shell::Bash,
            Self::Fish => Shell::Fish,
            Self::Zsh => Shell::Zsh,
        };
        generate(shell, &mut command, "spoa", &mut text);
        Ok(text)
    }
}

/// Reads an address to check. What looks like the address of an agent was meant for `--live`.
fn address_to_check(text: &str) -> Result<IpAddr, String> {
    let hint = |error| match text.parse::<ListenAddr>() {
        Ok(_) => format!("{error}; to ask a running agent, write --live={text}"),
        Err(_) => error,
    };
    address(text).map_err(hint)
}

pub(crate) fn address(text: &str) -> Result<IpAddr, String> {
    text.parse().map_err(|_| "expected an IPv4 or IPv6 address, without a port or prefix length".into())
}

/// The lists of `check` and `validate`.
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

/// The configuration file of the package, which the service uses.
pub(crate) const DEFAULT_FILE: &str = "/etc/spoa/spoa.toml";

impl Given {
    /// Returns the options given here, and others as the file has them now.
    ///
    /// # Errors
    /// The file cannot be read, or something is wrong with the file or with the options together.
    pub(crate) fn options(&self) -> Result<Options, Failure> {
        let Some(path) = &self.file.path else {
            self.options.check().map_err(Failure::Usage)?;
            return Ok(self.options.clone());
        };
        let file = file::read(path)?;
        let wrong_in_file = file.check().err();
        let options = self.options.clone().or(file);
        options.check().map_err(|wrong| {
            let is_of_file = wrong_in_file.as_ref() == Some(&wrong);
            Failure::Usage(if is_of_file { format!("{}: {wrong}", path.display()) } else { wrong })
        })?;
        Ok(options)
    }
}

impl ListArgs {
    /// Returns the arguments of a command that has no lists, but perhaps a configuration file.
    pub(crate) const fn of_file(path: Option<PathBuf>) -> Self {
        Self { file: ConfigFile { path }, lists: None, default_score: None }
    }

    /// Returns the options that these are part of. Without a file and without lists, the file is [`DEFAULT_FILE`] if it exists.
    ///
    /// # Errors
    /// The same as those of [`Given::options`].
    pub(crate) fn options(&self) -> Result<Options, Failure> {
        let Self { lists, default_score, .. } = self.clone();
        let file = ConfigFile { path: self.file().map(Path::to_owned) };
        Given { file, options: Options::of_lists(lists, default_score) }.options()
    }

    /// Returns the configuration file, if one was given, or the one that is used without any.
    pub(crate) fn file(&self) -> Option<&Path> {
        let default = Some(Path::new(DEFAULT_FILE)).filter(|path| self.lists.is_none() && path.exists());
        self.file.path.as_deref().or(default)
    }
}
