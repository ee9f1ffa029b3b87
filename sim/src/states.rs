//! The state of the core and of the checker after each step of a run.

use std::fmt;

use spoa_core::table::StateName;
use spoa_core::{Connection, Instant};
use spoa_sim_checker::Oracle;

use crate::script::{Link, Nanos};
use crate::text::Time;

/// The state after a step.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StepState {
    /// The number of the step, from 1. The last one is the quiescence after all steps.
    pub step: usize,
    /// The time.
    pub at: Nanos,
    /// The open connections, in the order in which they were accepted.
    pub connections: Vec<ConnectionState>,
    /// The state that the connections of each worker share: its limits and its queue. Bare connections share nothing.
    pub shared: Vec<String>,
}

/// The state of one connection.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConnectionState {
    /// The link.
    pub link: Link,
    /// The values of the core and those of the checker, each with its name.
    pub values: Vec<(&'static str, String, String)>,
    /// Everything that the core has stored, for its developers.
    pub core: String,
}

impl ConnectionState {
    pub(crate) fn of(link: Link, connection: &Connection, oracle: &Oracle) -> Self {
        let (usage, blocked) = (connection.usage(), connection.blocked());
        let deadline = |at: Option<Nanos>| at.map_or("none".into(), |at| format!("at {}", Time(at)));
        let flag = |name, core: bool, checker: bool| (name, yes_or_no(core).into(), yes_or_no(checker).into());
        let values = vec![
            ("state", state_name(connection.state()).into(), oracle.state().into()),
            ("next deadline", deadline(connection.poll_timeout().map(Instant::as_nanos)), deadline(oracle.deadline())),
            ("NOTIFYs in flight", usage.in_flight.to_string(), oracle.in_flight().to_string()),
            ("bytes of NOTIFYs in flight", usage.in_flight_bytes.to_string(), oracle.in_flight_bytes().to_string()),
            flag("reads input", connection.wants_input(), oracle.wants_input()),
            flag("needs a permit", blocked.needs_permit(), oracle.needs_permit()),
            flag("waits for HAProxy", blocked.waits_for_peer(), oracle.waits_for_peer()),
            flag("is idle", connection.is_idle(), oracle.is_idle()),
            flag("has sent everything", connection.is_send_finished(), oracle.is_send_finished()),
        ];
        Self { link, values, core: format!("{connection:#?}") }
    }
}

/// Returns the checker's word for a state of the core.
const fn state_name(state: StateName) -> &'static str {
    match state {
        StateName::AwaitHello => "hello",
        StateName::Refusing => "refusing",
        StateName::Running => "running",
        StateName::Draining => "draining",
        StateName::Closing => "closing",
        StateName::Closed => "closed",
    }
}

const fn yes_or_no(value: bool) -> &'static str {
    if value { "yes" } else { "no" }
}

/// Writes a table of the values per connection.
impl fmt::Display for StepState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for ConnectionState { link, values, .. } in &self.connections {
            writeln!(f, "  {:<30}{:<20}checker", link.to_string(), "core")?;
            for (name, core, checker) in values {
                let difference = if core == checker { "" } else { "   <- differs" };
                writeln!(f, "    {name:<28}{core:<20}{checker}{difference}")?;
            }
        }
        self.shared.iter().try_for_each(|worker| writeln!(f, "  {worker}"))
    }
}
