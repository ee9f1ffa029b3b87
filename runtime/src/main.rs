//! `spoa`: a random IP reputation agent, a drop-in for HAProxy's example.

#![forbid(unsafe_code)]

mod cli;

use std::fmt::Display;
use std::io::{IsTerminal, Write};
use std::process::ExitCode;

use clap::Parser;
use clap::error::ErrorKind;

use cli::Cli;

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
            let line = text.lines().next().unwrap_or_default().trim_start_matches("error: ");
            complain(&format_args!("{line} (spoa -h lists the options)"));
            return ExitCode::from(USAGE);
        }
    };
    log_to_stderr(cli.debug);
    // Each connection is a file; the usual limit of 1024 is for programs that still use select().
    if let Err(error) = rlimit::increase_nofile_limit(u64::MAX) {
        tracing::warn!("cannot raise the limit of open files: {error}");
    }
    match cli.agent().run(cli.service()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            complain(&error);
            match error {
                spoa_runtime::Error::Config(_) => ExitCode::from(USAGE),
                _ => ExitCode::FAILURE,
            }
        }
    }
}

/// The one line that says why it does not run. Nobody may be reading.
fn complain(what: &dyn Display) {
    let _ = writeln!(std::io::stderr(), "spoa: {what}");
}

fn log_to_stderr(debug: bool) {
    tracing_subscriber::fmt()
        .with_writer(std::io::stderr)
        .with_ansi(std::io::stderr().is_terminal())
        .with_target(false)
        // It would tell of a log that nobody reads any more on that same log, and panic over it.
        .log_internal_errors(false)
        .with_max_level(if debug { tracing::Level::DEBUG } else { tracing::Level::INFO })
        .init();
}
