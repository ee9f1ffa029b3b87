//! Verdicts by lists, also while the lists are replaced.

use std::io;

use spoa_tests::folder::Folder;

use crate::agent::Spoa;
use crate::client::{Request, Response, loopback};
use crate::haproxy::{Install, Setup};
use crate::load::Load;

/// The variables that HAProxy returns as headers.
const VARIABLES: [&str; 7] = ["score", "listed", "verdict", "list", "category", "prefix", "generation"];

/// Clients in each kind of list, and in none, get the right variables.
pub(crate) fn each_kind(install: &Install) {
    let folder = Folder::with(&[
        ("bad", b"127.0.0.8/29\n"),
        ("worse", b"{\"cidr\":\"127.0.0.10/31\"}\n"),
        ("ours", b"ip,why\n127.0.0.11,\"us, ourselves\"\n"),
    ]);
    let (bad, worse) = (folder.list("bad", ",score=30"), folder.list("worse", ",score=10,category=attacks"));
    let (ours, listen) = (folder.list("ours", ",allow"), "127.0.0.1:0");
    let spoa = Spoa::start(&["--listen", listen, "--list", &bad, "--list", &worse, "--list", &ours], 1);
    let setup = VARIABLES.iter().fold(Setup::scoring(spoa.addr()), |setup, name| {
        setup.header(&format!("x-{name}"), &format!("%[var(sess.t.ip_{name})]"))
    });
    let haproxy = setup.start(install);
    for (client, expected) in [
        (9, ["30", "1", "listed", "bad", "", "127.0.0.8/29", "1"]),
        (10, ["10", "1", "listed", "worse", "attacks", "127.0.0.10/31", "1"]),
        (11, ["100", "0", "allow", "ours", "", "127.0.0.11", "1"]),
        (16, ["50", "0", "unknown", "", "", "", "1"]),
    ] {
        let response = Request::get("/").from(loopback(client)).send(haproxy.addr);
        let headers = VARIABLES.map(|name| response.header(&format!("x-{name}")).to_owned());
        assert_eq!(headers, expected, "127.0.0.{client}");
    }
    let unix = Request::get("/").send_unix(&haproxy.unix_path());
    assert_eq!(unix.header("x-verdict"), "unknown", "a client without an address");
    assert_eq!(haproxy.log.failed(), [""; 0]);
    assert!(spoa.stop().success());
}

/// A list that changes on disk is swapped in between two requests, and one with errors is not used. No event fails
/// meanwhile.
pub(crate) fn replaced_under_load(install: &Install) {
    let folder = Folder::with(&[("list", b"127.0.0.1\n")]);
    let mut spoa = Spoa::start(&["--listen", "127.0.0.1:0", "--list", &folder.list("list", "")], 1);
    let haproxy = Setup::scoring(spoa.addr())
        .header("x-generation", "%[var(sess.t.ip_generation)]")
        .header("x-client", "%[src]")
        .start(install);
    let load = Load::start(2, haproxy.addr);
    let seen = |generation: &'static str| {
        move |answers: &[io::Result<Response>]| {
            let has_generation = |answer: &&io::Result<Response>| {
                answer.as_ref().is_ok_and(|answer| answer.header("x-generation") == generation)
            };
            answers.iter().filter(has_generation).count() >= 50
        }
    };
    load.wait("responses with the first version of the list", seen("1"));
    folder.write("list", b"<html>404</html>\n");
    spoa.process.lines.wait_count("the previous version stays in use", 1);
    folder.write("list", b"127.0.0.2\n");
    load.wait("responses with the second version of the list", seen("2"));
    for answer in load.stop() {
        let answer = answer.expect("HAProxy responds");
        // 127.0.0.1 is in the first version of the list, 127.0.0.2 in the second.
        let listed = match answer.header("x-generation") {
            "1" => "127.0.0.1",
            "2" => "127.0.0.2",
            other => panic!("expected generation 1 or 2, got {other}"),
        };
        let score = if answer.header("x-client") == listed { "0" } else { "50" };
        assert_eq!(answer.header("x-score"), score, "{answer:?}");
    }
    assert_eq!(haproxy.log.failed(), [""; 0]);
    spoa.process.signal("TERM");
    assert!(spoa.process.wait().success());
}

/// The site, which HAProxy takes from a header, selects the policy.
pub(crate) fn policy_by_site(install: &Install) {
    let folder = Folder::with(&[("bad", b"127.0.0.2\n"), ("proxies", b"127.0.0.3\n")]);
    let config = "[[list]]\nname = 'bad'\npath = 'bad'\nscore = 5\n[[list]]\nname = 'proxies'\npath = 'proxies'\nscore = 40\n\
                  [[message]]\nname = 'm'\nscope = 'txn'\nargument = 'src'\npolicy-argument = 'site'\n\
                  [[policy]]\nname = 'shop.example'\nscore-below = 20\ndefault-score = 80\n";
    folder.write("spoa.toml", config.as_bytes());
    let path = folder.path("spoa.toml").display().to_string();
    let spoa = Spoa::start(&["--listen", "127.0.0.1:0", "--config", &path], 1);
    let args = "src=src site=req.hdr(x-site),field(1,:),lower";
    let haproxy = Setup::with_message(spoa.addr(), "on-frontend-http-request", args)
        .header("x-score", "%[var(txn.t.ip_score)]")
        .header("x-verdict", "%[var(txn.t.ip_verdict)]")
        .start(install);
    for (client, site, score, verdict) in [
        (2, "other.example", "5", "listed"),
        (3, "other.example", "40", "listed"),
        (4, "other.example", "50", "unknown"),
        (2, "Shop.example:8080", "5", "listed"),
        (3, "shop.example", "80", "unknown"),
        (4, "shop.example", "80", "unknown"),
    ] {
        let response = Request::get("/").from(loopback(client)).header("x-site", site).send(haproxy.addr);
        let answer = (response.header("x-score"), response.header("x-verdict"));
        assert_eq!(answer, (score, verdict), "127.0.0.{client} of {site}");
    }
    assert_eq!(haproxy.log.failed(), [""; 0]);
    assert!(spoa.stop().success());
}
