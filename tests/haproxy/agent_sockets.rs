//! Where the agent listens.

use crate::agent::Spoa;
use crate::client::{Request, loopback};
use crate::haproxy::{Dir, Install, Setup};

/// Behind a unix socket.
pub(crate) fn unix(install: &Install) {
    let dir = Dir::new();
    let path = dir.path.join("spoa.sock");
    let path = path.to_str().expect("temporary folders have plain names");
    as_over_tcp(install, &format!("unix:{path}"), &format!("unix@{path}"));
    assert!(!std::path::Path::new(path).exists(), "the agent tidies up");
}

/// Behind an IPv6 socket.
pub(crate) fn ipv6(install: &Install) {
    as_over_tcp(install, "[::1]:0", "");
}

/// Scores are the same on the socket `listen`, `server` to HAProxy, as on a TCP socket of the same process.
fn as_over_tcp(install: &Install, listen: &str, server: &str) {
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

/// A HAProxy that runs as another user and is chrooted reaches a socket in its new root, if its group may connect.
pub(crate) fn unix_of_another_user(install: &Install) {
    const NOBODY: u32 = 65_534;
    if !rustix::process::geteuid().is_root() {
        eprintln!("not root: HAProxy cannot become another user");
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
