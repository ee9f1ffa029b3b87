//! Symptoms in the NOTIFYs and connections that an agent receives.

use std::time::Duration;

use spoa_tests::bytes::Value;

use super::Seen;
use super::scene::{Scene, UNLISTED};
use crate::client::{Connection, Request};

/// The NOTIFYs that `spoa` has received.
const NOTIFIES: &str = "spoa_notifies_total";
/// The connections that `spoa` has accepted, without health checks.
const CONNECTIONS: &str = "spoa_hellos_total{kind=\"accepted\"}";

/// The agent gets no NOTIFY.
pub(super) fn agent_not_asked(scene: &Scene<'_>) -> Seen {
    is_zero(scene, NOTIFIES)
}

/// The agent does not get a message.
pub(super) fn message_not_sent(scene: &Scene<'_>) -> Seen {
    is_zero(scene, &format!("spoa_messages_total{{message=\"{}\"}}", scene.symptom.message))
}

fn is_zero(scene: &Scene<'_>, metric: &str) -> Seen {
    scene.listed();
    assert_eq!(scene.unlisted(), 200, "HAProxy serves a client that is not listed");
    // An event ends before its request does.
    let count = scene.agent.admin().total(metric);
    Seen { has_symptom: count == 0.0, what: format!("{metric} {count}") }
}

/// Requests on one connection cause more NOTIFYs, or messages, than they need.
pub(super) fn needless_notifies(scene: &Scene<'_>) -> Seen {
    let mut connection = scene.connect(UNLISTED);
    for _ in 0..scene.symptom.requests {
        connection.exchange(&scene.request(&[])).expect("HAProxy responds");
    }
    let count = scene.agent.admin().total(&scene.symptom.metric);
    Seen { has_symptom: count >= scene.symptom.needless as f64, what: format!("{} {count}", scene.symptom.metric) }
}

/// Each event opens a connection.
pub(super) fn connection_per_event(scene: &Scene<'_>) -> Seen {
    // More than a timeout that closes idle connections takes in a faulty configuration.
    const SILENCE: Duration = Duration::from_millis(600);
    let admin = scene.agent.admin();
    let events = if scene.symptom.quiet { 3 } else { 12 };
    for n in 1..=events {
        if n > 1 && scene.symptom.quiet {
            scene.happens(scene.expected, SILENCE, || admin.sample("spoa_connections") == 0.0);
        }
        // On a busy machine an event may fail before its NOTIFY is sent.
        scene.wait("a NOTIFY for the event", || {
            scene.unlisted();
            admin.total(NOTIFIES) >= f64::from(n)
        });
    }
    let (notifies, connections) = (admin.total(NOTIFIES), admin.total(CONNECTIONS));
    Seen { has_symptom: connections >= notifies, what: format!("{notifies} NOTIFYs, {connections} connections") }
}

/// Events that wait for answers at the same time open a connection each.
pub(super) fn connection_per_waiting_event(scene: &Scene<'_>) -> Seen {
    const EVENTS: usize = 6;
    let admin = scene.agent.admin();
    scene.unlisted();
    let before = admin.total(CONNECTIONS);
    scene.agent.hold.set(true);
    let _clients: Vec<_> = (0..EVENTS).map(|_| send_only(scene)).collect();
    scene.wait("all NOTIFYs", || admin.total(NOTIFIES) >= 1.0 + EVENTS as f64);
    let opened = admin.total(CONNECTIONS) - before;
    // One of the events can use the connection that is open already.
    Seen { has_symptom: opened >= EVENTS as f64 - 1.0, what: format!("{EVENTS} events, {opened} more connections") }
}

/// Events wait in HAProxy's queue while others are in flight.
pub(super) fn events_wait(scene: &Scene<'_>) -> Seen {
    const EVENTS: usize = 6;
    let _clients: Vec<_> = (0..EVENTS).map(|_| send_only(scene)).collect();
    let (mut sent, mut queued) = (0, 0);
    scene.wait("six events", || {
        sent = scene.agent.record.notifies().len();
        queued = scene.server().queued as usize;
        sent + queued >= EVENTS
    });
    Seen { has_symptom: sent < EVENTS, what: format!("{EVENTS} events, {sent} NOTIFYs, {queued} in the queue") }
}

/// Sends a request and does not wait for the response.
fn send_only(scene: &Scene<'_>) -> Connection {
    let mut connection = scene.connect(UNLISTED);
    connection.send(&scene.request(&[])).expect("HAProxy reads the request");
    connection
}

/// An argument is empty because HAProxy sends the NOTIFY before it has received the body.
pub(super) fn argument_empty(scene: &Scene<'_>) -> Seen {
    // Time for a NOTIFY that does not wait for the body.
    const SILENCE: Duration = Duration::from_millis(500);
    const BODY: &[u8] = b"hello";
    let notifies = || scene.agent.record.notifies();
    let mut connection = scene.connect(UNLISTED);
    let length = BODY.len().to_string();
    let request = Request::post("/", &length).header("content-type", "text/plain");
    connection.send(&request).expect("HAProxy reads the request");
    scene.happens(scene.expected, SILENCE, || !notifies().is_empty());
    connection.send_body(BODY).expect("HAProxy reads the body");
    connection.receive().expect("HAProxy responds");
    scene.wait("a NOTIFY", || !notifies().is_empty());
    let args: Vec<_> = notifies().into_iter().flatten().flat_map(|(_, args)| args).collect();
    let value = args.iter().find(|(name, _)| *name == scene.symptom.argument.as_bytes()).map(|(_, value)| value);
    let is_empty = match value.expect("HAProxy sends the argument") {
        Value::Null => true,
        Value::String(bytes) | Value::Binary(bytes) => bytes.is_empty(),
        other => panic!("expected a text, got {other:?}"),
    };
    Seen { has_symptom: is_empty, what: format!("{args:?}") }
}
