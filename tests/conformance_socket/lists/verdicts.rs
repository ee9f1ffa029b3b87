//! Verdicts as an operator sees them: the log of verdicts, and lists and messages in shadow mode.

use std::fs;
use std::io::Read;
use std::process::Command;
use std::time::{Duration, Instant};

use rustix::process::Signal;
use spoa_tests::admin::Admin;
use spoa_tests::agent::{Agent, run};
use spoa_tests::bytes::Value;
use spoa_tests::client::Client;
use spoa_tests::folder::Folder;
use spoa_tests::frames::check_client_ip;

use super::{ask, ipv4};

/// Waits until a file has this many lines, and returns them.
fn lines(path: &std::path::Path, count: usize) -> Vec<String> {
    let until = Instant::now() + Duration::from_secs(10);
    loop {
        let text = fs::read_to_string(path).unwrap_or_default();
        if text.lines().count() >= count {
            return text.lines().map(ToOwned::to_owned).collect();
        }
        assert!(Instant::now() < until, "expected {count} lines in {}, got {text:?}", path.display());
        std::thread::sleep(Duration::from_millis(5));
    }
}

fn with_admin(options: &[&str]) -> (Agent, Admin) {
    let agent = Agent::spawn(&[options, &["--admin", "127.0.0.1:0"]].concat());
    let admin = Admin::of(&agent);
    (agent, admin)
}

fn folder() -> Folder {
    Folder::with(&[("bad", b"192.0.2.0/30\n"), ("new", b"192.0.2.0/28\n2001:db8::/32\n")])
}

#[test]
fn a_list_in_shadow_mode_changes_nothing_but_its_own_variables() {
    let folder = folder();
    let (bad, new) = (folder.list("bad", ",score=20"), folder.list("new", ",score=10,shadow"));
    let (agent, admin) = with_admin(&["--list", &bad, "--list", &new]);
    agent.wait_for_line("list new: 2 prefixes, in shadow mode, written ");
    let mut client = Client::ready(agent.addr());
    for (address, verdict, shadow) in [
        (
            ipv4(1),
            "ip_score=20 ip_listed=true ip_verdict=listed ip_list=bad",
            "10 ip_shadow_verdict=listed ip_shadow_list=new",
        ),
        (
            ipv4(9),
            "ip_score=50 ip_listed=false ip_verdict=unknown ip_list=",
            "10 ip_shadow_verdict=listed ip_shadow_list=new",
        ),
        (
            ipv4(99),
            "ip_score=50 ip_listed=false ip_verdict=unknown ip_list=",
            "50 ip_shadow_verdict=unknown ip_shadow_list=",
        ),
    ] {
        let answer = ask(&mut client, &check_client_ip(address));
        assert!(answer.starts_with(verdict), "{answer}");
        assert!(answer.ends_with(&format!("ip_generation=1 ip_shadow_score={shadow}")), "{answer}");
    }
    for (name, wanted) in [
        ("spoa_verdicts_total{message=\"check-client-ip\",verdict=\"listed\"}", 1.0),
        ("spoa_verdicts_total{message=\"check-client-ip\",verdict=\"unknown\"}", 2.0),
        ("spoa_shadow_verdicts_total{message=\"check-client-ip\",verdict=\"listed\"}", 2.0),
        ("spoa_list_matches_total{list=\"bad\",mode=\"enforced\"}", 1.0),
        ("spoa_list_matches_total{list=\"bad\",mode=\"shadow\"}", 0.0),
        ("spoa_list_matches_total{list=\"new\",mode=\"enforced\"}", 0.0),
        ("spoa_list_matches_total{list=\"new\",mode=\"shadow\"}", 2.0),
        ("spoa_score_count", 3.0),
        ("spoa_score_sum", 120.0),
        ("spoa_score_bucket{le=\"20.0\"}", 1.0),
        ("spoa_score_bucket{le=\"50.0\"}", 3.0),
    ] {
        admin.wait_for(name, wanted);
    }
    let output = run(&["check", "--list", &bad, "--list", &new, "192.0.2.9"]);
    let path = folder.path("new").display().to_string();
    let wanted = format!(
        "192.0.2.9: unknown, score 50\n  if enforced: listed, score 10, decided by 192.0.2.0/28 in new\n  new: 192.0.2.0/28, \
         score 10, in shadow mode, line 1 of {path}\n"
    );
    assert_eq!(String::from_utf8_lossy(&output.stdout), wanted);
}

/// Of several addresses, one that is listed anyway and another one that a list in shadow mode would list.
#[test]
fn the_log_names_the_address_of_each_verdict() {
    let folder = folder();
    let log = folder.path("verdicts.json");
    let (bad, new) = (folder.list("bad", ",score=20"), folder.list("new", ",score=10,shadow"));
    let options = ["--list", &bad, "--list", &new, "--verdict-log", &log.display().to_string()];
    let agent = Agent::spawn(&options);
    let mut client = Client::ready(agent.addr());
    ask(&mut client, &check_client_ip(Value::text("192.0.2.3, 2001:db8::7")));
    let line = &lines(&log, 1)[0];
    assert!(line.contains(r#""address":"192.0.2.3","verdict":"listed","score":20,"list":"bad""#), "{line}");
    assert!(line.contains(r#""would":{"address":"192.0.2.3","verdict":"listed","score":10,"list":"new""#), "{line}");
    ask(&mut client, &check_client_ip(Value::text("192.0.2.99, 2001:db8::7")));
    let line = &lines(&log, 2)[1];
    assert!(line.contains(r#""address":"192.0.2.99","verdict":"unknown""#), "{line}");
    assert!(line.contains(r#""would":{"address":"2001:db8::7","verdict":"listed""#), "{line}");
}

/// A message rule in shadow mode gives the verdict unknown, whatever the lists contain.
#[test]
fn a_message_in_shadow_mode_has_no_effect() {
    let folder = folder();
    let text = "[[list]]\nname = 'bad'\npath = 'bad'\n[[message]]\nname = 'check-client-ip'\nshadow = true\nvariables = { \
                shadow-score = 'tried' }\n";
    folder.write("spoa.toml", text.as_bytes());
    let (agent, admin) = with_admin(&["--config", &folder.path("spoa.toml").display().to_string()]);
    let mut client = Client::ready(agent.addr());
    assert_eq!(
        ask(&mut client, &check_client_ip(ipv4(1))),
        "ip_score=50 ip_listed=false ip_verdict=unknown ip_list= ip_category= ip_prefix= ip_generation=1 tried=0 \
         ip_shadow_verdict=listed ip_shadow_list=bad"
    );
    admin.wait_for("spoa_list_matches_total{list=\"bad\",mode=\"enforced\"}", 0.0);
    admin.wait_for("spoa_list_matches_total{list=\"bad\",mode=\"shadow\"}", 1.0);
}

#[test]
fn the_log_has_a_line_per_listed_verdict_and_is_opened_again_at_sighup() {
    let folder = folder();
    let log = folder.path("verdicts.json");
    let (bad, new) = (folder.list("bad", ",score=20,category=a\"b"), folder.list("new", ",shadow"));
    let options = ["--list", &bad, "--list", &new, "--no-watch", "--verdict-log", &log.display().to_string()];
    let (agent, admin) = with_admin(&options);
    let mut client = Client::ready(agent.addr());
    for address in [ipv4(1), ipv4(9), ipv4(99), Value::text("nonsense")] {
        ask(&mut client, &check_client_ip(address));
    }
    let found = lines(&log, 2);
    let parts = |line: &str| {
        line[line.find(",\"message\"").expect("a message")..line.find(",\"peer\"").expect("a peer")].to_owned()
    };
    assert_eq!(
        found.iter().map(|line| parts(line)).collect::<Vec<_>>(),
        [
            r#","message":"check-client-ip","address":"192.0.2.1","verdict":"listed","score":20,"list":"bad","prefix":"192.0.2.0/30","category":"a\"b","would":{"address":"192.0.2.1","verdict":"listed","score":0,"list":"new","prefix":"192.0.2.0/28","category":""},"generation":1"#,
            r#","message":"check-client-ip","address":"192.0.2.9","verdict":"unknown","score":50,"list":"","prefix":"","category":"","would":{"address":"192.0.2.9","verdict":"listed","score":0,"list":"new","prefix":"192.0.2.0/28","category":""},"generation":1"#,
        ]
    );
    assert!(found[0].starts_with("{\"time\":\"20") && found[0].contains("\"engine\":\""), "{}", found[0]);
    let rotated = folder.path("verdicts.json.1");
    fs::rename(&log, &rotated).expect("the file can be renamed");
    agent.signal(Signal::HUP);
    agent.wait_for_line("SIGHUP: ");
    // Opened again before the next line is written.
    ask(&mut client, &check_client_ip(ipv4(2)));
    assert_eq!((lines(&log, 1).len(), lines(&rotated, 2).len()), (1, 2));
    // SIGUSR2 does only that. It is tried again until it succeeds.
    fs::rename(&log, &rotated).expect("the file can be renamed");
    fs::create_dir(&log).expect("a folder in place of the file can be made");
    agent.signal(Signal::USR2);
    agent.wait_for_line("cannot write verdicts to ");
    fs::remove_dir(&log).expect("the folder can be removed");
    let until = Instant::now() + Duration::from_secs(10);
    while !log.exists() {
        assert!(Instant::now() < until, "expected the file to be opened again");
        std::thread::sleep(Duration::from_millis(5));
    }
    ask(&mut client, &check_client_ip(ipv4(2)));
    lines(&log, 1);
    assert!(!agent.log().contains("generation 3"), "{}", agent.log());
    admin.wait_for("spoa_verdict_log_lines_total{result=\"written\"}", 4.0);
}

#[test]
fn samples_rates_and_all_verdicts() {
    let folder = folder();
    let bad = folder.list("bad", "");
    let log = folder.path("all.json").display().to_string();
    let options = ["--list", &bad, "--verdict-log", &log, "--verdict-log-which", "all"];
    let (agent, admin) =
        with_admin(&[&options[..], &["--verdict-log-sample", "3", "--verdict-log-rate", "2"]].concat());
    let mut client = Client::ready(agent.addr());
    (0..300).for_each(|_| _ = ask(&mut client, &check_client_ip(ipv4(99))));
    let found = lines(&folder.path("all.json"), 2);
    assert!(found[0].contains("\"verdict\":\"unknown\"") && found[0].contains("\"sample\":3,"), "{}", found[0]);
    let count = |result| admin.sample(&format!("spoa_verdict_log_lines_total{{result=\"{result}\"}}"));
    let (written, above_rate) = (count("written"), count("rate"));
    let sampled = written + above_rate;
    assert!((70.0..130.0).contains(&sampled) && written < above_rate, "{written} written, {above_rate} above the rate");
    agent.wait_for_line("--verdict-log-rate allows 2 lines per second");
}

/// A FIFO without a reader, and one whose reader does not read, cost lines only.
#[test]
fn a_log_that_cannot_be_written_costs_lines_only() {
    let folder = folder();
    let fifo = folder.path("fifo");
    assert!(Command::new("mkfifo").arg(&fifo).status().is_ok_and(|status| status.success()));
    let (bad, log) = (folder.list("bad", ""), fifo.display().to_string());
    let options = ["--list", &bad, "--verdict-log", &log, "--verdict-log-rate", "0"];
    let (agent, admin) = with_admin(&options);
    let mut client = Client::ready(agent.addr());
    ask(&mut client, &check_client_ip(ipv4(1)));
    admin.wait_for("spoa_verdict_log_lines_total{result=\"file\"}", 1.0);
    agent.wait_for_line("nobody reads this FIFO");
    // A reader that takes one line: the log is opened again.
    let mut reader = fs::File::options().read(true).write(true).open(&fifo).expect("the FIFO can be opened");
    let until = Instant::now() + Duration::from_secs(10);
    while admin.sample("spoa_verdict_log_lines_total{result=\"written\"}") < 1.0 {
        assert!(Instant::now() < until, "expected the FIFO to be opened again");
        ask(&mut client, &check_client_ip(ipv4(1)));
    }
    let mut first = [0; 8];
    reader.read_exact(&mut first).expect("a line can be read");
    assert_eq!(&first, b"{\"time\":");
    // Then it reads nothing more, and the FIFO is soon full.
    let lost = admin.sample("spoa_verdict_log_lines_total{result=\"file\"}");
    (0..2000).for_each(|_| _ = ask(&mut client, &check_client_ip(ipv4(1))));
    let until = Instant::now() + Duration::from_secs(10);
    while admin.sample("spoa_verdict_log_lines_total{result=\"file\"}") <= lost {
        assert!(Instant::now() < until, "expected lines to be lost");
    }
}

#[test]
fn a_log_that_makes_no_sense_is_an_error() {
    let folder = folder();
    let path = folder.path("").display().to_string();
    let output = run(&["-p", "1", "--list", &folder.list("bad", ""), "--verdict-log", &path]);
    let error = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(error.contains("cannot write verdicts to") && output.status.code() == Some(1), "{error}");
    let output = run(&["-p", "1", "--verdict-log", "-"]);
    let error = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(error.contains("verdict-log is for the verdicts of lists") && output.status.code() == Some(2), "{error}");
}
