//! The arguments of the commands about bans.

use std::net::IpAddr;
use std::path::PathBuf;
use std::str::FromStr;
use std::time::Duration;

use clap::Args;
use spoa_bans::Address;
use spoa_runtime::ListenAddr;

use super::token::Token;
use crate::Failure;
use crate::cli::{self, ListArgs};
use crate::values::Percent;

/// The agent that a command is about.
#[derive(Args, Clone, Debug)]
pub(crate) struct AgentArgs {
    /// Admin address of the agent: unix:PATH or IP:PORT [default: the first unix socket in "admin" of the configuration file]
    #[arg(long, value_name = "ADDR")]
    agent: Option<ListenAddr>,

    /// Configuration file with the admin address [default: /etc/spoa/spoa.toml]
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,

    /// File with the token of the agent's admin-token-file, for an address of TCP
    #[arg(long, value_name = "FILE")]
    token_file: Option<PathBuf>,
}

impl AgentArgs {
    /// Returns the address of the agent, and the token.
    ///
    /// # Errors
    /// There is no address, or a file cannot be used.
    pub(super) fn agent(&self) -> Result<(ListenAddr, Option<Token>), Failure> {
        let token = self.token_file.as_deref().map(Token::read).transpose().map_err(Failure::Usage)?;
        let addr = match &self.agent {
            Some(addr) => addr.clone(),
            None => {
                let options = ListArgs::of_file(self.config.clone()).options()?;
                let missing = || Failure::Usage("needs --agent=ADDR, or a --config with admin".into());
                options.admin_of_bans().ok_or_else(missing)?
            }
        };
        Ok((addr, token))
    }
}

/// The arguments of `ban` and `allow`.
#[derive(Args, Clone, Debug)]
pub(crate) struct ChangeArgs {
    /// Addresses and prefixes, such as 192.0.2.7 or 2001:db8::/32; "-" reads them from standard input
    ///
    /// Standard input has one per line, or JSON objects as "spoa bans --json" prints them, which may also remove bans.
    #[arg(value_name = "ADDR", required = true, value_parser = target)]
    pub(super) targets: Vec<Target>,

    /// Time until it ends by itself, such as 30s, 2h or 7d [default: it does not]
    #[arg(long = "for", value_name = "TIME")]
    pub(super) time: Option<BanTime>,

    /// Reason, for people
    #[arg(long, value_name = "TEXT", default_value = "", hide_default_value = true)]
    pub(super) reason: String,

    /// List to add it to [default: bans, or allowed]
    #[arg(long, value_name = "NAME")]
    pub(super) list: Option<String>,

    /// Person or program that adds it [default: the user's name]
    #[arg(long, value_name = "NAME")]
    pub(super) origin: Option<String>,

    #[command(flatten)]
    pub(super) agent: AgentArgs,
}

/// The arguments of `ban` alone.
#[derive(Args, Clone, Debug)]
pub(crate) struct BanArgs {
    #[command(flatten)]
    pub(super) change: ChangeArgs,

    /// Score, 0 (bad) to 100 (trusted) [default: that of the list]
    #[arg(long, value_name = "NUMBER")]
    pub(super) score: Option<Percent>,
}

/// The arguments of `unban`.
#[derive(Args, Clone, Debug)]
pub(crate) struct UnbanArgs {
    /// Addresses and prefixes, the same as in the ban; "-" reads them from standard input
    ///
    /// Standard input has one per line, or the bans to remove as JSON objects, as "spoa bans --json" prints them.
    #[arg(value_name = "ADDR", required = true, value_parser = target)]
    pub(super) targets: Vec<Target>,

    /// List to remove it from [default: all lists but those that allow]
    #[arg(long, value_name = "NAME")]
    pub(super) list: Option<String>,

    /// Remove only what this person or program added [default: what anybody added]
    #[arg(long, value_name = "NAME")]
    pub(super) origin: Option<String>,

    /// Do not fail if an address has no ban
    #[arg(long)]
    pub(super) ignore_missing: bool,

    #[command(flatten)]
    pub(super) agent: AgentArgs,
}

/// The arguments of `bans`.
#[derive(Args, Clone, Debug)]
pub(crate) struct BansArgs {
    /// Show only those that contain this address
    #[arg(value_name = "IP", value_parser = cli::address)]
    pub(super) address: Option<IpAddr>,

    /// Show only those of this list
    #[arg(long, value_name = "NAME")]
    pub(super) list: Option<String>,

    /// Print a JSON object per ban, which "spoa ban -" reads
    #[arg(long, visible_alias = "export")]
    pub(super) json: bool,

    /// Go on with each change as it is made, as JSON; "spoa bans --follow | spoa ban -" copies bans from one agent to another
    #[arg(long, conflicts_with_all = ["address", "list"])]
    pub(super) follow: bool,

    #[command(flatten)]
    pub(super) agent: AgentArgs,
}

/// The subject of a change.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Target {
    Address(Address),
    StandardInput,
}

fn target(text: &str) -> Result<Target, String> {
    if text == "-" { Ok(Target::StandardInput) } else { text.parse().map(Target::Address) }
}

/// A time with a unit, such as `90s`, `2h` or `1d12h`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct BanTime(pub(crate) Duration);

impl FromStr for BanTime {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match humantime::parse_duration(text) {
            Ok(time) if time.is_zero() => Err("expected a time above 0 s".into()),
            Ok(time) => Ok(Self(time)),
            Err(_) => Err("expected a time with a unit, such as 30s, 15m, 2h or 7d".into()),
        }
    }
}
