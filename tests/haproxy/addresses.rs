//! Clients with an IPv4 address, with an IPv6 address and without an address.

use std::net::{IpAddr, Ipv6Addr, SocketAddr};

use crate::agent::Spoa;
use crate::client::{Request, loopback};
use crate::haproxy::{Install, Setup};

/// An IPv4 client has the same score on an IPv4 socket and, with a mapped address, on a socket for both families. A
/// client without an address has no score, and its event does not fail.
pub(crate) fn run(install: &Install) {
    let spoa = Spoa::with_seed(2);
    let mut setup = Setup::scoring(spoa.addr()).header("x-src", "%[src]");
    let v4 = setup.start(install);
    setup.dual_stack = true;
    let both = setup.start(install);
    let v6_addr = SocketAddr::from((Ipv6Addr::LOCALHOST, both.addr.port()));

    let mut scores = Vec::new();
    for n in 1..=20 {
        let plain = Request::get("/").from(loopback(n)).send(v4.addr);
        let mapped = Request::get("/").from(loopback(n)).send(both.addr);
        assert!(!plain.header("x-score").is_empty(), "{plain:?}");
        assert_eq!(plain.header("x-score"), mapped.header("x-score"), "{n}: {mapped:?}");
        assert_eq!(mapped.header("x-src"), format!("::ffff:127.0.0.{n}"));
        scores.push(plain.header("x-score").to_owned());
    }
    scores.dedup();
    assert!(scores.len() > 1, "expected different scores, got {scores:?} for all clients");

    let v6 = || Request::get("/").from(IpAddr::V6(Ipv6Addr::LOCALHOST)).send(v6_addr);
    assert_eq!(v6().header("x-src"), "::1");
    assert!(v6().header("x-score").parse::<u32>().is_ok_and(|score| score <= 100));
    assert_eq!(v6().header("x-score"), v6().header("x-score"));

    let unix = Request::get("/").send_unix(&v4.unix_path());
    assert_eq!((unix.header("x-src"), unix.header("x-score")), ("", ""));
    assert_eq!(v4.log.status(unix.sid()), 0);
    assert_eq!([v4.log.failed(), both.log.failed()], [[""; 0]; 2]);
}
