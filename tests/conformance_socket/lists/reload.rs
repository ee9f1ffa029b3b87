//! Reloads of lists, and the versions that stay in use.

use std::fs;
use std::os::unix::fs::symlink;

use rustix::process::Signal;
use spoa_tests::admin::Admin;
use spoa_tests::agent::{Agent, run};
use spoa_tests::bytes::Value;
use spoa_tests::client::Client;
use spoa_tests::folder::Folder;
use spoa_tests::frames::check_client_ip;

use super::{ask, folder, ipv4, message_about, options, spawn};

#[test]
fn sighup_reloads_each_list_or_keeps_its_previous_version() {
    let folder = folder();
    let agent = spawn(&[options(&folder), vec!["--no-watch".into()]].concat());
    let mut client = Client::ready(agent.addr());
    let mut score =
        || ask(&mut client, &check_client_ip(ipv4(1))).split(' ').next().expect("the answer has a score").to_owned();
    assert_eq!(score(), "ip_score=10");

    folder.write("worse", b"203.0.113.0/24\n");
    assert_eq!(score(), "ip_score=10", "expected no reload before SIGHUP");
    agent.signal(Signal::HUP);
    agent.wait_for_line("generation 2");
    assert_eq!(score(), "ip_score=30", "expected a match in the list bad alone");

    folder.remove("worse");
    folder.write("bad", b"1.2.3.0/24\n1.2.4.0/24\n");
    agent.signal(Signal::HUP);
    agent.wait_for_line("generation 3");
    assert_eq!(score(), "ip_score=50", "expected the list bad to be reloaded");
    assert!(agent.log().contains("list worse: cannot read"), "{}", agent.log());
    assert!(
        agent.log().contains("the previous version stays in use: list worse: 1 prefix, written "),
        "{}",
        agent.log()
    );
    assert!(ask(&mut client, &check_client_ip(Value::text("203.0.113.1"))).starts_with("ip_score=10"));

    folder.write("worse", b"<html>404</html>\n");
    agent.signal(Signal::HUP);
    agent.wait_for_line("list worse: there is no address");
    folder.write("worse", b"192.0.2.0/24\n");
    agent.signal(Signal::HUP);
    agent.wait_for_line("generation 5");
    assert!(ask(&mut client, &check_client_ip(ipv4(1))).starts_with("ip_score=10"));
}

/// The agent notices when a file is replaced, overwritten or removed, also if it is the target of a link. A file that
/// it could not use is read again only after a change.
#[test]
fn lists_are_reloaded_when_their_files_change() {
    let folder = folder();
    let target = Folder::with(&[("v1", b"198.51.100.0/24\n"), ("v2", b"203.0.113.0/24\n")]);
    symlink(target.path("v1"), folder.path("linked")).expect("the link is new");
    let list = ["--list".into(), folder.list("linked", ",score=5")];
    let agent = spawn(&[options(&folder), list.to_vec()].concat());
    let mut client = Client::ready(agent.addr());
    let mut score = |address: &str| {
        let answer = ask(&mut client, &check_client_ip(Value::text(address)));
        answer.split(' ').next().expect("the answer has a score").to_owned()
    };

    folder.write("worse", b"203.0.113.0/24\n");
    agent.wait_for_line("files have changed: generation 2");
    assert_eq!(score("192.0.2.1"), "ip_score=30");
    fs::write(folder.path("worse"), b"192.0.2.0/24\n").expect("the folder is writable");
    agent.wait_for_line("generation 3");
    assert_eq!(score("192.0.2.1"), "ip_score=10");

    symlink(target.path("v2"), folder.path("new")).expect("the link is new");
    fs::rename(folder.path("new"), folder.path("linked")).expect("the folder is writable");
    agent.wait_for_line("generation 4");
    assert_eq!((score("198.51.100.1"), score("203.0.113.1")), ("ip_score=50".into(), "ip_score=5".into()));
    target.write("v2", b"198.51.100.0/24\n");
    agent.wait_for_line("generation 5");
    assert_eq!((score("198.51.100.1"), score("203.0.113.1")), ("ip_score=5".into(), "ip_score=50".into()));

    folder.remove("worse");
    agent.wait_for_line("list worse: cannot read");
    assert_eq!(score("192.0.2.1"), "ip_score=10");
    folder.write("bad", b"192.0.2.0/25\n10.0.0.0/8\n");
    agent.wait_for_line("generation 6");
    let tried = agent.log().lines().filter(|line| line.contains("list worse: cannot read")).count();
    assert_eq!(tried, 1, "expected no second try for a file that is unchanged");
    assert_eq!(score("10.0.0.1"), "ip_score=30");
}

/// Options can be in a configuration file, which SIGHUP reloads. Some changes take effect only at the next start.
#[test]
fn options_may_be_in_a_file() {
    let folder = folder();
    let file = |rest: &str| {
        let text = format!("default-score = 60\ngrace = '1s'\n\n[[list]]\nname = 'bad'\npath = 'bad'\n{rest}");
        folder.write("spoa.toml", text.as_bytes());
    };
    file("score = 30\n[[message]]\nname = 'check-client-ip'\nscope = 'sess'\n");
    let path = folder.path("spoa.toml").display().to_string();
    let agent = Agent::spawn(&["--config", &path, "--max-shrink", "10"]);
    let mut client = Client::ready(agent.addr());
    let mut answer = |message: &str, last: u8| {
        let address = Value::Ipv4([192, last, 0, 1]);
        let answer = ask(&mut client, &message_about(message, address));
        answer.split(' ').take(2).collect::<Vec<_>>().join(" ")
    };
    assert_eq!(answer("check-client-ip", 0), "ip_score=30 ip_listed=true");
    assert_eq!(answer("check-client-ip", 1), "ip_score=60 ip_listed=false");
    assert_eq!(answer("other", 0), "", "expected no variables for a message that is not served");

    file("score = 20\n[[message]]\nname = 'other'\nprefix = 'x.'\nvariables = { score = 'points' }\n");
    agent.signal(Signal::HUP);
    agent.wait_for_line("generation 2");
    assert_eq!(answer("other", 0), "points=20 x.listed=true");
    assert_eq!(answer("check-client-ip", 0), "");

    file("score = 'a'\n");
    agent.signal(Signal::HUP);
    agent.wait_for_line("the configuration cannot be used, and the previous one stays in use");
    assert!(agent.log().contains("spoa.toml:7:9: expected a number from 0 to 100"), "{}", agent.log());
    file("[[list]]\nname = 'new'\npath = 'nowhere'\n");
    agent.signal(Signal::HUP);
    agent.wait_for_line("the previous configuration stays in use: list new: cannot read");
    file("score = 10\n");
    let text = fs::read_to_string(folder.path("spoa.toml")).expect("the file exists");
    folder.write("spoa.toml", text.replace("1s", "2s").as_bytes());
    agent.signal(Signal::HUP);
    agent.wait_for_line("some changes take effect at the next start: grace");
    agent.wait_for_line("generation 3");
    assert_eq!(answer("check-client-ip", 0), "ip_score=10 ip_listed=true");
}

/// A list that is maintained by hand may shrink on purpose. The global limit is for long lists, the limit of a list for
/// any length.
#[test]
fn max_shrink_can_be_set_per_list() {
    let folder = Folder::with(&[
        ("ours", b"192.0.2.1\n192.0.2.2\n192.0.2.3\n"),
        ("bad", b"192.0.2.4\n192.0.2.5\n"),
        ("few", b"192.0.2.6\n192.0.2.7\n192.0.2.8\n"),
    ]);
    let lists = "[[list]]\nname = 'ours'\npath = 'ours'\nallow = true\nmax-shrink = 100\n[[list]]\nname = 'bad'\npath = \
                 'bad'\nmax-shrink = 10\n[[list]]\nname = 'few'\npath = 'few'\n";
    folder.write("spoa.toml", format!("max-shrink = 10\n{lists}").as_bytes());
    let path = folder.path("spoa.toml").display().to_string();
    let agent = Agent::spawn(&["--config", &path]);
    folder.write("bad", b"192.0.2.4\n");
    agent.wait_for_line("which is more than 10 % fewer (to accept it, raise max-shrink or restart)");
    folder.write("ours", b"# nobody\n");
    agent.wait_for_line("generation 2");
    let mut client = Client::ready(agent.addr());
    assert!(ask(&mut client, &check_client_ip(ipv4(1))).contains("ip_verdict=unknown"));
    assert!(ask(&mut client, &check_client_ip(ipv4(5))).contains("ip_verdict=listed"));
    folder.write("few", b"192.0.2.6\n");
    agent.wait_for_line("generation 3");
    assert!(ask(&mut client, &check_client_ip(ipv4(7))).contains("ip_verdict=unknown"));

    let list = folder.list("few", ",max-shrink=30");
    folder.write("few", b"192.0.2.6\n192.0.2.7\n192.0.2.8\n");
    let agent = Agent::spawn(&["--list", &list]);
    folder.write("few", b"192.0.2.6\n192.0.2.7\n");
    agent.wait_for_line("which is more than 30 % fewer");

    folder.write("spoa.toml", b"grace = '1s'\n");
    let agent = Agent::spawn(&["--config", &path, "--list", &list]);
    agent.signal(Signal::HUP);
    agent.wait_for_line("SIGHUP: generation");
    let random = Agent::spawn(&["--config", &path]);
    random.wait_for_line("scores are random, because there is no list");
    folder.write("spoa.toml", lists.as_bytes());
    random.signal(Signal::HUP);
    random.wait_for_line("take effect at the next start: whether there are lists");
}

#[test]
fn a_strict_list_with_a_bad_line_is_refused() {
    let folder = folder();
    let strict = folder.list("worse", ",strict");
    let output = run(&["--listen", "127.0.0.1:0", "--list", &strict]);
    let text = String::from_utf8(output.stderr).expect("the text is UTF-8");
    assert_eq!(output.status.code(), Some(1));
    assert!(text.contains("list worse: 1 bad line in ") && text.contains("the first is line 2, column 1"), "{text}");

    folder.write("worse", b"192.0.2.0/24\n");
    let agent = Agent::spawn(&["--list", &strict]);
    folder.write("worse", b"192.0.2.0/24\n192.0.2.\n");
    agent.wait_for_line("(read as one address per line); the previous version stays in use: list worse: 1 prefix,");
    agent.signal(Signal::HUP);
    agent.wait_for_line("SIGHUP: generation 1 of the lists is in use, but not the new version of 1 list");
}

#[test]
fn sighup_without_lists_does_no_harm() {
    let agent = Agent::spawn(&[]);
    agent.signal(Signal::HUP);
    agent.wait_for_line("there are no lists to reload");
    assert!(ask(&mut Client::ready(agent.addr()), &check_client_ip(ipv4(1))).starts_with("ip_score="));
}

#[test]
fn a_list_that_shrinks_too_much_is_refused() {
    let first = |count: u32| (1..=count).map(|last| format!("192.0.2.{last}\n")).collect::<String>().into_bytes();
    let folder = Folder::with(&[("list", &first(200))]);
    let options = ["--list".into(), folder.list("list", ""), "--max-shrink".into(), "25".into(), "--no-watch".into()];
    let agent = spawn(&options);
    let mut client = Client::ready(agent.addr());
    folder.write("list", &first(149));
    agent.signal(Signal::HUP);
    agent.wait_for_line("or restart); the previous version stays in use: list list: 200 prefixes");
    assert!(agent.log().contains("which is more than 25 % fewer"), "{}", agent.log());
    assert!(agent.log().contains(" has 149 prefixes instead of 200,"), "{}", agent.log());
    assert!(ask(&mut client, &check_client_ip(ipv4(200))).contains("ip_listed=true"));
    folder.write("list", &first(150));
    agent.signal(Signal::HUP);
    agent.wait_for_line("generation 2");
    assert!(ask(&mut client, &check_client_ip(ipv4(200))).contains("ip_listed=false"));
}

/// The agent starts without an optional list, and uses the list as soon as its file is valid.
#[test]
fn an_optional_list_may_be_missing_at_the_start() {
    let folder = folder();
    let optional = folder.list("late", ",score=5,optional");
    let options = [options(&folder), vec!["--list".into(), optional.clone()]].concat();
    let agent = spawn(&options);
    agent.wait_for_line("list late: cannot read");
    assert!(agent.log().contains("the list is optional, and empty until its file can be used"), "{}", agent.log());
    let mut client = Client::ready(agent.addr());
    assert!(
        ask(&mut client, &check_client_ip(ipv4(1))).starts_with("ip_score=10"),
        "expected an answer from the other lists"
    );
    folder.write("late", b"<html>404</html>\n");
    agent.wait_for_line("list late: there is no address");
    folder.write("late", b"192.0.2.1\n");
    agent.wait_for_line("generation 2");
    assert!(ask(&mut client, &check_client_ip(ipv4(1))).starts_with("ip_score=5"));

    folder.remove("late");
    let check = [&["check".to_owned(), "192.0.2.1".into()], &options[..]].concat();
    let output = run(&check.iter().map(String::as_str).collect::<Vec<_>>());
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success() && stderr.contains("the list is optional, and counts as empty"), "{output:?}");
    let output = run(&["validate", "--list", &optional]);
    assert!(output.status.success(), "{output:?}");
    folder.write("late", b"<html>404</html>\n");
    assert_eq!(
        run(&["validate", "--list", &optional]).status.code(),
        Some(1),
        "expected an invalid file to be an error"
    );
}

/// Each limit refuses the new version of a list, with its reason in the log and the metrics, and its previous version decides.
#[test]
fn a_list_that_exceeds_a_limit_is_refused() {
    let lines = |count: u8| (0..count).map(|last| format!("192.0.2.{last}\n")).collect::<String>();
    let folder = Folder::with(&[("l", lines(200).as_bytes())]);
    let list = folder.list("l", ",score=10,max-growth=10");
    let agent = Agent::spawn(&["--list", &list, "--admin", "127.0.0.1:0"]);
    let admin = Admin::of(&agent);
    let mut client = Client::ready(agent.addr());
    for (content, reason, logged) in [
        (lines(250), "growth", "which is more than 10 % more"),
        (lines(99), "shrinkage", "which is more than 50 % fewer"),
        (lines(200) + "16.0.0.0/4\n", "cover", "of all public addresses"),
        (lines(200) + &"nonsense\n".repeat(201), "bad_lines", "of 401 lines of"),
        ("# nothing\n".into(), "no_address", "there is no address in"),
    ] {
        folder.write("l", content.as_bytes());
        agent.wait_for_line(logged);
        assert_eq!(admin.sample(&format!("spoa_list_refusals_total{{reason=\"{reason}\"}}")), 1.0, "{reason}");
        assert!(ask(&mut client, &check_client_ip(ipv4(150))).starts_with("ip_score=10"), "{reason}");
    }
    assert_eq!(admin.sample("spoa_list_reloads_total{result=\"refused\"}"), 5.0);
    folder.write("l", lines(210).as_bytes());
    agent.wait_for_line("generation 2");
}

/// An optional list that was never loaded has no previous version, so SIGHUP rejects a configuration that requires it.
#[test]
fn a_list_without_content_cannot_become_required() {
    let folder = Folder::with(&[]);
    let file = |rest: &str| {
        let text = format!("[[list]]\nname = 'late'\npath = 'late'\n{rest}");
        folder.write("spoa.toml", text.as_bytes());
    };
    file("optional = true\n");
    let agent = Agent::spawn(&["--config", &folder.path("spoa.toml").display().to_string()]);
    agent.wait_for_line("the list is optional, and empty until its file can be used");
    file("");
    agent.signal(Signal::HUP);
    agent.wait_for_line("the previous configuration stays in use: list late: cannot read");
    folder.write("late", b"192.0.2.1\n");
    agent.signal(Signal::HUP);
    agent.wait_for_line("generation 2");
}
