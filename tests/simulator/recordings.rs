//! What real HAProxy said, from `sim/recordings`: the models must be able to say it, and the core to bear it.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::LazyLock;

use spoa_sim_haproxy::codec::{EngineId, Hello, encode_hello};
use spoa_sim_haproxy::recording::{Recording, Side, What};
use spoa_sim_haproxy::{Engine, Mismatch, Settings, Variant, accepts};
use spoa_tests::bytes::{DISCONNECT, Frame, HELLO, NOTIFY, Value, read_messages};

use crate::replay::{Answers, replay};

/// A recording, and where it is from.
struct Tape {
    /// `3.2/burst_cold`.
    name: String,
    version: String,
    len: usize,
    recording: Recording,
}

impl Tape {
    fn variant(&self) -> Variant {
        Variant::of(&self.recording).unwrap_or_else(|error| panic!("{}: {error}", self.name))
    }

    fn judge(&self, recording: &Recording) -> Result<(), Mismatch> {
        accepts(&self.variant(), recording)
    }

    /// The model is not judged by what an agent that breaks the rules would have got away with.
    fn agent_is_good(&self) -> bool {
        self.recording.condition("agent") != Some("odd")
    }

    fn conversations(&self) -> usize {
        self.recording.steps.iter().filter(|step| step.what == What::Open).count()
    }
}

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../sim/recordings")
}

/// All of them, read once.
fn tapes() -> &'static [Tape] {
    static TAPES: LazyLock<Vec<Tape>> = LazyLock::new(read_tapes);
    &TAPES
}

fn read_tapes() -> Vec<Tape> {
    let names = |path: &Path| -> Vec<String> {
        let entries = fs::read_dir(path).expect("the recordings are there");
        entries.map(|entry| entry.expect("it can be read").file_name().to_string_lossy().into_owned()).collect()
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
    tapes().iter().find(|tape| tape.name == name).unwrap_or_else(|| panic!("there is no {name}"))
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
        if let Err(mismatch) = tape.judge(&tape.recording) {
            panic!("sim/recordings/{}.rec: {mismatch}", tape.name);
        }
    }
}

/// The counts that the README of the recordings gives, one row a version.
#[test]
fn there_are_hundreds_and_the_table_says_how_many() {
    let mut versions = BTreeMap::<_, [usize; 3]>::new();
    for tape in tapes() {
        let [scenes, conversations, bytes] = versions.entry(tape.version.clone()).or_default();
        *scenes += 1;
        *conversations += tape.conversations();
        *bytes += tape.len;
    }
    assert_eq!(versions.keys().collect::<Vec<_>>(), ["2.6", "3.0", "3.2"]);
    let readme = fs::read_to_string(folder().join("README.md")).expect("it is there");
    for (version, [scenes, conversations, bytes]) in versions {
        assert!(conversations >= 120, "only {conversations} of {version}");
        let row = format!("| {scenes} | {conversations} | {bytes} |");
        assert!(
            readme.lines().any(|line| line.starts_with(&format!("| {version}")) && line.ends_with(&row)),
            "the row of {version} ends with {row}"
        );
    }
}

/// Held against the other engine they are refused: for the HELLO at first, and if that is mended, most of them for what
/// comes later.
#[test]
fn the_other_engine_is_refused() {
    let (mut all, mut by_hello, mut later) = (0, 0, 0);
    for tape in tapes() {
        let variant = other_engine(tape);
        let mended = with_hellos_of(&variant.settings, &tape.recording);
        all += 1;
        by_hello += usize::from(accepts(&variant, &tape.recording).is_err());
        later += usize::from(accepts(&variant, &mended).is_err());
    }
    // Health checks are the same in both.
    assert!(all >= 120 && by_hello == all - 6, "{by_hello} of {all}");
    // The mux does little that the applet could not do: numbers of streams are anything there. The applet does.
    assert!(later >= 84, "{later} of {all}");
}

/// The same conditions, on a HAProxy of the other engine.
fn other_engine(tape: &Tape) -> Variant {
    let other = if tape.variant().settings.engine == Engine::Mux { "3.0.11" } else { "3.2.26" };
    let mut recording = Recording { conditions: tape.recording.conditions.clone(), steps: Vec::new() };
    recording.conditions.push(("haproxy".to_owned(), other.to_owned()));
    Variant::of(&recording).expect("only the version is another")
}

/// The same, with HELLOs as `settings` has them.
fn with_hellos_of(settings: &Settings, recording: &Recording) -> Recording {
    let mut recording = recording.clone();
    for step in &mut recording.steps {
        if let What::Bytes(Side::Haproxy, bytes) = &mut step.what
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

/// HAProxy's bytes, as they were cut and when they came, are nothing that the core ends a conversation over, whether it
/// answers at once or when the recorded agent did; and what comes of it is what the model could have had with it.
#[test]
fn the_core_bears_them_all() {
    let mut notifies = 0;
    for tape in tapes() {
        for answers in [Answers::InPlace, Answers::AsRecorded] {
            let replayed = replay(&tape.recording, answers);
            assert_eq!(replayed.errors, [], "{}, answered {answers:?}", tape.name);
            notifies += replayed.notifies;
            if tape.agent_is_good()
                && let Err(mismatch) = tape.judge(&replayed.recording)
            {
                panic!("{}, answered {answers:?}: {mismatch}\n{}", tape.name, replayed.recording);
            }
        }
    }
    assert!(notifies > 2 * 1500, "only {notifies} NOTIFYs were answered");
}

/// Only addresses that belong to nobody: 192.0.2.0/24 and 2001:db8::/32 are for documentation.
#[test]
fn no_address_is_anybodys() {
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
    assert!(seen > 500, "{seen} addresses");
}

fn frames_of_haproxy(recording: &Recording) -> BTreeMap<u32, Vec<Frame>> {
    let mut streams = BTreeMap::<u32, Vec<u8>>::new();
    for step in &recording.steps {
        if let What::Bytes(Side::Haproxy, bytes) = &step.what {
            streams.entry(step.link).or_default().extend_from_slice(bytes);
        }
    }
    let frames = |bytes: Vec<u8>| {
        let mut bytes = &bytes[..];
        std::iter::from_fn(|| Frame::take(&mut bytes)).collect()
    };
    streams.into_iter().map(|(link, bytes)| (link, frames(bytes))).collect()
}

/// Which steps begin with a frame of HAProxy's of this type.
fn steps_with(recording: &Recording, kind: u8) -> Vec<usize> {
    let is = |what: &What| matches!(what, What::Bytes(Side::Haproxy, bytes) if bytes.get(4) == Some(&kind));
    (0..recording.steps.len()).filter(|&at| is(&recording.steps[at].what)).collect()
}

#[track_caller]
fn refused(tape: &Tape, why: &str, change: impl FnOnce(&mut Recording)) {
    let mut recording = tape.recording.clone();
    change(&mut recording);
    let judged = tape.judge(&recording);
    assert!(judged.is_err(), "{why} goes unnoticed in {}", tape.name);
}

/// Any bit of a NOTIFY's header, of its ids as of its flags, is one that the mux would have set otherwise.
#[test]
fn a_wrong_bit_in_a_header_is_found() {
    let tape = tape("3.2/burst_warm");
    let notify = steps_with(&tape.recording, NOTIFY)[0];
    for bit in (0..11 * 8).filter(|bit| !LONGER.contains(bit)) {
        refused(tape, &format!("bit {bit}"), |recording| flip(recording, notify, bit));
    }
}

/// These bits of the length make the frame so long that it never ends: that may be so.
const LONGER: std::ops::Range<usize> = 18..24;

/// Stream-ids of the applet engine are HAProxy's own affair; the rest is not.
#[test]
fn a_wrong_bit_in_an_applets_header_is_found() {
    for name in ["2.6/burst_warm", "3.0/burst_warm"] {
        let tape = tape(name);
        let notify = steps_with(&tape.recording, NOTIFY)[0];
        for bit in (0..9 * 8).chain(10 * 8..11 * 8).filter(|bit| !LONGER.contains(bit)) {
            refused(tape, &format!("bit {bit}"), |recording| flip(recording, notify, bit));
        }
    }
}

fn flip(recording: &mut Recording, step: usize, bit: usize) {
    if let What::Bytes(_, bytes) = &mut recording.steps[step].what {
        bytes[bit / 8] ^= 0x80 >> (bit % 8);
    }
}

#[test]
fn a_missing_disconnect_is_found() {
    for name in ["2.6/idle", "3.0/idle"] {
        let tape = tape(name);
        for at in steps_with(&tape.recording, DISCONNECT) {
            refused(tape, "an end without a DISCONNECT", |recording| {
                recording.steps[at].what = What::Fin(Side::Haproxy);
            });
        }
    }
}

#[test]
fn another_code_is_found() {
    for name in ["2.6/idle", "3.0/idle", "3.2/hello_bad"] {
        let tape = tape(name);
        for at in steps_with(&tape.recording, DISCONNECT) {
            refused(tape, "another code", |recording| {
                let What::Bytes(_, bytes) = &mut recording.steps[at].what else { return };
                *bytes = spoa_tests::frames::disconnect(12);
            });
        }
    }
}

#[test]
fn exchanged_and_repeated_frames_are_found() {
    let tape = tape("3.2/acks_big");
    let first = tape.recording.steps[0].link;
    let notifies = steps_with(&tape.recording, NOTIFY);
    let on_first: Vec<_> = notifies.into_iter().filter(|&at| tape.recording.steps[at].link == first).collect();
    assert!(on_first.len() > 10);
    for pair in on_first.windows(2) {
        refused(tape, "NOTIFYs in another order", |recording| {
            let earlier = recording.steps[pair[0]].what.clone();
            recording.steps[pair[0]].what = std::mem::replace(&mut recording.steps[pair[1]].what, earlier);
        });
        refused(tape, "a NOTIFY sent twice", |recording| {
            recording.steps.insert(pair[1], tape.recording.steps[pair[0]].clone());
        });
        refused(tape, "a NOTIFY that is not there", |recording| drop(recording.steps.remove(pair[0])));
    }
}

/// An idle connection goes when its time has come, not before.
#[test]
fn an_early_end_is_found() {
    for name in ["2.6/idle", "3.0/idle", "3.2/idle"] {
        let tape = tape(name);
        let notify = steps_with(&tape.recording, NOTIFY)[0];
        let link = tape.recording.steps[notify].link;
        refused(tape, "a reset", |recording| {
            let mut end = recording.steps[notify].clone();
            (end.link, end.what) = (link, What::Reset(Side::Haproxy));
            recording.steps.truncate(notify + 1);
            recording.steps.push(end);
        });
    }
}
