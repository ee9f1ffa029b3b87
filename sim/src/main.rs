//! The program `spoa-sim`: runs seeds and scripts against the core.

#![forbid(unsafe_code)]

mod cli;
mod report;

use std::process::ExitCode;

use clap::Parser;
use clap::error::ErrorKind;
use mimalloc::MiMalloc;

#[global_allocator]
static ALLOCATOR: MiMalloc = MiMalloc;

/// The exit code of the program.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Exit {
    /// Every check held.
    Held = 0,
    /// A check failed.
    Failed = 1,
    /// An option is wrong, or a file cannot be written.
    Usage = 2,
    /// One seed gave two different traces.
    Unstable = 3,
    /// A coverage goal was not reached, or nothing was checked or compared.
    Coverage = 4,
    /// The run, an event or a connection never ends, or bytes are never read.
    Liveness = 5,
    /// A script cannot be read.
    Unreadable = 6,
    /// The simulator itself failed.
    Internal = 70,
}

/// Returns one line with what is wrong with the command line: all missing arguments or possible values, and a similar word.
fn explain(error: &clap::Error) -> String {
    let text = error.to_string();
    let parts = text.lines().map(str::trim).take_while(|line| !line.starts_with("Usage:"));
    let parts: Vec<_> = parts.filter(|line| !line.is_empty() && !line.starts_with("For more information")).collect();
    format!("{} (spoa-sim help lists the commands)", parts.join(" ").trim_start_matches("error: "))
}

fn main() -> ExitCode {
    let cli = match cli::Cli::try_parse() {
        Ok(cli) => cli,
        Err(error) if matches!(error.kind(), ErrorKind::DisplayHelp | ErrorKind::DisplayVersion) => {
            let _ = error.print();
            return ExitCode::SUCCESS;
        }
        Err(error) if error.kind() == ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand => {
            let _ = error.print();
            return ExitCode::from(Exit::Usage as u8);
        }
        Err(error) => {
            eprintln!("spoa-sim: {}", explain(&error));
            return ExitCode::from(Exit::Usage as u8);
        }
    };
    // A panic of the core is caught and reported as a failure, so the message of the default hook is not needed.
    std::panic::set_hook(Box::new(|_| {}));
    let exit = std::panic::catch_unwind(|| report::command(&cli.command)).unwrap_or_else(|panic| {
        let message = spoa_sim::failure::panic_text(&*panic);
        // `println!` panics if the reader of standard output has closed the pipe, as `head` does. That is not a
        // failure.
        if message.contains("Broken pipe") {
            return Exit::Held;
        }
        eprintln!("spoa-sim: the simulator itself has failed, please report it: {message}");
        Exit::Internal
    });
    ExitCode::from(exit as u8)
}
