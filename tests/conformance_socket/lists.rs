//! Answers from lists, reloads, and the commands `check` and `validate`.

use std::fs::{self, File};
use std::io::{self, Write};
use std::os::unix::fs::{PermissionsExt, symlink};
use std::process::{Command, Stdio};

use rustix::fs::{CWD, FileType, Mode, mknodat};
use rustix::process::Signal;
use spoa_tests::admin::Admin;
use spoa_tests::agent::{Agent, binary, run};
use spoa_tests::bytes::{Action, Value, message};
use spoa_tests::client::Client;
use spoa_tests::folder::Folder;
use spoa_tests::frames::{check_client_ip, notify};

/// Returns a folder with three lists.
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

/// Sends a NOTIFY with one message, and returns the variables that its ACK sets, as `name=value` in the order of the
/// actions.
fn ask(client: &mut Client, message: &[u8]) -> String {
    client.send(&notify(1, 1, &[message.to_vec()]));
    let variables = client.frame().actions().into_iter().map(|action| match action {
        Action::SetVar { scope: 1, name, value } => match value {
            Value::String(text) => format!("{name}={}", String::from_utf8(text).expect("the text is UTF-8")),
            Value::Uint32(number) => format!("{name}={number}"),
            Value::Uint64(number) => format!("{name}={number}"),
            Value::Bool(is) => format!("{name}={is}"),
            other => panic!("unexpected type of {name}: {other:?}"),
        },
        other => panic!("expected a session variable, got {other:?}"),
    });
    variables.collect::<Vec<_>>().join(" ")
}

fn message_about(name: &str, address: Value) -> Vec<u8> {
    message(name, &[("ip", address)])
}

fn ipv4(last: u8) -> Value {
    Value::Ipv4([192, 0, 2, last])
}

#[test]
fn all_variables_are_set_for_every_verdict() {
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
    agent.wait_for_line("list worse: 1 prefix, written ");
    agent.wait_for_line("worse:2:1: \"nonsense\" is not an address");
}

/// A client can put addresses of any score into X-Forwarded-For, but they do not hide its own address.
#[test]
fn a_listed_address_takes_precedence_whatever_the_scores() {
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
        let answer = ask(&mut client, &check_client_ip(Value::text(text)));
        assert!(answer.starts_with(wanted), "expected {wanted:?} for {text}, got {answer}");
    }
}

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

/// Each message rule has its own variables and scope, so that several messages in one NOTIFY do not share variables.
#[test]
fn each_message_sets_its_own_variables() {
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

#[test]
fn check_explains_the_verdict() {
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
  decided by 192.0.2.0/24 in worse
  bad: 192.0.0.0/16, score 30, line 2 of {bad}
  worse: 192.0.2.0/24, score 10, line 1 of {worse}
::ffff:192.0.2.99: allow, score 100
  looked up as 192.0.2.99
  decided by 192.0.2.99 in ours
  bad: 192.0.0.0/16, score 30, line 2 of {bad}
  worse: 192.0.2.0/24, score 10, line 1 of {worse}
  ours: 192.0.2.99, score 100, allow, line 1 of {ours}
8.8.8.8: unknown, score 50
"
    );
    assert_eq!(String::from_utf8(output.stdout).expect("the text is UTF-8"), wanted);
}

/// Addresses come from standard input if none are given; a wrong line is reported, and the others are answered.
#[test]
fn check_reads_standard_input_and_prints_json() {
    let folder = folder();
    let options = options(&folder);
    let check = |more: &[&str], input: &str| {
        let mut command = Command::new(binary());
        command
            .arg("check")
            .args(&options)
            .args(more)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        let mut child = command.spawn().expect("spoa can be run");
        child.stdin.take().expect("standard input is piped").write_all(input.as_bytes()).expect("spoa reads");
        child.wait_with_output().expect("spoa is a child process")
    };
    let output = check(&["--json"], "192.0.2.7\n\n# a comment\n8.8.8.8\n");
    let text = String::from_utf8(output.stdout).expect("the text is UTF-8");
    let lines: Vec<_> = text.lines().collect();
    assert_eq!((output.status.code(), lines.len()), (Some(0), 2), "{text}");
    let beginning = r#"{"address":"192.0.2.7","verdict":"listed","score":10,"list":"worse","category":""#;
    assert!(
        lines[0].starts_with(beginning) && lines[0].contains(r#""prefix":"192.0.2.0/24","matches":[{"list":"bad","#),
        "{text}"
    );
    let wanted = r#"{"address":"8.8.8.8","verdict":"unknown","score":50,"list":null,"category":null,"prefix":null,"matches":[]}"#;
    assert_eq!(lines[1], wanted);

    let output = check(&[], "8.8.8.8\nnonsense\x1b[2J\n192.0.2.7\n");
    let text = String::from_utf8(output.stdout).expect("the text is UTF-8");
    assert!(text.contains("8.8.8.8: unknown") && text.contains("192.0.2.7: listed"), "{text}");
    let errors = String::from_utf8(output.stderr).expect("the text is UTF-8");
    assert!(
        errors.starts_with("spoa: standard input, line 2: \"nonsense\\u{1b}[2J\": expected an IPv4 or IPv6"),
        "{errors}"
    );
    assert_eq!((output.status.code(), errors.lines().count()), (Some(1), 2), "{errors}");

    assert_eq!(check(&["--fail-if-listed"], "192.0.2.7\n").status.code(), Some(3));
    assert_eq!(check(&["--fail-if-listed"], "8.8.8.8\n").status.code(), Some(0));
}

/// A string in which no address is found is counted with its argument, since its client passes.
#[test]
fn strings_without_an_address_are_counted() {
    let folder = folder();
    folder.write(
        "spoa.toml",
        b"[[list]]\nname = 'bad'\npath = 'bad'\n[[message]]\nname = 'forwarded'\nargument = 'xff'\n",
    );
    let path = folder.path("spoa.toml").display().to_string();
    let agent = Agent::spawn(&["--config", &path, "--listen", "127.0.0.1:0", "--admin", "127.0.0.1:0"]);
    let mut client = Client::ready(agent.addr());
    for (text, listed) in [("for=\"192.0.0.1\";proto=http", true), ("unknown", false), ("", false)] {
        let message = message("forwarded", &[("xff", Value::text(text))]);
        assert!(ask(&mut client, &message).contains(&format!("ip_listed={listed}")), "{text}");
    }
    let admin = Admin::of(&agent);
    let count = r#"spoa_strings_without_address_total{message="forwarded",argument="xff"}"#;
    assert_eq!(admin.sample(count), 1.0);
}

#[test]
fn validate_reports_bad_lines_and_fails() {
    let folder = Folder::with(&[("good", b"192.0.2.1\n"), ("bad", b"192.0.2.1\nx\n 1.2.3.4/2\nx\nx\nx\nx\nx\n")]);
    let (good, bad, none) = (folder.list("good", ""), folder.list("bad", ",strict"), folder.list("none", ""));
    let output = run(&["validate", "--list", &good]);
    let good_text = &b"list good: 1 prefix\n  read as one address per line, 1 entry, 0 bad lines\n"[..];
    assert_eq!((output.status.code(), &*output.stdout), (Some(0), good_text));
    let output = run(&["validate", "--list", &good, "--list", &bad, "--list", &none]);
    let text = String::from_utf8(output.stdout).expect("the text is UTF-8");
    let lines: Vec<_> = text.lines().collect();
    let second = format!(
        "  {}:3:2: \"1.2.3.4/2\" is an address with host bits: bits are set after its prefix length (host-bits=accept takes its \
         network)",
        folder.path("bad").display()
    );
    assert_eq!(lines[2], "list bad: 1 prefix, 7 bad lines");
    assert_eq!((lines[5], lines[9]), (&*second, "  and 2 more"), "{text}");
    assert!(lines[10].starts_with("list none: cannot read"), "{text}");
    assert_eq!((output.status.code(), &*output.stderr), (Some(1), &b"spoa: 8 faults\n"[..]));
}

/// An invalid configuration file is reported in one line, with its path, the position and the error.
#[test]
fn validate_reports_an_invalid_configuration_with_line_and_column() {
    let folder = folder();
    let path = folder.path("spoa.toml").display().to_string();
    for (text, wanted) in [
        ("port = 7\nprt = 1\n", ":2:1: unknown key \"prt\"; did you mean \"port\"?"),
        ("grace = '5x'\n", ":1:9: expected a whole number of ms, or one with a unit: us, ms, s, m or h"),
        ("listen = ['127.0.0.1:1', 'x']\n", ":1:26: 'x' is not an address"),
        ("max-frame-size = 3\n", ": the maximum frame size must be"),
        ("[[list]]\nname = 'x'\n", ":1:1: missing field `path`"),
        ("[[list]]\nname = 'x'\npath = 'y'\nscore = 101\n", ":4:9: expected a number from 0 to 100"),
        ("[[list]]\nname = 'x'\npath = 'y'\nformat = 'json'\ncolumn = 1\n", ":1:1: only csv has columns"),
        ("[[message]]\nname = 'x'\nscope = 'session'\n", ":3:9: unknown value \"session\"; did you mean \"sess\"?"),
        ("[[message]]\nname = 'x'\nprefix = 'a-'\n", ":1:1: \"a-score\": a variable name cannot have the byte 0x2d"),
        ("[[message]]\nname = 'x'\n[[message]]\nname = 'x'\n", ": two messages are called x"),
        ("list = [{name = 'a', path = 'b'}, {name = 'a', path = 'c'}]\n", ": two lists are called a"),
        ("seed = 1\n[[list]]\nname = 'a'\npath = 'bad'\n", ": delay and seed are for random scores"),
        ("grace = \n", ":1:9: "),
    ] {
        folder.write("spoa.toml", text.as_bytes());
        for options in [&["validate", "--config", &path][..], &["--config", &path]] {
            let output = run(options);
            let error = String::from_utf8(output.stderr).expect("the text is UTF-8");
            assert!(error.starts_with(&format!("spoa: {path}{wanted}")), "expected {wanted:?} for {text}, got {error}");
            assert_eq!((output.status.code(), error.lines().count(), output.stdout.len()), (Some(2), 1, 0), "{error}");
        }
    }
    folder.write("spoa.toml", b"[[list]]\nname = 'bad'\npath = 'bad'\n");
    let output = run(&["validate", "--config", &path]);
    let read = "  read as one address per line, 2 entries, 0 bad lines";
    let wanted = format!("{path} is valid\nlist bad: 2 prefixes\n{read}\n");
    assert_eq!((output.status.code(), String::from_utf8_lossy(&output.stdout).into_owned()), (Some(0), wanted));
    let output = run(&["check", "192.0.0.1", "--config", &path, "--default-score", "1"]);
    assert!(String::from_utf8_lossy(&output.stdout).starts_with("192.0.0.1: listed, score 0\n"));
}

#[test]
fn unusable_lists_are_reported_in_one_line() {
    let folder = Folder::with(&[("empty", b"# nothing\n")]);
    let (empty, none) = (folder.list("empty", ""), folder.list("none", ""));
    for (options, wanted) in [
        (["--list", &none, "--listen", "127.0.0.1:0"], "list none: cannot read"),
        (["--list", &empty, "--listen", "127.0.0.1:0"], "list empty: there is no address in"),
        (["check", "192.0.2.1", "--list", &none], "list none: cannot read"),
    ] {
        let output = run(&options);
        let text = String::from_utf8(output.stderr).expect("the text is UTF-8");
        assert_eq!((output.status.code(), text.lines().count()), (Some(1), 1), "{text}");
        assert!(text.starts_with("spoa: ") && text.contains(wanted), "{text}");
    }
}

/// Some arguments of a message come from the client, such as headers. Their addresses are looked up only if a message
/// rule says so.
#[test]
fn a_client_cannot_choose_the_address_that_is_looked_up() {
    let folder = folder();
    let (ours, bad) = (Value::text("192.0.2.99"), ipv4(1));
    let agent = spawn(&options(&folder));
    let mut client = Client::ready(agent.addr());
    for args in [
        &[("host", ours.clone()), ("src", bad.clone())][..],
        &[("id", Value::text("7")), ("method", Value::text("GET")), ("query", ours.clone()), ("src-ip", bad.clone())],
        &[("", ours.clone()), ("", bad.clone())],
        &[("", Value::Null), ("", bad.clone())],
    ] {
        let answer = ask(&mut client, &message("check-client-ip", args));
        assert!(answer.starts_with("ip_score=10 ip_listed=true"), "{args:?}: {answer}");
    }
    folder.write(
        "spoa.toml",
        b"[[list]]\nname = 'bad'\npath = 'bad'\n[[message]]\nname = 'm'\nargument = ['xff', 'src']\n[[message]]\nname = 'one'\n\
          argument = 'src'\n",
    );
    let agent = Agent::spawn(&["--config", &folder.path("spoa.toml").display().to_string()]);
    let mut client = Client::ready(agent.addr());
    let clean = Value::Ipv4([198, 51, 100, 1]);
    for (name, args, listed) in [
        ("m", [("xff", Value::text("10.0.0.1, 192.0.2.1")), ("src", clean.clone())], true),
        ("m", [("xff", Value::Null), ("src", bad.clone())], true),
        ("m", [("ip", bad.clone()), ("src", clean.clone())], false),
        ("one", [("xff", Value::text("192.0.2.1")), ("src", clean)], false),
    ] {
        let answer = ask(&mut client, &message(name, &args));
        assert!(answer.contains(&format!("ip_listed={listed}")), "{name} {args:?}: {answer}");
    }
    let answer = ask(&mut client, &message("one", &[("xff", ours), ("ip", bad)]));
    assert!(answer.contains("ip_verdict=unknown"), "{answer}");
    agent.wait_for_line(
        "the message \"one\" has none of the arguments that its rule names (src), so no address is judged",
    );
    agent.wait_for_line("HAProxy sends: xff, ip");
}

/// Random scores use the same rules to choose the address.
#[test]
fn random_scores_use_the_same_address() {
    let agent = Agent::spawn(&["--seed", "42"]);
    let mut client = Client::ready(agent.addr());
    // The scores of the two addresses are 30 and 62, as in the unit test of random scores.
    let args = [("host", Value::text("192.0.2.2")), ("src", ipv4(1))];
    assert_eq!(ask(&mut client, &message("check-client-ip", &args)), "ip_score=30");
    assert_eq!(
        ask(&mut client, &message("check-client-ip", &[("ip", Value::text("192.0.2.2, 192.0.2.1"))])),
        "ip_score=30"
    );
    assert_eq!(ask(&mut client, &message("check-client-ip", &[("ip", Value::text("192.0.2.2"))])), "ip_score=62");
}

#[test]
fn a_message_that_is_not_served_is_reported() {
    let folder = folder();
    for agent in [Agent::spawn(&[]), spawn(&options(&folder))] {
        let mut client = Client::ready(agent.addr());
        for _ in 0..50 {
            assert_eq!(ask(&mut client, &message_about("chek-client-ip", ipv4(1))), "");
        }
        agent.wait_for_line("the message \"chek-client-ip\" is not served, so HAProxy gets no variables for it");
        agent.wait_for_line("served are: check-client-ip, get-ip-reputation, check-request");
        ask(&mut client, &message_about("forged\n2026-01-01 ERROR \x1b[31m", ipv4(1)));
        agent.wait_for_line(r"forged\n2026-01-01 ERROR \u{1b}[31m");
        assert_eq!(agent.log().matches("is not served").count(), 2, "{}", agent.log());
        ask(
            &mut client,
            &message("check-client-ip", &[("host", Value::text("192.0.2.1")), ("path", Value::text("/"))]),
        );
        agent.wait_for_line("no address was found in the message \"check-client-ip\", so it is not judged");
        ask(&mut client, &message_about("get-ip-reputation", Value::Null));
        assert!(!agent.log().contains("in the message \"get-ip-reputation\""), "NULL is no mistake: {}", agent.log());
        // A missing header does not explain that no argument has an address.
        let args = [("host", Value::text("192.0.2.1")), ("cookie", Value::Null)];
        ask(&mut client, &message("get-ip-reputation", &args));
        agent.wait_for_line("no address was found in the message \"get-ip-reputation\", so it is not judged");
    }
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

/// Text from lists is escaped before it is printed or logged.
#[test]
fn text_of_files_cannot_forge_lines_or_control_a_terminal() {
    let evil = "\x1b[2J\u{202e}x\r\n192.0.2.1\n{\"cidr\":\"a\\nspoa: forged\"}\n";
    let folder = Folder::with(&[
        ("text", evil.as_bytes()),
        ("json", b"{\"cidr\":\"192.0.2.1\"}\n{\"cidr\":\"a\\nforged\\u001b[31m\"}\n"),
    ]);
    for name in ["text", "json"] {
        let list = folder.list(name, ",strict");
        let outputs = [run(&["validate", "--list", &list]), run(&["--listen", "127.0.0.1:0", "--list", &list])];
        for output in outputs {
            let text = [output.stdout, output.stderr].concat();
            let text = String::from_utf8(text).expect("the text is UTF-8");
            assert!(!text.chars().any(|char| char.is_control() && char != '\n' || char == '\u{202e}'), "{text:?}");
            assert!(
                !text.lines().any(|line| line.starts_with("forged") || line.starts_with("spoa: forged")),
                "{text:?}"
            );
        }
        folder.write(name, b"192.0.2.1\n");
        for format in ["text", "json"] {
            let agent = Agent::spawn(&["--log-format", format, "--list", &list, "--no-watch"]);
            folder.write(name, if name == "text" { evil.as_bytes() } else { b"{\"cidr\":\"a\\nforged\\u009b\"}\n" });
            agent.signal(Signal::HUP);
            agent.wait_for_line("the previous version stays in use");
            let log = agent.log();
            assert!(!log.chars().any(|char| char.is_control() && char != '\n' || char == '\u{202e}'), "{log:?}");
            assert!(!log.lines().any(|line| line.starts_with("forged")), "{log:?}");
            folder.write(name, b"192.0.2.1\n");
        }
    }
}

/// A FIFO or a huge file cannot be loaded, but does not block the agent: it still handles signals and answers NOTIFYs.
#[test]
fn unusable_files_do_not_block_signals() {
    let folder = folder();
    let text = "[[list]]\nname = 'bad'\npath = 'bad'\n[[list]]\nname = 'worse'\npath = 'worse'\nscore = 10\n";
    folder.write("spoa.toml", text.as_bytes());
    let (config, list) = (folder.path("spoa.toml"), folder.path("worse"));
    let agent = Agent::spawn(&["--config", &config.display().to_string(), "--no-watch"]);
    let fifo = |path: &std::path::Path| {
        fs::remove_file(path).expect("the file exists");
        mknodat(CWD, path, FileType::Fifo, Mode::RUSR, 0).expect("the path is free");
    };
    fifo(&list);
    agent.signal(Signal::HUP);
    agent.wait_for_line("it is not a regular file; the previous version stays in use: list worse");
    fifo(&config);
    agent.signal(Signal::HUP);
    agent.wait_for_line("spoa.toml: it is not a regular file");
    fs::remove_file(&config).expect("the file exists");
    let sparse = File::create(&config).expect("the folder is writable");
    sparse.set_len(1_200_000_000).expect("the file system supports sparse files");
    agent.signal(Signal::HUP);
    agent.wait_for_line("spoa.toml: it is larger than 4194304 bytes");
    fs::remove_file(&list).expect("the file exists");
    File::create(&list)
        .expect("the folder is writable")
        .set_len(2 << 30)
        .expect("the file system supports sparse files");
    folder.write("spoa.toml", text.as_bytes());
    agent.signal(Signal::HUP);
    // The next signal is handled before the reload of this file has ended.
    agent.signal(Signal::USR1);
    agent.wait_for_line("the log level is debug");
    agent.wait_for_line("it is larger than 1073741824 bytes; the previous version stays in use: list worse");
    assert!(ask(&mut Client::ready(agent.addr()), &check_client_ip(ipv4(1))).contains("ip_listed=true"));
}

/// As root, `validate` can read files that the user of the service cannot read, and reports them.
#[test]
fn validate_checks_that_the_service_can_read_the_files() {
    if !rustix::process::geteuid().is_root() {
        eprintln!("skipped: without root, there is no file that this user can read and the service cannot");
        return;
    }
    let folder = folder();
    let list = folder.list("bad", "");
    assert!(run(&["validate", "--list", &list]).status.success());
    let path = folder.path("bad");
    fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).expect("root can change the mode");
    let output = run(&["validate", "--list", &list]);
    let text = String::from_utf8_lossy(&output.stdout);
    let wanted = format!("the user spoa cannot read {} (mode 0600)", path.display());
    assert!(output.status.code() == Some(1) && text.contains(&wanted), "expected {wanted:?}, got {text}");
    assert!(run(&["validate", "--list", &list, "--user", "root"]).status.success());
    assert_eq!(run(&["validate", "--list", &list, "--user", "no-such-user"]).status.code(), Some(1));
    fs::set_permissions(&path, fs::Permissions::from_mode(0o644)).expect("root can change the mode");
    fs::set_permissions(folder.path(""), fs::Permissions::from_mode(0o700)).expect("root can change the mode");
    let output = run(&["validate", "--list", &list]);
    assert!(String::from_utf8_lossy(&output.stdout).contains("the user spoa cannot enter"), "{output:?}");
    // A link in a folder that is closed leads nowhere, wherever its target is.
    let open = Folder::with(&[("bad", b"192.0.2.1\n")]);
    symlink(open.path("bad"), folder.path("link")).expect("the name is free");
    let output = run(&["validate", "--list", &folder.list("link", "")]);
    assert!(String::from_utf8_lossy(&output.stdout).contains("the user spoa cannot enter"), "{output:?}");
    assert!(run(&["validate", "--list", &open.list("bad", "")]).status.success());
}

/// A result that was not written is not a success.
#[test]
fn a_full_disk_is_an_error_and_a_reader_that_has_gone_is_none() {
    let folder = folder();
    let mut command = Command::new(binary());
    command.args(["check", "192.0.2.1", "--list", &folder.list("bad", "")]);
    let full = File::options().write(true).open("/dev/full").expect("Linux has it");
    let output = command.stdout(full).output().expect("spoa can be run");
    let text = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.code() == Some(1) && text.contains("spoa: cannot write to standard output: "), "{text}");
    let (reader, writer) = io::pipe().expect("a pipe can be created");
    drop(reader);
    assert!(command.stdout(writer).status().expect("spoa can be run").success());
}
