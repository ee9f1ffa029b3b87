//! The Wireshark dissector `sim/wireshark/spop.lua`: decodes all recordings of real HAProxy, from captures that the kit writes,
//! and finds in them what our own decoder finds.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::BufWriter;
use std::net::{Ipv4Addr, Ipv6Addr};
use std::path::{Path, PathBuf};
use std::process::Command;

use spoa_sim_haproxy::recording::{LinkEvent, Recording, Side};
use spoa_sim_kit::capture::write_pcapng;
use spoa_tests::bytes::{ABORT, ACK, Action, FIN, Frame, NOTIFY, UNSET, Value, read_actions, read_kv, read_messages};
use spoa_tests::folder::Folder;
use spoa_tests::process::is_installed;

/// Scenes in which one side breaks the protocol on purpose. The dissector has to report that.
const BROKEN: &[&str] = &["acks_bad", "health_checks_odd", "hello_bad", "hello_unusual"];

/// The fields that are compared, in the order of columns.
const FIELDS: &[&str] = &[
    "spop.type",
    "spop.flags",
    "spop.stream_id",
    "spop.frame_id",
    "spop.kv.key",
    "spop.message.name",
    "spop.arg.name",
    "spop.action.scope",
    "spop.action.name",
    "spop.value.type",
    "spop.value.bool",
    "spop.value.int32",
    "spop.value.uint32",
    "spop.value.int64",
    "spop.value.uint64",
    "spop.value.ipv4",
    "spop.value.ipv6",
    "spop.value.string",
];

/// Separates several values of one field in a packet. No recording has it in a string.
const AGGREGATOR: char = '\u{1f}';

/// The values of each field, in the order of the capture.
type Values = BTreeMap<&'static str, Vec<String>>;

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("the tests are in the workspace").to_owned()
}

/// Returns the recordings whose scene is chosen, as one recording with connections of their own.
fn recordings(is_chosen: impl Fn(&str) -> bool) -> Recording {
    let mut all = Recording::default();
    let (mut links, mut at) = (0, 0);
    let folders = ["2.6", "2.8", "3.0", "3.2"].map(|version| root().join("sim/recordings").join(version));
    let mut paths: Vec<_> = folders
        .iter()
        .flat_map(|folder| fs::read_dir(folder).expect("recordings"))
        .collect::<Result<_, _>>()
        .expect("a folder");
    paths.sort_by_key(fs::DirEntry::path);
    for path in paths.iter().map(fs::DirEntry::path) {
        if !is_chosen(path.file_stem().and_then(|stem| stem.to_str()).expect("a name")) {
            continue;
        }
        let recording = Recording::parse(&fs::read_to_string(&path).expect("a recording")).expect("a recording");
        let (first, start) = (links, at);
        for step in recording.steps {
            links = links.max(first + step.link + 1);
            at = start + step.at;
            all.push(at, first + step.link, step.event);
        }
    }
    all
}

/// Runs tshark with the dissector on a recording, and returns the lines that it prints.
fn tshark(recording: &Recording, arguments: &[&str]) -> Vec<String> {
    let folder = Folder::with(&[]);
    let path = folder.path("capture.pcapng");
    let file = File::create(&path).expect("the folder can be written");
    write_pcapng(recording, BufWriter::new(file)).expect("the folder can be written");
    let script = format!("lua_script:{}", root().join("sim/wireshark/spop.lua").display());
    let mut command = Command::new("tshark");
    // Two passes, as in the window of Wireshark, so that frames refer to later ones.
    command.args(["-2", "-X", &script, "-r"]).arg(&path).args(arguments);
    let output = command.output().expect("tshark can be run");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let text = String::from_utf8(output.stdout).expect("tshark prints UTF-8");
    text.lines().map(str::to_owned).collect()
}

/// Returns the values that the dissector finds.
fn dissected(recording: &Recording) -> Values {
    let aggregator = format!("aggregator={AGGREGATOR}");
    let mut arguments = vec!["-T", "fields", "-E", "occurrence=a", "-E", "separator=/t", "-E", &aggregator];
    FIELDS.iter().for_each(|field| arguments.extend(["-e", *field]));
    let mut values = Values::new();
    for line in tshark(recording, &arguments) {
        for (field, column) in FIELDS.iter().zip(line.split('\t')) {
            // An empty column is no value or an empty one, so empty values are not compared.
            let all = column.split(AGGREGATOR).filter(|value| !value.is_empty());
            values.entry(field).or_default().extend(all.map(str::to_owned));
        }
    }
    values
}

/// Decodes a recording with the codec of the checker.
#[derive(Default)]
struct Decoder {
    values: Values,
    /// The unread bytes of each direction of each connection.
    pending: BTreeMap<(u32, bool), Vec<u8>>,
    /// The fragments of each connection.
    fragments: BTreeMap<u32, Vec<u8>>,
}

impl Decoder {
    fn decode(recording: &Recording) -> Values {
        let mut decoder = Self::default();
        for step in &recording.steps {
            let LinkEvent::Bytes(side, bytes) = &step.event else { continue };
            let key = (step.link, *side == Side::Agent);
            let mut pending = decoder.pending.remove(&key).unwrap_or_default();
            pending.extend_from_slice(bytes);
            let mut rest = &pending[..];
            while let Some(frame) = Frame::take(&mut rest) {
                decoder.frame(step.link, &frame);
            }
            let left = rest.to_vec();
            decoder.pending.insert(key, left);
        }
        decoder.values
    }

    fn add(&mut self, field: &'static str, value: &impl ToString) {
        let value = value.to_string();
        if !value.is_empty() {
            self.values.entry(field).or_default().push(value);
        }
    }

    fn frame(&mut self, link: u32, frame: &Frame) {
        self.add("spop.type", &frame.kind);
        self.add("spop.flags", &format!("{:#010x}", frame.flags));
        self.add("spop.stream_id", &frame.sid);
        self.add("spop.frame_id", &frame.fid);
        match frame.kind {
            NOTIFY | UNSET => self.fragment(link, frame),
            ACK => self.actions(&frame.payload),
            _ => self.items(&frame.payload),
        }
    }

    /// Decodes the messages of a NOTIFY when it is whole.
    fn fragment(&mut self, link: u32, frame: &Frame) {
        let mut payload =
            if frame.kind == NOTIFY { Vec::new() } else { self.fragments.remove(&link).unwrap_or_default() };
        payload.extend_from_slice(&frame.payload);
        match (frame.flags & FIN != 0, frame.flags & ABORT != 0) {
            (true, false) => self.messages(&payload),
            (true, true) => {}
            (false, _) => {
                self.fragments.insert(link, payload);
            }
        }
    }

    fn items(&mut self, payload: &[u8]) {
        for (key, value) in read_kv(payload).expect("a well-formed list") {
            self.add("spop.kv.key", &key);
            self.value(&value);
        }
    }

    fn messages(&mut self, payload: &[u8]) {
        for (name, args) in read_messages(payload).expect("well-formed messages") {
            self.add("spop.message.name", &String::from_utf8_lossy(&name));
            for (name, value) in args {
                self.add("spop.arg.name", &String::from_utf8_lossy(&name));
                self.value(&value);
            }
        }
    }

    fn actions(&mut self, payload: &[u8]) {
        for action in read_actions(payload).expect("well-formed actions") {
            let (Action::SetVar { scope, name, .. } | Action::UnsetVar { scope, name }) = &action;
            self.add("spop.action.scope", scope);
            self.add("spop.action.name", name);
            if let Action::SetVar { value, .. } = &action {
                self.value(value);
            }
        }
    }

    fn value(&mut self, value: &Value) {
        self.add("spop.value.type", &(value.encode()[0] & 15));
        match value {
            Value::Null | Value::Binary(_) | Value::Raw(_) => {}
            Value::Bool(value) => self.add("spop.value.bool", &u8::from(*value)),
            Value::Int32(value) => self.add("spop.value.int32", value),
            Value::Uint32(value) => self.add("spop.value.uint32", value),
            Value::Int64(value) => self.add("spop.value.int64", value),
            Value::Uint64(value) => self.add("spop.value.uint64", value),
            Value::Ipv4(octets) => self.add("spop.value.ipv4", &Ipv4Addr::from(*octets)),
            Value::Ipv6(octets) => self.add("spop.value.ipv6", &Ipv6Addr::from(*octets)),
            Value::String(text) => self.add("spop.value.string", &String::from_utf8_lossy(text)),
        }
    }
}

/// True for text that tshark prints as it is.
fn is_plain(text: &str) -> bool {
    text.chars().all(|c| matches!(c, ' '..='~') && c != '\\') && text.len() < 200
}

#[test]
fn the_dissector_finds_what_our_decoder_finds() {
    if !is_installed("tshark", "SPOA_REQUIRE_TSHARK") {
        return;
    }
    let recording = recordings(|scene| !BROKEN.contains(&scene));
    let (got, expected) = (dissected(&recording), Decoder::decode(&recording));
    let frames = expected["spop.type"].len();
    assert!(frames > 5000, "expected more than 5000 frames, got {frames}");
    for field in FIELDS {
        let none = Vec::new();
        let (got, expected) = (got.get(field).unwrap_or(&none), expected.get(field).unwrap_or(&none));
        assert_eq!(got.len(), expected.len(), "{field}");
        for (number, (got, expected)) in got.iter().zip(expected).enumerate() {
            assert!(got == expected || !is_plain(expected), "{field} {number}: expected {expected}, got {got}");
        }
    }
}

#[test]
fn the_dissector_reports_broken_frames_and_only_those() {
    if !is_installed("tshark", "SPOA_REQUIRE_TSHARK") {
        return;
    }
    let reported = |recording: &Recording| {
        let lines = tshark(recording, &["-Y", "_ws.expert && spop", "-T", "fields", "-e", "_ws.expert.message"]);
        lines.into_iter().filter(|line| !line.starts_with("Connection")).collect::<Vec<_>>()
    };
    let good = reported(&recordings(|scene| !BROKEN.contains(&scene)));
    assert!(good.is_empty(), "expected no report about correct frames, got {good:#?}");
    for scene in BROKEN {
        let broken = reported(&recordings(|name| name == *scene));
        assert!(!broken.is_empty(), "expected a report about {scene}");
        assert!(!broken.iter().any(|line| line.contains("Lua")), "{broken:#?}");
    }
}

/// Each ACK refers to its NOTIFY, with the time between them.
#[test]
fn the_dissector_joins_acks_to_notifys() {
    if !is_installed("tshark", "SPOA_REQUIRE_TSHARK") {
        return;
    }
    let recording = recordings(|scene| scene == "acks_empty");
    let acks = Decoder::decode(&recording)["spop.type"].iter().filter(|kind| **kind == ACK.to_string()).count();
    let lines =
        tshark(&recording, &["-Y", "spop.response_to", "-T", "fields", "-e", "spop.response_to", "-e", "spop.time"]);
    let joined: usize = lines.iter().map(|line| line.split('\t').next().unwrap_or_default().split(',').count()).sum();
    assert!(acks > 0);
    assert_eq!(joined, acks, "expected every ACK to refer to its NOTIFY");
}
