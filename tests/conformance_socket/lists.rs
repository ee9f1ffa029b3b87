//! Answers from lists, reloads, and the commands `check` and `validate`.

mod commands;
mod live;
mod policies;
mod reload;
mod verdicts;

use spoa_tests::admin::Admin;
use spoa_tests::agent::Agent;
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
pub(crate) fn ask(client: &mut Client, message: &[u8]) -> String {
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
