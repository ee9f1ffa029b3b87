//! Agents that listen on unix sockets and on IPv6.

use crate::agent::Spoa;
use crate::client::{Request, loopback};
use crate::haproxy::{Dir, Install, Setup};

/// `spoa` works on a unix socket, and removes the socket when it stops.
pub(crate) fn unix(install: &Install) {
    let dir = Dir::new();
    let path = dir.path.join("spoa.sock");
    let path = path.to_str().expect("the path of the temporary folder is UTF-8");
    check_same_scores(install, &format!("unix:{path}"), &format!("unix@{path}"));
    assert!(!std::path::Path::new(path).exists(), "the agent did not remove {path}");
}

/// `spoa` works on an IPv6 socket.
pub(crate) fn ipv6(install: &Install) {
    check_same_scores(install, "[::1]:0", "");
}

/// Checks that scores on the socket `listen` are those on a TCP socket of the same process. `server` is HAProxy's name
/// of the socket; if empty, it is the address that the agent logs.
fn check_same_scores(install: &Install, listen: &str, server: &str) {
    let spoa = Spoa::start(&["--listen", "127.0.0.1:0", "--listen", listen, "--seed", "3"], 2);
    let server = if server.is_empty() { &*spoa.addrs[1] } else { server };
    let check = " check inter 100ms";
    let [tcp, other] = [&*spoa.addrs[0], server].map(|server| {
        let mut setup = Setup::scoring(&format!("{server}{check}"));
        setup.backend = "    option spop-check\n".into();
        setup.start(install)
    });
    for n in 1..=10 {
        let [tcp, other] = [&tcp, &other].map(|haproxy| Request::get("/").from(loopback(n)).send(haproxy.addr));
        assert!(!tcp.header("x-score").is_empty());
        assert_eq!(tcp.header("x-score"), other.header("x-score"));
    }
    assert_eq!(other.log.failed(), [""; 0]);
    drop([tcp, other]);
    assert!(spoa.stop().success());
}

/// A HAProxy that runs as another user and in a chroot reaches a unix socket there if its group may connect.
pub(crate) fn unix_of_another_user(install: &Install) {
    const NOBODY: u32 = 65_534;
    if !rustix::process::geteuid().is_root() {
        eprintln!("skipped: without root, HAProxy cannot change its user");
        return;
    }
    let jail = Dir::new();
    let path = jail.path.join("spoa.sock");
    let mut setup = Setup::scoring("unix@/spoa.sock");
    setup.global = format!("    chroot {}\n    uid {NOBODY}\n    gid {NOBODY}\n", jail.path.display());
    for (access, is_reached) in [(format!("mode=0660,group={NOBODY}"), true), ("mode=0660".into(), false)] {
        let spoa = Spoa::start(&["--listen", &format!("unix:{},{access}", path.display())], 1);
        let haproxy = setup.start(install);
        let response = Request::get("/").send(haproxy.addr);
        assert_eq!(!response.header("x-score").is_empty(), is_reached, "{access}: {response:?}");
        drop(haproxy);
        assert!(spoa.stop().success());
    }
}
