//! The stop of an agent (SPOE.txt 3.2.9). The kit sends SIGTERM to an agent that it has started.

use crate::bytes::{ACK, AGENT_DISCONNECT};
use crate::conformance::case::Level::{Haproxy, Should};
use crate::conformance::case::{Case, Needs};
use crate::conformance::hello::disconnect_code;
use crate::conformance::play::{Play, Played, closed, sent};
use crate::conformance::verdict::{Judged, Outcome};
use crate::peer::{Arrival, Peer};

pub(super) const CASES: &[Case] = &[
    Case::new(
        Should,
        "3.2.9/stop",
        "An agent that stops sends AGENT-DISCONNECT with status 0 on idle connections and closes them.",
        "SPOE.txt 3.2.9; without it an event that is sent at that moment is lost",
        |play| stops(play, |_, _| 0),
    )
    .needs(Needs::Started)
    .stops_agent(),
    Case::new(
        Haproxy,
        "3.2.9/stop-in-flight",
        "An agent that stops answers the NOTIFYs that it has received before it closes the connection.",
        "HAProxy does not send them again",
        |play| {
            stops(play, |play, peer| {
                let notifys: Vec<u8> = (0..10).flat_map(|n| play.question.notify(2 * n + 1, 1)).collect();
                peer.send(&notifys);
                // An agent that reads whole buffers has read all of them when it answers the first.
                match peer.arrival() {
                    Arrival::Frame(frame) if frame.kind == ACK => 9,
                    _ => 10,
                }
            })
        },
    )
    .needs(Needs::Started)
    .stops_agent(),
];

/// Stops the agent after `send`, which returns the number of ACKs that are outstanding.
fn stops(play: &mut Play<'_>, send: impl Fn(&Play<'_>, &mut Peer) -> usize) -> Played {
    let mut peer = play.ready()?;
    // The agent has read the HELLO and is idle when it answers the question.
    play.still_serves(&mut peer);
    let count = send(play, &mut peer);
    play.subject.terminate();
    peer.set_timeout(play.patience);
    let (frames, malformed, end) = peer.rest();
    let acks = frames.iter().filter(|frame| frame.kind == ACK).count();
    let last = frames.last().filter(|frame| frame.kind == AGENT_DISCONNECT).and_then(disconnect_code);
    let got = sent(&frames, malformed.as_deref());
    let expected = format!("{count} ACKs and AGENT-DISCONNECT 0");
    let answer = if acks == count && malformed.is_none() && last == Some(0) {
        Judged::good(expected)
    } else if acks == count && count > 0 && malformed.is_none() {
        Judged::tolerated(got, expected)
    } else {
        Judged::wrong(got, expected)
    };
    Ok(Outcome { answer, end: closed(end) })
}
