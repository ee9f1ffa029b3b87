//! `spoa-sim`: seeded conversations with the core that replay, shrink and stay.

#![forbid(unsafe_code)]

mod cli;
mod report;

use std::process::ExitCode;

use clap::Parser;
use clap::error::ErrorKind;

/// Why the program ends as it does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Exit {
    /// Everything held.
    Held = 0,
    /// A check failed.
    Failed = 1,
    /// The options make no sense.
    Usage = 2,
    /// The same seed gave two traces.
    Unstable = 3,
    /// Something that had to happen did not, or nothing was checked.
    Coverage = 4,
    /// Something did not come to an end.
    Liveness = 5,
    /// A script cannot be read.
    Unreadable = 6,
    /// The simulator contradicts itself.
    Internal = 70,
}

fn main() -> ExitCode {
    let cli = match cli::Cli::try_parse() {
        Ok(cli) => cli,
        Err(error) if matches!(error.kind(), ErrorKind::DisplayHelp | ErrorKind::DisplayVersion) => {
            let _ = error.print();
            return ExitCode::SUCCESS;
        }
        Err(error) => {
            let text = error.to_string();
            let line = text.lines().next().unwrap_or_default().trim_start_matches("error: ");
            eprintln!("spoa-sim: {line} (spoa-sim help lists the commands)");
            return ExitCode::from(Exit::Usage as u8);
        }
    };
    // A panic of the core is caught and reported as a failure; its own words would only stand in between.
    std::panic::set_hook(Box::new(|_| {}));
    let exit = std::panic::catch_unwind(|| report::command(&cli.command)).unwrap_or_else(|panic| {
        let words = spoa_sim::failure::panic_text(&*panic);
        // The reader has closed the pipe.
        if words.contains("Broken pipe") {
            return Exit::Held;
        }
        eprintln!("spoa-sim: the simulator itself has failed, please report it: {words}");
        Exit::Internal
    });
    ExitCode::from(exit as u8)
}
