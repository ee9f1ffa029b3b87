//! Unix sockets: the protocol over them, and their files.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};

use spoa_tests::agent::{Agent, run};
use spoa_tests::client::Client;
use spoa_tests::frames::{Hello, ack, agent_hello, disconnect, documented_notify, notify};

/// A folder for the socket of one test, which is removed when dropped. Its name is short, because the path of a socket
/// has at most 107 bytes.
struct Folder(PathBuf);

impl Folder {
    fn new(name: &str) -> Self {
        let path = std::env::temp_dir().join(format!("spoa-{name}-{}", std::process::id()));
        fs::create_dir_all(&path).expect("the temporary folder is writable");
        Self(path)
    }

    fn socket(&self) -> (PathBuf, String) {
        let path = self.0.join("s");
        let text = path.to_str().expect("the path is UTF-8").to_owned();
        (path, text)
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

/// Checks that the agent serves a NOTIFY and a DISCONNECT.
fn check_serves(agent: &Agent) {
    let mut client = Client::ready(agent.addr());
    client.exchange(&notify(1, 1, &[]), &ack(1, 1, &[]));
    client.expect_disconnect(&disconnect(0), 0);
}

/// Checks that `spoa` does not start on this path, and reports the path and `reason` in one line.
fn check_start_fails(path: &str, reason: &str) {
    let output = run(&["--listen", path]);
    let text = String::from_utf8(output.stderr).expect("the text is UTF-8");
    assert_eq!((output.status.code(), text.lines().count()), (Some(1), 1), "{text}");
    assert!(text.contains(path) && text.contains(reason), "expected {reason:?} for {path}, got {text}");
}

#[test]
fn the_protocol_is_the_same() {
    let folder = Folder::new("same");
    let (path, text) = folder.socket();
    for option in [text.clone(), format!("unix:{text}")] {
        let mut agent = Agent::spawn(&["--listen", &option, "--refuse-delay", "0"]);
        assert_eq!(agent.addr(), format!("unix:{text}"));
        check_serves(&agent);
        let mut check = Client::fresh(agent.addr());
        check.send(&Hello::health_check().encode());
        assert_eq!(check.read_to_end().expect("the connection is not reset"), agent_hello(16380, "fragmentation"));
        let crossing = documented_notify().repeat(10_000);
        Client::ready(agent.addr()).expect_disconnect(&[disconnect(2), crossing].concat(), 2);
        agent.terminate();
        assert!(agent.wait().success());
        assert!(!path.exists(), "expected the agent to remove its socket");
    }
}

#[test]
fn a_stale_socket_is_replaced() {
    let folder = Folder::new("stale");
    let (path, text) = folder.socket();
    drop(UnixListener::bind(&path).unwrap());
    assert!(path.exists(), "expected a stale socket");
    check_serves(&Agent::spawn(&["--listen", &text]));
    // That agent was killed, so its socket is stale too.
    assert!(path.exists());
    check_serves(&Agent::spawn(&["--listen", &text]));
}

#[test]
fn a_socket_in_use_is_not_replaced() {
    let folder = Folder::new("live");
    let (_, text) = folder.socket();
    let agent = Agent::spawn(&["--listen", &text]);
    check_start_fails(&text, "another process");
    check_serves(&agent);
}

#[test]
fn a_file_that_is_no_socket_is_not_replaced() {
    let folder = Folder::new("file");
    let (path, text) = folder.socket();
    fs::write(&path, "precious").unwrap();
    check_start_fails(&text, "that is not a socket");
    assert_eq!(fs::read_to_string(&path).unwrap(), "precious");
}

#[test]
fn an_unusable_path_is_reported() {
    let folder = Folder::new("path");
    check_start_fails(Path::new(&folder.0).join("no/such/folder/s").to_str().unwrap(), "");
    check_start_fails(Path::new(&folder.0).join("x".repeat(120)).to_str().unwrap(), "");
}

/// An agent does not remove a socket at its path that belongs to another agent, its successor.
#[test]
fn a_successors_socket_is_not_removed() {
    let folder = Folder::new("next");
    let (path, text) = folder.socket();
    let mut old = Agent::spawn(&["--listen", &text]);
    fs::remove_file(&path).unwrap();
    let new = Agent::spawn(&["--listen", &text]);
    old.terminate();
    assert!(old.wait().success());
    assert!(path.exists());
    check_serves(&new);
}

#[test]
fn mode_user_and_group_are_part_of_the_address() {
    let folder = Folder::new("mode");
    let (path, text) = folder.socket();
    let mode = || path.metadata().expect("the file exists").mode() & 0o777;
    for (suffix, wanted) in [(",mode=0660", 0o660), (",mode=600", 0o600)] {
        let agent = Agent::spawn(&["--listen", &format!("unix:{text}{suffix}")]);
        assert_eq!((agent.addr(), mode()), (&*format!("unix:{text}"), wanted));
        check_serves(&agent);
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
        let error = String::from_utf8(output.stderr).expect("the text is UTF-8");
        assert_eq!((output.status.code(), error.lines().count()), (Some(code), 1), "{error}");
        assert!(error.contains(wanted), "expected {wanted:?}, got {error}");
        assert!(!PathBuf::from(format!("{text}{suffix}")).exists(), "expected no socket named {text}{suffix}");
    }
    if rustix::process::geteuid().is_root() {
        let _agent = Agent::spawn(&["--listen", &format!("{text},mode=0660,user=12,group=34")]);
        let file = path.metadata().expect("the file exists");
        assert_eq!((file.uid(), file.gid(), mode()), (12, 34, 0o660));
    }
}
