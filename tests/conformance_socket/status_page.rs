//! The status page: its headers, and what a browser shows.

use std::process::Command;

use serde_json::Value;
use spoa_tests::admin::Admin;
use spoa_tests::agent::{Agent, run};
use spoa_tests::bytes::Value as WireValue;
use spoa_tests::client::Client;
use spoa_tests::folder::Folder;
use spoa_tests::frames::Hello;
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

/// Returns the data of the page.
fn data(admin: &Admin) -> Value {
    let (status, text) = admin.get("/status");
    assert_eq!(status, 200, "{text}");
    let (_, body) = text.split_once("\r\n\r\n").expect("it has a body");
    serde_json::from_str(body).expect("it is JSON")
}

/// Returns these columns of each row of a table.
fn rows<const COLUMNS: usize>(data: &Value, title: &str, columns: [usize; COLUMNS]) -> Vec<[String; COLUMNS]> {
    let tables = data["tables"].as_array().expect("it has tables");
    let table =
        tables.iter().find(|table| table["title"] == title).unwrap_or_else(|| panic!("expected {title} in {data}"));
    let rows = table["rows"].as_array().expect("it has rows");
    let texts = |row: &Value| columns.map(|column| row[column].as_str().expect("a cell is a text").to_owned());
    rows.iter().map(texts).collect()
}

#[test]
fn the_data_has_what_people_want_to_know() {
    let folder = folder();
    let (agent, admin) = agent(&folder);
    let before = data(&admin);
    assert_eq!(
        (&before["state"], &before["tone"], &before["has_lists"]),
        (&"serving".into(), &"good".into(), &true.into())
    );
    let warnings = before["warnings"].as_array().expect("it has warnings");
    let warning = warnings[0].as_str().expect("a warning is a text");
    assert!(warnings.len() == 1 && warning.starts_with("Not loaded: list gone: cannot read "), "{warnings:?}");
    let titles: Vec<_> =
        before["tables"].as_array().expect("it has tables").iter().map(|table| &table["title"]).collect();
    assert_eq!(titles, ["Messages", "Lists"]);
    for address in ["192.0.2.7", "8.8.8.8", "198.51.100.1"] {
        run(&["probe", agent.addr(), "--notify", address]);
    }
    let recent = rows(&data(&admin), "Recent listed verdicts", [0, 1, 2, 3, 4, 5, 6]);
    let shadow = ["198.51.100.1", "unknown, would be listed", "0", "trial", "198.51.100.0/24", "", "check-client-ip"];
    let listed = ["192.0.2.7", "listed", "10", "bad", "192.0.2.0/24", CATEGORY, "check-client-ip"];
    assert_eq!(recent, [shadow, listed]);
}

/// HAProxy 3.2 is still connected, 3.0 and three probes are not.
#[test]
fn the_data_has_the_processes_of_haproxy() {
    let folder = folder();
    let (agent, admin) = agent(&folder);
    let hello = Hello::applet().with("engine-id", WireValue::text("<b id=injected>\n"));
    Client::with_hello(agent.addr(), &hello).finish();
    run(&["probe", agent.addr(), "--notify", "192.0.2.7"]);
    let _mux = Client::ready(agent.addr());
    admin.wait_for("spoa_connections", 1.0);
    let mux = ["127.0.0.1", "3.1 or later", "0", "1", "5e2c04bd-7a4f-4d3c-9a53-6f0a1c1a7d11"];
    let applet = ["127.0.0.1", "2.1 to 3.0", "0", "0", "<b id=injected>\\n"];
    let probe = ["127.0.0.1", "unknown", "1", "0", "–"];
    assert_eq!(rows(&data(&admin), "HAProxy processes", [0, 1, 3, 4, 7]), [probe, mux, applet]);
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
        r#"<td class="text">check-client-ip</td>"#,
        r#"<td class="">2</td><td class="">2</td><td class="">0</td><td class="">0</td>"#,
        r#"<td class="text">not served</td>"#,
        r#"<td class="text">bad</td><td class="">2</td><td class="">0</td><td class="">1</td><td class="">0</td>"#,
        r#"<td class="text">198.51.100.1</td><td class="text">unknown, would be listed</td><td class="">0</td>"#,
        r#"<td class="text">192.0.2.0/24</td><td class="text">&lt;b id=injected&gt;</td>"#,
        r#"<h2 id="haproxy-processes-head">HAProxy processes</h2>"#,
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
    assert!(text.contains("No lists are configured") && text.contains("<section id=\"ask\" hidden=\"\">"), "{text}");
}

/// The page shows bans, and offers to change them if it may.
#[test]
fn a_browser_shows_bans() {
    if !is_installed("chromium", "SPOA_REQUIRE_CHROMIUM") {
        return;
    }
    let folder = Folder::with(&[("token", b"0123456789abcdef\n")]);
    let path = |name: &str| folder.path(name).display().to_string();
    let (unix, bans, token) = (format!("unix:{}", path("admin")), path("bans"), path("token"));
    let options = ["--admin", "127.0.0.1:0", "--admin", &unix, "--bans", &bans];
    for (more, form, note) in [
        (&["--admin-token-file", &*token][..], r#"<form id="ban">"#, r#"<p id="ban-note" class="faint" hidden="">"#),
        (&[], r#"<form id="ban" hidden="">"#, r#"<p id="ban-note" class="faint">"#),
    ] {
        let agent = Agent::spawn(&[&options[..], more].concat());
        let ban = ["ban", "192.0.2.7", "--for", "2h", "--reason", CATEGORY, "--origin", "me", "--agent", &unix];
        assert!(run(&ban).status.success());
        let text = dom(&folder, &format!("http://{}/", Admin::of(&agent).addr()));
        for wanted in [
            form,
            note,
            r#"<section id="ban-section">"#,
            r#"<td>192.0.2.7</td><td class="text">bans</td>"#,
            r#"<td class="text">me</td><td class="text">&lt;b id=injected&gt;</td>"#,
            r#"<h2 id="bans-head">Bans</h2>"#,
        ] {
            assert!(text.contains(wanted), "expected {wanted} in {text}");
        }
        assert!(!text.contains("No lists are configured"), "{text}");
    }
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
