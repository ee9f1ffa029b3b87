//! Answers by lists, lists that change, and `spoa check`.

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
    agent.wait_for_line("list worse: 1 prefixes, 1 bad lines, the first is line 2 of");
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
fn lists_are_replaced_at_sighup_or_stay_as_they_are() {
    let folder = folder();
    let agent = spawn(&options(&folder));
    let mut client = Client::ready(agent.addr());
    let mut score = || ask(&mut client, &check_client_ip(ipv4(1))).split(' ').next().expect("a score").to_owned();
    assert_eq!(score(), "ip_score=10");

    folder.write("worse", b"203.0.113.0/24\n");
    assert_eq!(score(), "ip_score=10", "not before it is told");
    agent.signal(Signal::HUP);
    agent.wait_for_line("generation 2");
    assert_eq!(score(), "ip_score=30", "in the other list alone");

    folder.remove("worse");
    agent.signal(Signal::HUP);
    agent.wait_for_line("the lists in use stay: list worse: cannot read");
    folder.write("worse", b"<html>404</html>\n");
    agent.signal(Signal::HUP);
    agent.wait_for_line("the lists in use stay: list worse: there is no address");
    folder.write("worse", b"192.0.2.0/24\n");
    folder.write("bad", b"1.2.3.4\n");
    agent.signal(Signal::HUP);
    agent.wait_for_line("generation 3");
    assert_eq!(score(), "ip_score=10");
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
    let options = ["--list".into(), folder.list("list", ""), "--max-shrink".into(), "25".into()];
    let agent = spawn(&options);
    let mut client = Client::ready(agent.addr());
    folder.write("list", b"192.0.2.1\n192.0.2.2\n");
    agent.signal(Signal::HUP);
    agent.wait_for_line("list list has 2 prefixes, of 4: that is more than 25 % fewer");
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
    let folder = Folder::with(&[("good", b"192.0.2.1\n"), ("bad", b"192.0.2.1\nx\n1.2.3.4/2\nx\nx\nx\nx\nx\n")]);
    let (good, bad) = (folder.list("good", ""), folder.list("bad", ""));
    let output = run(&["validate", "--list", &good]);
    assert_eq!((output.status.code(), &*output.stdout), (Some(0), &b"list good: 1 prefixes\n"[..]));
    let output = run(&["validate", "--list", &good, "--list", &bad]);
    let text = String::from_utf8(output.stdout).expect("text");
    let path = folder.path("bad");
    let second =
        format!("  line 3 of {}: \"1.2.3.4/2\" is an address with bits behind its prefix length", path.display());
    assert_eq!(text.lines().nth(1), Some("list bad: 1 prefixes, 7 bad lines"));
    assert_eq!((text.lines().nth(3), text.lines().last()), (Some(&*second), Some("  and 2 more")), "{text}");
    assert_eq!((output.status.code(), &*output.stderr), (Some(1), &b"spoa: 7 bad lines\n"[..]));
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
