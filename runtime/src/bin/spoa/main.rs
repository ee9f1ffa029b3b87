//! `spoa`: an IP reputation agent, by lists or, as a drop-in for HAProxy's example, at random.

#![forbid(unsafe_code)]

mod check;
mod cli;
mod file;
mod log;
mod options;
mod probe;
mod reload;
mod systemd;
mod values;

use std::error::Error;
use std::fmt::Display;
use std::io::{self, Write};
use std::process::ExitCode;
use std::sync::Arc;

use clap::Parser;
use clap::error::ErrorKind;
use spoa_runtime::reputation::{Library, Listed};

use cli::{Cli, Given};
use options::Options;
use reload::Signals;

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
    let run = match &cli.command {
        Some(command) => command.options().map(|(options, file)| check::run(command, &options, file)),
        None => cli.given.options().map(|options| serve(&cli.given, options)),
    };
    match run {
        Ok(Ok(())) => ExitCode::SUCCESS,
        Ok(Err(error)) => {
            complain(&error);
            ExitCode::FAILURE
        }
        Err(wrong) => {
            complain(&wrong);
            ExitCode::from(USAGE)
        }
    }
}

/// Serves HAProxy until it is told to stop.
fn serve(given: &Given, options: Options) -> Result<(), Box<dyn Error>> {
    let log = options.log();
    // Each connection is a file; the usual limit of 1024 is for programs that still use select().
    if let Err(error) = rlimit::increase_nofile_limit(u64::MAX) {
        tracing::warn!("cannot raise the limit of open files: {error}");
    }
    let signals = Signals::new()?;
    let agent = match systemd::sockets(options.agent())? {
        // Where else it listens is said in so many words, or not at all.
        Some(agent) => options.listen_where_said(agent),
        None => options.listen(options.agent()),
    };
    if !options.is_by_lists() {
        if given.has_file() {
            // Whoever wrote it may have meant to have lists in it.
            tracing::warn!("there are no lists: scores are random");
        }
        let service = options.random();
        let server = systemd::follow(agent).metrics(service.metrics()).bind()?;
        signals.heed(log, given.clone(), options, None)?;
        systemd::ready();
        return Ok(server.run(service)?);
    }
    let library = Library::open(options.reputation())?;
    library.edition().lists.iter().for_each(|list| tracing::info!("{}", check::summary(list)));
    let server = systemd::follow(agent).metrics(Arc::new(library.clone())).bind()?;
    signals.heed(log, given.clone(), options, Some(library.clone()))?;
    systemd::ready();
    Ok(server.run(Listed::new(library))?)
}

/// The one line that says why it does not run. Nobody may be reading.
fn complain(what: &dyn Display) {
    let _ = writeln!(io::stderr(), "spoa: {what}");
}
