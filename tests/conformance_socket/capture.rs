//! `--capture`: every connection is recorded in a ring of files, which the kit imports.

use std::fs::{self, File, Permissions};
use std::io::BufReader;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use spoa_sim_haproxy::recording::{LinkEvent, Side};
use spoa_sim_kit::capture::{Import, Importer, Note};
use spoa_sim_kit::judge::judge;
use spoa_tests::agent::{Agent, run};
use spoa_tests::bytes::Value;
use spoa_tests::client::Client;
use spoa_tests::folder::Folder;
use spoa_tests::frames::{Hello, agent_disconnect, check_client_ip, disconnect, notify};

use crate::operations::with_admin;

/// Returns the captures in a folder, the oldest first.
fn files(folder: &Path) -> Vec<PathBuf> {
    let mut files: Vec<_> =
        fs::read_dir(folder).expect("the folder exists").map(|entry| entry.expect("a file").path()).collect();
    files.sort();
    files
}

fn import(folder: &Path, addr: &str) -> Import {
    let port = addr.rsplit_once(':').and_then(|(_, port)| port.parse().ok()).unwrap_or(12345);
    let mut importer = Importer::new(port);
    for path in files(folder) {
        let file = File::open(&path).expect("the file is readable");
        importer.add(BufReader::new(file)).expect("the file is a capture");
    }
    importer.finish()
}

/// Returns the bytes of one side of a connection.
fn bytes(import: &Import, link: u32, side: Side) -> Vec<u8> {
    let of_link = import.recording.steps.iter().filter(|step| step.link == link);
    let bytes = of_link.filter_map(|step| match &step.event {
        LinkEvent::Bytes(from, bytes) if *from == side => Some(bytes.as_slice()),
        _ => None,
    });
    bytes.collect::<Vec<_>>().concat()
}

/// Returns the ends of a connection, in order.
fn ends(import: &Import, link: u32) -> Vec<LinkEvent> {
    let events = import.recording.steps.iter().filter(|step| step.link == link).map(|step| step.event.clone());
    events.filter(|event| matches!(event, LinkEvent::Fin(_) | LinkEvent::Reset(_))).collect()
}

#[test]
fn a_capture_has_the_bytes_and_ends_of_all_connections() {
    let unix = Folder::with(&[]);
    let socket = format!("unix:{}", unix.path("s").display());
    for listen in ["127.0.0.1:0", "[::1]:0", &socket] {
        let folder = Folder::with(&[]);
        let captures = folder.path("captures");
        let options =
            ["--listen", listen, "--capture", captures.to_str().expect("a plain path"), "--refuse-delay", "0"];
        let mut agent = Agent::spawn(&options);
        agent.wait_for_line("records all connections, with what clients send");
        let ask = notify(1, 1, &[check_client_ip(Value::Ipv4([192, 0, 2, 1]))]);
        let mut client = Client::ready(agent.addr());
        client.send(&ask);
        let answer = client.frame().encode();
        client.send(&disconnect(0));
        assert_eq!(client.frame().encode(), agent_disconnect(0));
        client.finish();
        // The agent has noticed the end when it has closed the connection.
        assert_eq!(client.read_to_end().expect("the agent closes"), b"");
        let mut other = Client::ready(agent.addr());
        other.send(b"GET / HTTP/1.1\r\n\r\n");
        other.read_to_end().expect("the agent closes");
        agent.terminate();
        assert!(agent.wait().success());
        let import = import(&captures, agent.addr());
        assert!(import.notes.is_empty() && import.connections.len() == 2, "{:?}", import.notes);
        assert_eq!(bytes(&import, 0, Side::Haproxy), [Hello::mux().encode(), ask, disconnect(0)].concat());
        let sent = bytes(&import, 0, Side::Agent);
        assert!(sent.ends_with(&[answer, agent_disconnect(0)].concat()), "{sent:02x?}");
        assert!(ends(&import, 0).contains(&LinkEvent::Fin(Side::Agent)), "{:?}", ends(&import, 0));
        assert!(bytes(&import, 1, Side::Haproxy).ends_with(b"GET / HTTP/1.1\r\n\r\n"));
        assert!(judge(&import.recording).findings.is_empty());
        // Nobody else can read what clients sent.
        let modes = [&captures, &files(&captures)[0]].map(|path| fs::metadata(path).expect("it exists").permissions());
        assert_eq!(modes.map(|mode| mode.mode() & 0o777), [0o700, 0o600]);
    }
}

#[test]
fn the_oldest_files_of_the_ring_are_removed() {
    let folder = Folder::with(&[]);
    let captures = folder.path("captures");
    let options = ["--capture", captures.to_str().expect("a plain path"), "--capture-max", "1048576"];
    let mut numbers = Vec::new();
    // The files of the first agent belong to the ring of the second.
    for _ in 0..2 {
        let mut agent = Agent::spawn(&options);
        let mut client = Client::ready(agent.addr());
        let large = notify(1, 1, &[spoa_tests::bytes::message("m", &[("a", Value::Binary(vec![7; 15_000]))])]);
        for _ in 0..100 {
            client.send(&large);
            client.frame();
        }
        agent.terminate();
        assert!(agent.wait().success());
        let all = files(&captures);
        let len: u64 = all.iter().map(|path| fs::metadata(path).expect("it exists").len()).sum();
        assert!(all.len() == 8 && len < (1 << 20) + 8 * 33_000, "{} files, {len} bytes", all.len());
        numbers.push(all[0].clone());
        // The beginning of the connection is gone, but nothing is wrong with what is left.
        let import = import(&captures, agent.addr());
        let is_only_note = matches!(&import.notes[..], [Note::WithoutBeginning(_)]);
        assert!(import.segments > 50 && is_only_note, "{} {:?}", import.segments, import.notes);
    }
    assert!(numbers[0] < numbers[1], "{numbers:?}");
}

#[test]
fn a_capture_that_cannot_be_written_costs_no_answer() {
    let folder = Folder::with(&[("file", b"")]);
    let file = folder.path("file");
    let output = run(&["--capture", file.to_str().expect("a plain path")]);
    let text = String::from_utf8(output.stderr).expect("the text is UTF-8");
    assert!(!output.status.success() && text.contains("cannot write captures to"), "{text}");
    let captures = folder.path("captures");
    let (agent, admin) =
        with_admin(&["--capture", captures.to_str().expect("a plain path"), "--capture-max", "1048576"]);
    fs::remove_dir_all(&captures).expect("the folder exists");
    let mut client = Client::ready(agent.addr());
    let large = notify(1, 1, &[spoa_tests::bytes::message("m", &[("a", Value::Binary(vec![7; 15_000]))])]);
    // No file can be created in a folder that is gone.
    while admin.sample("spoa_capture_packets_total{result=\"file\"}") < 1.0 {
        client.send(&large);
        client.frame();
    }
    agent.wait_for_line("cannot write a capture: ");
    agent.wait_for_line("missing in the capture");
    // When the folder is back, the capture goes on.
    fs::create_dir(&captures).expect("the folder is gone");
    fs::set_permissions(&captures, Permissions::from_mode(0o700)).expect("the folder exists");
    let before = admin.sample("spoa_capture_packets_total{result=\"written\"}");
    while admin.sample("spoa_capture_packets_total{result=\"written\"}") <= before {
        client.send(&large);
        client.frame();
    }
    assert!(!files(&captures).is_empty());
}

#[test]
fn options_of_captures_are_checked() {
    for (options, part) in [
        (&["--capture-max", "1048576"][..], "capture-max has no effect without capture"),
        (&["--capture", "x", "--capture-max", "1000"], "expected a whole number from 1048576 on"),
        (&["--capture", ""], "expected a folder"),
    ] {
        let output = run(options);
        let text = String::from_utf8(output.stderr).expect("the text is UTF-8");
        assert!(output.status.code() == Some(2) && text.contains(part), "{options:?}: {text}");
    }
}
