//! fail2ban with the action of the package: a line in a log file bans a client of HAProxy, and the ban ends.

use std::fs::{self, OpenOptions};
use std::io::Write;
use std::path::Path;
use std::process::{Command, Output};
use std::thread;
use std::time::{Duration, Instant};

use spoa_tests::agent::binary;
use spoa_tests::folder::Folder;
use spoa_tests::process::is_installed;

use crate::agent::Spoa;
use crate::client::{Request, loopback};
use crate::haproxy::{Install, Process, Setup};
use crate::log::WAIT_MAX;
use crate::readme_config::read;

/// The client that fails to log in.
const CLIENT: u8 = 23;

/// A running fail2ban with one jail, which has nothing to do with that of the system.
struct Fail2ban {
    folder: Folder,
    process: Process,
}

impl Fail2ban {
    /// Starts fail2ban with the action of the package, and waits until it watches the log file `app.log`.
    fn start(agent: &str, bantime: &str, margin: u32) -> Self {
        let folder = Folder::with(&[("app.log", b"")]);
        let path = |name: &str| folder.path(name).display().to_string();
        for name in ["action.d", "filter.d"] {
            fs::create_dir(folder.path(name)).expect("the folder is writable");
        }
        fs::write(folder.path("action.d/spoa.conf"), read("package/fail2ban/spoa.conf"))
            .expect("the folder is writable");
        folder.write(
            "filter.d/app.conf",
            b"[Definition]\nfailregex = ^ failed login from <HOST>$\ndatepattern = ^{EPOCH}\n",
        );
        let general = format!(
            "[Definition]\nallowipv6 = auto\nloglevel = INFO\nlogtarget = STDERR\nsyslogsocket = auto\nsocket = {}\npidfile = {}\ndbfile = {}\n\
             dbpurgeage = 1d\ndbmaxmatches = 10\n[Thread]\n",
            path("socket"),
            path("pid"),
            path("database")
        );
        folder.write("fail2ban.conf", general.as_bytes());
        let jail = format!(
            "[app]\nenabled = true\nbackend = polling\nusedns = no\nignoreself = false\nfilter = app\nlogpath = {}\nmaxretry = 3\nfindtime = 600\n\
             bantime = {bantime}\naction = spoa[spoa=\"{}\", agent=\"{agent}\", margin={margin}]\n",
            path("app.log"),
            binary().display()
        );
        folder.write("jail.conf", jail.as_bytes());
        let mut command = Command::new("fail2ban-server");
        command.args(["-f", "-c", &path(""), "-s", &path("socket"), "-p", &path("pid"), "start"]);
        let process = Process::start(&mut command);
        process.lines.wait_count("Jail 'app' started", 1);
        Self { folder, process }
    }

    /// Writes lines about failed logins.
    fn fail(&self, address: &str, count: usize) {
        let mut log = OpenOptions::new().append(true).open(self.folder.path("app.log")).expect("it is there");
        for _ in 0..count {
            let now =
                std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).expect("it is after 1970").as_secs();
            writeln!(log, "{now} failed login from {address}").expect("it can be written");
        }
    }

    fn client(&self, arguments: &[&str]) -> Output {
        let mut command = Command::new("fail2ban-client");
        command.arg("-c").arg(self.folder.path("")).arg("-s").arg(self.folder.path("socket"));
        command.arg("-p").arg(self.folder.path("pid")).args(arguments).output().expect("fail2ban-client can be run")
    }
}

/// Waits until HAProxy answers the client with this status.
fn wait_for(haproxy: std::net::SocketAddr, status: u16) {
    let deadline = Instant::now() + WAIT_MAX;
    loop {
        let answer = Request::get("/").from(loopback(CLIENT)).send(haproxy).status;
        if answer == status {
            return;
        }
        assert!(Instant::now() < deadline, "expected status {status}, got {answer}");
        thread::sleep(Duration::from_millis(20)); // HAProxy has nothing to wait for
    }
}

/// Clients are banned, until fail2ban or an operator ends it, or fail2ban is gone.
pub(crate) fn bans_and_unbans(install: &Install) {
    if !is_installed("fail2ban-server", "SPOA_REQUIRE_FAIL2BAN") {
        return;
    }
    let folder = Folder::with(&[]);
    let agent = format!("unix:{}", folder.path("admin").display());
    let bans = folder.path("bans").display().to_string();
    let spoa = Spoa::start(&["--listen", "127.0.0.1:0", "--admin", &agent, "--bans", &bans], 1);
    let mut setup = Setup::scoring(spoa.addr());
    setup.frontend += "    http-request deny deny_status 403 if { var(sess.t.ip_score) -m int lt 20 }\n";
    let haproxy = setup.start(install);
    let address = loopback(CLIENT).to_string();
    wait_for(haproxy.addr, 200);
    {
        let fail2ban = Fail2ban::start(&agent, "3600", 60);
        fail2ban.fail(&address, 3);
        wait_for(haproxy.addr, 403);
        let run = |arguments: &[&str]| {
            let output = Command::new(binary()).args(arguments).args(["--agent", &agent]).output();
            String::from_utf8(output.expect("spoa can be run").stdout).expect("the output is UTF-8")
        };
        let shown = run(&["bans"]);
        assert!(
            shown.starts_with("127.0.0.23 banned in list bans, until ")
                && shown.ends_with(", by fail2ban/app: 3 failures\n"),
            "{shown}"
        );
        // Its end does not end the ban of an operator.
        run(&["ban", &address, "--origin", "alice"]);
        let done = fail2ban.client(&["set", "app", "unbanip", &address]);
        assert!(done.status.success(), "{done:?}");
        assert_eq!(run(&["bans"]), "127.0.0.23 banned in list bans, without an end, by alice\n");
        assert_eq!(run(&["unban", &address]), "1 removed\n");
        wait_for(haproxy.addr, 200);
        // At its end it removes what it has banned.
        fail2ban.fail(&address, 3);
        wait_for(haproxy.addr, 403);
        assert!(fail2ban.client(&["stop"]).status.success());
        wait_for(haproxy.addr, 200);
        assert_eq!(fail2ban.process.lines.count(" ERROR "), 0, "{:#?}", fail2ban.process.lines.all());
    }
    // The ban ends even if fail2ban does not end it.
    let mut fail2ban = Fail2ban::start(&agent, "2", 1);
    fail2ban.fail(&address, 3);
    wait_for(haproxy.addr, 403);
    fail2ban.process.signal("KILL");
    fail2ban.process.wait();
    wait_for(haproxy.addr, 200);
    // A ban without an end, and an address of IPv6.
    let fail2ban = Fail2ban::start(&agent, "-1", 60);
    fail2ban.fail("2001:db8::7", 3);
    let deadline = Instant::now() + WAIT_MAX;
    let text = || fs::read_to_string(Path::new(&bans)).expect("the journal is there");
    while !text().contains("\"2001:db8::7\",\"list\":\"bans\",\"created\"") {
        assert!(Instant::now() < deadline, "{}", text());
        thread::sleep(Duration::from_millis(20)); // fail2ban looks at its log every second
    }
    drop(fail2ban);
    assert!(spoa.stop().success());
}
