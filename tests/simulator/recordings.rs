//! Recordings of real HAProxy in `sim/recordings`: the models must accept them, and the core must serve HAProxy's side
//! of them without an error.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::LazyLock;

use spoa_sim_haproxy::codec::{EngineId, Hello, encode_hello};
use spoa_sim_haproxy::recording::{LinkEvent, Recording, Side};
use spoa_sim_haproxy::{Engine, Mismatch, Settings, Variant, accepts};
use spoa_sim_kit::capture::{AGENT_PORT, import, write_pcapng};
use spoa_sim_kit::judge::judge;
use spoa_tests::bytes::{DISCONNECT, Frame, HELLO, NOTIFY, Value, read_messages};

use crate::replay::{Answers, replay};

/// A recording with its origin.
struct Tape {
    /// The version and the scene, for example `3.2/burst_cold`.
    name: String,
    version: String,
    len: usize,
    recording: Recording,
}

impl Tape {
    fn variant(&self) -> Variant {
        Variant::of(&self.recording).unwrap_or_else(|error| panic!("{}: {error}", self.name))
    }

    /// Checks with the model whether HAProxy could have behaved as in `recording` under the conditions of this one.
    fn check(&self, recording: &Recording) -> Result<(), Mismatch> {
        accepts(&self.variant(), recording)
    }

    /// True if the agent follows the protocol. Otherwise HAProxy's recorded bytes are reactions to its errors, so the
    /// model need not accept them together with answers of the core.
    fn has_correct_agent(&self) -> bool {
        self.recording.condition("agent") != Some("odd")
    }

    fn conversations(&self) -> usize {
        self.recording.steps.iter().filter(|step| step.event == LinkEvent::Open).count()
    }
}

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../sim/recordings")
}

/// Returns all recordings, which are read only once.
fn tapes() -> &'static [Tape] {
    static TAPES: LazyLock<Vec<Tape>> = LazyLock::new(read_tapes);
    &TAPES
}

fn read_tapes() -> Vec<Tape> {
    let names = |path: &Path| -> Vec<String> {
        let entries = fs::read_dir(path).expect("the folder can be read");
        entries.map(|entry| entry.expect("the folder can be read").file_name().to_string_lossy().into_owned()).collect()
    };
    let versions = names(&folder()).into_iter().filter(|name| folder().join(name).is_dir());
    let mut all: Vec<_> = versions
        .flat_map(|version| {
            names(&folder().join(&version))
                .into_iter()
                .map(move |name| format!("{version}/{}", name.trim_end_matches(".rec")))
        })
        .collect();
    all.sort();
    all.iter().map(|name| read_tape(name)).collect()
}

fn tape(name: &str) -> &'static Tape {
    tapes().iter().find(|tape| tape.name == name).unwrap_or_else(|| panic!("the recording {name} is missing"))
}

fn read_tape(name: &str) -> Tape {
    let path = folder().join(format!("{name}.rec"));
    let text = fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    let recording = Recording::parse(&text).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    let version = name.split_once('/').map_or(name, |(version, _)| version).to_owned();
    Tape { name: name.to_owned(), version, len: text.len(), recording }
}

#[test]
fn every_recording_is_accepted_by_the_model_of_its_version() {
    for tape in tapes() {
        if let Err(mismatch) = tape.check(&tape.recording) {
            panic!("sim/recordings/{}.rec: {mismatch}", tape.name);
        }
    }
}

/// The README of the recordings has a row with their counts for each version.
#[test]
fn the_readme_has_the_counts_of_recordings() {
    let mut versions = BTreeMap::<_, [usize; 3]>::new();
    for tape in tapes() {
        let [scenes, conversations, bytes] = versions.entry(tape.version.clone()).or_default();
        *scenes += 1;
        *conversations += tape.conversations();
        *bytes += tape.len;
    }
    assert_eq!(versions.keys().collect::<Vec<_>>(), ["2.6", "2.8", "3.0", "3.2"]);
    let readme = fs::read_to_string(folder().join("README.md")).expect("the README can be read");
    for (version, [scenes, conversations, bytes]) in versions {
        assert!(conversations >= 120, "expected at least 120 connections with {version}, got {conversations}");
        let row = format!("| {scenes} | {conversations} | {bytes} |");
        assert!(
            readme.lines().any(|line| line.starts_with(&format!("| {version}")) && line.ends_with(&row)),
            "expected a row of {version} that ends with {row}"
        );
    }
}

/// The model of the other engine rejects recordings because of their HELLO, and most of them for later frames if the
/// HELLO is replaced.
#[test]
fn the_model_of_the_other_engine_rejects_recordings() {
    let (mut all, mut by_hello, mut later) = (0, 0, 0);
    for tape in tapes() {
        let variant = other_engine(tape);
        let adapted = with_hellos_of(&variant.settings, &tape.recording);
        all += 1;
        by_hello += usize::from(accepts(&variant, &tape.recording).is_err());
        later += usize::from(accepts(&variant, &adapted).is_err());
    }
    // Health checks are the same with both engines.
    assert!(all >= 160 && by_hello == all - 8, "expected all but 8 to be rejected, got {by_hello} of {all}");
    // The applet could have sent most frames of the mux, because any stream-id is possible there. The reverse is not
    // true.
    assert!(later >= 112, "expected at least 112 to be rejected, got {later} of {all}");
}

/// Returns the model of a HAProxy with the other engine under the same conditions.
fn other_engine(tape: &Tape) -> Variant {
    let other = if tape.variant().settings.engine == Engine::Mux { "3.0.11" } else { "3.2.26" };
    let mut recording = Recording { conditions: tape.recording.conditions.clone(), steps: Vec::new() };
    recording.conditions.push(("haproxy".to_owned(), other.to_owned()));
    Variant::of(&recording).expect("only the version differs")
}

/// Returns the recording with the HELLOs that HAProxy sends with `settings`.
fn with_hellos_of(settings: &Settings, recording: &Recording) -> Recording {
    let mut recording = recording.clone();
    for step in &mut recording.steps {
        if let LinkEvent::Bytes(Side::Haproxy, bytes) = &mut step.event
            && bytes.get(4) == Some(&HELLO)
            && let Some(id) = bytes.last_chunk::<36>().copied()
            && bytes.windows(9).any(|window| window == b"engine-id")
        {
            *bytes = hello_of(settings, &id);
        }
    }
    recording
}

fn hello_of(settings: &Settings, id: &EngineId) -> Vec<u8> {
    let mut bytes = Vec::new();
    let hello =
        Hello { max_frame_size: settings.max_frame_size, capabilities: settings.capabilities(), engine_id: Some(id) };
    encode_hello(&mut bytes, &hello);
    bytes
}

/// The core closes no connection with an error if it receives HAProxy's bytes in the recorded pieces and at the
/// recorded times, whether it answers immediately or when the recorded agent did. The model accepts the resulting
/// conversation.
#[test]
fn the_core_serves_every_recording() {
    let mut notifies = 0;
    for tape in tapes() {
        for answers in [Answers::Immediate, Answers::AsRecorded] {
            let replayed = replay(&tape.recording, answers);
            assert_eq!(replayed.errors, [], "{}, answers {answers:?}", tape.name);
            notifies += replayed.notifies;
            if tape.has_correct_agent()
                && let Err(mismatch) = tape.check(&replayed.recording)
            {
                panic!("{}, answers {answers:?}: {mismatch}\n{}", tape.name, replayed.recording);
            }
        }
    }
    assert!(notifies > 2 * 1500, "expected more than 3000 NOTIFYs, got {notifies}");
}

/// The recordings contain no address of a real client: 192.0.2.0/24 and 2001:db8::/32 are reserved for documentation.
/// The judge of the kit finds the faults of agents in recordings, and none of agents that follow the protocol.
#[test]
fn the_judge_finds_what_agents_do_wrong() {
    let mut found = BTreeSet::new();
    for tape in tapes() {
        let findings = judge(&tape.recording).findings;
        if tape.has_correct_agent() {
            assert!(findings.is_empty(), "{}: {}", tape.name, findings[0]);
        }
        found.extend(findings.iter().map(|finding| finding.case));
    }
    for case in ["3.2.4/hello", "3.2.5/hello-in-one-piece", "3.2.7/ack", "3.2.7/ack-fits", "3.2.4/health-check"] {
        assert!(found.contains(case), "expected a finding about {case}, got {found:?}");
    }
}

/// A capture has the same conversations as the recording from which it was written.
#[test]
fn captures_of_recordings_are_read_without_loss() {
    for tape in tapes() {
        let mut capture = Vec::new();
        write_pcapng(&tape.recording, &mut capture).expect("a buffer can be written");
        let import = import(&capture[..], AGENT_PORT).expect("a capture");
        assert_eq!(import.notes, [], "{}", tape.name);
        let (got, expected) = (bytes_by_side(&import.recording), bytes_by_side(&tape.recording));
        assert_eq!(got, expected, "{}", tape.name);
    }
}

/// Returns the bytes of each side of each connection, in the order in which connections open.
fn bytes_by_side(recording: &Recording) -> BTreeMap<usize, [Vec<u8>; 2]> {
    let mut order = Vec::new();
    let mut bytes = BTreeMap::<_, [Vec<u8>; 2]>::new();
    for step in &recording.steps {
        match &step.event {
            LinkEvent::Open => order.push(step.link),
            LinkEvent::Bytes(side, part) => {
                let link = order.iter().position(|link| *link == step.link).expect("the connection is open");
                bytes.entry(link).or_default()[usize::from(*side == Side::Agent)].extend_from_slice(part);
            }
            _ => {}
        }
    }
    bytes
}

#[test]
fn all_addresses_are_reserved_for_documentation() {
    let mut seen = 0;
    for tape in tapes() {
        for (link, frames) in frames_of_haproxy(&tape.recording) {
            for frame in frames.iter().filter(|frame| frame.kind == NOTIFY && frame.flags == 1) {
                let messages = read_messages(&frame.payload).unwrap_or_else(|| panic!("{} {link}", tape.name));
                for (_, value) in messages.into_iter().flat_map(|(_, args)| args) {
                    match value {
                        Value::Ipv4(octets) => assert_eq!(octets[..3], [192, 0, 2], "{}", tape.name),
                        Value::Ipv6(octets) => assert_eq!(octets[..4], [0x20, 1, 0x0d, 0xb8], "{}", tape.name),
                        _ => continue,
                    }
                    seen += 1;
                }
            }
        }
    }
    assert!(seen > 500, "expected more than 500 addresses, got {seen}");
}

/// Returns the frames that HAProxy sent, by connection.
fn frames_of_haproxy(recording: &Recording) -> BTreeMap<u32, Vec<Frame>> {
    let mut streams = BTreeMap::<u32, Vec<u8>>::new();
    for step in &recording.steps {
        if let LinkEvent::Bytes(Side::Haproxy, bytes) = &step.event {
            streams.entry(step.link).or_default().extend_from_slice(bytes);
        }
    }
    let frames = |bytes: Vec<u8>| {
        let mut bytes = &bytes[..];
        std::iter::from_fn(|| Frame::take(&mut bytes)).collect()
    };
    streams.into_iter().map(|(link, bytes)| (link, frames(bytes))).collect()
}

/// Returns the indices of the steps in which HAProxy sent bytes that start with a frame of this type.
fn steps_with(recording: &Recording, kind: u8) -> Vec<usize> {
    let is = |event: &LinkEvent| matches!(event, LinkEvent::Bytes(Side::Haproxy, bytes) if bytes.get(4) == Some(&kind));
    (0..recording.steps.len()).filter(|&at| is(&recording.steps[at].event)).collect()
}

/// Checks that the model rejects the recording after `change`.
#[track_caller]
fn check_rejected(tape: &Tape, what: &str, change: impl FnOnce(&mut Recording)) {
    let mut recording = tape.recording.clone();
    change(&mut recording);
    let result = tape.check(&recording);
    assert!(result.is_err(), "expected the model to reject {what} in {}", tape.name);
}

/// The mux determines every bit of a NOTIFY's header, including the ids and flags.
#[test]
fn a_wrong_bit_in_a_header_of_the_mux_is_rejected() {
    let tape = tape("3.2/burst_warm");
    let notify = steps_with(&tape.recording, NOTIFY)[0];
    for bit in (0..11 * 8).filter(|bit| !LONGER.contains(bit)) {
        check_rejected(tape, &format!("a flipped bit {bit}"), |recording| flip(recording, notify, bit));
    }
}

/// Bits of the length that make the frame so long that it never ends in the recording, which the model accepts.
const LONGER: std::ops::Range<usize> = 18..24;

/// The applet determines every bit of a NOTIFY's header except the stream-id, which may have any value.
#[test]
fn a_wrong_bit_in_a_header_of_the_applet_is_rejected() {
    for name in ["2.6/burst_warm", "3.0/burst_warm"] {
        let tape = tape(name);
        let notify = steps_with(&tape.recording, NOTIFY)[0];
        for bit in (0..9 * 8).chain(10 * 8..11 * 8).filter(|bit| !LONGER.contains(bit)) {
            check_rejected(tape, &format!("a flipped bit {bit}"), |recording| flip(recording, notify, bit));
        }
    }
}

fn flip(recording: &mut Recording, step: usize, bit: usize) {
    if let LinkEvent::Bytes(_, bytes) = &mut recording.steps[step].event {
        bytes[bit / 8] ^= 0x80 >> (bit % 8);
    }
}

#[test]
fn a_missing_disconnect_is_rejected() {
    for name in ["2.6/idle", "3.0/idle"] {
        let tape = tape(name);
        for at in steps_with(&tape.recording, DISCONNECT) {
            check_rejected(tape, "an end without a DISCONNECT", |recording| {
                recording.steps[at].event = LinkEvent::Fin(Side::Haproxy);
            });
        }
    }
}

#[test]
fn a_wrong_disconnect_code_is_rejected() {
    for name in ["2.6/idle", "3.0/idle", "3.2/hello_bad"] {
        let tape = tape(name);
        for at in steps_with(&tape.recording, DISCONNECT) {
            check_rejected(tape, "another code", |recording| {
                let LinkEvent::Bytes(_, bytes) = &mut recording.steps[at].event else { return };
                *bytes = spoa_tests::frames::disconnect(12);
            });
        }
    }
}

#[test]
fn swapped_repeated_and_missing_frames_are_rejected() {
    let tape = tape("3.2/acks_big");
    let first = tape.recording.steps[0].link;
    let notifies = steps_with(&tape.recording, NOTIFY);
    let on_first: Vec<_> = notifies.into_iter().filter(|&at| tape.recording.steps[at].link == first).collect();
    assert!(on_first.len() > 10);
    for pair in on_first.windows(2) {
        check_rejected(tape, "NOTIFYs in another order", |recording| {
            let earlier = recording.steps[pair[0]].event.clone();
            recording.steps[pair[0]].event = std::mem::replace(&mut recording.steps[pair[1]].event, earlier);
        });
        check_rejected(tape, "a NOTIFY that is sent twice", |recording| {
            recording.steps.insert(pair[1], tape.recording.steps[pair[0]].clone());
        });
        check_rejected(tape, "a missing NOTIFY", |recording| drop(recording.steps.remove(pair[0])));
    }
}

/// HAProxy closes an idle connection after its timeout, not before.
#[test]
fn an_early_end_is_rejected() {
    for name in ["2.6/idle", "3.0/idle", "3.2/idle"] {
        let tape = tape(name);
        let notify = steps_with(&tape.recording, NOTIFY)[0];
        let link = tape.recording.steps[notify].link;
        check_rejected(tape, "an early reset", |recording| {
            let mut end = recording.steps[notify].clone();
            (end.link, end.event) = (link, LinkEvent::Reset(Side::Haproxy));
            recording.steps.truncate(notify + 1);
            recording.steps.push(end);
        });
    }
}
