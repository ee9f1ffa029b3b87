//! The configuration files that are shipped for the agent and for HAProxy, in all combinations.

use std::net::{SocketAddr, TcpListener};
use std::os::fd::OwnedFd;
use std::path::PathBuf;
use std::process::Command;

use spoa_tests::folder::Folder;

use crate::agent::Spoa;
use crate::client::{Request, Response, loopback};
use crate::haproxy::{Install, Process};
use crate::readme_config::{HAPROXY, file, first_config, lock_ports, packaged, read, start};

/// Clients get a score with every configuration of the agent and every configuration of HAProxy.
pub(crate) fn every_pair(install: &Install) {
    let _ports = lock_ports();
    let lists = Folder::with(&[("bad", b"192.0.2.0/24\n")]);
    let (packaged, bad) = (packaged(&lists), lists.list("bad", ""));
    let packaged = packaged.each_ref().map(String::as_str);
    let with_list = [&packaged[..], &["--list", &bad]].concat();
    let agents = [&["--seed", "7"][..], &["--list", &bad], &packaged, &with_list];
    let hops = TrustedHops::new();
    let configs = [
        file("examples/haproxy").join(first_config(install)),
        file("examples/lists/haproxy.cfg"),
        file("examples/forwarded/haproxy.cfg"),
        hops.config(),
    ];
    for agent in agents {
        let spoa = Spoa::start(agent, 1);
        for config in &configs {
            let _haproxy = start(install, config);
            let response = Request::get("/").header("x-forwarded-for", "198.51.100.1, 198.51.100.2").send(HAPROXY);
            let score = response.header("x-ip-score").parse::<u32>();
            assert!(score.is_ok_and(|score| score <= 100), "{agent:?} with {}: {response:?}", config.display());
        }
        assert!(spoa.stop().success());
    }
}

/// The recipe for proxies in its second variant, which its comments describe.
struct TrustedHops(Folder);

impl TrustedHops {
    fn new() -> Self {
        let text = String::from_utf8(read("examples/forwarded/haproxy.cfg")).expect("the file is UTF-8");
        let uncommented =
            ["filter spoe engine ip-reputation config trusted-hops", "http-request deny deny_status 400 if"];
        let mut text = text.replace("\n    filter spoe engine ip-reputation config every-address", "\n    # filter");
        for line in uncommented {
            let commented = format!("# {line}");
            assert_eq!(text.matches(&commented).count(), 1, "{line}");
            text = text.replace(&commented, line);
        }
        let spoe = read("examples/forwarded/trusted-hops.spoe.conf");
        Self(Folder::with(&[("haproxy.cfg", text.as_bytes()), ("trusted-hops.spoe.conf", &spoe)]))
    }

    fn config(&self) -> PathBuf {
        self.0.path("haproxy.cfg")
    }
}

/// A proxy that adds the client's address in an additional header line, as `option forwardfor` does.
struct Proxy {
    addr: SocketAddr,
    _process: Process,
    _folder: Folder,
}

impl Proxy {
    /// Starts a proxy that forwards all requests to `next`, from the loopback address with the number `source`.
    fn start(install: &Install, next: SocketAddr, source: u8) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port is free");
        let addr = listener.local_addr().expect("the socket is bound");
        let source = loopback(source);
        let text = format!(
            "defaults\n    mode http\n    timeout connect 5s\n    timeout client 30s\n    timeout server 30s\n    option \
             forwardfor\nfrontend f\n    bind fd@3\n    default_backend b\nbackend b\n    server next {next} source {source}\n"
        );
        let folder = Folder::with(&[("proxy.cfg", text.as_bytes())]);
        let mut command = Command::new("sh");
        command.args(["-c", r#"exec "$0" "$@" 3<&0 </dev/null"#]).arg(&install.program);
        command.arg("-db").arg("-f").arg(folder.path("proxy.cfg")).stdin(OwnedFd::from(listener));
        Self { addr, _process: Process::start(&mut command), _folder: folder }
    }
}

/// Two proxies before HAProxy add a line of X-Forwarded-For each, and the client sends further lines. No such line lets
/// a listed client pass.
pub(crate) fn forwarded(install: &Install) {
    let _ports = lock_ports();
    let lists = Folder::with(&[("bad", b"127.0.0.7\n198.51.100.7\n"), ("ours", b"198.51.100.99\n127.0.0.16/28\n")]);
    let (bad, ours) = (lists.list("bad", ",score=0"), lists.list("ours", ",allow"));
    let spoa = Spoa::start(&["--list", &bad, "--list", &ours], 1);
    let inner = Proxy::start(install, HAPROXY, 22);
    let outer = Proxy::start(install, inner.addr, 21);
    let request = |client: u8, lines: &[&str]| {
        let request = lines
            .iter()
            .fold(Request::get("/").from(loopback(client)), |request, line| request.header("x-forwarded-for", line));
        let response: Response = request.send(outer.addr);
        (response.status, response.header("x-ip-prefix").to_owned())
    };
    let expected = |status: u16, prefix: &str| (status, prefix.to_owned());

    let haproxy = start(install, &file("examples/forwarded/haproxy.cfg"));
    assert_eq!(request(8, &[]), expected(200, ""));
    assert_eq!(request(7, &[]), expected(403, "127.0.0.7"), "the client's address is not in the last line");
    assert_eq!(request(7, &["198.51.100.99", "198.51.100.98, 198.51.100.99"]), expected(403, "127.0.0.7"));
    assert_eq!(request(8, &["10.0.0.1", "10.0.0.2, 198.51.100.7"]), expected(403, "198.51.100.7"));
    assert_eq!(request(8, &["10.0.0.1"; 6]), expected(200, ""), "eight lines in total");
    assert_eq!(request(8, &["10.0.0.1"; 7]).0, 400, "one line more than HAProxy sends to the agent");
    drop(haproxy);

    let hops = TrustedHops::new();
    let _haproxy = start(install, &hops.config());
    assert_eq!(request(8, &[]), expected(200, ""));
    assert_eq!(request(7, &[]), expected(403, "127.0.0.7"));
    assert_eq!(request(7, &["198.51.100.99", "198.51.100.98"]), expected(403, "127.0.0.7"));
    assert_eq!(
        request(8, &["198.51.100.7", "198.51.100.7, 198.51.100.7"]),
        expected(200, ""),
        "addresses that the client sent must not count"
    );
    assert_eq!(request(7, &["198.51.100.99, \""]).0, 400, "an open quote hides what is appended to the line");
    let without_proxies = Request::get("/").from(loopback(8)).header("x-forwarded-for", "198.51.100.99").send(HAPROXY);
    assert_eq!(without_proxies.status, 400);
    assert!(spoa.stop().success());
}
