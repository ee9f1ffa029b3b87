//! `spoa`: an IP reputation agent, by lists or, as a drop-in for HAProxy's example, at random.

#![forbid(unsafe_code)]

mod check;
mod cli;
mod file;
mod files;
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
use spoa_runtime::Source;
use spoa_runtime::reputation::{Library, ListScores};

use cli::{Cli, Command, Given};
use reload::Signals;
use values::Time;

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
    let done = match &cli.command {
        None => serve(&cli.given),
        Some(Command::Check { addresses, lists }) => check::check(lists, addresses),
        Some(Command::Generate { what }) => what.text().map(tell).map_err(Failure::from),
        Some(Command::Probe { agent, notify, message, timeout: Time(timeout) }) => {
            probe::run(agent, *notify, message, *timeout).map_err(Failure::Other)
        }
        Some(Command::Validate { lists }) => check::validate(lists),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(Failure::Usage(wrong)) => {
            complain(&wrong);
            ExitCode::from(USAGE)
        }
        Err(Failure::Other(error)) => {
            complain(&error);
            ExitCode::FAILURE
        }
    }
}

/// Why it does not run.
pub(crate) enum Failure {
    /// What it was told is wrong.
    Usage(String),
    /// Anything else.
    Other(Box<dyn Error>),
}

impl<E: Into<Box<dyn Error>>> From<E> for Failure {
    fn from(error: E) -> Self {
        Self::Other(error.into())
    }
}

/// Serves HAProxy until it is told to stop.
fn serve(given: &Given) -> Result<(), Failure> {
    let options = given.options().map_err(Failure::Usage)?;
    let log = options.log();
    files::raise_limit();
    let signals = Signals::new()?;
    let (agent, is_handed_down) = systemd::sockets(options.agent())?;
    // Where else it listens is said in so many words, or not at all.
    let agent = if is_handed_down { options.listen_where_said(agent) } else { options.listen(agent) };
    let start = |source: Arc<dyn Source>, library: Option<Library>| {
        let server = systemd::follow(agent).metrics(source).bind()?;
        options.tell_of_machine();
        signals.heed(log, given.clone(), options.clone(), library)?;
        systemd::ready();
        Ok::<_, Failure>(server)
    };
    if options.is_by_lists() {
        let library = Library::open(options.reputation())?;
        library.edition().lists.iter().for_each(|list| tracing::info!("{}", check::summary(list)));
        let server = start(Arc::new(library.clone()), Some(library.clone()))?;
        return Ok(server.run(ListScores::new(library))?);
    }
    if given.has_file() {
        // Whoever wrote it may have meant to have lists in it.
        tracing::warn!("there are no lists: scores are random");
    }
    let service = options.random();
    Ok(start(service.metrics(), None)?.run(service)?)
}

/// Writes to standard output. Nobody may be reading; that is no failure.
pub(crate) fn tell(text: impl AsRef<[u8]>) {
    let _ = io::stdout().write_all(text.as_ref());
}

/// The one line that says why it does not run. Nobody may be reading.
fn complain(what: &dyn Display) {
    let _ = writeln!(io::stderr(), "spoa: {what}");
}
