//! Plays scripts against an agent over real sockets, in real time.
//!
//! The models of HAProxy and the network of a script are those of the simulator, but the agent is any program. Its answers are
//! not compared byte by byte, because an agent has freedom: a [judge](Judge) applies the rules of the conformance cases to what
//! was sent and received.

mod adapt;
mod connection;
mod network;
mod trial;

use std::io;
use std::time::Duration;

use spoa_sim_haproxy::recording::Recording;
use spoa_sim_kit::conformance::Question;
use spoa_sim_kit::judge::{Finding, Judge};
use spoa_sim_kit::socket::Address;

use crate::link::Next;
use crate::script::{Haproxy, Link, Script, Step};
use network::Network;

pub use adapt::{adapt, asks_only};
pub use trial::{Failing, Shrinking, Trial};

/// The place of a case in findings about an agent that has ended or refuses connections.
const PROCESS: &str = "process";

/// The settings of a run.
#[derive(Clone, Debug)]
pub struct Options {
    /// The message that the agent knows, and the variable that its answer sets.
    pub question: Question,
    /// The time that the agent has for each answer.
    pub timeout: Duration,
}

/// The conversations of a run, and what the agent did wrong.
#[derive(Clone, Debug, Default)]
pub struct Played {
    /// The rules that the agent broke, in order of time.
    pub findings: Vec<Finding>,
    /// The number of NOTIFYs.
    pub notifys: usize,
    /// The conversations.
    pub recording: Recording,
}

/// Plays a script against the agent at `address`. Steps that concern the agent itself do nothing.
///
/// # Errors
/// If sockets cannot be polled.
pub fn play(script: &Script, address: &Address, options: &Options) -> io::Result<Played> {
    play_until(script, address, options, |_| false)
}

/// Plays a script as [`play`] does, but stops once the agent has broken a rule for which `is_enough`.
fn play_until(
    script: &Script,
    address: &Address,
    options: &Options,
    is_enough: impl Fn(&Finding) -> bool,
) -> io::Result<Played> {
    let is_over = |network: &Network<'_>| network.findings().iter().any(&is_enough);
    let Question { message, variable, .. } = &options.question;
    let judge = variable.as_ref().map_or_else(Judge::default, |variable| Judge::expecting(message, variable));
    let mut network = Network::new(address, judge);
    for step in &script.steps {
        perform(&mut network, step)?;
        // HAProxy does not wait between two steps, but it reads what has arrived.
        network.run_for(Duration::ZERO)?;
        if is_over(&network) {
            return Ok(network.finish());
        }
    }
    // From now on, nothing excuses an agent that does not answer.
    network.end_faults();
    let is_quiet = |network: &Network<'_>| !network.has_events() && !network.owes_an_answer();
    network.run_until(options.timeout, |network| is_over(network) || is_quiet(network))?;
    network.soft_stop();
    network.run_until(options.timeout, |network| is_over(network) || !network.owes_an_answer())?;
    Ok(network.finish())
}

fn perform(network: &mut Network<'_>, step: &Step) -> io::Result<()> {
    match step {
        Step::Connect(link) => network.connect(*link),
        Step::Start(name, settings) => network.start(*name, settings),
        Step::Ask(name, event) => network.ask(*name, event),
        Step::Check(name) => network.check_health(*name),
        Step::SoftStop(name) => network.soft_stop_one(*name),
        Step::Fin(link) => network.fin(*link),
        Step::Reset(link) => network.reset(*link),
        Step::Wait(time) => network.run_for(Duration::from_nanos(*time))?,
        _ => network.apply(step),
    }
    Ok(())
}

/// True if the link is one of those that `name` stands for.
fn is_named(link: Link, name: Link) -> bool {
    match (link, name) {
        (Link::Of(Haproxy(process), _), Link::All(Haproxy(all))) => process == all,
        _ => link == name,
    }
}

/// True if the driver has nothing to do after a step.
const fn is_done(next: Next) -> bool {
    matches!(next, Next::Nothing)
}
