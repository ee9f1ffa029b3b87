//! The agent under test, and the question that it is asked, from the command line.

use std::process::exit;
use std::thread;

use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};
use signal_hook::iterator::Signals;
use spoa_sim::script::MessageSpec;
use spoa_sim_kit::bytes::Value;
use spoa_sim_kit::conformance::Question;
use spoa_sim_kit::subject::{self, Subject};

use crate::cli::{QuestionArgs, SubjectArgs};

/// A reason why the kit cannot do what it was asked to do, in one line.
pub(super) type Problem = String;

/// Starts the agent if there is a command. It ends when the program is interrupted.
pub(super) fn subject(arguments: &SubjectArgs) -> Result<Subject, Problem> {
    end_with_this_program();
    match (&arguments.cmd, &arguments.addr) {
        (Some(command), addr) => Subject::start(command, addr.clone(), arguments.show_output)
            .map_err(|error| format!("cannot start the agent: {error}")),
        (None, Some(addr)) => Ok(Subject::at(addr.clone())),
        (None, None) => Err("expected --addr ADDR or --cmd COMMAND".into()),
    }
}

fn end_with_this_program() {
    // Without the signals the agent outlives an interrupted run, which is no reason to refuse the run.
    let Ok(mut signals) = Signals::new([SIGHUP, SIGINT, SIGTERM]) else { return };
    thread::spawn(move || {
        if let Some(signal) = signals.forever().next() {
            subject::end_all();
            exit(128 + signal);
        }
    });
}

/// Returns the question that the arguments describe.
pub(super) fn question(arguments: &QuestionArgs) -> Result<Question, Problem> {
    let MessageSpec { name, args } = &arguments.message;
    let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).map_err(|_| "names in --message have to be UTF-8");
    if args.len() > 255 {
        return Err("--message has more than 255 arguments".into());
    }
    let args = args.iter().map(|(name, value)| {
        let mut encoded = Vec::new();
        value.encode(&mut encoded);
        Ok::<_, Problem>((text(name)?, Value::Raw(encoded)))
    });
    Ok(Question {
        message: text(name)?,
        args: args.collect::<Result<_, _>>()?,
        variable: Some(arguments.variable.clone()).filter(|name| name != "none"),
    })
}
