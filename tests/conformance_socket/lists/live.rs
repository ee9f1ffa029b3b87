//! `spoa check --live`, and the page `/verdict` that it asks.

use std::net::TcpListener;

use spoa_tests::admin::Admin;
use spoa_tests::agent::{Agent, run};
use spoa_tests::folder::Folder;

use super::{folder, options, spawn};

/// The running agent answers with the lists in use, even if their files have changed.
#[test]
fn check_live_shows_the_lists_in_use() {
    let folder = folder();
    let socket = folder.path("admin.sock");
    let admin = format!("unix:{}", socket.display());
    let agent = spawn(&[options(&folder), ["--no-watch", "--admin", &admin].map(Into::into).into()].concat());
    agent.wait_for_line("metrics and health on ");
    folder.write("worse", b"203.0.113.0/24\n");
    let live = format!("--live={admin}");
    let output = run(&["check", &live, "192.0.2.7", "::ffff:192.0.2.99", "8.8.8.8"]);
    let path = |name: &str| folder.path(name).display().to_string();
    let (bad, worse, ours) = (path("bad"), path("worse"), path("ours"));
    let wanted = format!(
        "192.0.2.7: listed, score 10
  decided by 192.0.2.0/24 in worse
  bad: 192.0.0.0/16, score 30, in {bad}
  worse: 192.0.2.0/24, score 10, in {worse}
::ffff:192.0.2.99: allow, score 100
  looked up as 192.0.2.99
  decided by 192.0.2.99 in ours
  bad: 192.0.0.0/16, score 30, in {bad}
  worse: 192.0.2.0/24, score 10, in {worse}
  ours: 192.0.2.99, score 100, allow, in {ours}
8.8.8.8: unknown, score 50
"
    );
    assert_eq!((String::from_utf8_lossy(&output.stdout).as_ref(), &*output.stderr), (wanted.as_str(), &b""[..]));

    folder.write("spoa.toml", format!("admin = \"{admin}\"\n").as_bytes());
    let config = folder.path("spoa.toml").display().to_string();
    let output = run(&["check", "--live", "--config", &config, "--json", "--fail-if-listed", "192.0.2.7"]);
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    assert_eq!(output.status.code(), Some(3), "{output:?}");
    assert!(text.contains(r#""score":10,"list":"worse""#) && text.contains(r#""generation":1,"#), "{text}");
    assert!(!text.contains("\"line\""), "{text}");
}

#[test]
fn check_live_fails_with_the_cause() {
    let random = Agent::spawn(&["--admin", "127.0.0.1:0"]);
    let listener = TcpListener::bind("127.0.0.1:0").expect("the address is free");
    let unused = listener.local_addr().expect("the socket has an address").to_string();
    drop(listener);
    let spop = random.addr().to_owned();
    for (agent, status, wanted) in [
        (Admin::of(&random).addr(), 1, "has no verdicts: it answers with random scores"),
        (&unused, 1, "cannot be reached: Connection refused"),
        (&spop, 1, "does not answer as an agent's admin address"),
        ("unix:/nowhere", 1, "the agent at unix:/nowhere cannot be reached: No such file"),
    ] {
        let output = run(&["check", &format!("--live={agent}"), "192.0.2.7"]);
        let text = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!((output.status.code(), text.lines().count()), (Some(status), 1), "{output:?}");
        assert!(text.starts_with("spoa: the agent at ") && text.contains(wanted), "{text}");
    }
    let folder = Folder::with(&[("spoa.toml", b"workers = 1\n")]);
    let config = folder.path("spoa.toml").display().to_string();
    let output = run(&["check", "--live", "127.0.0.1:9101", "192.0.2.7"]);
    let text = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(output.status.code() == Some(2) && text.contains("write --live=127.0.0.1:9101"), "{text}");
    let output = run(&["check", "--live=127.0.0.1:9101", "--default-score", "4", "192.0.2.7"]);
    assert_eq!(output.status.code(), Some(2), "{output:?}");
    let output = run(&["check", "--live", "--config", &config, "192.0.2.7"]);
    let wanted = "spoa: check --live needs --live=ADDR, or a --config with admin\n";
    assert_eq!((output.status.code(), &*output.stderr), (Some(2), wanted.as_bytes()));
}

#[test]
fn the_page_refuses_what_is_not_an_address() {
    let folder = folder();
    let agent = spawn(&[options(&folder), ["--admin", "127.0.0.1:0"].map(Into::into).into()].concat());
    let admin = Admin::of(&agent);
    for (query, status, wanted) in [
        ("?address=192.0.2.7", 200, r#""verdict":"listed""#),
        ("?address=2001:db8::1", 200, r#""prefix":"2001:db8::/32""#),
        ("?address=2001%3Adb8%3A%3A1", 200, r#""prefix":"2001:db8::/32""#),
        ("", 400, "expected ?address=IP"),
        ("?ip=192.0.2.7", 400, "expected ?address=IP"),
        ("?address=192.0.2.7&address=8.8.8.8", 400, "expected ?address=IP"),
        ("?address=192.0.2.7:80", 400, "expected an IPv4 or IPv6 address"),
        ("?address=%00%ff", 400, "expected an IPv4 or IPv6 address"),
    ] {
        let (got, text) = admin.get(&format!("/verdict{query}"));
        assert!(got == status && text.contains(wanted), "{query}: {text}");
    }
    assert_eq!(admin.request("POST /verdict?address=192.0.2.7").0, 405);
    let (status, text) = admin.get("/nothing");
    assert!(
        status == 404 && text.contains("the paths are /metrics, /healthz, /readyz, /, /verdict, /status"),
        "{text}"
    );
}
