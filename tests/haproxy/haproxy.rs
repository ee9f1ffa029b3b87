//! Finds the HAProxys that are installed for these tests, and runs them.

use std::fs;
use std::io::{BufRead, BufReader};
use std::net::{SocketAddr, TcpListener};
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use rustix::process::Pid;

use crate::log::{Lines, Log, WAIT_MAX};

/// The part of HAProxy that communicates with agents.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Engine {
    /// The applet of HAProxy up to 3.0.
    Applet,
    /// The multiplexer (mux) since HAProxy 3.1.
    Mux,
}

/// An installed HAProxy.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Install {
    /// Major and minor version number.
    pub(crate) version: (u32, u32),
    /// The complete version, with the revision of its package.
    pub(crate) full: String,
    pub(crate) program: PathBuf,
}

impl Install {
    /// Returns the HAProxys that `tests/haproxy/install` installed, oldest first, one per major and minor version.
    pub(crate) fn all() -> Vec<Self> {
        let dir = std::env::var_os("SPOA_HAPROXY_DIR").map_or_else(|| target_dir().join("haproxy"), PathBuf::from);
        let Ok(entries) = fs::read_dir(dir) else { return Vec::new() };
        let programs = entries.flatten().map(|entry| entry.path().join("haproxy")).filter(|program| program.is_file());
        let mut installs: Vec<_> = programs.filter_map(Self::at).collect();
        installs.sort();
        installs.dedup_by_key(|install| install.version);
        installs
    }

    /// Returns the HAProxy with this executable, or `None` if the executable does not print a version.
    fn at(program: PathBuf) -> Option<Self> {
        let output = Command::new(&program).arg("-v").output().ok()?;
        let text = String::from_utf8_lossy(&output.stdout);
        // "HAProxy version 3.2.26-1 2026/10/14 - ..."; "HA-Proxy" up to 2.3.
        let full = text.split_whitespace().nth(2)?.to_owned();
        let mut numbers = full.split(['.', '-']).map(str::parse);
        let version = (numbers.next()?.ok()?, numbers.next()?.ok()?);
        Some(Self { version, full, program })
    }

    /// Returns a command that runs this HAProxy, with `listener` as its file descriptor 3.
    pub(crate) fn command(&self, listener: TcpListener) -> Command {
        let mut command = Command::new("sh");
        command.args(["-c", r#"exec "$0" "$@" 3<&0 </dev/null"#]).arg(&self.program);
        command.stdin(OwnedFd::from(listener));
        command
    }

    pub(crate) fn engine(&self) -> Engine {
        if self.version >= (3, 1) { Engine::Mux } else { Engine::Applet }
    }

    /// True if a frame that is shorter than its header makes this version loop and then abort (#2490).
    pub(crate) fn loops_on_short_frames(&self) -> bool {
        self.version < (3, 0)
    }

    /// Returns the `mode` line of the agents' backend.
    pub(crate) fn backend_mode(&self) -> &'static str {
        match self.engine() {
            Engine::Applet => "mode tcp",
            Engine::Mux => "mode spop",
        }
    }
}

/// Returns cargo's target directory, the parent of its folder for temporary files of tests.
pub(crate) fn target_dir() -> &'static Path {
    Path::new(env!("CARGO_TARGET_TMPDIR")).parent().expect("the folder is in the target directory")
}

/// The configuration of a HAProxy. The fields are the parts in which scenarios differ.
#[derive(Clone, Default)]
pub(crate) struct Setup {
    /// Lines of `global`.
    pub(crate) global: String,
    /// Lines of the frontend, before its rules.
    pub(crate) frontend: String,
    /// Headers of the response: names and log-format strings.
    pub(crate) headers: Vec<(String, String)>,
    /// Body of the response, a log-format string; `ok` if empty.
    pub(crate) body: String,
    /// If set, requests are forwarded to a second frontend through a backend with these lines, so that HAProxy has a
    /// response to process.
    pub(crate) site: Option<String>,
    /// Lines of the agents' backend, without its servers.
    pub(crate) backend: String,
    /// Servers of the agents' backend: the address in HAProxy's notation, and options.
    pub(crate) servers: Vec<String>,
    /// Lines of the `spoe-agent` section. `timeout processing` is 10 s unless it is set here.
    pub(crate) agent: String,
    /// The `spoe-message` sections.
    pub(crate) messages: String,
    /// True to run HAProxy as a master with workers, which can be reloaded.
    pub(crate) master: bool,
    /// True to put the agents' backend before the frontend, in `mode tcp`. HAProxy since 3.1 then does not reuse
    /// connections.
    pub(crate) agents_first: bool,
    /// True to listen on `[::]`, for IPv4 and IPv6, and not on 127.0.0.1.
    pub(crate) dual_stack: bool,
}

impl Setup {
    /// Returns a setup that sends the message `m` with `args` to the agent at `server` at each `event`.
    pub(crate) fn with_message(server: &(impl ToString + ?Sized), event: &str, args: &str) -> Self {
        Self {
            servers: vec![server.to_string()],
            agent: "messages m".to_owned(),
            messages: format!("spoe-message m\n    args {args}\n    event {event}\n"),
            ..Self::default()
        }
    }

    /// Returns a setup that requests the client's score from `spoa` at `server` and returns it in the header `x-score`.
    pub(crate) fn scoring(server: &(impl ToString + ?Sized)) -> Self {
        let setup = Self {
            servers: vec![server.to_string()],
            agent: "messages check-client-ip".to_owned(),
            messages: "spoe-message check-client-ip\n    args src\n    event on-client-session\n".to_owned(),
            ..Self::default()
        };
        setup.header("x-score", "%[var(sess.t.ip_score)]")
    }

    /// Adds the response header `name` with this log-format string.
    pub(crate) fn header(mut self, name: &str, format: &str) -> Self {
        self.headers.push((name.to_owned(), format.to_owned()));
        self
    }

    /// Starts `install` with this configuration.
    pub(crate) fn start(&self, install: &Install) -> Haproxy {
        let dir = Dir::new();
        let log = Log::new();
        // HAProxy inherits the listening socket: clients can connect before HAProxy is ready, and no port is used
        // twice.
        let listener =
            TcpListener::bind(if self.dual_stack { "[::]:0" } else { "127.0.0.1:0" }).expect("a port is free");
        let port = listener.local_addr().expect("the socket is bound").port();
        let addr = SocketAddr::from(([127, 0, 0, 1], port));
        let config = dir.path.join("haproxy.cfg");
        fs::write(&config, self.haproxy_cfg(install, &dir.path, log.addr)).expect("the folder exists");
        fs::write(dir.path.join("spoe.conf"), self.spoe_conf()).expect("the folder exists");
        let mut command = install.command(listener);
        command.arg(if self.master { "-W" } else { "-db" }).arg("-f").arg(config);
        let process = Process::start(&mut command);
        Haproxy { addr, dir, log, process }
    }

    fn haproxy_cfg(&self, install: &Install, dir: &Path, log: SocketAddr) -> String {
        let Self { global, frontend, .. } = self;
        let frontend = format!(
            r#"frontend www
    bind fd@3
    bind unix@{dir}/www
{filter}
{frontend}
    {rules}"#,
            dir = dir.display(),
            rules = self.rules(dir),
            filter = self.filter(dir),
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

    /// Returns the line of the filter. Without a message there is none.
    fn filter(&self, dir: &Path) -> String {
        if self.messages.is_empty() {
            return String::new();
        }
        format!("    filter spoe engine test config {}/spoe.conf", dir.display())
    }

    fn agents(&self, install: &Install) -> String {
        let servers: String =
            (1..).zip(&self.servers).map(|(n, server)| format!("    server agent{n} {server}\n")).collect();
        format!(
            "backend agents\n    {mode}\n    timeout check 10s\n    log global\n{backend}\n{servers}",
            mode = if self.agents_first { "mode tcp" } else { install.backend_mode() },
            backend = self.backend,
        )
    }

    /// Returns the rules of the frontend, and the second frontend if there is one.
    fn rules(&self, dir: &Path) -> String {
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

/// A running HAProxy, which is stopped when this value is dropped.
pub(crate) struct Haproxy {
    /// IPv4 address of its frontend.
    pub(crate) addr: SocketAddr,
    pub(crate) dir: Dir,
    pub(crate) log: Log,
    pub(crate) process: Process,
}

impl Haproxy {
    /// Returns the path of the unix socket of its frontend.
    pub(crate) fn unix_path(&self) -> PathBuf {
        self.dir.path.join("www")
    }
}

/// A child process and the lines of its standard error. It is stopped when dropped.
pub(crate) struct Process {
    child: Child,
    /// Lines of its standard error.
    pub(crate) lines: Lines,
}

impl Process {
    pub(crate) fn start(command: &mut Command) -> Self {
        let mut child = command.stdout(Stdio::null()).stderr(Stdio::piped()).spawn().expect("the program starts");
        let lines = Lines::default();
        let (sink, stderr) = (lines.clone(), child.stderr.take().expect("standard error is piped"));
        std::thread::spawn(move || {
            for line in BufReader::new(stderr).lines().map_while(Result::ok) {
                sink.push(line);
            }
        });
        Self { child, lines }
    }

    /// Returns its process id.
    pub(crate) fn pid(&self) -> Pid {
        Pid::from_child(&self.child)
    }

    /// Sends a signal, for example `"TERM"`.
    pub(crate) fn signal(&self, name: &str) {
        // `kill` is a builtin of the shell, so the program of that name is not needed. The child has not been waited
        // for, so no other process can have its id.
        let script = r#"kill -s "$0" "$1""#;
        let id = self.pid().as_raw_nonzero().to_string();
        let status = Command::new("sh").args(["-c", script, name, &id]).stderr(Stdio::null()).status();
        assert!(
            status.is_ok_and(|status| status.success()),
            "cannot send SIG{name} to process {id}: {:#?}",
            self.lines.all()
        );
    }

    /// Waits until the process exits.
    #[track_caller]
    pub(crate) fn wait(&mut self) -> ExitStatus {
        let until = Instant::now() + WAIT_MAX;
        loop {
            if let Some(status) = self.child.try_wait().expect("the process is our child") {
                return status;
            }
            assert!(Instant::now() < until, "the process did not exit in {WAIT_MAX:?}: {:#?}", self.lines.all());
            std::thread::sleep(Duration::from_millis(5)); // std cannot wait with a timeout
        }
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        if let Ok(None) = self.child.try_wait() {
            // A master stops its workers at SIGTERM but not at SIGKILL. A process that is already stopping needs
            // SIGKILL.
            self.signal("TERM");
            let until = Instant::now() + Duration::from_secs(5);
            while Instant::now() < until && matches!(self.child.try_wait(), Ok(None)) {
                std::thread::sleep(Duration::from_millis(2));
            }
            let _ = self.child.kill();
            let _ = self.child.wait();
        }
        if std::thread::panicking() {
            eprintln!("standard error of the process: {:#?}", self.lines.all());
        }
    }
}

/// A folder that is deleted when dropped. Its path is short because the path of a unix socket has to be below 108
/// bytes.
pub(crate) struct Dir {
    pub(crate) path: PathBuf,
}

impl Dir {
    pub(crate) fn new() -> Self {
        static COUNT: AtomicUsize = AtomicUsize::new(0);
        let count = COUNT.fetch_add(1, Ordering::Relaxed);
        let path = std::env::temp_dir().join(format!("spoa-{}-{count}", std::process::id()));
        fs::create_dir_all(&path).expect("a temporary folder can be created");
        Self { path }
    }
}

impl Drop for Dir {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.path);
    }
}
