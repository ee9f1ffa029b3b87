//! Captures of tcpdump: HAProxy with the agents that are installed, of this project and of others, is imported without loss.

use std::collections::BTreeSet;
use std::fs::{self, File};
use std::io::BufReader;
use std::net::UdpSocket;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::{Mutex, PoisonError};
use std::time::Instant;
use std::{env, thread};

use spoa_sim_kit::capture::{Import, import};
use spoa_sim_kit::judge::judge;
use spoa_sim_kit::socket::Address;
use spoa_sim_kit::subject::Subject;
use spoa_tests::agent::binary;
use spoa_tests::folder::Folder;
use spoa_tests::process::is_installed;

use crate::client::Request;
use crate::haproxy::{Install, Process, Setup, target_dir};
use crate::log::WAIT_MAX;

/// Agents of other projects, which `tests/kit/agents/install` installs.
const OTHERS: &[&str] = &["haproxyspoa", "spoe-forge", "spop"];
/// The number of requests one after the other, and then of those at the same time.
const REQUESTS: usize = 20;
/// The last packet of a capture.
const END: &[u8] = b"end of the capture";

/// An agent, and the rules that it is known to break.
struct Agent {
    name: &'static str,
    command: String,
    address: Option<Address>,
    broken: BTreeSet<String>,
}

/// Captures the traffic of HAProxy with each agent, and imports it.
pub(crate) fn by_tcpdump(install: &Install) {
    if !is_installed("tcpdump", "SPOA_REQUIRE_TCPDUMP") {
        return;
    }
    // The port of one of the agents cannot be chosen.
    static ALONE: Mutex<()> = Mutex::new(());
    let _alone = ALONE.lock().unwrap_or_else(PoisonError::into_inner);
    for agent in agents() {
        let import = capture(install, &agent);
        let name = agent.name;
        assert!(import.notes.is_empty(), "{name}: expected no loss, got {:?}", import.notes);
        let judgement = judge(&import.recording);
        let (notifys, answered) = (judgement.notifys, judgement.latencies.len());
        let is_own = agent.broken.is_empty();
        let least = if is_own { 2 * REQUESTS } else { REQUESTS };
        assert!(answered >= least, "{name}: expected {least} NOTIFYs with an ACK, got {answered} of {notifys}");
        assert!(!is_own || answered == notifys, "{name}: {answered} of {notifys} NOTIFYs are answered");
        let unexpected: Vec<_> =
            judgement.findings.iter().filter(|finding| !agent.broken.contains(finding.case)).collect();
        assert!(unexpected.is_empty(), "{name}: {unexpected:#?}");
    }
}

/// Returns the agents that are installed.
fn agents() -> Vec<Agent> {
    let own = Agent {
        name: "spoa",
        command: format!("exec {} --listen 127.0.0.1:{{port}} -n 1", binary().display()),
        address: None,
        broken: BTreeSet::new(),
    };
    let folder = env::var_os("SPOA_AGENTS_DIR").map_or_else(|| target_dir().join("agents"), PathBuf::from);
    let others = OTHERS.iter().filter_map(|name| {
        let path = folder.join(name);
        let command = fs::read_to_string(path.with_extension("cmd")).ok()?;
        let port = fs::read_to_string(path.with_extension("port")).ok();
        let address = port.map(|port| Address::Tcp(format!("127.0.0.1:{}", port.trim())));
        Some(Agent { name, command: format!("exec {}", command.trim()), address, broken: broken(name) })
    });
    [own].into_iter().chain(others).collect()
}

/// Returns the cases that an agent is known to fail.
fn broken(name: &str) -> BTreeSet<String> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("kit/agents").join(name).with_extension("expected");
    let text = fs::read_to_string(path).expect("a file per agent");
    text.lines().filter_map(|line| Some(line.strip_suffix(" fail")?.to_owned())).collect()
}

fn capture(install: &Install, agent: &Agent) -> Import {
    let subject = Subject::start(&agent.command, agent.address.clone(), false).expect("the agent starts");
    let address = subject.address().to_string();
    let (_, port) = address.rsplit_once(':').expect("an address has a port");
    let number = port.parse().expect("a number");
    let folder = Folder::with(&[]);
    let path = folder.path("traffic.pcap");
    let mut tcpdump = Command::new("tcpdump");
    // The packets are written as they are captured, by the user who runs the test.
    tcpdump.args(["-i", "lo", "-U", "-s", "0", "-B", "8192", "-Z", "root", "-w"]).arg(&path).args(["port", port]);
    let mut tcpdump = Process::start(&mut tcpdump);
    tcpdump.lines.wait_count("listening on", 1);
    let haproxy = Setup::scoring(&address).start(install);
    // Other agents do not always answer. The capture shows it.
    let ask = || drop(Request::get("/").send(haproxy.addr));
    (0..REQUESTS).for_each(|_| ask());
    thread::scope(|scope| (0..REQUESTS).for_each(|_| drop(scope.spawn(ask))));
    drop(haproxy);
    drop(subject);
    // A datagram is the last packet. Once it is in the file, everything before it is.
    let socket = UdpSocket::bind("127.0.0.1:0").expect("a port is free");
    socket.send_to(END, &address).expect("a datagram can be sent");
    let until = Instant::now() + WAIT_MAX;
    while !fs::read(&path).expect("tcpdump has written").windows(END.len()).any(|bytes| bytes == END) {
        assert!(Instant::now() < until, "the capture does not end");
        thread::yield_now();
    }
    tcpdump.signal("INT");
    assert!(tcpdump.wait().success());
    tcpdump.lines.wait(0, "0 packets dropped", |line| line.starts_with("0 packets dropped").then_some(()));
    import(BufReader::new(File::open(&path).expect("tcpdump has written")), number).expect("a capture")
}
