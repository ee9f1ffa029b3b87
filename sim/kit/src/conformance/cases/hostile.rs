//! Hostile peers: floods, slow readers, crowds and random bytes. One such peer can take an agent that fails here out of service.

use std::ops::Range;

use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::{Rng, SeedableRng};

use crate::bytes::{ACK, Frame, NOTIFY};
use crate::conformance::case::Level::{Haproxy, Must};
use crate::conformance::case::{Case, Needs};
use crate::conformance::play::{Play, Played, early, sent, words};
use crate::conformance::verdict::{Judged, Outcome};
use crate::peer::Arrival;

/// The number of bytes that a flood sends unless the agent stops reading: far more than kernel buffers hold.
const FLOOD: usize = 64 << 20;
/// The number of connections of a crowd.
const CROWD: usize = 100;
/// The number of conversations with random faults.
const RANDOM: u64 = 200;

pub(super) const CASES: &[Case] = &[
    Case::new(
        Must,
        "3.2.6/slow-reader",
        "ACKs to a peer that reads slowly arrive whole, in frames, and each once.",
        "sockets accept part of a write",
        slow_reader,
    ),
    Case::new(
        Must,
        "3.2.6/never-reads",
        "A peer that sends NOTIFYs and never reads does not keep the agent from serving others.",
        "one blocking write stops an agent with few threads",
        |play| {
            let mut stuck = Vec::new();
            let (notifys, mut sent) = (many(play), 0);
            for _ in 0..4 {
                // Small buffers are full soon, also with a slow agent.
                let mut peer = play.ready_with_small_buffer()?;
                sent += peer.flood(&notifys, FLOOD / 8);
                stuck.push(peer);
            }
            let answer = Judged::good(format!("4 floods of {} KiB together", sent >> 10));
            Ok(Outcome { answer, end: play.serves_others()? })
        },
    ),
    Case::new(
        Must,
        "3.2.6/flood",
        "The memory of the agent stays bounded while a peer sends NOTIFYs and never reads.",
        "an agent that queues ACKs without a limit runs out of memory",
        |play| {
            let before = play.subject.memory();
            let mut peer = play.ready_with_small_buffer()?;
            peer.flood(&many(play), FLOOD);
            let answer = play.memory_since(before);
            drop(peer);
            Ok(Outcome { answer, end: play.serves_others()? })
        },
    )
    .needs(Needs::Started),
    Case::new(
        Must,
        "3.2/announced-and-not-sent",
        "Large frames that are announced and never sent do not fill the memory of the agent.",
        "an agent that allocates every announced length runs out of memory",
        |play| {
            let before = play.subject.memory();
            let mut peers = Vec::new();
            for _ in 0..CROWD {
                let mut peer = play.connect()?;
                // A length of almost 16 MiB without its bytes. An agent that refuses the length is right, too.
                peer.send(&[0, 0xff, 0xff, 0xff, 1]);
                peers.push(peer);
            }
            let end = play.serves_others()?;
            Ok(Outcome { answer: play.memory_since(before), end })
        },
    )
    .needs(Needs::Started),
    Case::new(
        Must,
        "3.2.3/crowd-without-hello",
        "A hundred connections without a HELLO do not keep the agent from serving others.",
        "HAProxy opens all its connections at once after a reload (haproxy/haproxy#2868)",
        |play| {
            let mut peers = Vec::new();
            for n in 0..CROWD {
                let mut peer = play.connect()?;
                peer.send(&play.hello.encode()[..n % 20]);
                peers.push(peer);
            }
            Ok(Outcome { answer: Judged::good(format!("{CROWD} connections")), end: play.serves_others()? })
        },
    ),
    Case::new(
        Must,
        "3.2.3/crowd",
        "A hundred connections are each served at the same time.",
        "HAProxy up to 3.0 has connections per thread",
        |play| {
            let mut peers = (0..CROWD).map(|_| play.ready()).collect::<Result<Vec<_>, _>>()?;
            for peer in &mut peers {
                peer.send(&play.question.notify(1, 1));
            }
            for peer in &mut peers {
                play.needs_ack(peer, (1, 1), true)?;
            }
            let end = play.still_serves(&mut peers[0]);
            Ok(Outcome { answer: Judged::good(format!("{CROWD} ACKs")), end })
        },
    ),
    Case::new(
        Must,
        "3.1/flipped-bits",
        "NOTIFYs with one inverted bit never end the agent, and other connections are served.",
        "a broken peer, or a fuzzer",
        |play| {
            random(play, |play, rng| {
                let mut bytes = play.question.notify(1, 1);
                // The length stays, so that the fault is inside the frame.
                let at = 4 + rng.next_u64() as usize % (bytes.len() - 4);
                bytes[at] ^= 1 << (rng.next_u32() % 8);
                bytes
            })
        },
    ),
    Case::new(
        Must,
        "3.1/random-payloads",
        "NOTIFYs with random payloads never end the agent, and other connections are served.",
        "a broken peer, or a fuzzer",
        |play| {
            random(play, |_, rng| {
                let mut payload = vec![0; rng.next_u64() as usize % 64];
                rng.fill_bytes(&mut payload);
                Frame::new(NOTIFY, (1, 1), payload).encode()
            })
        },
    ),
    Case::new(
        Haproxy,
        "3.2/random-bytes",
        "Random bytes in place of a HELLO never end the agent, and other connections are served.",
        "port scanners",
        |play| {
            let mut rng = ChaCha8Rng::seed_from_u64(1);
            for _ in 0..RANDOM {
                let mut bytes = vec![0; rng.next_u64() as usize % 200];
                rng.fill_bytes(&mut bytes);
                let mut peer = play.connect()?;
                peer.send(&bytes);
                peer.finish();
            }
            Ok(Outcome { answer: Judged::good(format!("{RANDOM} connections")), end: play.serves_others()? })
        },
    ),
];

/// Sends a random NOTIFY on each of many connections after the handshake.
fn random(play: &Play<'_>, notify: impl Fn(&Play<'_>, &mut ChaCha8Rng) -> Vec<u8>) -> Played {
    let mut rng = ChaCha8Rng::seed_from_u64(1);
    for _ in 0..RANDOM {
        let bytes = notify(play, &mut rng);
        let mut peer = play.ready()?;
        peer.send(&bytes);
        peer.finish();
    }
    Ok(Outcome { answer: Judged::good(format!("{RANDOM} connections")), end: play.serves_others()? })
}

/// The streams of a flood. Their ids have the same length, so that each NOTIFY has the same length.
const STREAMS: Range<u64> = 300..2200;

/// Returns a NOTIFY of each stream of a flood.
fn many(play: &Play<'_>) -> Vec<u8> {
    STREAMS.flat_map(|sid| play.question.notify(sid, 1)).collect()
}

/// Lets the agent write against a full socket, then reads everything.
fn slow_reader(play: &mut Play<'_>) -> Played {
    /// The number of bytes of NOTIFYs that are sent before anything is read.
    const UNREAD: usize = 3 << 20;
    let mut peer = play.ready_with_small_buffer()?;
    let batch = many(play);
    let streams = (STREAMS.end - STREAMS.start) as usize;
    let len = batch.len() / streams;
    let written = peer.flood(&batch, UNREAD);
    let total = written.div_ceil(len);
    let mut left = total;
    // The number of ACKs that each stream still has to get.
    let mut open: Vec<usize> =
        (0..streams).map(|stream| total / streams + usize::from(stream < total % streams)).collect();
    // The rest of the last NOTIFY follows as soon as there is room for it.
    let from = written % batch.len();
    let mut rest = Some(&batch[from..from.next_multiple_of(len)]);
    while left > 0 {
        let expected = format!("{left} more ACKs");
        let answer = match peer.arrival() {
            Arrival::Frame(frame) if frame.kind == ACK && is_open(&open, frame.sid) => {
                open[(frame.sid - STREAMS.start) as usize] -= 1;
                left -= 1;
                if let Some(rest) = rest.take() {
                    peer.send(rest);
                }
                continue;
            }
            Arrival::Frame(frame) => Judged::wrong(sent(&[frame], None), expected),
            Arrival::Malformed(reason) => Judged::wrong(reason, expected),
            Arrival::End(end) => Judged::wrong(words(end), expected),
        };
        return Err(early(answer));
    }
    Ok(Outcome { answer: Judged::good(format!("{total} ACKs")), end: play.still_serves(&mut peer) })
}

/// True if the stream still has to get an ACK.
fn is_open(open: &[usize], sid: u64) -> bool {
    STREAMS.contains(&sid) && open[(sid - STREAMS.start) as usize] > 0
}
