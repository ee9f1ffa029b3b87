//! The conversation of a case: what HAProxy does, and what is expected of the agent.

use std::cell::Cell;
use std::io;
use std::time::Duration;

use super::hello::{Announced, describe, disconnect_code};
use super::question::Question;
use super::verdict::{Judged, Outcome, Status, Verdict};
use crate::bytes::{ACK, AGENT_DISCONNECT, FIN, Frame};
use crate::frames::Hello;
use crate::peer::{Arrival, End, Peer};
use crate::recorder::Recorder;
use crate::subject::Subject;

/// The outcome of a case. An outcome is an error if the conversation ended before the rule could be checked.
pub(super) type Played = Result<Outcome, Outcome>;

/// The frame size that every HELLO of the kit offers: HAProxy's default.
pub(crate) const FRAME_SIZE: u64 = 16380;

/// The largest number of bytes of AGENT-HELLO that may arrive alone: HAProxy waits for 11 before it parses a frame, and must have
/// all of it then.
pub(crate) const HEADER_MAX: usize = 10;

/// Everything that a case uses.
pub(super) struct Play<'r> {
    pub(super) subject: &'r mut Subject,
    pub(super) question: &'r Question,
    /// The time that the agent has for each answer.
    pub(super) timeout: Duration,
    /// The time after which the agent must have closed a connection without a HELLO.
    pub(super) patience: Duration,
    /// The number of bytes by which the memory of the agent may grow in a case.
    pub(super) memory_max: u64,
    /// The HELLO of the engine that the kit plays.
    pub(super) hello: Hello,
    pub(super) recorder: Recorder,
    /// The next stream-id of a NOTIFY that shows that a connection serves.
    pub(super) next_sid: Cell<u64>,
}

/// The first stream-id of a NOTIFY that shows that a connection serves. Cases use smaller ones.
pub(super) const FIRST_SID: u64 = 0x7000_0001;

/// The strictness of a refusal.
#[derive(Clone, Copy)]
pub(super) enum Refusal<'c> {
    /// AGENT-DISCONNECT with one of these codes.
    Code(&'c [u64]),
    /// AGENT-DISCONNECT with one of these codes is best, but any end of the connection will do.
    End(&'c [u64]),
}

impl Play<'_> {
    /// Opens a connection.
    pub(super) fn connect(&self) -> Result<Peer, Outcome> {
        Peer::connect(self.subject.address(), self.timeout, &self.recorder)
            .map_err(|error| early(cannot_connect(&error)))
    }

    /// Opens a connection whose receive buffer is small, and completes the handshake.
    pub(super) fn ready_with_small_buffer(&self) -> Result<Peer, Outcome> {
        let mut peer = Peer::connect_with_small_buffer(self.subject.address(), self.timeout, &self.recorder)
            .map_err(|error| early(cannot_connect(&error)))?;
        peer.send(&self.hello.encode());
        self.announced(&mut peer, FRAME_SIZE)?;
        Ok(peer)
    }

    /// Opens a connection and completes the handshake.
    pub(super) fn ready(&self) -> Result<Peer, Outcome> {
        Ok(self.ready_with(&self.hello)?.0)
    }

    /// Opens a connection and completes the handshake with this HELLO, which offers frames of [`FRAME_SIZE`] bytes.
    pub(super) fn ready_with(&self, hello: &Hello) -> Result<(Peer, Announced), Outcome> {
        let mut peer = self.connect()?;
        peer.send(&hello.encode());
        let announced = self.announced(&mut peer, FRAME_SIZE)?;
        Ok((peer, announced))
    }

    /// Reads the AGENT-HELLO to a HELLO that offered frames of `offered` bytes.
    pub(super) fn announced(&self, peer: &mut Peer, offered: u64) -> Result<Announced, Outcome> {
        self.agent_hello(peer, offered).map(|(_, announced)| announced)
    }

    /// Reads the AGENT-HELLO to a HELLO that offered frames of `offered` bytes, and returns its frame, too.
    pub(super) fn agent_hello(&self, peer: &mut Peer, offered: u64) -> Result<(Frame, Announced), Outcome> {
        let got = match peer.arrival() {
            Arrival::Frame(frame) => match Announced::read(&frame, offered) {
                Ok(announced) => return Ok((frame, announced)),
                Err(fault) => fault,
            },
            Arrival::Malformed(reason) => reason,
            Arrival::End(end) => words(end).into(),
        };
        Err(early(Judged::wrong(got, "AGENT-HELLO")))
    }

    /// Checks that the agent accepts this HELLO, and answers the question afterwards.
    pub(super) fn accepts(&self, hello: &Hello) -> Played {
        self.accepts_bytes(&hello.encode(), FRAME_SIZE)
    }

    /// Checks that the agent accepts this HELLO, which offers frames of `offered` bytes, and answers the question afterwards.
    pub(super) fn accepts_bytes(&self, hello: &[u8], offered: u64) -> Played {
        let mut peer = self.connect()?;
        peer.send(hello);
        self.accepted(&mut peer, offered)
    }

    /// Checks that the agent has accepted a HELLO, which offered frames of `offered` bytes, and answers the question afterwards.
    pub(super) fn accepted(&self, peer: &mut Peer, offered: u64) -> Played {
        let announced = self.announced(peer, offered)?;
        let got = format!("AGENT-HELLO {} {}", announced.max_frame_size, announced.capabilities.join(","));
        Ok(Outcome { answer: Judged::good(got.trim_end()), end: self.still_serves(peer) })
    }

    /// Checks that the agent refuses these bytes, which are the first of a connection.
    pub(super) fn refuses_first(&self, bytes: &[u8], refusal: Refusal<'_>) -> Played {
        let mut peer = self.connect()?;
        peer.send(bytes);
        Ok(self.refusal(&mut peer, refusal))
    }

    /// Checks that the agent refuses these bytes after a handshake.
    pub(super) fn refuses(&self, bytes: &[u8], refusal: Refusal<'_>) -> Played {
        let mut peer = self.ready()?;
        peer.send(bytes);
        Ok(self.refusal(&mut peer, refusal))
    }

    /// Checks that the agent ends the connection.
    pub(super) fn refusal(&self, peer: &mut Peer, refusal: Refusal<'_>) -> Outcome {
        let (Refusal::Code(codes) | Refusal::End(codes)) = refusal;
        let expected = format!("AGENT-DISCONNECT {}", list(codes));
        let (frames, malformed, end) = peer.rest();
        let is_lenient = matches!(refusal, Refusal::End(_)) && end != End::Silence;
        let got = sent(&frames, malformed.as_deref());
        let answer = match &frames[..] {
            [frame] if malformed.is_none() && frame.kind == AGENT_DISCONNECT => {
                let is_expected = disconnect_code(frame).is_some_and(|code| codes.contains(&code));
                match (is_expected, is_lenient) {
                    (true, _) => Judged::good(got),
                    (false, true) => Judged::tolerated(got, expected),
                    (false, false) => Judged::wrong(got, expected),
                }
            }
            [] if malformed.is_none() && is_lenient => Judged::tolerated(got, expected),
            _ => Judged::wrong(got, expected),
        };
        Outcome { answer, end: closed(end) }
    }

    /// Checks that the agent closes a connection that HAProxy has closed. HAProxy does not read what it sends then.
    pub(super) fn silent_close(&self, peer: &mut Peer) -> Outcome {
        let (frames, malformed, end) = peer.rest();
        let got = sent(&frames, malformed.as_deref());
        let answer = match (&frames[..], malformed) {
            ([], None) => Judged::good(got),
            ([frame], None) if frame.kind == AGENT_DISCONNECT => Judged::tolerated(got, "nothing"),
            _ => Judged::wrong(got, "nothing"),
        };
        Outcome { answer, end: closed(end) }
    }

    /// Checks that these bytes are answered by ACKs to `ids`, each once and in any order, and that the connection serves
    /// afterwards. The payload of each ACK answers the question if `answered`.
    pub(super) fn acks(&self, peer: &mut Peer, bytes: &[u8], ids: &[(u64, u64)], answered: bool) -> Outcome {
        peer.send(bytes);
        let answer = self.acked(peer, ids, answered);
        Outcome { answer, end: self.still_serves(peer) }
    }

    /// Sends a NOTIFY and reads its ACK, which the case needs to go on.
    pub(super) fn asked(&self, peer: &mut Peer, bytes: &[u8], ids: (u64, u64), answered: bool) -> Result<(), Outcome> {
        peer.send(bytes);
        self.needs_ack(peer, ids, answered)
    }

    /// Reads the ACK to a NOTIFY, which the case needs to go on.
    pub(super) fn needs_ack(&self, peer: &mut Peer, ids: (u64, u64), answered: bool) -> Result<(), Outcome> {
        let answer = self.acked(peer, &[ids], answered);
        if answer.verdict.status() == Status::Fail { Err(early(answer)) } else { Ok(()) }
    }

    /// Reads ACKs to `ids`, each once and in any order.
    pub(super) fn acked(&self, peer: &mut Peer, ids: &[(u64, u64)], answered: bool) -> Judged {
        let mut left = ids.to_vec();
        let mut extra_flags = false;
        while !left.is_empty() {
            let expected =
                format!("ACK {}", list(&left.iter().map(|(sid, fid)| format!("{sid}/{fid}")).collect::<Vec<_>>()));
            let frame = match peer.arrival() {
                Arrival::Frame(frame) => frame,
                Arrival::Malformed(reason) => return Judged::wrong(reason, expected),
                Arrival::End(end) => return Judged::wrong(words(end), expected),
            };
            let at = left.iter().position(|ids| frame.kind == ACK && *ids == (frame.sid, frame.fid));
            let Some(at) = at.filter(|_| frame.flags & FIN != 0) else {
                return Judged::wrong(describe(&frame), expected);
            };
            if let Err(fault) = self.question.check(&frame.payload, answered) {
                return Judged::wrong(fault, expected);
            }
            extra_flags |= frame.flags != FIN;
            left.remove(at);
        }
        let got = match ids {
            [(sid, fid)] => format!("ACK {sid}/{fid}"),
            _ => format!("{} ACKs", ids.len()),
        };
        if extra_flags {
            Judged::tolerated(format!("{got} with other flags than FIN"), "FIN alone")
        } else {
            Judged::good(got)
        }
    }

    /// Checks that the connection is open and serves.
    pub(super) fn still_serves(&self, peer: &mut Peer) -> Judged {
        // Ids that nothing else uses, so that a second ACK to an earlier NOTIFY is noticed.
        let ids = (self.next_sid.replace(self.next_sid.get() + 2), 1);
        peer.send(&self.question.notify(ids.0, ids.1));
        let acked = self.acked(peer, &[ids], true);
        match acked.verdict {
            Verdict::Wrong(_) => {
                Judged::wrong(format!("{} to the next NOTIFY", acked.got), "an open connection that serves")
            }
            _ => Judged::good("open"),
        }
    }

    /// Checks that another connection is served.
    pub(super) fn serves_others(&self) -> Result<Judged, Outcome> {
        let mut other = self.ready()?;
        Ok(self.still_serves(&mut other))
    }

    /// Checks that the memory of the agent has not grown by more than the limit since it was `before`.
    pub(super) fn memory_since(&self, before: Option<u64>) -> Judged {
        let (Some(before), Some(now)) = (before, self.subject.memory()) else {
            return Judged::wrong("no process", "an agent that runs");
        };
        let grown = now.saturating_sub(before) >> 20;
        let max = self.memory_max >> 20;
        Judged::check(grown <= max, format!("{grown} MiB more memory"), format!("at most {max} MiB"))
    }
}

/// Returns the outcome of a conversation that ended before the rule could be checked.
pub(super) fn early(answer: Judged) -> Outcome {
    Outcome { answer, end: Judged::good("not reached") }
}

fn cannot_connect(error: &io::Error) -> Judged {
    Judged::wrong(format!("cannot connect: {error}"), "a connection")
}

/// Returns the verdict on a connection that the agent had to close.
pub(super) fn closed(end: End) -> Judged {
    match end {
        End::Fin => Judged::good(words(end)),
        End::Reset => Judged::tolerated(words(end), "FIN, because a reset can destroy the last frame"),
        End::Silence => Judged::wrong("hung", "the end of the connection"),
    }
}

/// Plays each of several variants of a case. Returns the worst outcome, and stops at the first that fails.
pub(super) fn worst_of<T>(variants: impl IntoIterator<Item = T>, mut play: impl FnMut(T) -> Played) -> Played {
    let mut worst: Option<Outcome> = None;
    for variant in variants {
        let outcome = play(variant)?;
        let status = outcome.status();
        if worst.as_ref().is_none_or(|worst| status >= worst.status()) {
            worst = Some(outcome);
        }
        if status == Status::Fail {
            break;
        }
    }
    Ok(worst.unwrap_or_else(|| early(Judged::good("nothing to do"))))
}

/// Describes an end.
pub(super) const fn words(end: End) -> &'static str {
    match end {
        End::Fin => "FIN",
        End::Reset => "RST",
        End::Silence => "nothing",
    }
}

/// Describes what the agent sent.
pub(super) fn sent(frames: &[Frame], malformed: Option<&str>) -> String {
    let shown = frames.iter().take(3).map(describe).chain(malformed.map(str::to_owned)).collect::<Vec<_>>();
    match (shown.len(), frames.len().saturating_sub(3)) {
        (0, _) => "nothing".into(),
        (_, 0) => shown.join(", "),
        (_, more) => format!("{} and {more} more frames", shown.join(", ")),
    }
}

/// Joins alternatives.
fn list(items: &[impl ToString]) -> String {
    let items: Vec<_> = items.iter().take(4).map(ToString::to_string).collect();
    items.join(" or ")
}
