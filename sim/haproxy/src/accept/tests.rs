//! The model's own conversations are accepted by its variant, and each kind of lie in them is found.

use super::*;
use crate::codec::{Arg, Messages};
use crate::testing::*;
use crate::{Action, Defects, EventId, LinkId, MILLISECOND, Process, SECOND};

/// A process and an agent of few words, and the recording of what they said.
struct Stage {
    process: Process,
    recording: Recording,
    now: Time,
    /// The agent's bytes of each link that it has not sent yet.
    replies: Vec<(LinkId, Vec<u8>)>,
    greeting: Vec<u8>,
    silent: bool,
    events: u32,
}

impl Stage {
    fn new(settings: Settings, greeting: Vec<u8>) -> Self {
        let process = Process::new(settings, 0);
        Self {
            process,
            recording: Recording::default(),
            now: 0,
            replies: Vec::new(),
            greeting,
            silent: false,
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
                Action::Connect(link) => self.recording.push(self.now, link.0, What::Open),
                Action::Fin(link) => self.recording.push(self.now, link.0, What::Fin(Side::Haproxy)),
                Action::Reset(link) => self.recording.push(self.now, link.0, What::Reset(Side::Haproxy)),
                Action::Send(link, bytes) => {
                    let reply = answer(bytes, &self.greeting, self.silent);
                    self.recording.push(self.now, link.0, What::Bytes(Side::Haproxy, bytes.to_vec()));
                    if !reply.is_empty() {
                        self.replies.push((link, reply));
                    }
                }
                Action::Done(..) | Action::CheckDone { .. } => {}
            }
        }
    }

    /// Lets the agent answer all it was sent, each reply in two pieces.
    fn talk(&mut self) {
        while !self.replies.is_empty() {
            let (link, reply) = self.replies.remove(0);
            for piece in [&reply[..9], &reply[9..]] {
                self.now += MILLISECOND;
                self.recording.push(self.now, link.0, What::Bytes(Side::Agent, piece.to_vec()));
                self.process.handle_bytes(self.now, link, piece);
                self.collect();
            }
        }
    }

    fn pass(&mut self, span: Time) {
        let until = self.now + span;
        while let Some(due) = self.process.poll_timeout().filter(|&due| due <= until) {
            self.now = due.max(self.now);
            self.process.handle_timeout(self.now);
            self.collect();
            self.talk();
        }
        self.now = until;
    }

    fn fin(&mut self, link: u32) {
        self.recording.push(self.now, link, What::Fin(Side::Agent));
        self.process.handle_eof(self.now, LinkId(link));
        self.collect();
    }
}

/// The canned agent: AGENT-HELLO, an empty ACK for what has FIN, and its own 0 for a DISCONNECT.
fn answer(mut bytes: &[u8], greeting: &[u8], silent: bool) -> Vec<u8> {
    let mut reply = Vec::new();
    while !bytes.is_empty() {
        let len = 4 + u32::from_be_bytes([bytes[0], bytes[1], bytes[2], bytes[3]]) as usize;
        let (frame, rest) = bytes.split_at(len);
        let header = crate::codec::Header::peek(frame).unwrap();
        match frame[4] {
            1 => reply.extend_from_slice(greeting),
            2 => reply.extend(discon(0)),
            _ if header.is_fin() && !header.is_abort() && !silent => {
                reply.extend(agent_frame(103, 1, &frame[9..header.size], b""));
            }
            _ => {}
        }
        bytes = rest;
    }
    reply
}

fn long(len: usize) -> Messages {
    let mut messages = Messages::new();
    messages.message(b"long", 2).arg(b"body", Arg::Bin(&vec![b'x'; len])).arg(b"", Arg::Int(7));
    messages
}

fn applet_greeting() -> Vec<u8> {
    hello_of(&[VERSION, b"\x0emax-frame-size\x03\xf0\x01", b"\x0ccapabilities\x08\x18pipelining,fragmentation"])
}

fn settings(engine: Engine) -> Settings {
    match engine {
        Engine::Mux => Settings::mux(),
        Engine::Applet => Settings { processing_timeout: 5 * SECOND, ..Settings::applet() },
    }
}

/// Bursts, a timeout, an idle drop, a health check, and for the applet engine fragments.
fn conversation(engine: Engine) -> Recording {
    let greeting = if engine == Engine::Mux { hello() } else { applet_greeting() };
    let mut stage = Stage::new(settings(engine), greeting);
    for burst in 0..3 {
        for stream in 0..30 {
            stage.event(burst * 30 + stream, &score_messages());
        }
        stage.talk();
        stage.pass(10 * MILLISECOND);
    }
    if engine == Engine::Applet {
        stage.event(500, &long(2000));
        stage.pass(SECOND);
        stage.event(500, &long(10));
        stage.talk();
    }
    stage.silent = true;
    stage.event(600, &score_messages());
    stage.pass(6 * SECOND);
    stage.process.healthcheck(stage.now);
    stage.collect();
    stage.pass(60 * SECOND);
    stage.recording
}

#[test]
fn the_model_accepts_itself() {
    for engine in [Engine::Mux, Engine::Applet] {
        let recording = conversation(engine);
        assert!(recording.steps.len() > 200, "{}", recording.steps.len());
        accepts(&Variant::new(settings(engine)), &recording)
            .unwrap_or_else(|error| panic!("{engine:?} {error}\n{recording}"));
        let read = Recording::parse(&recording.to_string()).unwrap();
        assert_eq!(accepts(&Variant::new(settings(engine)), &read), Ok(()));
    }
}

#[test]
fn the_engines_are_told_apart() {
    for (played, judged) in [(Engine::Mux, Engine::Applet), (Engine::Applet, Engine::Mux)] {
        let error = accepts(&Variant::new(settings(judged)), &conversation(played)).unwrap_err();
        assert_eq!(error.line, 3, "{error}");
        assert!(error.reason.starts_with("not this version's HELLO"), "{error}");
    }
}

#[test]
fn refusals_are_accepted() {
    let bad = hello_of(&[b"\x07version\x08\x031.0", SIZE, CAPS]);
    for engine in [Engine::Mux, Engine::Applet] {
        let mut stage = Stage::new(settings(engine), bad.clone());
        stage.event(0, &score_messages());
        stage.talk();
        stage.pass(20 * MILLISECOND);
        stage.recording.steps.truncate(40);
        assert_eq!(accepts(&Variant::new(settings(engine)), &stage.recording), Ok(()), "{}", stage.recording);
    }
}

#[test]
fn the_agents_end_is_accepted() {
    for engine in [Engine::Mux, Engine::Applet] {
        let mut stage = Stage::new(settings(engine), hello());
        stage.event(0, &score_messages());
        stage.talk();
        stage.fin(0);
        assert_eq!(accepts(&Variant::new(settings(engine)), &stage.recording), Ok(()), "{}", stage.recording);
    }
}

/// A short conversation with one answered NOTIFY; then `line` is put in place of, or behind, what is there.
fn short(engine: Engine) -> Vec<String> {
    let mut stage = Stage::new(settings(engine), hello());
    stage.event(0, &score_messages());
    stage.talk();
    stage.recording.to_string().lines().map(str::to_owned).collect()
}

fn reason(engine: Engine, lines: &[String]) -> String {
    let recording = Recording::parse(&lines.join("\n")).unwrap();
    accepts(&Variant::new(settings(engine)), &recording).expect_err("a mismatch").reason
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

#[test]
fn lies_behind_a_conversation_are_found() {
    use Engine::{Applet, Mux};
    for (engine, frame, expected) in [
        (Mux, notify(1, 1), "stream-id 1, 3 is next"),
        (Mux, notify(5, 1), "stream-id 5, 3 is next"),
        (Mux, notify(3, 2), "frame-id 2, the mux has only 1"),
        (Mux, agent_frame(3, 0, &[3, 1], b""), "a NOTIFY without FIN"),
        (Mux, agent_frame(3, 3, &[3, 1], b""), "a NOTIFY with flags 0x3"),
        (Mux, agent_frame(3, 1, &[3, 1], b""), "a NOTIFY without messages"),
        (Mux, agent_frame(3, 1, &[3, 1], b"\x01m\x01\x00\x03\x01"), "messages that HAProxy does not encode so"),
        (Mux, agent_frame(0, 1, &[1, 1], b""), "a fragment of nothing"),
        (Mux, agent_frame(7, 1, &[1, 1], b""), "a frame of type 7"),
        (Mux, haproxy_disconnect(2), "nothing called for DISCONNECT 2"),
        (Mux, vec![0, 0, 0, 6], "a frame of length 6"),
        (Applet, notify(0, 3), "frame-id 3 after 1 on stream 0"),
        (Applet, notify(9, 2), "frame-id 2 is the first of stream 9"),
        (Applet, agent_frame(3, 0, &[9, 1], b""), "a NOTIFY without FIN"),
        (Applet, haproxy_disconnect(2), "nothing called for DISCONNECT 2"),
        (Applet, haproxy_disconnect(0), "nothing called for DISCONNECT 0"),
        (Applet, haproxy_disconnect(4), "nothing called for DISCONNECT 4"),
    ] {
        let mut lines = short(engine);
        lines.push(format!("0.1 0 > {}", hex(&frame)));
        assert_eq!(reason(engine, &lines), expected);
    }
    let mut good = short(Mux);
    good.push(format!("0.1 0 > {}", hex(&notify(3, 1))));
    assert_eq!(accepts(&Variant::new(settings(Mux)), &Recording::parse(&good.join("\n")).unwrap()), Ok(()));
}

#[test]
fn lies_about_the_close_are_found() {
    use Engine::{Applet, Mux};
    for (engine, end, expected) in [
        (Mux, "0.1 0 > fin", "the mux closes by RST as long as the agent has not closed"),
        (Mux, "0.1 0 > rst", "the mux resets a connection that was in use just now"),
        (Applet, "0.1 0 > fin", "closed without a DISCONNECT"),
        (Applet, "0.1 0 > rst", "closed without a DISCONNECT"),
        (Mux, "0.1 7 > rst", "connection 7 was never opened"),
    ] {
        let mut lines = short(engine);
        lines.push(end.to_owned());
        assert_eq!(reason(engine, &lines), expected, "{engine:?} {end}");
    }
    let mut lines = short(Mux);
    lines.push("16.0 0 > rst".to_owned());
    lines.push(format!("16.1 0 > {}", hex(&notify(3, 1))));
    assert_eq!(reason(Mux, &lines), "bytes after the close");
}

#[test]
fn lies_about_the_handshake_are_found() {
    for engine in [Engine::Mux, Engine::Applet] {
        let mut lines = short(engine)[..3].to_vec();
        lines.push(format!("0.1 0 > {}", hex(&notify(1, 1))));
        assert_eq!(reason(engine, &lines), "a frame before a good AGENT-HELLO");
        let mut lines = short(engine)[..3].to_vec();
        lines[2] = lines[2].replacen("322e30", "322e31", 1);
        assert_eq!(reason(engine, &lines), "not this version's HELLO, from byte 34 on");
    }
}

#[test]
fn the_applet_tells_an_agent_that_left_early() {
    let error = format!("0.2 0 > {}", hex(&haproxy_disconnect(1)));
    let greeting = short(Engine::Applet)[..3].to_vec();
    let judged = |lines: &[&str]| {
        let all: Vec<_> = greeting.iter().map(String::as_str).chain(lines.iter().copied()).collect();
        let recording = Recording::parse(&all.join("\n")).unwrap();
        accepts(&Variant::new(settings(Engine::Applet)), &recording).map_err(|error| error.reason)
    };
    assert_eq!(judged(&["0.1 0 < fin", &error, "0.3 0 > fin"]), Ok(()));
    assert_eq!(judged(&[&error]), Err("nothing called for DISCONNECT 1".into()), "the agent is still there");
}

#[test]
fn a_hello_timeout_of_2_6_may_be_a_fin() {
    let mut lines = short(Engine::Applet)[..3].to_vec();
    lines.push("0.6 0 > fin".to_owned());
    assert_eq!(reason(Engine::Applet, &lines), "closed without a DISCONNECT");
    let defects = Defects { error_exit_fins: true, ..Defects::default() };
    let old = Settings { defects, ..settings(Engine::Applet) };
    assert_eq!(accepts(&Variant::new(old), &Recording::parse(&lines.join("\n")).unwrap()), Ok(()));
}

#[test]
fn illegal_cuts_are_found() {
    let messages = long(600);
    let mut stage = Stage::new(settings(Engine::Applet), applet_greeting());
    stage.event(0, &score_messages());
    stage.talk();
    let open = stage.recording;
    let with_cut = |cut: usize| {
        let mut recording = open.clone();
        let (first, rest) = messages.bytes().split_at(cut);
        recording.push(SECOND, 0, What::Bytes(Side::Haproxy, agent_frame(3, 0, &[9, 1], first)));
        let parts = rest.chunks(224);
        let last = parts.len() - 1;
        for (at, part) in parts.enumerate() {
            let frame = agent_frame(0, u32::from(at == last), &[9, 1], part);
            recording.push(SECOND, 0, What::Bytes(Side::Haproxy, frame));
        }
        accepts(&Variant::new(settings(Engine::Applet)), &recording).map_err(|error| error.reason)
    };
    assert_eq!(with_cut(224), Ok(()));
    assert_eq!(with_cut(223), Err("a cut at byte 223, 224 is where it comes".into()));
    assert_eq!(with_cut(3), Err("a cut at byte 3, inside an item that does not split".into()));
}

#[test]
fn in_flight_is_bounded_until_the_timeout() {
    let variant = Variant::new(Settings::mux());
    let mut recording = Recording::parse(&short(Engine::Mux).join("\n")).unwrap();
    for sid in 0..20 {
        recording.push(SECOND, 0, What::Bytes(Side::Haproxy, notify(3 + 2 * sid, 1)));
    }
    let mut early = recording.clone();
    early.push(SECOND, 0, What::Bytes(Side::Haproxy, notify(43, 1)));
    assert_eq!(accepts(&variant, &early).unwrap_err().reason, "more than 20 NOTIFYs in flight");
    let mut late = recording;
    late.push(SECOND + 500 * MILLISECOND, 0, What::Bytes(Side::Haproxy, notify(43, 1)));
    assert_eq!(accepts(&variant, &late), Ok(()));
}

#[test]
fn defects_widen_what_is_accepted() {
    let mut recording = Recording::parse(&short(Engine::Mux).join("\n")).unwrap();
    recording.push(SECOND, 0, What::Bytes(Side::Haproxy, agent_frame(3, 1, &[3, 1], b"")));
    let old = Settings { defects: Defects::V3_1_0, ..Settings::mux() };
    assert_eq!(accepts(&Variant::new(old), &recording), Ok(()));
}
