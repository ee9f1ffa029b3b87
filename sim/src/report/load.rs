//! The command `load`: puts any agent under load.

use spoa_sim_kit::load::{Figures, Load as Run, Pattern};

use super::subject::{self, Problem};
use crate::Exit;
use crate::cli::Load;

/// Executes `load`.
pub(super) fn load(arguments: &Load) -> Exit {
    match run(arguments) {
        Ok(Ok(figures)) => {
            show(arguments, &figures);
            Exit::Held
        }
        Ok(Err(failure)) => {
            eprintln!("spoa-sim: {failure}");
            Exit::Failed
        }
        Err(problem) => {
            eprintln!("spoa-sim: {problem}");
            Exit::Usage
        }
    }
}

/// Measures. A failure of the agent is an error inside.
fn run(arguments: &Load) -> Result<Result<Figures, String>, Problem> {
    let question = subject::question(&arguments.question)?;
    let subject = subject::subject(&arguments.subject)?;
    let (connections, in_flight) = (arguments.connections.into(), arguments.in_flight.into());
    let pattern = if arguments.churn {
        Pattern::Churn { clients: connections }
    } else {
        Pattern::Pipeline { connections, in_flight, warm_up: arguments.warm_up }
    };
    let (address, pid) = (subject.address().clone(), subject.pid());
    let run = Run { address, pid, pattern, time: arguments.time, question };
    Ok(run.run().map_err(|error| error.to_string()))
}

fn show(arguments: &Load, figures: &Figures) {
    if arguments.json {
        // Serializing fails only for maps whose keys are no strings.
        println!("{}", serde_json::to_string(figures).unwrap_or_default());
        return;
    }
    let Figures { acks, seconds, acks_per_second, p50_us, p99_us, p999_us, max_us, cpu_us_per_ack } = figures;
    println!("{acks} ACKs in {seconds:.1} s: {acks_per_second:.0} per second");
    println!("latency   p50 {p50_us} us, p99 {p99_us} us, p99.9 {p999_us} us, longest {max_us} us");
    match cpu_us_per_ack {
        Some(cpu) => println!("processor {cpu:.2} us per ACK"),
        None => println!("processor not measured: the agent was not started by --cmd"),
    }
}
