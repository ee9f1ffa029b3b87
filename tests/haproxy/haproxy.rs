//! HAProxy: which ones are at hand, and running one.

use std::fs;
use std::io::{BufRead, BufReader};
use std::net::{SocketAddr, TcpListener};
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use crate::log::{Lines, Log, WAIT_MAX};

/// Which part of HAProxy talks to agents.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Engine {
    /// Up to 3.0.
    Applet,
    /// Since 3.1.
    Mux,
}

/// A HAProxy that can be run.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Install {
    /// Major and minor number.
    pub(crate) version: (u32, u32),
    /// The whole version.
    pub(crate) full: String,
    pub(crate) program: PathBuf,
}

impl Install {
    /// Those that `tests/haproxy/install` brought, oldest first, one of each version.
    pub(crate) fn all() -> Vec<Self> {
        let dir = std::env::var_os("SPOA_HAPROXY_DIR").map_or_else(|| target_dir().join("haproxy"), PathBuf::from);
        let Ok(entries) = fs::read_dir(dir) else { return Vec::new() };
        let programs = entries.flatten().map(|entry| entry.path().join("haproxy")).filter(|program| program.is_file());
        let mut installs: Vec<_> = programs.filter_map(Self::of).collect();
        installs.sort();
        installs.dedup_by_key(|install| install.version);
        installs
    }

    fn of(program: PathBuf) -> Option<Self> {
        let output = Command::new(&program).arg("-v").output().ok()?;
        let text = String::from_utf8_lossy(&output.stdout);
        // "HAProxy version 3.2.26-1 2026/10/14 - ..."; "HA-Proxy" up to 2.3.
        let full = text.split_whitespace().nth(2)?.to_owned();
        let mut numbers = full.split(['.', '-']).map(str::parse);
        let version = (numbers.next()?.ok()?, numbers.next()?.ok()?);
        Some(Self { version, full, program })
    }

    pub(crate) fn engine(&self) -> Engine {
        if self.version >= (3, 1) { Engine::Mux } else { Engine::Applet }
    }

    /// Frames too short to be any have it spin and then abort (#2490).
    pub(crate) fn spins(&self) -> bool {
        self.version < (3, 0)
    }

    /// What the agents' backend has to say.
    pub(crate) fn agent_mode(&self) -> &'static str {
        match self.engine() {
            Engine::Applet => "mode tcp",
            Engine::Mux => "mode spop",
        }
    }
}

/// Where cargo builds: its folder for tests is in there.
pub(crate) fn target_dir() -> &'static Path {
    Path::new(env!("CARGO_TARGET_TMPDIR")).parent().expect("it is a folder of the target directory")
}

/// The configuration of a HAProxy: what every scenario needs, and blanks for what is its own.
#[derive(Clone, Default)]
pub(crate) struct Setup {
    /// Lines of `global`.
    pub(crate) global: String,
    /// Lines of the frontend, before its rules.
    pub(crate) frontend: String,
    /// Headers of the answer: name and log-format string.
    pub(crate) headers: Vec<(String, String)>,
    /// The body of the answer, a log-format string.
    pub(crate) body: String,
    /// Let another HAProxy proxy answer, with these lines in its backend, so that there is a response to process.
    pub(crate) site: Option<String>,
    /// Lines of the agents' backend; its servers are `servers`.
    pub(crate) backend: String,
    /// What follows `server agentN` for each server: its address, as HAProxy writes it, and options.
    pub(crate) servers: Vec<String>,
    /// Lines of the `spoe-agent` section. `timeout processing` is 10 s if they do not say.
    pub(crate) agent: String,
    /// The `spoe-message` sections.
    pub(crate) messages: String,
    /// Run below a master, which is what reloads.
    pub(crate) master: bool,
    /// Put the agents' backend before the frontend, in `mode tcp`: since 3.1 that costs it the reuse of connections.
    pub(crate) agents_first: bool,
    /// Listen on `[::]` for both families instead of 127.0.0.1.
    pub(crate) dual_stack: bool,
}

impl Setup {
    /// Sends `event` with `args` in the message `m` to the agent at `server`.
    pub(crate) fn asking(server: &(impl ToString + ?Sized), event: &str, args: &str) -> Self {
        Self {
            servers: vec![server.to_string()],
            agent: "messages m".to_owned(),
            messages: format!("spoe-message m\n    args {args}\n    event {event}\n"),
            ..Self::default()
        }
    }

    /// Asks the agent `spoa` at `server` for the client's score and answers with it in `x-score`.
    pub(crate) fn scoring(server: &(impl ToString + ?Sized)) -> Self {
        let setup = Self {
            servers: vec![server.to_string()],
            agent: "messages check-client-ip".to_owned(),
            messages: "spoe-message check-client-ip\n    args src\n    event on-client-session\n".to_owned(),
            ..Self::default()
        };
        setup.header("x-score", "%[var(sess.t.ip_score)]")
    }

    /// Answers with the header `name`: a log-format string.
    pub(crate) fn header(mut self, name: &str, format: &str) -> Self {
        self.headers.push((name.to_owned(), format.to_owned()));
        self
    }

    /// Starts `install` with this.
    pub(crate) fn start(&self, install: &Install) -> Haproxy {
        let dir = Dir::new();
        let log = Log::new();
        // The socket is made here and handed down: clients can connect at once, and no port is taken twice.
        let listener = TcpListener::bind(if self.dual_stack { "[::]:0" } else { "127.0.0.1:0" }).expect("a free port");
        let port = listener.local_addr().expect("it is bound").port();
        let addr = SocketAddr::from(([127, 0, 0, 1], port));
        let config = dir.path.join("haproxy.cfg");
        fs::write(&config, self.haproxy_cfg(install, &dir.path, log.addr)).expect("the folder was made");
        fs::write(dir.path.join("spoe.conf"), self.spoe_conf()).expect("the folder was made");
        let mut command = Command::new("sh");
        command.args(["-c", r#"exec "$0" "$@" 3<&0 </dev/null"#]).arg(&install.program);
        command.arg(if self.master { "-W" } else { "-db" }).arg("-f").arg(config);
        command.stdin(OwnedFd::from(listener));
        let process = Process::start(&mut command);
        Haproxy { addr, dir, log, process }
    }

    fn haproxy_cfg(&self, install: &Install, dir: &Path, log: SocketAddr) -> String {
        let Self { global, frontend, .. } = self;
        let frontend = format!(
            r#"frontend www
    bind fd@3
    bind unix@{dir}/www
    filter spoe engine test config {dir}/spoe.conf
{frontend}
    {answer}"#,
            dir = dir.display(),
            answer = self.answer(dir),
        );
        let agents = self.agents(install);
        let proxies = if self.agents_first { [agents, frontend] } else { [frontend, agents] }.join("\n");
        format!(
            r#"global
    log {log} len 65535 format raw local0
{global}
defaults
    mode http
    timeout connect 5s
    timeout client 30s
    timeout server 30s
{proxies}
"#
        )
    }

    fn agents(&self, install: &Install) -> String {
        let servers: String =
            (1..).zip(&self.servers).map(|(n, server)| format!("    server agent{n} {server}\n")).collect();
        format!(
            "backend agents\n    {mode}\n    timeout check 10s\n    log global\n{backend}\n{servers}",
            mode = if self.agents_first { "mode tcp" } else { install.agent_mode() },
            backend = self.backend,
        )
    }

    /// What the frontend does with a request.
    fn answer(&self, dir: &Path) -> String {
        let body = if self.body.is_empty() { "ok" } else { &self.body };
        let body = format!("status 200 content-type text/plain lf-string \"{body}\"");
        let headers = [("x-sid", "%rt"), ("x-pid", "%pid")].into_iter();
        let own = self.headers.iter().map(|(name, format)| (&**name, &**format));
        let headers = headers.chain(own).map(|(name, format)| format!("{name} \"{format}\""));
        let Some(site) = &self.site else {
            let headers: String = headers.map(|header| format!(" hdr {header}")).collect();
            return format!("http-request return {body}{headers}");
        };
        let headers: String = headers.map(|header| format!("    http-response set-header {header}\n")).collect();
        let dir = dir.display();
        format!(
            r"default_backend site
{headers}
backend site
{site}
    server site unix@{dir}/site
frontend site
    bind unix@{dir}/site
    http-request return {body}"
        )
    }

    fn spoe_conf(&self) -> String {
        format!(
            r#"[test]
spoe-agent test
    use-backend agents
    log global
    option var-prefix t
    timeout hello 5s
    timeout idle 1m
    timeout processing 10s
    {}
{}"#,
            self.agent, self.messages
        )
    }
}

/// A running HAProxy; it ends with the value.
pub(crate) struct Haproxy {
    /// Where its frontend listens, in IPv4.
    pub(crate) addr: SocketAddr,
    pub(crate) dir: Dir,
    pub(crate) log: Log,
    pub(crate) process: Process,
}

impl Haproxy {
    /// Where its frontend listens on a unix socket.
    pub(crate) fn unix(&self) -> PathBuf {
        self.dir.path.join("www")
    }
}

/// A process of ours, killed when dropped, with what it said.
pub(crate) struct Process {
    child: Child,
    /// Its standard error.
    pub(crate) lines: Lines,
}

impl Process {
    pub(crate) fn start(command: &mut Command) -> Self {
        let mut child = command.stdout(Stdio::null()).stderr(Stdio::piped()).spawn().expect("it can be run");
        let lines = Lines::default();
        let (sink, stderr) = (lines.clone(), child.stderr.take().expect("it is piped"));
        std::thread::spawn(move || {
            for line in BufReader::new(stderr).lines().map_while(Result::ok) {
                sink.push(line);
            }
        });
        Self { child, lines }
    }

    /// Sends a signal: `"TERM"`.
    pub(crate) fn signal(&self, name: &str) {
        // The shell's own kill: a program of that name need not be there. The child was not waited for, so its id
        // cannot be someone else's.
        let script = r#"kill -s "$0" "$1""#;
        let id = self.child.id().to_string();
        let status = Command::new("sh").args(["-c", script, name, &id]).stderr(Stdio::null()).status();
        assert!(status.is_ok_and(|status| status.success()), "{id} is not there for a {name}: {:#?}", self.lines.all());
    }

    /// Waits for its end.
    #[track_caller]
    pub(crate) fn wait(&mut self) -> ExitStatus {
        let until = Instant::now() + WAIT_MAX;
        loop {
            if let Some(status) = self.child.try_wait().expect("it is ours") {
                return status;
            }
            assert!(Instant::now() < until, "it does not end: {:#?}", self.lines.all());
            std::thread::sleep(Duration::from_millis(5)); // there is no waiting with a limit in std
        }
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        if let Ok(None) = self.child.try_wait() {
            // A master takes its workers with it at a TERM, not at a KILL; a process that is stopping needs the KILL.
            self.signal("TERM");
            let until = Instant::now() + Duration::from_secs(5);
            while Instant::now() < until && matches!(self.child.try_wait(), Ok(None)) {
                std::thread::sleep(Duration::from_millis(2));
            }
            let _ = self.child.kill();
            let _ = self.child.wait();
        }
        if std::thread::panicking() {
            eprintln!("it said {:#?}", self.lines.all());
        }
    }
}

/// A folder that goes when the value does. Its path is short: a unix socket's has to be below 108 bytes.
pub(crate) struct Dir {
    pub(crate) path: PathBuf,
}

impl Dir {
    pub(crate) fn new() -> Self {
        static COUNT: AtomicUsize = AtomicUsize::new(0);
        let count = COUNT.fetch_add(1, Ordering::Relaxed);
        let path = std::env::temp_dir().join(format!("spoa-{}-{count}", std::process::id()));
        fs::create_dir_all(&path).expect("a folder for temporary files");
        Self { path }
    }
}

impl Drop for Dir {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.path);
    }
}
