//! The command itself: its files, its output and its exit status.

use std::io::Write;
use std::process::{Command, Output, Stdio};

use spoa_tests::admin::Admin;
use spoa_tests::agent::{Agent, binary, run};
use spoa_tests::client::Client;
use spoa_tests::folder::Folder;
use spoa_tests::frames::notify;

const SPOE: &str = "[e]\nspoe-agent reputation\n  messages check-request\n  use-backend agents\n  log global\n  option dontlog-normal\n\
                    spoe-message check-request\n  args ip=src\n  event on-frontend-http-request\n";

/// Returns a configuration whose filter names this SPOE file, and whose rule has a wrong prefix.
fn haproxy(spoe: &str) -> String {
    format!(
        "global\n  log 127.0.0.1 local0\ndefaults\n  mode http\nfrontend www\n  filter spoe engine e config {spoe}\n  \
         http-request deny if {{ var(txn.iprep.ip_score) -m int lt 20 }}\nbackend agents\n  mode spop\n  option spop-check\n  \
         server a 127.0.0.1:1 check\n"
    )
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

fn doctor(folder: &Folder, arguments: &[&str]) -> Output {
    Command::new(binary()).arg("doctor").args(arguments).current_dir(folder.path("")).output().expect("spoa can be run")
}

#[test]
fn the_report_names_the_line_the_consequence_and_the_cure() {
    let folder = Folder::with(&[("haproxy.cfg", haproxy("e.conf").as_bytes()), ("e.conf", SPOE.as_bytes())]);
    let output = doctor(&folder, &["haproxy.cfg", "--haproxy-version", "3.2"]);
    let expected = "protects nothing:\n  haproxy.cfg:7: a rule reads a variable with another prefix than the agent's section sets \
                    [variable-prefix]\n    The answer is in `txn.reputation.ip_score`; `txn.iprep.ip_score` is never set, so the \
                    condition is never true.\n    What to do: Read `var(txn.reputation.ip_score)` in the rule, or change `option var-prefix` in \
                    the `spoe-agent` section.\nnote: without the agent's configuration (.toml) its variables and arguments are not \
                    checked\n";
    assert_eq!((text(&output.stdout), text(&output.stderr)), (expected.into(), "spoa: 1 finding\n".into()));
    assert_eq!(output.status.code(), Some(1));
}

/// The path in the filter is found from HAProxy's folder, or by its name among the files that are given.
#[test]
fn spoe_files_are_found() {
    let files =
        |spoe: &str| Folder::with(&[("haproxy.cfg", haproxy(spoe).as_bytes()), ("other.conf", SPOE.as_bytes())]);
    for (spoe, arguments) in [
        ("other.conf", &["haproxy.cfg"][..]),
        ("/etc/gone/other.conf", &["haproxy.cfg", "other.conf"]),
        ("/etc/gone/e.conf", &["other.conf", "haproxy.cfg"]),
        ("\"${GONE}\"", &["haproxy.cfg", "other.conf"]),
        ("other.conf", &["."]),
    ] {
        let output = doctor(&files(spoe), arguments);
        assert!(text(&output.stdout).contains("[variable-prefix]"), "{spoe}: {}", text(&output.stderr));
    }
    let output = doctor(&files("gone.conf"), &["haproxy.cfg"]);
    assert!(
        text(&output.stderr).contains("haproxy.cfg:6: cannot read the SPOE file gone.conf"),
        "{}",
        text(&output.stderr)
    );
    assert_eq!(output.status.code(), Some(1));
}

#[test]
fn what_cannot_be_read_is_named() {
    let folder = Folder::with(&[("empty.cfg", b""), ("bad.toml", b"listen = 7\n"), ("e.conf", SPOE.as_bytes())]);
    for (arguments, status, part) in [
        (&["gone.cfg"][..], 1, "cannot read gone.cfg"),
        (&["empty.cfg", "bad.toml"], 2, "bad.toml:1:10"),
        (&["empty.cfg", "--haproxy-version", "new"], 2, "expected a version of HAProxy, such as 3.2"),
        (&["--log", "gone.log"], 1, "cannot read gone.log"),
        (&["--log", "empty.cfg"], 1, "empty.cfg has no line about SPOE"),
        (&["--log", "x", "empty.cfg"], 2, "cannot be used with"),
        (&["empty.cfg", "--live", "127.0.0.1:1"], 1, "the agent at 127.0.0.1:1 cannot be reached"),
    ] {
        let output = doctor(&folder, arguments);
        let error = text(&output.stderr);
        assert!(
            output.status.code() == Some(status) && error.contains(part) && error.lines().count() == 1,
            "{arguments:?}: {error}"
        );
    }
    folder.write("other.cfg", haproxy("e.conf").replace("engine e", "engine E").as_bytes());
    std::fs::create_dir(folder.path("none")).expect("the folder is ours");
    for (arguments, part) in [
        (&["empty.cfg"][..], "no filter uses SPOE: HAProxy never asks an agent"),
        (&["other.cfg"], "other.cfg:6: the SPOE file has no engine [E]"),
        (&["none"], "none has no file that ends with .cfg"),
    ] {
        let output = doctor(&folder, arguments);
        assert!(text(&output.stderr).contains(part), "{arguments:?}: {}", text(&output.stderr));
        assert_eq!((text(&output.stdout), output.status.code()), (String::new(), Some(1)), "{arguments:?}");
    }
}

/// Two folders may have an SPOE file of the same name. HAProxy accepts any bytes in comments.
#[test]
fn spoe_files_belong_to_the_folder_of_the_configuration() {
    let folder = Folder::with(&[]);
    for (name, prefix) in [("a", "reputation"), ("b", "other")] {
        std::fs::create_dir(folder.path(name)).expect("the folder is ours");
        let haproxy =
            haproxy("e.conf").replace("www", name).replace("iprep", prefix).replace("backend agents", "backend x");
        let haproxy = [b"# f\xfcr\n", haproxy.as_bytes()].concat();
        folder.write(&format!("{name}/{name}.cfg"), &haproxy);
        folder
            .write(&format!("{name}/e.conf"), SPOE.replace("agent reputation", &format!("agent {prefix}")).as_bytes());
    }
    let output = doctor(&folder, &["a", "b"]);
    assert!(text(&output.stdout).starts_with("nothing found in the setup of 2 engines\n"), "{}", text(&output.stdout));
    assert!(output.status.success());
}

/// Names in a configuration cannot move the cursor of a terminal.
#[test]
fn the_report_is_escaped() {
    let spoe = SPOE.replace("args ip=src", "args ip=src x=var(txn.\u{1b}[31m)");
    let haproxy = haproxy("e.conf").replace("iprep.ip_score", "\u{1b}[31m.ip_score");
    let folder = Folder::with(&[("h.cfg", haproxy.as_bytes()), ("e.conf", spoe.as_bytes())]);
    let report = text(&doctor(&folder, &["h.cfg"]).stdout);
    assert!(report.contains("\\u{1b}[31m") && !report.contains('\u{1b}'), "{report}");
}

#[test]
fn statuses_in_a_log_are_explained() {
    let mut child = Command::new(binary())
        .args(["doctor", "--log", "-"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("spoa can be run");
    let lines = "haproxy[1]: SPOE: [ip] <EVENT:on-frontend-http-request> sid=0 st=1 200 1/1\nother\n\
                 haproxy[1]: SPOE: [ip] <EVENT:on-frontend-http-request> sid=1 st=0 1 0/1\n";
    child.stdin.take().expect("it is a pipe").write_all(lines.as_bytes()).expect("spoa reads it");
    let output = child.wait_with_output().expect("spoa ends");
    let report = text(&output.stdout);
    assert!(
        report.starts_with("ip EVENT:on-frontend-http-request st=0: 1 event, good: the agent answered\n"),
        "{report}"
    );
    assert!(
        report.contains("st=1: 1 event, no agent answered within `timeout processing`\n  What to do: "),
        "{report}"
    );
    assert_eq!((output.status.code(), text(&output.stderr)), (Some(1), "spoa: 1 event not answered\n".into()));
}

/// A running agent shows what a configuration cannot: whether anything arrives.
#[test]
fn a_running_agent_is_asked_what_arrives() {
    let folder = Folder::with(&[("bad", b"192.0.2.0/24\n"), ("e.conf", SPOE.as_bytes())]);
    folder.write("h.cfg", haproxy("e.conf").replace("iprep", "reputation").as_bytes());
    let agent = Agent::spawn(&["--admin", "127.0.0.1:0", "--list", &folder.list("bad", "")]);
    let admin = Admin::of(&agent);
    let report = || {
        let output = doctor(&folder, &["h.cfg", "--live", admin.addr(), "--json"]);
        let lines = text(&output.stdout);
        let ids = lines.lines().map(|line| {
            let line: serde_json::Value = serde_json::from_str(line).expect("it is JSON");
            line["id"].as_str().expect("it has an id").to_owned()
        });
        ids.collect::<Vec<_>>()
    };
    assert_eq!(report(), [""; 0], "a young agent may not have been checked yet");
    run(&["probe", agent.addr()]);
    assert_eq!(report(), ["nothing-arrives"]);
    run(&["probe", agent.addr(), "--notify", "192.0.2.1"]);
    assert_eq!(report(), ["message-never-arrived"]);
    run(&["probe", agent.addr(), "--notify", "192.0.2.1", "--message", "check-request"]);
    assert_eq!(report(), [""; 0]);
    let mut client = Client::ready(agent.addr());
    let message = spoa_tests::bytes::message("check-request", &[("ip", spoa_tests::bytes::Value::text("no address"))]);
    client.send(&notify(1, 1, &[message]));
    client.frame();
    assert_eq!(report(), ["address-not-found"]);
    // An agent with other messages.
    let rule = "[[message]]\nname = \"other\"\n[[list]]\nname = \"bad\"\npath = \"bad\"\n";
    folder.write("other.toml", rule.as_bytes());
    let config = folder.path("other.toml").display().to_string();
    let other = Agent::spawn(&["--admin", "127.0.0.1:0", "--config", &config]);
    let output = doctor(&folder, &["h.cfg", "--live", Admin::of(&other).addr()]);
    assert!(text(&output.stdout).contains("[message-not-served]"), "{}", text(&output.stdout));
}
