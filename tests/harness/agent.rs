//! The binary `spoa` as a child process.

use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Output, Stdio};
use std::sync::{Arc, Condvar, LazyLock, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Resource, Rlimit, Signal, kill_process, prlimit};

/// How long any wait may take before its test fails: generous, since nothing waits this long when all is well.
pub const LIMIT: Duration = Duration::from_secs(30);

/// The executable, built once for each test process.
static SPOA: LazyLock<PathBuf> = LazyLock::new(build);

/// The executable.
///
/// # Panics
/// If it does not build.
pub fn binary() -> &'static Path {
    &SPOA
}

fn build() -> PathBuf {
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| env!("CARGO").into());
    let mut command = Command::new(cargo);
    command.args(["build", "-q", "-p", "spoa-runtime", "--bin", "spoa", "--message-format=json"]);
    if !cfg!(debug_assertions) {
        command.arg("--release");
    }
    let output = command.current_dir(env!("CARGO_MANIFEST_DIR")).stderr(Stdio::inherit()).output();
    let output = output.expect("cargo can be run");
    assert!(output.status.success(), "spoa does not build");
    let messages = String::from_utf8(output.stdout).expect("JSON is UTF-8");
    let executable = messages.lines().rev().find_map(|line| line.split_once(r#""executable":""#));
    let (path, _) = executable.and_then(|(_, rest)| rest.split_once('"')).expect("cargo names the executable");
    path.into()
}

/// Part of the warning of an agent without lists.
pub const RANDOM: &str = "scores are random, because there is no list";

/// A running agent. Dropped, it is killed.
#[derive(Debug)]
pub struct Agent {
    child: Child,
    log: Arc<Log>,
    addrs: Vec<String>,
}

/// What the agent wrote to its standard error, line by line.
#[derive(Debug, Default)]
struct Log {
    state: Mutex<LogState>,
    changed: Condvar,
}

#[derive(Debug, Default)]
struct LogState {
    lines: Vec<String>,
    ended: bool,
}

impl Agent {
    /// Starts it with `options`; without an address among them on a free port of 127.0.0.1. It accepts connections
    /// when this returns.
    ///
    /// # Panics
    /// If it ends instead.
    pub fn spawn(options: &[&str]) -> Self {
        Self::spawn_by(Command::new(binary()), options)
    }

    /// Starts it so that it may open no more than `count` files.
    ///
    /// # Panics
    /// If it ends instead.
    pub fn spawn_with_files(count: u64, options: &[&str]) -> Self {
        let mut shell = Command::new("sh");
        shell.args(["-c", &format!("ulimit -n {count} && exec \"$0\" \"$@\"")]).arg(binary());
        Self::spawn_by(shell, options)
    }

    /// Starts it by a command that has its environment and first arguments.
    ///
    /// # Panics
    /// If it ends instead.
    pub fn spawn_by(mut command: Command, options: &[&str]) -> Self {
        let mut options = options.to_vec();
        if !options.contains(&"--listen") {
            options.extend(["--listen", "127.0.0.1:0"]);
        }
        let count = options.iter().filter(|option| **option == "--listen").count();
        let mut child = piped(&mut command, &options).spawn().expect("spoa can be run");
        let stderr = child.stderr.take().expect("it is piped");
        let log = Arc::<Log>::default();
        let writer = Arc::clone(&log);
        thread::spawn(move || writer.follow(BufReader::new(stderr)));
        let mut agent = Self { child, log, addrs: Vec::new() };
        agent.addrs = agent.log.wait("it listens", |lines| {
            let addrs = lines
                .iter()
                .filter_map(|line| line.split_once("listening on ")?.1.split('"').next().map(str::to_owned));
            Some(addrs.collect::<Vec<_>>()).filter(|addrs| addrs.len() == count)
        });
        agent
    }

    /// Where it listens: the first address.
    pub fn addr(&self) -> &str {
        &self.addrs[0]
    }

    /// Everywhere it listens.
    pub fn addrs(&self) -> &[String] {
        &self.addrs
    }

    /// Its process.
    pub fn pid(&self) -> Pid {
        Pid::from_child(&self.child)
    }

    /// Asks it to stop.
    pub fn terminate(&self) {
        self.signal(Signal::TERM);
    }

    /// Sends it a signal.
    ///
    /// # Panics
    /// If it has ended.
    pub fn signal(&self, signal: Signal) {
        kill_process(self.pid(), signal).expect("it runs");
    }

    /// Waits until it logs a line with `text`.
    ///
    /// # Panics
    /// If it does not.
    pub fn wait_for_line(&self, text: &str) {
        self.wait_for_lines(text, 1);
    }

    /// Waits until it has logged `count` lines with `text`.
    ///
    /// # Panics
    /// If it does not.
    pub fn wait_for_lines(&self, text: &str, count: usize) {
        let enough = |lines: &[String]| lines.iter().filter(|line| line.contains(text)).count() >= count;
        self.log.wait(text, |lines| enough(lines).then_some(()));
    }

    /// Returns its warnings and errors so far, but for the one that its scores are random.
    pub fn warnings(&self) -> Vec<String> {
        let is_warning = |line: &&str| line.contains("WARN") || line.contains("ERROR");
        let log = self.log();
        log.lines().filter(is_warning).filter(|line| !line.contains(RANDOM)).map(str::to_owned).collect()
    }

    /// What it has logged so far.
    pub fn log(&self) -> String {
        self.log.lock().lines.join("\n")
    }

    /// Waits until it has ended.
    ///
    /// # Panics
    /// If it does not.
    pub fn wait(&mut self) -> ExitStatus {
        // Its standard error ends with it.
        let (state, timeout) = self
            .log
            .changed
            .wait_timeout_while(self.log.lock(), LIMIT, |state| !state.ended)
            .unwrap_or_else(PoisonError::into_inner);
        assert!(!timeout.timed_out(), "it does not end");
        drop(state);
        self.child.wait().expect("it is our child")
    }

    /// Lets it open no more than `count` files.
    ///
    /// # Panics
    /// If it has ended.
    pub fn limit_files(&self, count: u64) {
        let limit = Rlimit { current: Some(count), maximum: Some(count) };
        prlimit(Some(self.pid()), Resource::Nofile, limit).expect("it runs");
    }
}

impl Drop for Agent {
    fn drop(&mut self) {
        let _ = self.child.kill(); // it may have ended already
        let _ = self.child.wait();
        if thread::panicking() {
            let log = self.log();
            let last: Vec<_> = log.lines().rev().take(40).collect();
            eprintln!("spoa logged last:\n{}", last.into_iter().rev().collect::<Vec<_>>().join("\n"));
        }
    }
}

/// Runs `spoa` to its end, for options with which it does not serve.
///
/// # Panics
/// If it serves.
pub fn run(options: &[&str]) -> Output {
    let mut child = piped(&mut Command::new(binary()), options).spawn().expect("spoa can be run");
    let deadline = Instant::now() + LIMIT;
    while child.try_wait().expect("it is our child").is_none() {
        if Instant::now() > deadline {
            let _ = child.kill();
            panic!("spoa {options:?} serves");
        }
        thread::sleep(Duration::from_millis(1));
    }
    child.wait_with_output().expect("it is our child")
}

fn piped<'c>(command: &'c mut Command, options: &[&str]) -> &'c mut Command {
    command.args(options).stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped())
}

impl Log {
    fn follow(&self, stderr: impl BufRead) {
        for line in stderr.lines().map_while(Result::ok) {
            self.lock().lines.push(line);
            self.changed.notify_all();
        }
        self.lock().ended = true;
        self.changed.notify_all();
    }

    fn lock(&self) -> MutexGuard<'_, LogState> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits until `look` finds what it is after.
    fn wait<T>(&self, what: &str, look: impl Fn(&[String]) -> Option<T>) -> T {
        let deadline = Instant::now() + LIMIT;
        let mut state = self.lock();
        loop {
            if let Some(found) = look(&state.lines) {
                return found;
            }
            let left = deadline.saturating_duration_since(Instant::now());
            assert!(!state.ended && !left.is_zero(), "waited for {what:?} in vain");
            state = self.changed.wait_timeout(state, left).unwrap_or_else(PoisonError::into_inner).0;
        }
    }
}
