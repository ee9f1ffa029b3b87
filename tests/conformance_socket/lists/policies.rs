//! Policies: each message, or each value of an argument, has lists, a default score and a limit of its own.

use rustix::process::Signal;
use spoa_tests::admin::Admin;
use spoa_tests::agent::{Agent, run};
use spoa_tests::bytes::{Value, message};
use spoa_tests::client::Client;
use spoa_tests::folder::Folder;

use super::{ask, ipv4};

const CONFIG: &str = "
[[list]]
name = 'bad'
path = 'bad'
score = 10
[[list]]
name = 'proxies'
path = 'proxies'
score = 40
[[list]]
name = 'ours'
path = 'ours'
allow = true

[[message]]
name = 'login'
lists = ['bad', 'proxies']
default-score = 70
[[message]]
name = 'page'
argument = 'ip'
score-below = 40
policy-argument = 'site'

[[policy]]
name = 'shop.example'
lists = ['proxies']
default-score = 90
[[policy]]
name = 'blog.example'
lists = []
";

fn folder() -> Folder {
    let folder = Folder::with(&[
        ("bad", b"192.0.2.1\n192.0.2.3\n"),
        ("proxies", b"192.0.2.2\n192.0.2.3\n"),
        ("ours", b"192.0.2.1\n192.0.2.4\n"),
    ]);
    folder.write("spoa.toml", CONFIG.as_bytes());
    folder
}

/// Returns the score, the verdict and the list of an answer.
fn judged(client: &mut Client, name: &str, last: u8, site: Option<&str>) -> String {
    let site = site.map(|site| ("site", Value::text(site)));
    let args: Vec<_> = [("ip", ipv4(last))].into_iter().chain(site).collect();
    let answer = ask(client, &message(name, &args));
    let of =
        |key: &str| answer.split(' ').find_map(|part| part.strip_prefix(key)).expect("the variable is set").to_owned();
    [of("ip_score="), of("ip_verdict="), of("ip_list=")].join(" ")
}

#[test]
fn each_message_and_site_has_its_own_policy() {
    let folder = folder();
    let agent = Agent::spawn(&["--config", &folder.path("spoa.toml").display().to_string()]);
    let mut client = Client::ready(agent.addr());
    for (name, site, wanted) in [
        // Without the list "ours", and with another default.
        ("login", None, ["10 listed bad", "40 listed proxies", "10 listed bad", "70 unknown "]),
        // The rule's own policy: all lists, but no prefix with a score of 40 or more.
        ("page", None, ["100 allow ours", "50 unknown ", "10 listed bad", "100 allow ours"]),
        ("page", Some("other.example"), ["100 allow ours", "50 unknown ", "10 listed bad", "100 allow ours"]),
        ("page", Some("shop.example"), ["90 unknown ", "40 listed proxies", "40 listed proxies", "90 unknown "]),
        ("page", Some("blog.example"), ["50 unknown "; 4]),
    ] {
        for (last, wanted) in (1..).zip(wanted) {
            assert_eq!(judged(&mut client, name, last, site), wanted, "{name} {site:?} 192.0.2.{last}");
        }
    }
    // A reload changes policies while the agent serves.
    let text = CONFIG.replace("lists = []", "lists = ['bad']").replace("default-score = 70", "default-score = 60");
    folder.write("spoa.toml", text.as_bytes());
    agent.signal(Signal::HUP);
    agent.wait_for_line("SIGHUP: generation 2");
    assert_eq!(judged(&mut client, "page", 1, Some("blog.example")), "10 listed bad");
    assert_eq!(judged(&mut client, "login", 4, None), "60 unknown ");
}

/// `spoa check` judges by the policy of a message, from the files and by the running agent.
#[test]
fn check_judges_by_the_policy_of_a_message() {
    let folder = folder();
    let config = folder.path("spoa.toml").display().to_string();
    let agent = Agent::spawn(&["--config", &config, "--admin", "127.0.0.1:0"]);
    let admin = Admin::of(&agent);
    let live = format!("--live={}", admin.addr());
    for source in [&["--config", &config][..], &[&live]] {
        for (asked, wanted) in [
            (&[][..], "192.0.2.3: listed, score 10\n  decided by 192.0.2.3 in bad\n"),
            (&["--message", "login"], "192.0.2.3: listed, score 10\n"),
            // These policies leave out lists that contain the address.
            (&["--message", "login"], "192.0.2.4: unknown, score 70\n"),
            (&["--message", "page"], "192.0.2.2: unknown, score 50\n"),
            (
                &["--message", "page", "--policy", "shop.example"],
                "192.0.2.3: listed, score 40\n  decided by 192.0.2.3 in proxies\n",
            ),
            (&["--message", "page", "--policy", "blog.example"], "192.0.2.3: unknown, score 50\n"),
        ] {
            let address = wanted.split_once(':').expect("the answer begins with the address").0;
            let output = run(&[&["check"], source, asked, &[address]].concat());
            let text = String::from_utf8_lossy(&output.stdout).into_owned();
            assert!(text.starts_with(wanted), "expected {wanted:?} for {source:?} {asked:?}, got {text:?}");
        }
        for (asked, error) in [
            (["--message", "none"], "no message rule serves the message none"),
            (["--policy", "none"], "no policy is called none"),
        ] {
            let output = run(&[&["check"], source, &asked, &["192.0.2.3"]].concat());
            let text = String::from_utf8_lossy(&output.stderr).into_owned();
            assert!(text.contains(error) && output.status.code() == Some(1), "expected {error:?}, got {text:?}");
        }
    }
}

/// The command line completes a file: only the options of both together are checked.
#[test]
fn a_file_may_need_the_command_line() {
    let folder = folder();
    let config = folder.path("spoa.toml").display().to_string();
    let (log, bad) = (folder.path("log").display().to_string(), folder.list("bad", ""));
    for (file, given) in [
        (format!("verdict-log = '{log}'"), ["--list", &bad]),
        ("verdict-log-rate = 7\n[[list]]\nname = 'bad'\npath = 'bad'".into(), ["--verdict-log", &log]),
        ("[[message]]\nname = 'login'\nlists = ['bad']".into(), ["--list", &bad]),
    ] {
        folder.write("spoa.toml", file.as_bytes());
        let output = run(&["-p", "1", "--config", &config]);
        let text = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(text.contains(&config) && output.status.code() == Some(2), "{file}: {text}");
        Agent::spawn(&[&["--config", &config][..], &given].concat()).wait_for_line("listening on");
    }
}

/// Policies are for lists: without any, they would have no effect, and nobody would notice.
#[test]
fn a_policy_without_lists_is_an_error() {
    let folder = folder();
    let config = folder.path("spoa.toml").display().to_string();
    for file in [
        "[[message]]\nname = 'login'\nscore-below = 9",
        "[[policy]]\nname = 'a'",
        "[[message]]\nname = 'a'\nshadow = true",
    ] {
        folder.write("spoa.toml", file.as_bytes());
        let output = run(&["-p", "1", "--config", &config]);
        let text = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(text.contains("for lists, but there is none") && output.status.code() == Some(2), "{file}: {text}");
    }
}

#[test]
fn a_policy_that_makes_no_sense_is_an_error() {
    let folder = folder();
    let path = folder.path("spoa.toml").display().to_string();
    for (before, after, error) in [
        (
            "lists = ['proxies']",
            "lists = ['none']",
            "the policy of shop.example names the list none, which is not configured",
        ),
        (
            "lists = ['bad', 'proxies']",
            "lists = ['x']",
            "the policy of login names the list x, which is not configured",
        ),
        ("'blog.example'", "'shop.example'", "two policies are called shop.example"),
        ("score-below = 40", "score-below = 101", "expected a number from 0 to 100"),
        ("default-score = 90", "prefix = 'x'", "unknown key \"prefix\""),
    ] {
        assert!(CONFIG.contains(before), "{before}");
        folder.write("spoa.toml", CONFIG.replace(before, after).as_bytes());
        let output = run(&["-p", "1", "--config", &path]);
        let text = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(text.contains(error) && output.status.code() == Some(2), "expected {error:?}, got {text:?}");
    }
    folder.write("spoa.toml", CONFIG.split("[[policy]]").next().expect("a part before it").as_bytes());
    let text = String::from_utf8_lossy(&run(&["-p", "1", "--config", &path]).stderr).into_owned();
    assert!(text.contains("the message page selects its policy by an argument, but there is no policy"), "{text}");
}
