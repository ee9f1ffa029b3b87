//! Exhaustive tests of small input spaces, which random seeds cover only by chance.

use spoa_core::table::{Input, StateName, Step as Reaction, Timer, step, timer_step};
use spoa_sim::coverage::{Cause, Coverage};
use spoa_sim::run::run;
use spoa_sim::script::{Cuts, Link, Script, Step};
use spoa_sim::text::parse;

const LINK: Link = Link::Scripted(1);
const HELLO: &str =
    r#"send c1 hello supported-versions="2.0" max-frame-size=u32:16380 capabilities="pipelining" engine-id="e""#;
const REFUSED: &str = r#"send c1 hello max-frame-size=u32:16380 capabilities="pipelining""#;
const NOTIFY: &str = "send c1 notify sid=1 fid=1 check-client-ip(=192.0.2.1)";
const IN_FLIGHT: &str = "send c1 notify sid=3 fid=1 m(plan=never)";
const DISCONNECT: &str = r#"send c1 disconnect status-code=u32:2 message="a timeout occurred""#;

/// Steps that bring a connection into each state that accepts input, and leave it there.
const STATES: [(StateName, &[&str]); 5] = [
    (StateName::AwaitHello, &["connect c1"]),
    (StateName::Refusing, &["connect c1", REFUSED]),
    (StateName::Running, &["connect c1", HELLO]),
    (StateName::Draining, &["connect c1", HELLO, IN_FLIGHT, "stop grace=2s"]),
    (StateName::Closing, &["connect c1", DISCONNECT]),
];

/// Every kind of frame that HAProxy sends.
const VALID: [&[&str]; 7] = [
    &[HELLO],
    &[r#"send c1 hello supported-versions="2.0" max-frame-size=u32:16380 capabilities="" healthcheck=true"#],
    &[NOTIFY],
    &[
        "send c1 notify sid=1 fid=1 flags=0x0 slice=0..9 check-client-ip(=192.0.2.1)",
        "send c1 unset sid=1 fid=1 flags=0x0 slice=9..20 check-client-ip(=192.0.2.1)",
        "send c1 unset sid=1 fid=1 slice=20..99 check-client-ip(=192.0.2.1)",
    ],
    &["send c1 notify sid=1 fid=1 flags=0x0 slice=0..9 check-client-ip()", "send c1 unset sid=1 fid=1 flags=0x3"],
    &["send c1 unset sid=1 fid=1 flags=0x3"],
    &[DISCONNECT],
];

/// Every kind of invalid or unusual frame.
const INVALID: [&[&str]; 31] = [
    &["send c1 notify sid=1 fid=1 length=0 m()"],
    &["send c1 notify sid=1 fid=1 length=6 m()"],
    &["send c1 notify sid=1 fid=1 length=16385 m()"],
    &["send c1 notify sid=1 fid=1 length=2147483648 m()"],
    &["send c1 notify sid=1 fid=1 length=4294967295 m()"],
    &["send c1 raw 474554202f20485454502f312e310d0a0d0a"],
    &["send c1 notify sid=1 fid=1 trim=1 m(=192.0.2.1)"],
    &["send c1 notify sid=1 fid=1 pad=3 m(=192.0.2.1)"],
    &["send c1 notify sid=1 fid=1 flip=3 m(=192.0.2.1)"],
    &["send c1 notify sid=1 fid=1 flags=0xfffffffe m()"],
    &["send c1 notify sid=1 fid=1 flags=0xffffffff m()"],
    &["send c1 notify sid=1 fid=1 flags=0x3 m()"],
    &["send c1 type 4 sid=1 fid=1 010203"],
    &["send c1 type 77 sid=0 fid=0 -"],
    &["send c1 type 101 -"],
    &["send c1 type 102 -"],
    &["send c1 type 103 sid=1 fid=1 -"],
    &["send c1 unset sid=1 fid=1"],
    &["send c1 unset sid=1 fid=1 flags=0x0"],
    &["send c1 notify sid=1 fid=1 flags=0x0 m()", "send c1 unset sid=1 fid=2 m()"],
    &["send c1 notify sid=1 fid=1 flags=0x0 m()", "send c1 notify sid=3 fid=1 m()"],
    &["send c1 type 3 sid=1 fid=1 f08080808080808080800000"],
    &["send c1 type 3 sid=1 fid=1 016d010004fff0fefefefefefefe0f"],
    &["send c1 type 3 sid=1 fid=1 016d01000a"],
    &["send c1 notify sid=18446744073709551615 fid=264432 m()"],
    &[r#"send c1 hello sid=1 supported-versions="2.0" max-frame-size=u32:300 capabilities="""#],
    &[r#"send c1 hello flags=0x0 supported-versions="2.0" max-frame-size=u32:300 capabilities="""#],
    &[r#"send c1 hello supported-versions="3.0" max-frame-size=u32:300 capabilities="""#],
    &["send c1 disconnect flags=0x0 status-code=u32:2"],
    &["send c1 disconnect sid=1 status-code=u32:2"],
    &["send c1 disconnect trim=1 status-code=u32:2"],
];

/// Code that reads from buffers is often wrong by one byte at the end of a piece.
#[test]
fn every_frame_can_be_split_at_any_byte() {
    let mut runs = 0;
    for (state, before) in STATES {
        for frames in VALID.iter().chain(&INVALID) {
            let mut cut = CutScript::new(before, frames);
            for first in 1..cut.len {
                cut.check(&[first], state);
                runs += 1;
            }
        }
    }
    assert!(runs > 5000, "expected more than 5000 runs, got {runs}");
}

#[test]
fn every_short_frame_can_be_split_at_any_two_bytes() {
    let mut runs = 0;
    // The other states ignore the bytes.
    for (state, before) in STATES.into_iter().filter(|(state, _)| step(*state, Input::Malformed) == Reaction::Fail) {
        for frames in VALID.iter().chain(&INVALID) {
            let mut cut = CutScript::new(before, frames);
            if cut.len > 64 {
                continue;
            }
            for first in 1..cut.len {
                for second in 1..cut.len - first {
                    cut.check(&[first, second], state);
                    runs += 1;
                }
            }
        }
    }
    assert!(runs > 20_000, "expected more than 20000 runs, got {runs}");
}

#[test]
fn every_input_can_arrive_in_every_state() {
    for (state, before) in STATES {
        for (input, lines) in inputs() {
            let agent: &[_] = &["agent idle-timeout=9s"];
            let coverage = run_and_check(&script(&[agent, before, lines].concat()), &format!("{input:?} in {state:?}"));
            assert!(coverage.hits(state, Cause::Input(input)) > 0, "{input:?} did not arrive in {state:?}");
        }
    }
    // No input arrives at a closed connection, because its driver has dropped it.
    for (input, lines) in inputs() {
        let coverage = run_and_check(
            &script(&[&["connect c1", HELLO, "fin c1"], lines].concat()),
            &format!("{input:?} after the end"),
        );
        let hits = coverage.hits(StateName::Closed, Cause::Input(input));
        assert_eq!(hits, 0, "{input:?} arrived at a closed connection");
    }
}

/// Each timer runs in the states whose cell is not `Ignore`, and its step is taken when it is due.
#[test]
fn every_timer_can_be_due_in_every_state_in_which_it_runs() {
    let blocked = &["room c1 0", NOTIFY];
    let mut count = 0;
    for (state, before) in STATES {
        for timer in Timer::ALL.into_iter().filter(|timer| timer_step(state, *timer) != Reaction::Ignore) {
            let more: &[&str] = match timer {
                Timer::Answer => &[IN_FLIGHT],
                Timer::Send => blocked,
                Timer::Hello | Timer::Refusal | Timer::Idle | Timer::Grace | Timer::Linger => &[],
            };
            let agent: &[_] = match timer {
                Timer::Answer => &["agent ack-timeout=1s"],
                _ => &["agent ack-timeout=20s send-timeout=1s idle-timeout=9s"],
            };
            // Our AGENT-DISCONNECT stays unsent only if the socket is full before it is written.
            let (before, more) = match (state, timer) {
                (StateName::Closing, Timer::Send) => (&["connect c1", HELLO, "room c1 0"][..], &[DISCONNECT][..]),
                _ => (before, more),
            };
            let coverage = run_and_check(
                &script(&[agent, before, more, &["wait 10s"]].concat()),
                &format!("{timer:?} in {state:?}"),
            );
            assert!(coverage.hits(state, Cause::Timer(timer)) > 0, "{timer:?} was not due in {state:?}");
            count += 1;
        }
    }
    assert_eq!(count, 10);
}

#[test]
fn a_connection_can_end_after_any_byte() {
    for notify in [NOTIFY, IN_FLIGHT, "send c1 notify sid=1 fid=1 m(plan=score@3ms)"] {
        let bytes = bytes_of(&[HELLO, notify, DISCONNECT]);
        for len in 0..=bytes.len() {
            for end in [Step::Fin(LINK), Step::Reset(LINK)] {
                let steps = vec![Step::Connect(LINK), Step::Raw(LINK, bytes[..len].to_vec()), end.clone()];
                let what = format!("{end:?} after {len} bytes with {notify}");
                let coverage = run_and_check(&Script { steps, ..Script::default() }, &what);
                let ends: u64 = STATES.iter().map(|(state, _)| coverage.hits(*state, Cause::Input(Input::Eof))).sum();
                assert_eq!(ends, 1, "{what}");
            }
        }
    }
}

/// Tries every value of the low byte of the length, of the type, and of each byte of the flags and ids.
#[test]
fn every_byte_of_a_header_can_have_any_value() {
    let cases = [(NOTIFY, &["connect c1", HELLO][..]), (DISCONNECT, &["connect c1", HELLO]), (HELLO, &["connect c1"])];
    for (frame, before) in cases {
        let mut script = script(&[before, &[NOTIFY, NOTIFY, DISCONNECT]].concat());
        let whole = bytes_of(&[frame]);
        for at in 3..11 {
            for value in 0..=u8::MAX {
                let mut bytes = whole.clone();
                bytes[at] = value;
                script.steps[before.len()] = Step::Raw(LINK, bytes);
                run_and_check(&script, &format!("{frame} with {value:#x} at {at}"));
            }
        }
    }
}

/// Returns the steps that cause each input of the state table.
fn inputs() -> [(Input, &'static [&'static str]); Input::ALL.len()] {
    Input::ALL.map(|input| {
        let lines: &[&str] = match input {
            Input::Hello => &[HELLO],
            Input::Notify => &[NOTIFY],
            Input::Unset => &["send c1 unset sid=1 fid=1"],
            Input::Disconnect => &[DISCONNECT],
            Input::AgentFrame => &["send c1 type 103 sid=1 fid=1 -"],
            Input::UnknownFrame => &["send c1 type 77 sid=1 fid=1 -"],
            Input::Malformed => &["send c1 raw 00000003010203"],
            Input::Eof => &["fin c1"],
            Input::Stop => &["stop grace=1s"],
            Input::Shed => &["shed c1"],
        };
        (input, lines)
    })
}

/// A script that sends some frames in pieces, and then a NOTIFY, which shows whether the core found the end of the
/// frames.
struct CutScript {
    script: Script,
    cut_at: usize,
    /// Length of the frames in bytes.
    len: u32,
}

impl CutScript {
    fn new(before: &[&str], frames: &[&str]) -> Self {
        // Tens of thousands of runs are faster with small buffers.
        let mut script = script(&[&["agent max-frame-size=256"], before].concat());
        let (bytes, notify) = (bytes_of(frames), bytes_of(&[NOTIFY]));
        let (cut_at, len) = (script.steps.len(), bytes.len() as u32);
        let whole = Step::Cut(LINK, Cuts::default());
        script.steps.extend([whole.clone(), Step::Raw(LINK, bytes), whole, Step::Raw(LINK, notify)]);
        Self { script, cut_at, len }
    }

    /// Runs the script with these sizes of the first pieces, and panics if it fails.
    fn check(&mut self, sizes: &[u32], state: StateName) {
        self.script.steps[self.cut_at] = Step::Cut(LINK, Cuts { sizes: sizes.to_vec(), repeat: false });
        if let Some(failure) = run(&self.script, false).failure {
            panic!("pieces of {sizes:?} in {state:?}: {failure}\n{}", self.script);
        }
    }
}

/// Runs a script, panics if it fails, and returns its coverage.
fn run_and_check(script: &Script, what: &str) -> Coverage {
    let outcome = run(script, false);
    match outcome.failure {
        Some(failure) => panic!("{what}: {failure}\n{script}"),
        None => outcome.coverage,
    }
}

fn script(lines: &[&str]) -> Script {
    let text = format!("spop-script 1\n{}\n", lines.join("\n"));
    parse(&text).unwrap_or_else(|error| panic!("{error}\n{text}"))
}

fn bytes_of(lines: &[&str]) -> Vec<u8> {
    let steps = script(lines).steps;
    let bytes = steps.into_iter().map(|step| match step {
        Step::Send(_, frame) => frame.to_bytes(),
        Step::Raw(_, bytes) => bytes,
        other => panic!("{other:?} sends no bytes"),
    });
    bytes.flatten().collect()
}
