//! Any bytes may be a configuration or a log: no panic.

use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::select;
use spoa_doctor::{AgentConfig, Diagnosis, Input, Live, Log, SourceFile, Version, diagnose};

/// Words that the doctor knows, so that random lines reach its checks.
const WORDS: &[&str] = &[
    "",
    "global",
    "defaults",
    "d",
    "frontend",
    "f",
    "backend",
    "b",
    "listen",
    "from",
    "mode",
    "http",
    "tcp",
    "spop",
    "filter",
    "spoe",
    "engine",
    "e",
    "config",
    "s",
    "http-request",
    "tcp-request",
    "connection",
    "session",
    "content",
    "reject",
    "deny",
    "accept",
    "set-header",
    "send-spoe-group",
    "g",
    "if",
    "unless",
    "!",
    "{",
    "}",
    "or",
    "acl",
    "a",
    "var(txn.p.ip_score)",
    "var(sess.p.ip_listed)",
    "var(txn.ip_score)",
    "var(",
    "%[var(txn.p.x)]",
    "set-var(txn.c)",
    "-m",
    "int",
    "str",
    "bool",
    "found",
    "lt",
    "20",
    "ge",
    "true",
    "use_backend",
    "default_backend",
    "server",
    "default-server",
    "check",
    "no-check",
    "inter",
    "1d",
    "fall",
    "99999999999999999999",
    "send-proxy",
    "ssl",
    "disabled",
    "maxconn",
    "1",
    "option",
    "no",
    "spop-check",
    "httpchk",
    "tcp-check",
    "redispatch",
    "timeout",
    "processing",
    "connect",
    "client",
    "idle",
    "5",
    "log",
    "stdout",
    "err",
    "tune.bufsize",
    "setenv",
    "X",
    "\"${X}\"",
    "\"$X-$X\"",
    ".if",
    ".elif",
    ".else",
    ".endif",
    "defined(X)",
    "version_atleast(3.1)",
    "((",
    "&&",
    "||",
    "[e]",
    "[]",
    "spoe-agent",
    "spoe-message",
    "spoe-group",
    "messages",
    "groups",
    "check-request",
    "check-client-ip",
    "use-backend",
    "var-prefix",
    "p",
    "set-on-error",
    "err",
    "dontlog-normal",
    "max-frame-size",
    "256",
    "args",
    "ip=src",
    "src,ipmask(24)",
    "ip=req.hdr_ip(x-forwarded-for,-2)",
    "req.body",
    "site=str(x)",
    "event",
    "on-client-session",
    "on-frontend-http-request",
    "on-http-response",
    "src",
    "192.0.2.0/24",
    "::/0",
    "#",
    "'",
    "\"",
    "\\",
    "\u{1b}",
    "é",
];

fn text() -> impl Strategy<Value = String> {
    let line = vec(select(WORDS), 0..9).prop_map(|words| words.join(" "));
    let known = vec(line, 0..40).prop_map(|lines| lines.join("\n"));
    let any = vec(any::<char>(), 0..200).prop_map(|chars| chars.into_iter().collect());
    prop_oneof![9 => known, 1 => any]
}

fn look_at(haproxy: &str, spoe: &str, agent: Option<&str>, version: Option<Version>) -> Diagnosis {
    let file = |name: &str, text: &str| SourceFile { name: name.into(), text: text.into() };
    let agent = agent.map(|text| AgentConfig {
        file: file("spoa.toml", text),
        reputation: spoa_reputation::Config::default(),
        connection: spoa_runtime::ConnectionConfig::default(),
    });
    diagnose(Input {
        haproxy: vec![file("haproxy.cfg", haproxy)],
        spoe: &mut |name, _| (name != "gone").then(|| file("spoe.conf", spoe)),
        agent,
        environment: &|name| (name == "SET").then(|| "value".into()),
        live: Some(Live { notifies: 1, health_checks: 1, ..Live::default() }),
        version,
    })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 500, ..ProptestConfig::default() })]

    #[test]
    fn any_configuration_can_be_looked_at(haproxy in text(), spoe in text(), agent in proptest::option::of(text()), mux in any::<bool>()) {
        let version = if mux { None } else { Some(Version(2, 6)) };
        let Diagnosis { findings, .. } = look_at(&haproxy, &spoe, agent.as_deref(), version);
        for finding in findings {
            prop_assert!(finding.place.line >= 1);
            let file = match &*finding.place.file {
                "haproxy.cfg" => &haproxy,
                "spoe.conf" => &spoe,
                _ => agent.as_ref().expect("a finding is in a file that was given"),
            };
            prop_assert!(finding.place.line <= file.lines().count().max(1), "{} of {}", finding.place, file.lines().count());
        }
    }

    /// Random lines in a setup that works reach the checks of variables, arguments and servers.
    #[test]
    fn any_lines_in_a_working_setup_can_be_looked_at(rules in text(), section in text(), message in text(), servers in text()) {
        let haproxy = format!(
            "global\n log stdout local0\ndefaults\n mode http\nfrontend f\n filter spoe engine e config s\n{rules}\nbackend b\n{servers}\n server x 127.0.0.1:1\n"
        );
        let spoe = format!("[e]\nspoe-agent p\n messages check-request\n use-backend b\n{section}\nspoe-message check-request\n{message}\n args src\n event on-frontend-http-request\n");
        look_at(&haproxy, &spoe, None, None);
    }

    #[test]
    fn any_log_can_be_read(lines in vec("(.*SPOE: \\[.*\\] <.*> .*st=[0-9]{0,12} .*|.*)", 0..20)) {
        let mut log = Log::default();
        lines.iter().for_each(|line| log.add(line));
        log.explained();
    }
}

/// Configurations whose time or memory grew with the square of their size, or worse, end within the time of other tests.
#[test]
fn large_configurations_are_looked_at() {
    let setup = |rules: &str| {
        format!(
            "defaults\n mode http\nfrontend f\n filter spoe engine e config s\n{rules}\nbackend b\n server x 127.0.0.1:1\n"
        )
    };
    let spoe = |agent: &str, condition: &str| {
        format!(
            "[e]\nspoe-agent p\n messages check-request\n use-backend b\n{agent}\nspoe-message check-request\n args src\n event \
             on-frontend-http-request {condition}\n"
        )
    };
    let doubled = format!("global\n setenv X aaaaaaaa\n{}", " setenv X \"$X$X\"\n".repeat(40));
    let acls = format!(" acl a {}\n", "var(txn.p.ip_score) ".repeat(200)).repeat(64)
        + &" http-request deny if a\n".repeat(200);
    let networks = format!("if {{ src {} }} {{ src {} }}", "10.0.0.1 ".repeat(5000), "11.0.0.1 ".repeat(5000));
    let groups = " groups g\n".repeat(5000) + "spoe-group g\n messages " + &"check-request ".repeat(5000);
    let usual = spoe("", "");
    for (haproxy, spoe) in [
        (format!("{doubled}{}", setup(&format!(" http-request set-header x \"{}\"", "$X ".repeat(5000)))), &usual),
        (setup(&acls), &usual),
        (setup(&format!(" http-request deny if {}", "z ".repeat(20_000))), &usual),
        (setup(&format!(" http-request set-header x \"{}\"", "${".repeat(20_000))), &usual),
        (".if 1\n".repeat(20_000) + &setup(""), &usual),
        (setup(""), &spoe("", &networks)),
        (setup(""), &spoe(&groups, "")),
        (setup(" http-request deny if { var(txn.p.ip_score) -m int le 9223372036854775807 }"), &usual),
    ] {
        let Diagnosis { engines, unread, .. } = look_at(&haproxy, spoe, Some("[[list]]\nname = \"bad\"\n"), None);
        assert_eq!((engines, unread.len()), (1, 0));
    }
}
