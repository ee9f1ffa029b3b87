//! The status page: its headers, and what a browser shows.

use std::process::Command;

use spoa_tests::admin::Admin;
use spoa_tests::agent::{Agent, run};
use spoa_tests::folder::Folder;
use spoa_tests::process::is_installed;

/// A category that would be an element if a browser took it for HTML.
const CATEGORY: &str = "<b id=injected>";

fn folder() -> Folder {
    Folder::with(&[("bad", b"192.0.2.0/24\n"), ("trial", b"198.51.100.0/24\n")])
}

fn agent(folder: &Folder) -> (Agent, Admin) {
    let bad = folder.list("bad", &format!(",score=10,category={CATEGORY}"));
    let (gone, trial) = (folder.list("gone", ",optional"), folder.list("trial", ",shadow"));
    let agent = Agent::spawn(&["--admin", "127.0.0.1:0", "--list", &bad, "--list", &gone, "--list", &trial]);
    let admin = Admin::of(&agent);
    (agent, admin)
}

/// Returns what is between `start` and `end`.
fn between<'t>(text: &'t str, start: &str, end: &str) -> &'t str {
    let (_, rest) = text.split_once(start).unwrap_or_else(|| panic!("expected {start} in {text}"));
    rest.split_once(end).unwrap_or_else(|| panic!("expected {end} in {text}")).0
}

#[test]
fn the_page_runs_only_its_own_script() {
    let folder = folder();
    let (_agent, admin) = agent(&folder);
    let nonces = [(); 2].map(|()| {
        let (status, text) = admin.get("/");
        assert_eq!(status, 200, "{text}");
        let policy = between(&text, "content-security-policy: ", "\r\n");
        assert!(policy.starts_with("default-src 'none'; ") && !policy.contains("unsafe"), "{policy}");
        let nonce = between(policy, "script-src 'nonce-", "'").to_owned();
        assert!(text.contains(&format!("<script nonce=\"{nonce}\">")), "{text}");
        assert!(text.contains("x-content-type-options: nosniff\r\n") && !text.contains("{nonce}"), "{text}");
        nonce
    });
    assert_ne!(nonces[0], nonces[1]);
    for path in ["/metrics", "/healthz", "/verdict?address=192.0.2.1", "/nothing"] {
        let (_, text) = admin.get(path);
        assert!(text.contains("content-security-policy: default-src 'none'; frame-ancestors 'none'\r\n"), "{text}");
    }
    assert_eq!(admin.request("POST /").0, 405);
}

/// A site whose name was made an address of the agent cannot read its pages; Prometheus reads the metrics by any name.
#[test]
fn pages_are_not_served_under_foreign_names() {
    let folder = folder();
    let (_agent, admin) = agent(&folder);
    let get = |path: &str, host: &str| {
        let text = admin.exchange(&format!("GET {path} HTTP/1.1\r\n{host}connection: close\r\n\r\n"));
        text.split(' ').nth(1).map(str::to_owned)
    };
    for (host, status) in [
        ("host: evil.example\r\n", "421"),
        ("host: evil.example:9101\r\n", "421"),
        ("host: 127.0.0.1.evil.example\r\n", "421"),
        ("host: \u{fc}.example\r\n", "421"),
        ("host: 127.0.0.1:9101\r\n", "200"),
        ("host: [::1]:9101\r\n", "200"),
        ("host: localhost:9101\r\n", "200"),
        ("host: proxy1\r\n", "200"),
        ("", "200"),
    ] {
        for path in ["/", "/status", "/verdict?address=192.0.2.1"] {
            assert_eq!(get(path, host).as_deref(), Some(status), "{path} {host}");
        }
        assert_eq!(get("/healthz", host).as_deref(), Some("200"), "{host}");
    }
}

#[test]
fn the_data_has_faults_of_lists_and_recent_verdicts_newest_first() {
    let folder = folder();
    let (agent, admin) = agent(&folder);
    let (_, text) = admin.get("/status");
    let refused = between(&text, r#"{"refused":["#, "]");
    assert!(refused.starts_with(r#"{"list":"gone","error":"#) && refused.contains("No such file"), "{text}");
    assert!(text.ends_with("\n\"recent\":[]}\n"), "{text}");
    for address in ["192.0.2.7", "8.8.8.8", "198.51.100.1"] {
        run(&["probe", agent.addr(), "--notify", address]);
    }
    let (_, text) = admin.get("/status");
    let body = between(&text, "\"recent\":[", "]}");
    let verdicts: Vec<_> = body.lines().collect();
    assert_eq!(verdicts.len(), 2, "{body}");
    assert!(verdicts[0].contains(r#""address":"198.51.100.1","verdict":"unknown""#), "{body}");
    assert!(verdicts[0].contains(r#""would":{"address":"198.51.100.1","verdict":"listed""#), "{body}");
    assert!(verdicts[1].contains(r#""address":"192.0.2.7","verdict":"listed""#), "{body}");
}

/// Opens the page in headless Chromium, which `.ci/run` installs.
#[test]
fn a_browser_shows_what_the_agent_does() {
    if !is_installed("chromium", "SPOA_REQUIRE_CHROMIUM") {
        return;
    }
    let folder = folder();
    let (agent, admin) = agent(&folder);
    for (address, message) in [
        ("192.0.2.7", "check-client-ip"),
        ("192.0.2.8", "check-client-ip"),
        ("::1", "odd"),
        ("198.51.100.1", "check-request"),
    ] {
        run(&["probe", agent.addr(), "--notify", address, "--message", message]);
    }
    let text = dom(&folder, &format!("http://{}/?address=192.0.2.9", admin.addr()));
    for wanted in [
        r#"<span id="state" role="status" class="good">serving</span>"#,
        "<td>check-client-ip</td><td>0/s</td><td>2</td><td>2</td><td>0</td><td>0</td>",
        "<td>not served</td><td>0/s</td><td>1</td>",
        "<td>bad</td><td>2</td><td>0</td><td>1</td><td>0</td>",
        "<td>198.51.100.1</td><td>unknown, would be listed</td><td>0</td><td>trial</td><td>198.51.100.0/24</td><td></td>",
        "<td>192.0.2.8</td><td>listed</td><td>10</td><td>bad</td><td>192.0.2.0/24</td><td>&lt;b id=injected&gt;</td>",
        "HAProxy has sent messages that no message rule serves (1 since the start)",
        "Not loaded: list gone: cannot read ",
        "192.0.2.9: listed, score 10, by 192.0.2.0/24 in bad, category &lt;b id=injected&gt;\n",
    ] {
        assert!(text.contains(wanted), "expected {wanted} in {text}");
    }
    let refused = dom(&folder, &format!("http://{}/?address=<b>", admin.addr()));
    assert!(refused.contains("expected an IPv4 or IPv6 address"), "{refused}");
    let random = Agent::spawn(&["--admin", "127.0.0.1:0"]);
    let text = dom(&folder, &format!("http://{}/", Admin::of(&random).addr()));
    assert!(
        text.contains("No lists are configured") && text.contains("<section id=\"of-lists\" hidden=\"\">"),
        "{text}"
    );
}

/// Returns the document as it is a few updates after the browser has opened it.
///
/// # Panics
/// If the browser does not end within two minutes, or reports an error of the page.
fn dom(folder: &Folder, url: &str) -> String {
    let profile = format!("--user-data-dir={}", folder.path("profile").display());
    let output = Command::new("timeout")
        .args(["120", "chromium", "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run"])
        .args(["--disable-background-networking", "--disable-component-update", "--disable-sync"])
        // The clock of the page is ahead of ours, but stands while a request is open.
        .args(["--enable-logging=stderr", "--virtual-time-budget=5000", "--dump-dom", &profile, url])
        .output()
        .expect("timeout can be run");
    let log = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success() && !log.contains("CONSOLE"), "{log}");
    String::from_utf8_lossy(&output.stdout).into_owned()
}
