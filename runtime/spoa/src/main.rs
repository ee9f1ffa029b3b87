//! `spoa`: an IP reputation agent that scores by lists or, as a drop-in for HAProxy's example agent, at random.

#![forbid(unsafe_code)]

mod access;
mod bans;
mod capture;
mod check;
mod cli;
mod doctor;
mod explanation;
mod file;
mod files;
mod http;
mod live;
mod log;
mod man;
mod options;
mod probe;
mod recent;
mod reload;
mod status;
mod summary;
mod systemd;
mod tables;
mod top;
mod validate;
mod values;
mod verdict_log;

use std::error::Error;
use std::fmt::{self, Display};
use std::io::{self, Write};
use std::process::ExitCode;
use std::sync::{Arc, mpsc};
use std::thread;
use std::time::Duration;

use clap::CommandFactory;
use clap::error::{ContextKind, ContextValue, ErrorKind};
use spoa_reputation::{Library, ListScores, Observer};
use spoa_runtime::text::Escaped;
use spoa_runtime::{Agent, Heartbeat, Source};

use bans::ServedBans;
use cli::{Cli, Command, Given};
use live::VerdictPage;
use probe::TestNotify;
use recent::Recent;
use reload::{Logs, Signals};
use status::{BanAccess, StatusData, StatusPage};
use values::Time;

/// The version and the commit that the program was built from.
pub(crate) const VERSION: &str = concat!(env!("CARGO_PKG_VERSION"), " (", env!("SPOA_COMMIT"), ")");

/// The exit status of a wrong option; other failures exit with 1.
const USAGE: u8 = 2;
/// The exit status of `spoa check --fail-if-listed` if an address is listed.
const LISTED: u8 = 3;

fn main() -> ExitCode {
    let cli = match Cli::parse_args() {
        Ok(cli) => cli,
        Err(error) if matches!(error.kind(), ErrorKind::DisplayHelp | ErrorKind::DisplayVersion) => {
            // An error means that the reader has closed the pipe, which is not a failure.
            let _ = error.print();
            return ExitCode::SUCCESS;
        }
        Err(error) => {
            complain(&explain(&error));
            return ExitCode::from(USAGE);
        }
    };
    let result = match &cli.command {
        None => serve(&cli.given),
        Some(Command::Allow(args)) => bans::allow(args),
        Some(Command::Ban(args)) => bans::ban(args),
        Some(Command::Bans(args)) => bans::list(args),
        Some(Command::Check(args)) => check::check(args),
        Some(Command::Doctor(args)) => doctor::doctor(args),
        Some(Command::Generate { what }) => what.text().map_err(Failure::from).and_then(print),
        Some(Command::Probe { agent, notify, message, argument, expect, timeout: Time(timeout) }) => {
            let notify = notify.map(|address| TestNotify { address, message, argument, expected: expect });
            probe::run(agent, notify.as_ref(), *timeout)
        }
        Some(Command::Top { agent, interval: Time(interval), once }) => top::run(agent, *interval, *once),
        Some(Command::Unban(args)) => bans::unban(args),
        Some(Command::Validate { lists, user }) => validate::validate(lists, user.as_deref()),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(Failure::Usage(wrong)) => {
            complain(&wrong);
            ExitCode::from(USAGE)
        }
        Err(Failure::Listed) => ExitCode::from(LISTED),
        Err(Failure::Other(error)) => {
            complain(&error);
            ExitCode::FAILURE
        }
    }
}

/// Returns one line that says what is wrong with the command line.
fn explain(error: &clap::Error) -> String {
    let text = error.to_string();
    let line = text.lines().take_while(|line| !line.is_empty()).map(str::trim).collect::<Vec<_>>().join(" ");
    let suggested = [ContextKind::SuggestedArg, ContextKind::SuggestedSubcommand, ContextKind::SuggestedValue];
    let suggested = suggested.iter().find_map(|kind| match error.get(*kind)? {
        ContextValue::String(word) => Some(word.clone()),
        ContextValue::Strings(words) => words.first().cloned(),
        _ => None,
    });
    let hint = suggested.map_or_else(
        || match std::env::args().nth(1) {
            Some(command) if Cli::command().find_subcommand(&command).is_some() => {
                format!("spoa {command} -h lists the options")
            }
            _ => "spoa -h lists the options".into(),
        },
        |word| format!("did you mean '{word}'?"),
    );
    format!("{} ({hint})", line.trim_start_matches("error: "))
}

/// The reason why the program fails.
pub(crate) enum Failure {
    /// An option, or something in the configuration file, is wrong.
    Usage(String),
    /// An address is listed, which is a failure because it was asked for.
    Listed,
    /// Anything else.
    Other(Box<dyn Error>),
}

impl Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Usage(wrong) => f.write_str(wrong),
            Self::Listed => f.write_str("an address is listed"),
            Self::Other(error) => error.fmt(f),
        }
    }
}

impl<E: Into<Box<dyn Error>>> From<E> for Failure {
    fn from(error: E) -> Self {
        Self::Other(error.into())
    }
}

/// Serves HAProxy until a signal stops it.
fn serve(given: &Given) -> Result<(), Failure> {
    let options = given.options()?;
    let (log, _flush) = options.log();
    // Panics are logged, because writing to standard error blocks if nobody reads it, and the log does not.
    std::panic::set_hook(Box::new(spoa_runtime::log_panic));
    files::raise_limit();
    let signals = Signals::new()?;
    let heartbeat = Heartbeat::new("reload thread");
    let (agent, has_sockets) = systemd::add_sockets(options.agent())?;
    // The default address is opened only if systemd has opened no sockets.
    let agent = if has_sockets { options.listen_if_given(agent) } else { options.listen(agent) };
    let agent = agent.build_info(env!("CARGO_PKG_VERSION"), env!("SPOA_COMMIT"));
    let agent = systemd::notify_from(agent).depends_on(heartbeat.clone()).metrics(log.metrics());
    let agent = agent.page(status::PATH, Arc::new(StatusPage));
    let (verdicts, _flush_verdicts) = options.verdict_log()?.unzip();
    let (capture, _flush_capture) = options.capture()?.unzip();
    let start = |mut agent: Agent, source: Arc<dyn Source>, library: Option<Library>, bans: Option<ServedBans>| {
        if let Some(verdicts) = verdicts.clone() {
            agent = agent.metrics(verdicts);
        }
        if let Some(capture) = capture.clone() {
            agent = agent.record(capture.clone()).metrics(capture);
        }
        let server = agent.metrics(source).bind()?;
        options.log_start();
        if let Some(library) = &library {
            reload::log_lists(library);
        }
        bans.iter().for_each(ServedBans::warn_of_unused);
        let logs = Logs { log, verdicts: verdicts.clone(), capture };
        signals.handle(logs, heartbeat, given.clone(), options.clone(), library, bans)?;
        systemd::ready();
        Ok::<_, Failure>(server)
    };
    let served = if options.has_lists() {
        let library = Library::open(options.reputation())?;
        let recent = Arc::<Recent>::default();
        let bans = options.bans(&library)?;
        let access = bans.as_ref().map_or(BanAccess::None, ServedBans::access);
        let agent = bans.iter().fold(agent, |agent, bans| bans.serve(agent));
        let agent = agent
            .page(live::PATH, Arc::new(VerdictPage(library.clone(), bans.clone())))
            .page(status::DATA_PATH, Arc::new(StatusData::of_lists(library.clone(), recent.clone(), access)));
        let server = start(agent, Arc::new(library.clone()), Some(library.clone()), bans.clone())?;
        let verdicts = verdicts.map(|verdicts| -> Arc<dyn Observer> { verdicts });
        let recent = options.first_admin().map(|_| -> Arc<dyn Observer> { recent });
        let scores = verdicts.into_iter().chain(recent).fold(ListScores::new(library), ListScores::observed_by);
        let served = server.run(scores);
        bans.iter().for_each(|bans| bans.store().close());
        served
    } else {
        let scores = options.random();
        let agent = agent.page(status::DATA_PATH, Arc::<StatusData>::default());
        start(agent, scores.metrics(), None, None)?.run(scores)
    };
    systemd::flush();
    Ok(served?)
}

/// Writes to standard output. Ignores that the reader has closed the pipe.
///
/// # Errors
/// The text cannot be written, for example because the disk is full.
pub(crate) fn print(text: impl AsRef<[u8]>) -> Result<(), Failure> {
    let mut stdout = io::stdout();
    match stdout.write_all(text.as_ref()).and_then(|()| stdout.flush()) {
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => {
            Err(Failure::Other(format!("cannot write to standard output: {error}").into()))
        }
        _ => Ok(()),
    }
}

/// Writes a line to standard output. It is escaped, because it may contain untrusted text.
///
/// # Errors
/// The same as those of [`print()`].
pub(crate) fn print_line(text: &str) -> Result<(), Failure> {
    print(format!("{}\n", Escaped(text)))
}

/// Writes a line that begins with the program's name to standard error.
pub(crate) fn complain(what: &dyn Display) {
    let line = format!("spoa: {}\n", Escaped(what));
    // On a separate thread, so that the process exits even if nobody reads standard error.
    let (done, written) = mpsc::channel();
    let write = move || {
        let _ = io::stderr().write_all(line.as_bytes());
        let _ = done.send(());
    };
    if thread::Builder::new().spawn(write).is_ok() {
        let _ = written.recv_timeout(Duration::from_secs(1));
    }
}
