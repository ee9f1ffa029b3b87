//! `spoa`: an IP reputation agent, by lists or, as a drop-in for HAProxy's example, at random.

#![forbid(unsafe_code)]

mod check;
mod cli;
mod reload;

use std::error::Error;
use std::fmt::Display;
use std::io::{self, IsTerminal, Write};
use std::process::ExitCode;

use clap::Parser;
use clap::error::ErrorKind;
use spoa_runtime::reputation::lists::{List, Lists, LoadError};
use spoa_runtime::reputation::{Library, Listed};

use cli::{Cli, Command, ListArgs};
use reload::Hangups;

/// The exit code of a wrong option; 1 is for all that fails later.
const USAGE: u8 = 2;

fn main() -> ExitCode {
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(error) if matches!(error.kind(), ErrorKind::DisplayHelp | ErrorKind::DisplayVersion) => {
            // Nobody may be reading; that is no failure.
            let _ = error.print();
            return ExitCode::SUCCESS;
        }
        Err(error) => {
            let text = error.to_string();
            let line = text.lines().take_while(|line| !line.is_empty()).map(str::trim).collect::<Vec<_>>().join(" ");
            complain(&format_args!("{} (spoa -h lists the options)", line.trim_start_matches("error: ")));
            return ExitCode::from(USAGE);
        }
    };
    log_to_stderr(cli.debug);
    // Each connection is a file; the usual limit of 1024 is for programs that still use select().
    if let Err(error) = rlimit::increase_nofile_limit(u64::MAX) {
        tracing::warn!("cannot raise the limit of open files: {error}");
    }
    if let Err(wrong) = cli.check() {
        complain(&wrong);
        return ExitCode::from(USAGE);
    }
    match run(&cli) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            complain(&error);
            let is_config = matches!(error.downcast_ref(), Some(spoa_runtime::Error::Config(_)));
            let is_name = matches!(error.downcast_ref(), Some(LoadError::SameName(_)));
            if is_config || is_name { ExitCode::from(USAGE) } else { ExitCode::FAILURE }
        }
    }
}

/// Serves, or does what else was asked for.
fn run(cli: &Cli) -> Result<(), Box<dyn Error>> {
    if let Some(command) = &cli.command {
        return look(command);
    }
    let hangups = Hangups::new()?;
    if cli.lists.lists.is_empty() {
        hangups.reload(None)?;
        return Ok(cli.agent().run(cli.service())?);
    }
    let library = Library::open(cli.lists.lists.clone(), cli.max_shrink)?;
    check::summary(&library.edition().lists).for_each(|list| tracing::info!("{list}"));
    hangups.reload(Some(library.clone()))?;
    Ok(cli.agent().run(Listed::new(library, cli.lists.default_score))?)
}

/// Looks at lists, without serving.
fn look(command: &Command) -> Result<(), Box<dyn Error>> {
    // Nobody may be reading; that is no failure.
    let tell = |text: &str| _ = io::stdout().write_all(text.as_bytes());
    let ListArgs { lists, default_score } = command.lists();
    let lists = Lists::load(lists)?;
    match command {
        Command::Check { addresses, .. } => {
            for address in addresses {
                tell(&check::explain(&lists, *default_score, *address)?);
            }
            Ok(())
        }
        Command::Validate { .. } => {
            tell(&check::report(&lists));
            match lists.iter().map(List::bad_lines).sum() {
                0_u64 => Ok(()),
                bad => Err(format!("{bad} bad lines").into()),
            }
        }
    }
}

/// The one line that says why it does not run. Nobody may be reading.
fn complain(what: &dyn Display) {
    let _ = writeln!(io::stderr(), "spoa: {what}");
}

fn log_to_stderr(debug: bool) {
    tracing_subscriber::fmt()
        .with_writer(io::stderr)
        .with_ansi(io::stderr().is_terminal())
        .with_target(false)
        // It would tell of a log that nobody reads any more on that same log, and panic over it.
        .log_internal_errors(false)
        .with_max_level(if debug { tracing::Level::DEBUG } else { tracing::Level::INFO })
        .init();
}
