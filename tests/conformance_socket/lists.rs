//! Answers by lists, lists that change, and `spoa check`.

use std::fs;
use std::os::unix::fs::symlink;

use rustix::process::Signal;
use spoa_tests::agent::{Agent, run};
use spoa_tests::bytes::{Action, Value, message};
use spoa_tests::client::Client;
use spoa_tests::folder::Folder;
use spoa_tests::frames::{check_client_ip, notify};

/// Lists of each kind.
fn folder() -> Folder {
    Folder::with(&[
        ("bad", b"# bad\n192.0.0.0/16\n2001:db8::/32\n"),
        ("worse", b"192.0.2.0/24 ; SBL1\nnonsense\n"),
        ("ours", b"192.0.2.99\n"),
    ])
}

fn options(folder: &Folder) -> Vec<String> {
    let lists = [("bad", ",score=30"), ("worse", ",score=10,category=attacks"), ("ours", ",allow")];
    lists.iter().flat_map(|(name, options)| ["--list".into(), folder.list(name, options)]).collect()
}

fn spawn(options: &[String]) -> Agent {
    Agent::spawn(&options.iter().map(String::as_str).collect::<Vec<_>>())
}

/// What one message is answered with, as `name=value` in the order of the actions.
fn ask(client: &mut Client, message: &[u8]) -> String {
    client.send(&notify(1, 1, &[message.to_vec()]));
    let said = client.frame().actions().into_iter().map(|action| match action {
        Action::SetVar { scope: 1, name, value } => match value {
            Value::String(text) => format!("{name}={}", String::from_utf8(text).expect("text")),
            Value::Uint32(number) => format!("{name}={number}"),
            Value::Uint64(number) => format!("{name}={number}"),
            Value::Bool(is) => format!("{name}={is}"),
            other => panic!("{name} is {other:?}"),
        },
        other => panic!("{other:?}"),
    });
    said.collect::<Vec<_>>().join(" ")
}

fn message_about(name: &str, address: Value) -> Vec<u8> {
    message(name, &[("ip", address)])
}

fn ipv4(last: u8) -> Value {
    Value::Ipv4([192, 0, 2, last])
}

#[test]
fn all_variables_are_set_whatever_the_lists_say() {
    let folder = folder();
    let agent = spawn(&[options(&folder), vec!["--default-score".into(), "60".into()]].concat());
    let mut client = Client::ready(agent.addr());
    let unknown = "ip_score=60 ip_listed=false ip_verdict=unknown ip_list= ip_category= ip_prefix= ip_generation=1";
    let listed = "ip_score=10 ip_listed=true ip_verdict=listed ip_list=worse ip_category=attacks \
                  ip_prefix=192.0.2.0/24 ip_generation=1";
    let allowed = "ip_score=100 ip_listed=false ip_verdict=allow ip_list=ours ip_category= ip_prefix=192.0.2.99 \
                   ip_generation=1";
    for (value, wanted) in [
        (ipv4(1), listed),
        (ipv4(99), allowed),
        (Value::Ipv4([198, 51, 100, 1]), unknown),
        (Value::Null, unknown),
        (Value::Int64(7), unknown),
        (Value::text("no address"), unknown),
        (Value::text("198.51.100.1, 192.0.2.99, junk, 192.0.2.7"), listed),
        (Value::text("192.0.2.99, 198.51.100.1"), unknown),
    ] {
        assert_eq!(ask(&mut client, &check_client_ip(value.clone())), wanted, "{value:?}");
    }
    let named = message("get-ip-reputation", &[("x", ipv4(99)), ("ip", ipv4(1))]);
    assert_eq!(ask(&mut client, &named), listed);
    agent.wait_for_line("list worse: 1 prefixes, written ");
    agent.wait_for_line("worse:2:1: \"nonsense\" is not an address");
}

/// What a client writes into X-Forwarded-For may have any score; it does not hide where it comes from.
#[test]
fn a_listed_address_counts_before_others_whatever_the_scores() {
    let folder = Folder::with(&[("vpn", b"192.0.2.0/24\n"), ("ours", b"203.0.113.1\n")]);
    let lists = [folder.list("vpn", ",score=60"), folder.list("ours", ",allow,score=5")];
    let options = lists.into_iter().flat_map(|list| ["--list".to_owned(), list]).collect::<Vec<_>>();
    let agent = spawn(&[options, vec!["--default-score".into(), "50".into()]].concat());
    let mut client = Client::ready(agent.addr());
    for (text, wanted) in [
        ("198.51.100.1, 192.0.2.1", "ip_score=60 ip_listed=true"),
        ("203.0.113.1, 192.0.2.1", "ip_score=60 ip_listed=true"),
        ("203.0.113.1, 198.51.100.1", "ip_score=50 ip_listed=false ip_verdict=unknown"),
    ] {
        let said = ask(&mut client, &check_client_ip(Value::text(text)));
        assert!(said.starts_with(wanted), "{text}: {said}");
    }
}

#[test]
fn lists_are_replaced_at_sighup_or_stay_as_they_are_one_by_one() {
    let folder = folder();
    let agent = spawn(&[options(&folder), vec!["--no-watch".into()]].concat());
    let mut client = Client::ready(agent.addr());
    let mut score = || ask(&mut client, &check_client_ip(ipv4(1))).split(' ').next().expect("a score").to_owned();
    assert_eq!(score(), "ip_score=10");

    folder.write("worse", b"203.0.113.0/24\n");
    assert_eq!(score(), "ip_score=10", "not before it is told");
    agent.signal(Signal::HUP);
    agent.wait_for_line("generation 2");
    assert_eq!(score(), "ip_score=30", "in the other list alone");

    folder.remove("worse");
    folder.write("bad", b"1.2.3.0/24\n1.2.4.0/24\n");
    agent.signal(Signal::HUP);
    agent.wait_for_line("generation 3");
    assert_eq!(score(), "ip_score=50", "the list that can be loaded is");
    assert!(agent.log().contains("list worse: cannot read"), "{}", agent.log());
    assert!(agent.log().contains("it stays as it was: list worse: 1 prefixes, written "), "{}", agent.log());
    assert!(ask(&mut client, &check_client_ip(Value::text("203.0.113.1"))).starts_with("ip_score=10"));

    folder.write("worse", b"<html>404</html>\n");
    agent.signal(Signal::HUP);
    agent.wait_for_line("list worse: there is no address");
    folder.write("worse", b"192.0.2.0/24\n");
    agent.signal(Signal::HUP);
    agent.wait_for_line("generation 5");
    assert!(ask(&mut client, &check_client_ip(ipv4(1))).starts_with("ip_score=10"));
}

/// By another taking its place, in place, by removal and behind a link; a file that cannot be used is not tried again.
#[test]
fn lists_are_replaced_when_their_files_change() {
    let folder = folder();
    let target = Folder::with(&[("v1", b"198.51.100.0/24\n"), ("v2", b"203.0.113.0/24\n")]);
    symlink(target.path("v1"), folder.path("linked")).expect("a link");
    let list = ["--list".into(), folder.list("linked", ",score=5")];
    let agent = spawn(&[options(&folder), list.to_vec()].concat());
    let mut client = Client::ready(agent.addr());
    let mut score = |address: &str| {
        let answer = ask(&mut client, &check_client_ip(Value::text(address)));
        answer.split(' ').next().expect("a score").to_owned()
    };

    folder.write("worse", b"203.0.113.0/24\n");
    agent.wait_for_line("files have changed: generation 2");
    assert_eq!(score("192.0.2.1"), "ip_score=30");
    fs::write(folder.path("worse"), b"192.0.2.0/24\n").expect("it can be written");
    agent.wait_for_line("generation 3");
    assert_eq!(score("192.0.2.1"), "ip_score=10");

    symlink(target.path("v2"), folder.path("new")).expect("a link");
    fs::rename(folder.path("new"), folder.path("linked")).expect("it can be replaced");
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
    assert_eq!(tried, 1, "nothing has changed about it");
    assert_eq!(score("10.0.0.1"), "ip_score=30");
}

/// The file, the command line before it, and what a SIGHUP can change of it.
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
    let mut said = |message: &str, last: u8| {
        let address = Value::Ipv4([192, last, 0, 1]);
        let answer = ask(&mut client, &message_about(message, address));
        answer.split(' ').take(2).collect::<Vec<_>>().join(" ")
    };
    assert_eq!(said("check-client-ip", 0), "ip_score=30 ip_listed=true");
    assert_eq!(said("check-client-ip", 1), "ip_score=60 ip_listed=false");
    assert_eq!(said("other", 0), "", "no message of that name");

    file("score = 20\n[[message]]\nname = 'other'\nprefix = 'x.'\nvariables = { score = 'points' }\n");
    agent.signal(Signal::HUP);
    agent.wait_for_line("generation 2");
    assert_eq!(said("other", 0), "points=20 x.listed=true");
    assert_eq!(said("check-client-ip", 0), "");

    file("score = 'a'\n");
    agent.signal(Signal::HUP);
    agent.wait_for_line("the configuration in use stays");
    assert!(agent.log().contains("spoa.toml:7:9: it takes a number from 0 to 100"), "{}", agent.log());
    file("[[list]]\nname = 'new'\npath = 'nowhere'\n");
    agent.signal(Signal::HUP);
    agent.wait_for_line("the configuration in use stays: list new: cannot read");
    file("score = 10\n");
    let text = fs::read_to_string(folder.path("spoa.toml")).expect("it is there");
    folder.write("spoa.toml", text.replace("1s", "2s").as_bytes());
    agent.signal(Signal::HUP);
    agent.wait_for_line("some of what has changed counts from the next start on: grace");
    agent.wait_for_line("generation 3");
    assert_eq!(said("check-client-ip", 0), "ip_score=10 ip_listed=true");
}

/// What somebody writes by hand gets shorter on purpose; and a file that has no list is not what was meant.
#[test]
fn a_list_may_say_how_much_it_may_lose() {
    let folder = Folder::with(&[("ours", b"192.0.2.1\n192.0.2.2\n192.0.2.3\n"), ("bad", b"192.0.2.4\n192.0.2.5\n")]);
    let lists = "[[list]]\nname = 'ours'\npath = 'ours'\nallow = true\nmax-shrink = 100\n[[list]]\nname = 'bad'\npath = 'bad'\n";
    folder.write("spoa.toml", format!("max-shrink = 10\n{lists}").as_bytes());
    let path = folder.path("spoa.toml").display().to_string();
    let agent = Agent::spawn(&["--config", &path]);
    folder.write("bad", b"192.0.2.4\n");
    agent.wait_for_line("that is more than 10 % fewer (to take it: max-shrink, or a restart)");
    folder.write("ours", b"# nobody\n");
    agent.wait_for_line("generation 2");
    let mut client = Client::ready(agent.addr());
    assert!(ask(&mut client, &check_client_ip(ipv4(1))).contains("ip_verdict=unknown"));
    assert!(ask(&mut client, &check_client_ip(ipv4(5))).contains("ip_verdict=listed"));

    folder.write("spoa.toml", b"grace = '1s'\n");
    agent.signal(Signal::HUP);
    agent.wait_for_line("counts from the next start on: whether scores come from lists");
    let random = Agent::spawn(&["--config", &path]);
    random.wait_for_line("there are no lists: scores are random");
}

/// Each message has its variables and its scope, so that several in one NOTIFY are told apart.
#[test]
fn several_messages_each_get_theirs() {
    let folder = folder();
    let text = format!(
        "[[list]]\nname = 'bad'\npath = '{}'\nscore = 30\n[[message]]\nname = 'client'\n[[message]]\nname = \
         'forwarded'\nscope = 'txn'\nprefix = 'xff_'\n",
        folder.path("bad").display()
    );
    folder.write("spoa.toml", text.as_bytes());
    let agent = Agent::spawn(&["--config", &folder.path("spoa.toml").display().to_string()]);
    let mut client = Client::ready(agent.addr());
    let listed = message_about("forwarded", Value::text("10.0.0.1, 192.0.0.1"));
    client.send(&notify(1, 1, &[message_about("client", Value::text("10.0.0.1")), listed]));
    let set = client.frame().actions().into_iter().filter_map(|action| match action {
        Action::SetVar { scope, name, value: Value::Uint32(score) } => Some((scope, name, score)),
        _ => None,
    });
    assert_eq!(set.collect::<Vec<_>>(), [(1, "ip_score".into(), 50), (2, "xff_score".into(), 30)]);
}

#[test]
fn a_list_that_is_strict_has_no_bad_line() {
    let folder = folder();
    let strict = folder.list("worse", ",strict");
    let output = run(&["--listen", "127.0.0.1:0", "--list", &strict]);
    let text = String::from_utf8(output.stderr).expect("text");
    assert_eq!(output.status.code(), Some(1));
    assert!(text.contains("list worse: 1 bad lines, the first is line 2 of"), "{text}");

    folder.write("worse", b"192.0.2.0/24\n");
    let agent = Agent::spawn(&["--list", &strict]);
    folder.write("worse", b"192.0.2.0/24\n192.0.2.\n");
    agent.wait_for_line("\"192.0.2.\" is not an address; it stays as it was: list worse: 1 prefixes");
}

#[test]
fn sighup_without_lists_does_no_harm() {
    let agent = Agent::spawn(&[]);
    agent.signal(Signal::HUP);
    agent.wait_for_line("there are no lists to load anew");
    assert!(ask(&mut Client::ready(agent.addr()), &check_client_ip(ipv4(1))).starts_with("ip_score="));
}

#[test]
fn a_list_that_lost_too_much_is_refused() {
    let folder = Folder::with(&[("list", b"192.0.2.1\n192.0.2.2\n192.0.2.3\n192.0.2.4\n")]);
    let options = ["--list".into(), folder.list("list", ""), "--max-shrink".into(), "25".into(), "--no-watch".into()];
    let agent = spawn(&options);
    let mut client = Client::ready(agent.addr());
    folder.write("list", b"192.0.2.1\n192.0.2.2\n");
    agent.signal(Signal::HUP);
    agent.wait_for_line("a restart); it stays as it was: list list: 4 prefixes");
    assert!(agent.log().contains("that is more than 25 % fewer"), "{}", agent.log());
    assert!(agent.log().contains("list list: 2 prefixes in"), "{}", agent.log());
    assert!(ask(&mut client, &check_client_ip(ipv4(4))).contains("ip_listed=true"));
    folder.write("list", b"192.0.2.1\n192.0.2.2\n192.0.2.3\n");
    agent.signal(Signal::HUP);
    agent.wait_for_line("generation 2");
    assert!(ask(&mut client, &check_client_ip(ipv4(4))).contains("ip_listed=false"));
}

#[test]
fn check_tells_why() {
    let folder = folder();
    let options = options(&folder);
    let args =
        ["check", "192.0.2.7", "::ffff:192.0.2.99", "8.8.8.8"].into_iter().chain(options.iter().map(String::as_str));
    let output = run(&args.collect::<Vec<_>>());
    assert!(output.status.success() && output.stderr.is_empty(), "{output:?}");
    let path = |name: &str| folder.path(name).display().to_string();
    let (bad, worse, ours) = (path("bad"), path("worse"), path("ours"));
    let wanted = format!(
        "192.0.2.7: listed, score 10
  because of 192.0.2.0/24 in worse
  bad: 192.0.0.0/16, score 30, line 2 of {bad}
  worse: 192.0.2.0/24, score 10, line 1 of {worse}
::ffff:192.0.2.99: allow, score 100
  looked up as 192.0.2.99
  because of 192.0.2.99 in ours
  bad: 192.0.0.0/16, score 30, line 2 of {bad}
  worse: 192.0.2.0/24, score 10, line 1 of {worse}
  ours: 192.0.2.99, score 100, allow, line 1 of {ours}
8.8.8.8: unknown, score 50
"
    );
    assert_eq!(String::from_utf8(output.stdout).expect("text"), wanted);
}

#[test]
fn validate_names_bad_lines_and_fails_over_them() {
    let folder = Folder::with(&[("good", b"192.0.2.1\n"), ("bad", b"192.0.2.1\nx\n 1.2.3.4/2\nx\nx\nx\nx\nx\n")]);
    let (good, bad, none) = (folder.list("good", ""), folder.list("bad", ",strict"), folder.list("none", ""));
    let output = run(&["validate", "--list", &good]);
    assert_eq!((output.status.code(), &*output.stdout), (Some(0), &b"list good: 1 prefixes\n"[..]));
    let output = run(&["validate", "--list", &good, "--list", &bad, "--list", &none]);
    let text = String::from_utf8(output.stdout).expect("text");
    let lines: Vec<_> = text.lines().collect();
    let second = format!(
        "  {}:3:2: \"1.2.3.4/2\" is an address with bits behind its prefix length",
        folder.path("bad").display()
    );
    assert_eq!(lines[1], "list bad: 1 prefixes, 7 bad lines");
    assert_eq!((lines[3], lines[7]), (&*second, "  and 2 more"), "{text}");
    assert!(lines[8].starts_with("list none: cannot read"), "{text}");
    assert_eq!((output.status.code(), &*output.stderr), (Some(1), &b"spoa: 8 faults\n"[..]));
}

/// One line for each way to get a file wrong: where, and what.
#[test]
fn validate_names_the_fault_of_a_file_with_line_and_column() {
    let folder = folder();
    let path = folder.path("spoa.toml").display().to_string();
    for (text, wanted) in [
        ("port = 7\nprt = 1\n", ":2:1: unknown field `prt`, expected one of `debug`, `log-level`,"),
        ("grace = '5x'\n", ":1:9: it takes a whole number and us, ms, s, m or h"),
        ("listen = ['127.0.0.1:1', 'x']\n", ":1:26: 'x' is no address"),
        ("max-frame-size = 3\n", ": the maximum frame size must be"),
        ("[[list]]\nname = 'x'\n", ":1:1: missing field `path`"),
        ("[[list]]\nname = 'x'\npath = 'y'\nscore = 101\n", ":4:9: it takes a number from 0 to 100"),
        ("[[list]]\nname = 'x'\npath = 'y'\nformat = 'json'\ncolumn = 1\n", ":1:1: only csv has columns"),
        ("[[message]]\nname = 'x'\nscope = 'session'\n", ":3:9: unknown variant `session`, expected one of `proc`,"),
        ("[[message]]\nname = 'x'\nprefix = 'a-'\n", ":1:1: \"a-score\": a variable name cannot have the byte 0x2d"),
        ("[[message]]\nname = 'x'\n[[message]]\nname = 'x'\n", ": two messages are called x"),
        ("list = [{name = 'a', path = 'b'}, {name = 'a', path = 'c'}]\n", ": two lists are called a"),
        ("seed = 1\n[[list]]\nname = 'a'\npath = 'bad'\n", ": delay and seed are for random scores"),
        ("grace = \n", ":1:9: "),
    ] {
        folder.write("spoa.toml", text.as_bytes());
        for options in [&["validate", "--config", &path][..], &["--config", &path]] {
            let output = run(options);
            let said = String::from_utf8(output.stderr).expect("text");
            assert!(said.starts_with(&format!("spoa: {path}{wanted}")), "{text}: {said}");
            assert_eq!((output.status.code(), said.lines().count(), output.stdout.len()), (Some(2), 1, 0), "{said}");
        }
    }
    folder.write("spoa.toml", b"[[list]]\nname = 'bad'\npath = 'bad'\n");
    let output = run(&["validate", "--config", &path]);
    let wanted = format!("{path} is in order\nlist bad: 2 prefixes\n");
    assert_eq!((output.status.code(), String::from_utf8_lossy(&output.stdout).into_owned()), (Some(0), wanted));
    let output = run(&["check", "192.0.0.1", "--config", &path, "--default-score", "1"]);
    assert!(String::from_utf8_lossy(&output.stdout).starts_with("192.0.0.1: listed, score 0\n"));
}

#[test]
fn lists_that_cannot_be_used_are_told_in_one_line() {
    let folder = Folder::with(&[("empty", b"# nothing\n")]);
    let (empty, none) = (folder.list("empty", ""), folder.list("none", ""));
    for (options, wanted) in [
        (["--list", &none, "--listen", "127.0.0.1:0"], "list none: cannot read"),
        (["--list", &empty, "--listen", "127.0.0.1:0"], "list empty: there is no address in"),
        (["check", "192.0.2.1", "--list", &none], "list none: cannot read"),
    ] {
        let output = run(&options);
        let text = String::from_utf8(output.stderr).expect("text");
        assert_eq!((output.status.code(), text.lines().count()), (Some(1), 1), "{text}");
        assert!(text.starts_with("spoa: ") && text.contains(wanted), "{text}");
    }
}
