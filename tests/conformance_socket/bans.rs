//! Bans at run time: their effect, their journal, who may change them, and the commands.

use std::fs;
use std::io::Write;
use std::os::unix::fs::{PermissionsExt, chown};
use std::os::unix::process::CommandExt;
use std::process::{Child, Command, Output, Stdio};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::Instant;

use rustix::process::{Signal, getuid};
use spoa_tests::admin::Admin;
use spoa_tests::agent::{Agent, LIMIT, binary};
use spoa_tests::bytes::{Value, message};
use spoa_tests::client::Client;
use spoa_tests::folder::Folder;

use crate::lists::ask;

/// An agent with bans, and its admin socket.
struct Site {
    folder: Folder,
    agent: Agent,
}

impl Site {
    /// Starts an agent with bans, and with these lines of the configuration.
    fn start(config: &str) -> Self {
        let folder = Folder::with(&[]);
        let head =
            "admin = 'unix:ADMIN'\nbans = 'bans'\n".replace("ADMIN", &folder.path("admin").display().to_string());
        folder.write("spoa.toml", (head + config).as_bytes());
        let agent = Self::spawn(&folder);
        Self { folder, agent }
    }

    fn spawn(folder: &Folder) -> Agent {
        Agent::spawn(&["--config", &folder.path("spoa.toml").display().to_string()])
    }

    /// Kills the agent, and starts it again.
    fn restart(self) -> Self {
        let Self { folder, agent } = self;
        agent.signal(Signal::KILL);
        drop(agent);
        let agent = Self::spawn(&folder);
        Self { folder, agent }
    }

    fn admin(&self) -> Admin {
        Admin::at(&format!("unix:{}", self.folder.path("admin").display()))
    }

    /// Returns the command `spoa` with these arguments, about this agent.
    fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(binary());
        command.args(arguments).arg("--config").arg(self.folder.path("spoa.toml")).env("SUDO_USER", "alice");
        command.stdin(Stdio::null());
        command
    }

    fn run(&self, arguments: &[&str]) -> Output {
        self.command(arguments).output().expect("spoa can be run")
    }

    /// Runs a command that has to succeed, and returns what it prints.
    fn done(&self, arguments: &[&str]) -> String {
        let output = self.run(arguments);
        assert!(output.status.success(), "{arguments:?}: {output:?}");
        String::from_utf8(output.stdout).expect("the output is UTF-8")
    }

    /// Returns the verdict, the score, the list and the prefix of an address.
    fn verdict(&self, address: [u8; 4]) -> String {
        self.verdict_of("check-client-ip", address)
    }

    fn verdict_of(&self, name: &str, address: [u8; 4]) -> String {
        let answer = ask(&mut Client::ready(self.agent.addr()), &message(name, &[("ip", Value::Ipv4(address))]));
        let of = |name: &str| {
            let variable = answer.split(' ').find_map(|variable| variable.strip_prefix(name)?.strip_prefix('='));
            variable.unwrap_or_default()
        };
        format!("{} {} {} {}", of("ip_verdict"), of("ip_score"), of("ip_list"), of("ip_prefix")).trim_end().to_owned()
    }

    /// Waits until an address has a verdict.
    fn wait_for(&self, address: [u8; 4], wanted: &str) {
        let deadline = Instant::now() + LIMIT;
        while self.verdict(address) != wanted {
            assert!(Instant::now() < deadline, "expected {wanted}, got {}", self.verdict(address));
        }
    }
}

const ADDRESS: [u8; 4] = [203, 0, 113, 7];

#[test]
fn a_ban_counts_until_it_is_removed_and_survives_a_kill() {
    let site = Site::start("");
    assert_eq!(site.verdict(ADDRESS), "unknown 50");
    assert_eq!(site.done(&["ban", "203.0.113.7", "198.51.100.0/24", "--for", "2h", "--reason", "scans"]), "2 added\n");
    assert_eq!(site.verdict(ADDRESS), "listed 0 bans 203.0.113.7");
    assert_eq!(site.verdict([198, 51, 100, 9]), "listed 0 bans 198.51.100.0/24");
    assert_eq!(site.done(&["ban", "203.0.113.7", "--score", "20"]), "1 replaced\n");
    assert_eq!(site.verdict(ADDRESS), "listed 20 bans 203.0.113.7");
    let site = site.restart();
    assert_eq!(site.verdict(ADDRESS), "listed 20 bans 203.0.113.7");
    let all = site.done(&["bans"]);
    let lines: Vec<_> = all.lines().collect();
    assert!(lines[0].starts_with("198.51.100.0/24 banned in list bans, until 2"), "{all}");
    assert!(lines[0].ends_with(", by alice: scans"), "{all}");
    assert_eq!(lines[1..], ["203.0.113.7 banned in list bans, score 20, without an end, by alice"]);
    assert_eq!(site.done(&["allow", "203.0.113.7", "--for", "1d"]), "1 added\n");
    assert_eq!(site.verdict(ADDRESS), "allow 100 allowed 203.0.113.7");
    // Only what bans is removed, not what allows.
    assert_eq!(site.done(&["unban", "203.0.113.7"]), "1 removed\n");
    assert_eq!(site.verdict(ADDRESS), "allow 100 allowed 203.0.113.7");
    assert_eq!(site.done(&["unban", "203.0.113.7", "--list", "allowed"]), "1 removed\n");
    assert_eq!(site.verdict(ADDRESS), "unknown 50");
    let site = site.restart();
    assert_eq!(site.verdict(ADDRESS), "unknown 50");
    assert_eq!(site.verdict([198, 51, 100, 9]), "listed 0 bans 198.51.100.0/24");
    assert_eq!(site.admin().total("spoa_bans"), 1.0);
}

#[test]
fn a_ban_ends_by_itself() {
    let site = Site::start("");
    site.done(&["ban", "203.0.113.7", "--for", "200ms"]);
    site.done(&["ban", "203.0.113.8", "--for", "10h"]);
    site.wait_for(ADDRESS, "unknown 50");
    assert_eq!(site.verdict([203, 0, 113, 8]), "listed 0 bans 203.0.113.8");
    assert_eq!(site.admin().total("spoa_bans_expired_total"), 1.0);
    // Also after a restart in between.
    site.done(&["ban", "203.0.113.7", "--for", "3s"]);
    let site = site.restart();
    assert_eq!(site.verdict(ADDRESS), "listed 0 bans 203.0.113.7");
    site.wait_for(ADDRESS, "unknown 50");
}

#[test]
fn bans_obey_lists_policies_and_shadow_mode() {
    let site = Site::start(
        "[[list]]\nname = 'ssh'\nscore = 5\n[[list]]\nname = 'trial'\nshadow = true\n[[message]]\nname = 'check-client-ip'\n\
         [[message]]\nname = 'login'\nlists = ['ssh']\n[[message]]\nname = 'tried'\nshadow = true\n",
    );
    let output = site.run(&["ban", "203.0.113.7"]);
    let text = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(output.status.success(), "{output:?}");
    assert_eq!(text, "spoa: the message login does not use the list bans, so it has no effect there\n");
    assert_eq!(site.verdict_of("login", ADDRESS), "unknown 50");
    assert_eq!(site.verdict_of("tried", ADDRESS), "unknown 50");
    site.done(&["ban", "203.0.113.7", "--list", "ssh"]);
    assert_eq!(site.verdict_of("login", ADDRESS), "listed 5 ssh 203.0.113.7");
    let output = site.run(&["ban", "203.0.113.8", "--list", "trial"]);
    let text = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(text.ends_with("spoa: 203.0.113.8 is unknown; the ban does not decide\n"), "{text}");
    assert_eq!(site.verdict([203, 0, 113, 8]), "unknown 50");
    let answer = ask(
        &mut Client::ready(site.agent.addr()),
        &message("check-client-ip", &[("ip", Value::Ipv4([203, 0, 113, 8]))]),
    );
    assert!(answer.ends_with("ip_shadow_score=0 ip_shadow_verdict=listed ip_shadow_list=trial"), "{answer}");
    assert_eq!(site.admin().sample("spoa_list_matches_total{list=\"ssh\",mode=\"enforced\"}"), 1.0);
    // A list that goes takes its bans with it until it returns.
    let config = fs::read_to_string(site.folder.path("spoa.toml")).expect("it is there");
    site.folder.write(
        "spoa.toml",
        config.replace("[[list]]\nname = 'ssh'\nscore = 5\n", "").replace("['ssh']", "['bans']").as_bytes(),
    );
    site.agent.signal(Signal::HUP);
    site.agent.wait_for_line("1 ban of the list ssh without effect");
    assert_eq!(site.verdict_of("login", ADDRESS), "listed 0 bans 203.0.113.7");
}

#[test]
fn wrong_changes_are_explained_and_change_nothing() {
    let site = Site::start("[[list]]\nname = 'ssh'\n");
    for (arguments, status, wanted) in [
        (&["ban", "0.0.0.0/0"][..], 1, "0.0.0.0/0 covers 100.0 % of all public addresses"),
        (&["ban", "203.0.113.7", "--list", "no"], 1, "no list is called no: the lists are ssh, bans, allowed"),
        (&["ban", "203.0.113.7", "--list", "allowed"], 1, "the list allowed allows its addresses"),
        (&["allow", "203.0.113.7", "--list", "ssh"], 1, "the list ssh does not allow its addresses"),
        (&["ban", "203.0.113.7", "--for", "5"], 2, "expected a time with a unit, such as 30s"),
        (&["ban", "203.0.113.7/24"], 2, "bits are set after the prefix length"),
        (&["ban", "host"], 2, "not an address"),
        (&["ban"], 2, "<ADDR>"),
        (&["unban", "203.0.113.7"], 1, "1 address had no ban"),
        (&["ban", "203.0.113.7", "--reason", &"x".repeat(201)], 1, "the reason has 201 bytes"),
    ] {
        let output = site.run(arguments);
        let text = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(status), "{arguments:?}: {output:?}");
        assert!(text.contains(wanted), "{arguments:?}: expected {wanted}, got {text}");
    }
    assert_eq!(site.done(&["bans"]), "");
    let output = Command::new(binary()).args(["bans", "--agent", "unix:/nowhere"]).output().expect("spoa can be run");
    let text = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(text.starts_with("spoa: the agent at unix:/nowhere cannot be reached: No such file"), "{text}");
}

#[test]
fn many_bans_come_from_standard_input() {
    let site = Site::start("");
    let mut child = site.command(&["ban", "-", "--reason", "all"]);
    let mut child =
        child.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("spoa can be run");
    let lines: String = (0..2500).map(|n| format!("198.18.{}.{}\n", n / 250, n % 250)).collect();
    let mut input = child.stdin.take().expect("standard input is piped");
    input.write_all(format!("# all\nnonsense\n{lines}").as_bytes()).expect("the command reads it");
    drop(input);
    let output = child.wait_with_output().expect("the command ends");
    assert_eq!(String::from_utf8_lossy(&output.stdout), "2500 added\n");
    let text = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(text.starts_with("spoa: standard input, line 2: \"nonsense\": not an address\n"), "{text}");
    assert_eq!(output.status.code(), Some(1));
    // All of them are exported, and read by another agent.
    let export = site.done(&["bans", "--export"]);
    assert_eq!(export.lines().count(), 2500);
    let other = Site::start("");
    let mut child = other.command(&["ban", "-"]).stdin(Stdio::piped()).spawn().expect("spoa can be run");
    let mut input = child.stdin.take().expect("standard input is piped");
    input.write_all(export.as_bytes()).expect("the command reads it");
    drop(input);
    assert!(child.wait().expect("the command ends").success());
    assert_eq!(other.done(&["bans", "--json"]), export);
}

/// Bans of different origins are separate, and the lowest score counts.
#[test]
fn bans_of_different_origins_are_separate() {
    let site = Site::start("");
    site.done(&["ban", "203.0.113.7", "--score", "30", "--reason", "by hand"]);
    assert_eq!(site.done(&["ban", "203.0.113.7", "--score", "10", "--origin", "jail", "--for", "1h"]), "1 added\n");
    assert_eq!(site.verdict(ADDRESS), "listed 10 bans 203.0.113.7");
    let shown = site.done(&["check", &format!("--live=unix:{}", site.folder.path("admin").display()), "203.0.113.7"]);
    assert!(shown.contains(", by jail") && shown.contains("by alice: by hand"), "{shown}");
    assert_eq!(site.done(&["unban", "203.0.113.7", "--origin", "jail"]), "1 removed\n");
    assert_eq!(site.verdict(ADDRESS), "listed 30 bans 203.0.113.7");
    site.done(&["ban", "203.0.113.7", "--origin", "jail"]);
    // What another command prints can be removed too.
    let export = site.done(&["bans", "--json"]);
    let mut child =
        site.command(&["unban", "-"]).stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().expect("spoa can be run");
    child.stdin.take().expect("standard input is piped").write_all(export.as_bytes()).expect("the command reads it");
    let output = child.wait_with_output().expect("the command ends");
    assert_eq!(String::from_utf8_lossy(&output.stdout), "2 removed\n");
    assert_eq!(site.verdict(ADDRESS), "unknown 50");
    // And an address alone stands for the bans of all origins.
    site.done(&["ban", "203.0.113.7", "--origin", "jail"]);
    let mut child = site.command(&["unban", "-"]).stdin(Stdio::piped()).spawn().expect("spoa can be run");
    child.stdin.take().expect("standard input is piped").write_all(b"203.0.113.7\n").expect("the command reads it");
    assert!(child.wait().expect("the command ends").success());
    assert_eq!(site.verdict(ADDRESS), "unknown 50");
}

/// Two agents follow each other, and one of them restarts: both come to the same bans.
#[test]
fn agents_follow_each_other() {
    let (first, second) = (Site::start(""), Site::start(""));
    first.done(&["ban", "203.0.113.7", "--for", "10h"]);
    let follow = |from: &Site, to: &Site| {
        let mut source = from.command(&["bans", "--follow"]).stdout(Stdio::piped()).spawn().expect("spoa can be run");
        let changes = source.stdout.take().expect("standard output is piped");
        let sink = to.command(&["ban", "-"]).stdin(Stdio::from(changes)).spawn().expect("spoa can be run");
        [Killed(source), Killed(sink)]
    };
    let _children = [follow(&first, &second), follow(&second, &first)];
    second.wait_for(ADDRESS, "listed 0 bans 203.0.113.7");
    second.done(&["unban", "203.0.113.7"]);
    second.done(&["ban", "203.0.113.8"]);
    first.wait_for([203, 0, 113, 8], "listed 0 bans 203.0.113.8");
    first.wait_for(ADDRESS, "unknown 50");
    // The command has the answer to the last request when it sends the next one: from then on it waits for its agent.
    second.done(&["ban", "203.0.113.11"]);
    first.wait_for([203, 0, 113, 11], "listed 0 bans 203.0.113.11");
    let first = first.restart();
    second.done(&["ban", "203.0.113.9"]);
    first.wait_for([203, 0, 113, 9], "listed 0 bans 203.0.113.9");
    first.done(&["ban", "203.0.113.10"]);
    second.wait_for([203, 0, 113, 10], "listed 0 bans 203.0.113.10");
    assert_eq!(first.done(&["bans", "--json"]), second.done(&["bans", "--json"]));
}

/// A command that is killed when it is dropped.
struct Killed(Child);

impl Drop for Killed {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Sends a POST request and returns its status.
fn post(admin: &Admin, headers: &str, body: &str) -> u16 {
    let text = admin.exchange(&format!(
        "POST /bans HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n{headers}content-length: {}\r\n\r\n{body}",
        body.len()
    ));
    text.split(' ').nth(1).and_then(|status| status.parse().ok()).expect("the response has a status")
}

const JSON: &str = "content-type: application/json\r\n";
const BAN: &str = r#"[{"action":"ban","address":"203.0.113.7"}]"#;

#[test]
fn requests_without_permission_change_nothing() {
    let site = Site::start("[[list]]\nname = 'ssh'\n");
    let unix = site.admin();
    for (headers, body, wanted) in [
        ("", BAN, 415),
        ("content-type: text/plain\r\n", BAN, 415),
        ("content-type: application/json\r\norigin: http://evil.example\r\n", BAN, 403),
        ("content-type: application/json\r\norigin: null\r\n", BAN, 403),
        ("content-type: application/json\r\nsec-fetch-site: cross-site\r\n", BAN, 403),
        (JSON, "nonsense", 400),
        (JSON, r#"[{"action":"ban"}]"#, 400),
        (JSON, r#"[{"action":"ban","address":"203.0.113.7"},{"action":"ban","address":"x"}]"#, 400),
        (JSON, &" ".repeat((1 << 20) + 1), 413),
    ] {
        assert_eq!(post(&unix, headers, body), wanted, "{headers} {body:.50}");
    }
    let text = unix.exchange(&format!(
        "POST /bans HTTP/1.1\r\nhost: rebound.example\r\n{JSON}connection: close\r\ncontent-length: {}\r\n\r\n{BAN}",
        BAN.len()
    ));
    assert!(text.starts_with("HTTP/1.1 421 "), "{text}");
    assert_eq!(unix.request("POST /status").0, 405);
    assert_eq!(unix.request("DELETE /bans").0, 405);
    assert_eq!(site.verdict(ADDRESS), "unknown 50");
    assert_eq!(post(&unix, JSON, BAN), 200);
    assert_eq!(site.verdict(ADDRESS), "listed 0 bans 203.0.113.7");
}

#[test]
fn changes_over_tcp_need_the_token() {
    let folder = Folder::with(&[("token", b"0123456789abcdef\n")]);
    let (unix, bans) = (format!("unix:{}", folder.path("admin").display()), folder.path("bans").display().to_string());
    let token = folder.path("token").display().to_string();
    let agent = Agent::spawn(&["--admin", "127.0.0.1:0", "--admin", &unix, "--bans", &bans]);
    assert_eq!(post(&Admin::of(&agent), JSON, BAN), 403);
    drop(agent);
    let agent = Agent::spawn(&["--admin", "127.0.0.1:0", "--bans", &bans]);
    agent.wait_for_line("nobody can change the bans: add a unix socket to admin");
    drop(agent);
    let agent = Agent::spawn(&["--admin", "127.0.0.1:0", "--bans", &bans, "--admin-token-file", &token]);
    let tcp = Admin::of(&agent);
    for (header, wanted) in [
        ("", 401),
        ("authorization: Bearer 0123456789abcdeX\r\n", 401),
        ("authorization: Bearer \r\n", 401),
        ("authorization: Basic 0123456789abcdef\r\n", 401),
    ] {
        assert_eq!(post(&tcp, &format!("{JSON}{header}"), BAN), wanted, "{header}");
    }
    // The answer does not wait for the body.
    let head =
        format!("POST /bans HTTP/1.1\r\nhost: localhost\r\n{JSON}content-length: 1000\r\nconnection: close\r\n\r\n");
    assert!(tcp.exchange(&head).starts_with("HTTP/1.1 401 "));
    assert_eq!(tcp.total("spoa_bans_added_total"), 0.0);
    let command = |arguments: &[&str]| {
        Command::new(binary()).args(arguments).args(["--agent", tcp.addr()]).output().expect("spoa can be run")
    };
    assert_eq!(command(&["ban", "203.0.113.7"]).status.code(), Some(1));
    assert_eq!(command(&["ban", "203.0.113.7", "--token-file", &token]).status.code(), Some(0));
    assert_eq!(tcp.total("spoa_bans"), 1.0);
    // A token that is easily found is none.
    folder.write("token", b"short\n");
    let output = command(&["ban", "203.0.113.7", "--token-file", &token]);
    assert!(String::from_utf8_lossy(&output.stderr).contains("16 or more"), "{output:?}");
}

#[test]
fn the_mode_of_the_socket_chooses_who_may_change_bans() {
    const NOBODY: u32 = 65_534;
    if !getuid().is_root() {
        return;
    }
    let site = Site::start("");
    let socket = site.folder.path("admin");
    // Everyone may reach the socket, but not write to it.
    fs::set_permissions(site.folder.path(""), fs::Permissions::from_mode(0o755)).expect("it is ours");
    let ban = || {
        let mut command = site.command(&["ban", "203.0.113.7"]);
        command.arg("--agent").arg(format!("unix:{}", socket.display())).uid(NOBODY).gid(NOBODY);
        command.output().expect("spoa can be run")
    };
    let output = ban();
    assert!(String::from_utf8_lossy(&output.stderr).contains("Permission denied"), "{output:?}");
    assert_eq!(site.verdict(ADDRESS), "unknown 50");
    chown(&socket, Some(NOBODY), None).expect("the test runs as root");
    assert!(ban().status.success());
    assert_eq!(site.verdict(ADDRESS), "listed 0 bans 203.0.113.7");
}

/// A kill at any time loses no change that was confirmed.
#[test]
fn a_kill_amid_changes_loses_none_that_was_confirmed() {
    const CONFIRMED: usize = 10_000;
    const THREADS: usize = 4;
    let site = Site::start("");
    let (admin, count) = (site.admin(), AtomicUsize::new(0));
    let mut confirmed = thread::scope(|scope| {
        let change = |thread: usize| {
            let (admin, count) = (&admin, &count);
            move || {
                let mut confirmed = Vec::new();
                // Until the agent is killed.
                for number in 0_u32.. {
                    let address = format!("10.{thread}.{}.{}", number >> 8 & 0xff, number & 0xff);
                    let body = format!(r#"[{{"action":"ban","address":"{address}","for":3600}}]"#);
                    let request = format!(
                        "POST /bans HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n{JSON}content-length: {}\r\n\r\n{body}",
                        body.len()
                    );
                    if !admin.try_exchange(&request).is_some_and(|text| text.contains("\"added\":1")) {
                        break;
                    }
                    confirmed.push(address);
                    count.fetch_add(1, Ordering::Relaxed);
                }
                confirmed
            }
        };
        let threads: Vec<_> = (0..THREADS).map(|thread| scope.spawn(change(thread))).collect();
        let deadline = Instant::now() + 2 * LIMIT;
        while count.load(Ordering::Relaxed) < CONFIRMED {
            assert!(Instant::now() < deadline, "{} changes were confirmed", count.load(Ordering::Relaxed));
            thread::yield_now();
        }
        site.agent.signal(Signal::KILL);
        threads.into_iter().flat_map(|thread| thread.join().expect("the thread ends")).collect::<Vec<_>>()
    });
    let site = site.restart();
    let all = site.done(&["bans", "--json"]);
    let mut kept: Vec<_> = all.lines().filter_map(|line| line.split('"').nth(7).map(str::to_owned)).collect();
    assert!(confirmed.len() >= CONFIRMED);
    kept.sort_unstable();
    confirmed.sort_unstable();
    confirmed.retain(|address| kept.binary_search(address).is_err());
    assert!(confirmed.is_empty(), "{confirmed:?}");
}

/// A change that cannot be written is in effect, the command says that it will be lost, and it is written later if that is possible.
#[test]
fn a_full_disk_is_reported() {
    let folder = Folder::with(&[]);
    let (admin, bans) = (format!("unix:{}", folder.path("admin").display()), folder.path("bans").display().to_string());
    let spawn = |blocks: u32| {
        let mut shell = Command::new("sh");
        // Files of this process may have this number of blocks of 512 bytes.
        shell.args(["-c", &format!("trap '' XFSZ; ulimit -f {blocks}; exec \"$0\" \"$@\"")]).arg(binary());
        Agent::spawn_by(shell, &["--admin", &admin, "--bans", &bans])
    };
    let agent = spawn(1);
    let run = |arguments: &[&str]| {
        Command::new(binary()).args(arguments).args(["--agent", &admin]).output().expect("spoa can be run")
    };
    let refused = (0..20).find_map(|n| {
        let output = run(&["ban", &format!("203.0.113.{n}")]);
        (!output.status.success()).then_some((n, output))
    });
    let (number, output) = refused.expect("the file becomes full");
    let text = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(text.contains("in effect, but a restart of the agent undoes it: cannot write to"), "{text}");
    let shown = run(&["bans", &format!("203.0.113.{number}")]);
    assert!(String::from_utf8_lossy(&shown.stdout).contains(" banned in list bans"), "{shown:?}");
    assert_eq!(Admin::at(&admin).sample("spoa_bans_unsaved"), 1.0);
    agent.wait_for_line("cannot rewrite");
    drop(agent);
    assert!(!folder.path("bans.new").exists(), "the file of a compaction that failed is still there");
    // The agent starts although it cannot write, with all changes that could be written.
    let agent = spawn(0);
    agent.wait_for_line("until that is possible, a restart undoes all changes");
    let all = String::from_utf8(run(&["bans"]).stdout).expect("the output is UTF-8");
    assert_eq!(all.lines().count(), number);
    drop(agent);
    let _agent = Agent::spawn(&["--admin", &admin, "--bans", &bans]);
    let all = String::from_utf8(run(&["bans"]).stdout).expect("the output is UTF-8");
    assert_eq!(all.lines().count(), number);
}
