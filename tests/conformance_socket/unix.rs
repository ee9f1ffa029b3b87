//! Unix sockets: the protocol is the same, the file is one more thing to get wrong.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};

use spoa_tests::agent::{Agent, run};
use spoa_tests::client::Client;
use spoa_tests::frames::{Hello, ack, agent_hello, disconnect, documented_notify, notify};

/// A folder of a test's own, removed when it is done. Short, since a socket's path has room for 107 bytes.
struct Folder(PathBuf);

impl Folder {
    fn new(name: &str) -> Self {
        let path = std::env::temp_dir().join(format!("spoa-{name}-{}", std::process::id()));
        fs::create_dir_all(&path).expect("a folder for sockets");
        Self(path)
    }

    fn socket(&self) -> (PathBuf, String) {
        let path = self.0.join("s");
        let text = path.to_str().expect("a plain path").to_owned();
        (path, text)
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

fn serves(agent: &Agent) {
    let mut client = Client::ready(agent.addr());
    client.exchange(&notify(1, 1, &[]), &ack(1, 1, &[]));
    client.is_disconnected(&disconnect(0), 0);
}

fn is_refused(path: &str, why: &str) {
    let output = run(&["--listen", path]);
    let text = String::from_utf8(output.stderr).expect("text");
    assert_eq!((output.status.code(), text.lines().count()), (Some(1), 1), "{text}");
    assert!(text.contains(path) && text.contains(why), "{text}");
}

#[test]
fn the_protocol_is_the_same() {
    let folder = Folder::new("same");
    let (path, text) = folder.socket();
    for option in [text.clone(), format!("unix:{text}")] {
        let mut agent = Agent::spawn(&["--listen", &option, "--refuse-delay", "0"]);
        assert_eq!(agent.addr(), format!("unix:{text}"));
        serves(&agent);
        let mut check = Client::fresh(agent.addr());
        check.send(&Hello::health_check().encode());
        assert_eq!(check.rest().expect("no reset"), agent_hello(16380, "fragmentation"));
        let crossing = documented_notify().repeat(10_000);
        Client::ready(agent.addr()).is_disconnected(&[disconnect(2), crossing].concat(), 2);
        agent.terminate();
        assert!(agent.wait().success());
        assert!(!path.exists(), "it takes its file with it");
    }
}

#[test]
fn a_stale_socket_is_replaced() {
    let folder = Folder::new("stale");
    let (path, text) = folder.socket();
    drop(UnixListener::bind(&path).unwrap());
    assert!(path.exists(), "nobody removed it");
    serves(&Agent::spawn(&["--listen", &text]));
    // That one was killed, so its own is stale now.
    assert!(path.exists());
    serves(&Agent::spawn(&["--listen", &text]));
}

#[test]
fn a_live_socket_is_left_alone() {
    let folder = Folder::new("live");
    let (_, text) = folder.socket();
    let agent = Agent::spawn(&["--listen", &text]);
    is_refused(&text, "another process");
    serves(&agent);
}

#[test]
fn a_file_that_is_no_socket_is_left_alone() {
    let folder = Folder::new("file");
    let (path, text) = folder.socket();
    fs::write(&path, "precious").unwrap();
    is_refused(&text, "that is not a socket");
    assert_eq!(fs::read_to_string(&path).unwrap(), "precious");
}

#[test]
fn a_path_that_cannot_be_is_told() {
    let folder = Folder::new("path");
    is_refused(Path::new(&folder.0).join("no/such/folder/s").to_str().unwrap(), "");
    is_refused(Path::new(&folder.0).join("x".repeat(120)).to_str().unwrap(), "");
}

/// The successor has taken the path over: what is there now is not the one to remove.
#[test]
fn a_successors_socket_is_left_alone() {
    let folder = Folder::new("next");
    let (path, text) = folder.socket();
    let mut old = Agent::spawn(&["--listen", &text]);
    fs::remove_file(&path).unwrap();
    let new = Agent::spawn(&["--listen", &text]);
    old.terminate();
    assert!(old.wait().success());
    assert!(path.exists());
    serves(&new);
}

#[test]
fn who_may_connect_is_part_of_the_address() {
    let folder = Folder::new("mode");
    let (path, text) = folder.socket();
    let mode = || path.metadata().expect("it is there").mode() & 0o777;
    for (suffix, wanted) in [(",mode=0660", 0o660), (",mode=600", 0o600)] {
        let agent = Agent::spawn(&["--listen", &format!("unix:{text}{suffix}")]);
        assert_eq!((agent.addr(), mode()), (&*format!("unix:{text}"), wanted));
        serves(&agent);
    }
    let admin = Agent::spawn(&["--admin", &format!("unix:{text},mode=0606")]);
    admin.wait_for_line("metrics and health on");
    assert_eq!(mode(), 0o606);
    drop(admin);
    for (suffix, code, wanted) in [
        (",mod=0660", 2, "'mod=0660' in"),
        (",mode=9", 2, "is not a mode: expected an octal number up to 0777"),
        (",group=no-such-group", 1, "there is no group \"no-such-group\""),
        (",user=no-such-user", 1, "there is no user \"no-such-user\""),
    ] {
        let output = run(&["--listen", &format!("{text}{suffix}")]);
        let said = String::from_utf8(output.stderr).expect("text");
        assert_eq!((output.status.code(), said.lines().count()), (Some(code), 1), "{said}");
        assert!(said.contains(wanted), "{said}");
        assert!(!PathBuf::from(format!("{text}{suffix}")).exists(), "it is no part of the name");
    }
    if rustix::process::geteuid().is_root() {
        let _agent = Agent::spawn(&["--listen", &format!("{text},mode=0660,user=12,group=34")]);
        let file = path.metadata().expect("it is there");
        assert_eq!((file.uid(), file.gid(), mode()), (12, 34, 0o660));
    }
}
