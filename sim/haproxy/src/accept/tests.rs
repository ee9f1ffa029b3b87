//! Tests that a variant accepts the model's own conversations, and rejects wrong ones.

use super::*;
use crate::codec::{Arg, Messages};
use crate::testing::*;
use crate::{Action, Defects, EventId, LinkId, MILLISECOND, Process, SECOND};

/// A process, an agent with fixed replies, and the recording of their conversation.
struct Fixture {
    process: Process,
    recording: Recording,
    now: Time,
    /// The replies that the agent has not sent yet.
    replies: Vec<(LinkId, Vec<u8>)>,
    agent_hello: Vec<u8>,
    /// True if the agent answers no NOTIFY.
    is_silent: bool,
    events: u32,
}

impl Fixture {
    fn new(settings: Settings, agent_hello: Vec<u8>) -> Self {
        let process = Process::new(settings, 0);
        Self {
            process,
            recording: Recording::default(),
            now: 0,
            replies: Vec::new(),
            agent_hello,
            is_silent: false,
            events: 0,
        }
    }

    fn event(&mut self, stream: u32, messages: &Messages) {
        self.process.event(self.now, EventId(self.events), 0, stream, messages);
        self.events += 1;
        self.collect();
    }

    fn collect(&mut self) {
        while let Some(action) = self.process.poll_action() {
            match action {
                Action::Connect(link, _) => self.recording.push(self.now, link.0, LinkEvent::Open),
                Action::Fin(link) => self.recording.push(self.now, link.0, LinkEvent::Fin(Side::Haproxy)),
                Action::Reset(link) => self.recording.push(self.now, link.0, LinkEvent::Reset(Side::Haproxy)),
                Action::Send(link, bytes) => {
                    let reply = answer(bytes, &self.agent_hello, self.is_silent);
                    self.recording.push(self.now, link.0, LinkEvent::Bytes(Side::Haproxy, bytes.to_vec()));
                    if !reply.is_empty() {
                        self.replies.push((link, reply));
                    }
                }
                Action::Done(..) | Action::CheckDone { .. } => {}
            }
        }
    }

    /// Sends all replies of the agent, each in two pieces.
    fn send_replies(&mut self) {
        while !self.replies.is_empty() {
            let (link, reply) = self.replies.remove(0);
            for piece in [&reply[..9], &reply[9..]] {
                self.now += MILLISECOND;
                self.recording.push(self.now, link.0, LinkEvent::Bytes(Side::Agent, piece.to_vec()));
                self.process.handle_bytes(self.now, link, piece);
                self.collect();
            }
        }
    }

    /// Advances the clock and handles what becomes due.
    fn advance(&mut self, span: Time) {
        let until = self.now + span;
        while let Some(due) = self.process.poll_timeout().filter(|&due| due <= until) {
            self.now = due.max(self.now);
            self.process.handle_timeout(self.now);
            self.collect();
            self.send_replies();
        }
        self.now = until;
    }

    fn fin(&mut self, link: u32) {
        self.recording.push(self.now, link, LinkEvent::Fin(Side::Agent));
        self.process.handle_eof(self.now, LinkId(link));
        self.collect();
    }
}

/// Returns the agent's replies: AGENT-HELLO, an empty ACK to a NOTIFY or fragment with FIN, and DISCONNECT 0 to a
/// DISCONNECT.
fn answer(mut bytes: &[u8], agent_hello: &[u8], is_silent: bool) -> Vec<u8> {
    let mut reply = Vec::new();
    while !bytes.is_empty() {
        let len = 4 + u32::from_be_bytes([bytes[0], bytes[1], bytes[2], bytes[3]]) as usize;
        let (frame, rest) = bytes.split_at(len);
        let header = crate::codec::Header::peek(frame).unwrap();
        match frame[4] {
            1 => reply.extend_from_slice(agent_hello),
            2 => reply.extend(discon(0)),
            _ if header.is_fin() && !header.is_abort() && !is_silent => {
                reply.extend(agent_frame(103, 1, &frame[9..header.size], b""));
            }
            _ => {}
        }
        bytes = rest;
    }
    reply
}

fn long_messages(len: usize) -> Messages {
    let mut messages = Messages::new();
    messages.message(b"long", 2).arg(b"body", Arg::Bin(&vec![b'x'; len])).arg(b"", Arg::Int(7));
    messages
}

fn small_agent_hello() -> Vec<u8> {
    hello_of(&[VERSION, b"\x0emax-frame-size\x03\xf0\x01", b"\x0ccapabilities\x08\x18pipelining,fragmentation"])
}

fn settings(engine: Engine) -> Settings {
    match engine {
        Engine::Mux => Settings::mux(),
        Engine::Applet => Settings { processing_timeout: 5 * SECOND, ..Settings::applet() },
    }
}

/// Returns a conversation with bursts, a timeout, an idle close and a health check, and with fragments if the engine is
/// the applet.
fn conversation(engine: Engine) -> Recording {
    let agent_hello = if engine == Engine::Mux { hello() } else { small_agent_hello() };
    let mut fixture = Fixture::new(settings(engine), agent_hello);
    for burst in 0..3 {
        for stream in 0..30 {
            fixture.event(burst * 30 + stream, &score_messages());
        }
        fixture.send_replies();
        fixture.advance(10 * MILLISECOND);
    }
    if engine == Engine::Applet {
        fixture.event(500, &long_messages(2000));
        fixture.advance(SECOND);
        fixture.event(500, &long_messages(10));
        fixture.send_replies();
    }
    fixture.is_silent = true;
    fixture.event(600, &score_messages());
    fixture.advance(6 * SECOND);
    fixture.process.healthcheck(fixture.now);
    fixture.collect();
    fixture.advance(60 * SECOND);
    fixture.recording
}

#[test]
fn conversations_of_the_model_are_accepted() {
    for engine in [Engine::Mux, Engine::Applet] {
        let recording = conversation(engine);
        assert!(recording.steps.len() > 200, "expected more than 200 steps, got {}", recording.steps.len());
        accepts(&Variant::new(settings(engine)), &recording)
            .unwrap_or_else(|error| panic!("{engine:?} {error}\n{recording}"));
        let read = Recording::parse(&recording.to_string()).unwrap();
        assert_eq!(accepts(&Variant::new(settings(engine)), &read), Ok(()));
    }
}

#[test]
fn a_conversation_of_the_other_engine_is_rejected() {
    for (played, checked) in [(Engine::Mux, Engine::Applet), (Engine::Applet, Engine::Mux)] {
        let error = accepts(&Variant::new(settings(checked)), &conversation(played)).unwrap_err();
        assert_eq!(error.line, 3, "{error}");
        assert!(error.reason.starts_with("the HELLO differs from that of this version"), "{error}");
    }
}

#[test]
fn a_conversation_after_a_bad_agent_hello_is_accepted() {
    let bad = hello_of(&[b"\x07version\x08\x031.0", SIZE, CAPS]);
    for engine in [Engine::Mux, Engine::Applet] {
        let mut fixture = Fixture::new(settings(engine), bad.clone());
        fixture.event(0, &score_messages());
        fixture.send_replies();
        fixture.advance(20 * MILLISECOND);
        fixture.recording.steps.truncate(40);
        assert_eq!(accepts(&Variant::new(settings(engine)), &fixture.recording), Ok(()), "{}", fixture.recording);
    }
}

#[test]
fn a_close_by_the_agent_is_accepted() {
    for engine in [Engine::Mux, Engine::Applet] {
        let mut fixture = Fixture::new(settings(engine), hello());
        fixture.event(0, &score_messages());
        fixture.send_replies();
        fixture.fin(0);
        assert_eq!(accepts(&Variant::new(settings(engine)), &fixture.recording), Ok(()), "{}", fixture.recording);
    }
}

/// Returns the lines of a short conversation with one answered NOTIFY.
fn short(engine: Engine) -> Vec<String> {
    let mut fixture = Fixture::new(settings(engine), hello());
    fixture.event(0, &score_messages());
    fixture.send_replies();
    fixture.recording.to_string().lines().map(str::to_owned).collect()
}

fn mismatch_reason(engine: Engine, lines: &[String]) -> String {
    let recording = Recording::parse(&lines.join("\n")).unwrap();
    accepts(&Variant::new(settings(engine)), &recording).expect_err("the conversation is wrong").reason
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

#[test]
fn a_wrong_frame_is_rejected() {
    use Engine::{Applet, Mux};
    for (engine, frame, expected) in [
        (Mux, notify(1, 1), "stream-id 1, expected 3"),
        (Mux, notify(5, 1), "stream-id 5, expected 3"),
        (Mux, notify(3, 2), "frame-id 2, expected 1"),
        (Mux, agent_frame(3, 0, &[3, 1], b""), "a NOTIFY without FIN"),
        (Mux, agent_frame(3, 3, &[3, 1], b""), "a NOTIFY with flags 0x3"),
        (Mux, agent_frame(3, 1, &[3, 1], b""), "a NOTIFY without messages"),
        (
            Mux,
            agent_frame(3, 1, &[3, 1], b"\x01m\x01\x00\x03\x01"),
            "messages that are not encoded as HAProxy encodes them",
        ),
        (Mux, agent_frame(0, 1, &[1, 1], b""), "a fragment without a NOTIFY before it"),
        (Mux, agent_frame(7, 1, &[1, 1], b""), "a frame of type 7"),
        (Mux, haproxy_disconnect(2), "no reason for DISCONNECT 2"),
        (Mux, vec![0, 0, 0, 6], "a frame of length 6"),
        (Applet, notify(0, 3), "frame-id 3 after 1 on stream 0"),
        (Applet, notify(9, 2), "frame-id 2 in the first NOTIFY of stream 9, expected 1"),
        (Applet, agent_frame(3, 0, &[9, 1], b""), "a NOTIFY without FIN"),
        (Applet, haproxy_disconnect(2), "no reason for DISCONNECT 2"),
        (Applet, haproxy_disconnect(0), "no reason for DISCONNECT 0"),
        (Applet, haproxy_disconnect(4), "no reason for DISCONNECT 4"),
    ] {
        let mut lines = short(engine);
        lines.push(format!("0.1 0 > {}", hex(&frame)));
        assert_eq!(mismatch_reason(engine, &lines), expected);
    }
    let mut good = short(Mux);
    good.push(format!("0.1 0 > {}", hex(&notify(3, 1))));
    assert_eq!(accepts(&Variant::new(settings(Mux)), &Recording::parse(&good.join("\n")).unwrap()), Ok(()));
}

#[test]
fn a_wrong_close_is_rejected() {
    use Engine::{Applet, Mux};
    for (engine, end, expected) in [
        (Mux, "0.1 0 > fin", "the mux sent FIN before the agent closed; expected RST"),
        (Mux, "0.1 0 > rst", "the mux reset a connection that had not been idle for long enough"),
        (Applet, "0.1 0 > fin", "closed without a DISCONNECT"),
        (Applet, "0.1 0 > rst", "closed without a DISCONNECT"),
        (Mux, "0.1 7 > rst", "connection 7 was never opened"),
    ] {
        let mut lines = short(engine);
        lines.push(end.to_owned());
        assert_eq!(mismatch_reason(engine, &lines), expected, "{engine:?} {end}");
    }
    let mut lines = short(Mux);
    lines.push("16.0 0 > rst".to_owned());
    lines.push(format!("16.1 0 > {}", hex(&notify(3, 1))));
    assert_eq!(mismatch_reason(Mux, &lines), "bytes after the close");
}

#[test]
fn a_wrong_handshake_is_rejected() {
    for engine in [Engine::Mux, Engine::Applet] {
        let mut lines = short(engine)[..3].to_vec();
        lines.push(format!("0.1 0 > {}", hex(&notify(1, 1))));
        assert_eq!(mismatch_reason(engine, &lines), "a frame before a valid AGENT-HELLO");
        let mut lines = short(engine)[..3].to_vec();
        lines[2] = lines[2].replacen("322e30", "322e31", 1);
        assert_eq!(mismatch_reason(engine, &lines), "the HELLO differs from that of this version at byte 34");
    }
}

#[test]
fn the_applet_reports_an_io_error_only_after_the_agent_has_closed() {
    let error = format!("0.2 0 > {}", hex(&haproxy_disconnect(1)));
    let handshake = short(Engine::Applet)[..3].to_vec();
    let check = |lines: &[&str]| {
        let all: Vec<_> = handshake.iter().map(String::as_str).chain(lines.iter().copied()).collect();
        let recording = Recording::parse(&all.join("\n")).unwrap();
        accepts(&Variant::new(settings(Engine::Applet)), &recording).map_err(|error| error.reason)
    };
    assert_eq!(check(&["0.1 0 < fin", &error, "0.3 0 > fin"]), Ok(()));
    assert_eq!(check(&[&error]), Err("no reason for DISCONNECT 1".into()), "the agent has not closed");
}

#[test]
fn a_hello_timeout_of_2_6_may_end_with_fin() {
    let mut lines = short(Engine::Applet)[..3].to_vec();
    lines.push("0.6 0 > fin".to_owned());
    assert_eq!(mismatch_reason(Engine::Applet, &lines), "closed without a DISCONNECT");
    let defects = Defects { error_exit_fins: true, ..Defects::default() };
    let old = Settings { defects, ..settings(Engine::Applet) };
    assert_eq!(accepts(&Variant::new(old), &Recording::parse(&lines.join("\n")).unwrap()), Ok(()));
}

#[test]
fn wrong_cuts_are_rejected() {
    let messages = long_messages(600);
    let mut fixture = Fixture::new(settings(Engine::Applet), small_agent_hello());
    fixture.event(0, &score_messages());
    fixture.send_replies();
    let open = fixture.recording;
    let with_cut = |cut: usize| {
        let mut recording = open.clone();
        let (first, rest) = messages.bytes().split_at(cut);
        recording.push(SECOND, 0, LinkEvent::Bytes(Side::Haproxy, agent_frame(3, 0, &[9, 1], first)));
        let parts = rest.chunks(224);
        let last = parts.len() - 1;
        for (at, part) in parts.enumerate() {
            let frame = agent_frame(0, u32::from(at == last), &[9, 1], part);
            recording.push(SECOND, 0, LinkEvent::Bytes(Side::Haproxy, frame));
        }
        accepts(&Variant::new(settings(Engine::Applet)), &recording).map_err(|error| error.reason)
    };
    assert_eq!(with_cut(224), Ok(()));
    assert_eq!(with_cut(223), Err("a cut at byte 223, expected 224".into()));
    assert_eq!(with_cut(3), Err("a cut at byte 3, inside an item that cannot be split".into()));
}

#[test]
fn too_many_notifys_in_flight_are_rejected_until_they_time_out() {
    let variant = Variant::new(Settings::mux());
    let mut recording = Recording::parse(&short(Engine::Mux).join("\n")).unwrap();
    for sid in 0..20 {
        recording.push(SECOND, 0, LinkEvent::Bytes(Side::Haproxy, notify(3 + 2 * sid, 1)));
    }
    let mut early = recording.clone();
    early.push(SECOND, 0, LinkEvent::Bytes(Side::Haproxy, notify(43, 1)));
    assert_eq!(accepts(&variant, &early).unwrap_err().reason, "more than 20 NOTIFYs in flight");
    let mut late = recording;
    late.push(SECOND + 500 * MILLISECOND, 0, LinkEvent::Bytes(Side::Haproxy, notify(43, 1)));
    assert_eq!(accepts(&variant, &late), Ok(()));
}

#[test]
fn a_defect_of_the_variant_is_accepted() {
    let mut recording = Recording::parse(&short(Engine::Mux).join("\n")).unwrap();
    recording.push(SECOND, 0, LinkEvent::Bytes(Side::Haproxy, agent_frame(3, 1, &[3, 1], b"")));
    let old = Settings { defects: Defects::V3_1_0, ..Settings::mux() };
    assert_eq!(accepts(&Variant::new(old), &recording), Ok(()));
}
