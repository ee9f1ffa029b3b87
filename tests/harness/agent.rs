//! The binary `spoa` as a child process.

use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Output, Stdio};
use std::sync::{Arc, Condvar, LazyLock, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Resource, Rlimit, Signal, kill_process, prlimit};

/// The longest time that a test waits for anything before it fails. It is generous, because a test that passes never
/// waits this long.
pub const LIMIT: Duration = Duration::from_secs(30);

/// The path of the executable, which is built once per test process.
static SPOA: LazyLock<PathBuf> = LazyLock::new(build);

/// Builds `spoa` if this process has not done so yet, and returns the path of the executable.
///
/// # Panics
/// If the build fails.
pub fn binary() -> &'static Path {
    &SPOA
}

fn build() -> PathBuf {
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| env!("CARGO").into());
    let mut command = Command::new(cargo);
    command.args(["build", "-q", "-p", "spoa", "--bin", "spoa", "--message-format=json"]);
    if !cfg!(debug_assertions) {
        command.arg("--release");
    }
    let output = command.current_dir(env!("CARGO_MANIFEST_DIR")).stderr(Stdio::inherit()).output();
    let output = output.expect("cargo can be run");
    assert!(output.status.success(), "cargo cannot build spoa");
    let messages = String::from_utf8(output.stdout).expect("JSON is UTF-8");
    let executable = messages.lines().rev().find_map(|line| line.split_once(r#""executable":""#));
    let (path, _) = executable.and_then(|(_, rest)| rest.split_once('"')).expect("cargo names the executable");
    path.into()
}

/// A part of the warning that an agent without lists logs. [`Agent::warnings`] leaves this warning out.
pub const RANDOM: &str = "scores are random, because there is no list";

/// A running agent, which is killed when dropped.
#[derive(Debug)]
pub struct Agent {
    child: Child,
    log: Arc<Log>,
    addrs: Vec<String>,
}

/// The lines that the agent wrote to its standard error.
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
    /// Starts `spoa` with `options`, on a free port of 127.0.0.1 unless they include `--listen`. Returns when it
    /// accepts connections.
    ///
    /// # Panics
    /// If it does not start.
    pub fn spawn(options: &[&str]) -> Self {
        Self::spawn_by(Command::new(binary()), options)
    }

    /// Starts `spoa` with a limit of `count` open files.
    ///
    /// # Panics
    /// If it does not start.
    pub fn spawn_with_files(count: u64, options: &[&str]) -> Self {
        let mut shell = Command::new("sh");
        shell.args(["-c", &format!("ulimit -n {count} && exec \"$0\" \"$@\"")]).arg(binary());
        Self::spawn_by(shell, options)
    }

    /// Starts `spoa` with `command`, to which `options` and, unless they include it, `--listen` are appended.
    ///
    /// # Panics
    /// If it does not start.
    pub fn spawn_by(mut command: Command, options: &[&str]) -> Self {
        let mut options = options.to_vec();
        if !options.contains(&"--listen") {
            options.extend(["--listen", "127.0.0.1:0"]);
        }
        let count = options.iter().filter(|option| **option == "--listen").count();
        let mut child = piped(&mut command, &options).spawn().expect("spoa can be run");
        let stderr = child.stderr.take().expect("standard error is piped");
        let log = Arc::<Log>::default();
        let writer = Arc::clone(&log);
        thread::spawn(move || writer.follow(BufReader::new(stderr)));
        let mut agent = Self { child, log, addrs: Vec::new() };
        agent.addrs = agent.log.wait("listening on", |lines| {
            let addrs = lines
                .iter()
                .filter_map(|line| line.split_once("listening on ")?.1.split('"').next().map(str::to_owned));
            Some(addrs.collect::<Vec<_>>()).filter(|addrs| addrs.len() == count)
        });
        agent
    }

    /// Returns the first listen address.
    pub fn addr(&self) -> &str {
        &self.addrs[0]
    }

    /// Returns all listen addresses.
    pub fn addrs(&self) -> &[String] {
        &self.addrs
    }

    /// Returns the process id.
    pub fn pid(&self) -> Pid {
        Pid::from_child(&self.child)
    }

    /// Asks the agent to stop, by SIGTERM.
    pub fn terminate(&self) {
        self.signal(Signal::TERM);
    }

    /// Sends a signal to the agent.
    ///
    /// # Panics
    /// If the process has been waited for already.
    pub fn signal(&self, signal: Signal) {
        kill_process(self.pid(), signal).expect("the agent runs");
    }

    /// Waits until the agent has logged a line with `text`.
    ///
    /// # Panics
    /// If it has not done so within [`LIMIT`].
    pub fn wait_for_line(&self, text: &str) {
        self.wait_for_lines(text, 1);
    }

    /// Waits until the agent has logged `count` lines with `text`.
    ///
    /// # Panics
    /// If it has not done so within [`LIMIT`].
    pub fn wait_for_lines(&self, text: &str, count: usize) {
        let enough = |lines: &[String]| lines.iter().filter(|line| line.contains(text)).count() >= count;
        self.log.wait(text, |lines| enough(lines).then_some(()));
    }

    /// Returns the warnings and errors logged so far, without the warning that the scores are random.
    pub fn warnings(&self) -> Vec<String> {
        let is_warning = |line: &&str| line.contains("WARN") || line.contains("ERROR");
        let log = self.log();
        log.lines().filter(is_warning).filter(|line| !line.contains(RANDOM)).map(str::to_owned).collect()
    }

    /// Returns the log so far.
    pub fn log(&self) -> String {
        self.log.lock().lines.join("\n")
    }

    /// Waits until the agent has exited, and returns its exit status.
    ///
    /// # Panics
    /// If it is still running after [`LIMIT`].
    pub fn wait(&mut self) -> ExitStatus {
        // Standard error is closed when the process exits.
        let (state, timeout) = self
            .log
            .changed
            .wait_timeout_while(self.log.lock(), LIMIT, |state| !state.ended)
            .unwrap_or_else(PoisonError::into_inner);
        assert!(!timeout.timed_out(), "spoa is still running");
        drop(state);
        self.child.wait().expect("spoa is a child process")
    }

    /// Limits the open files of the running agent to `count`.
    ///
    /// # Panics
    /// If the process has been waited for already.
    pub fn limit_files(&self, count: u64) {
        let limit = Rlimit { current: Some(count), maximum: Some(count) };
        prlimit(Some(self.pid()), Resource::Nofile, limit).expect("the agent runs");
    }
}

impl Drop for Agent {
    fn drop(&mut self) {
        let _ = self.child.kill(); // fails if it has exited already
        let _ = self.child.wait();
        if thread::panicking() {
            let log = self.log();
            let last: Vec<_> = log.lines().rev().take(40).collect();
            eprintln!("last lines of spoa's log:\n{}", last.into_iter().rev().collect::<Vec<_>>().join("\n"));
        }
    }
}

/// Runs `spoa` with options with which it exits without a signal. Returns its output when it has exited.
///
/// # Panics
/// If it is still running after [`LIMIT`].
pub fn run(options: &[&str]) -> Output {
    let mut child = piped(&mut Command::new(binary()), options).spawn().expect("spoa can be run");
    let deadline = Instant::now() + LIMIT;
    while child.try_wait().expect("spoa is a child process").is_none() {
        if Instant::now() > deadline {
            let _ = child.kill();
            panic!("spoa {options:?} is still running");
        }
        thread::sleep(Duration::from_millis(1));
    }
    child.wait_with_output().expect("spoa is a child process")
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

    /// Calls `look` with all lines logged so far, now and after each new line, until it returns a value. `what` is
    /// named in the panic message.
    fn wait<T>(&self, what: &str, look: impl Fn(&[String]) -> Option<T>) -> T {
        let deadline = Instant::now() + LIMIT;
        let mut state = self.lock();
        loop {
            if let Some(found) = look(&state.lines) {
                return found;
            }
            let left = deadline.saturating_duration_since(Instant::now());
            assert!(!state.ended && !left.is_zero(), "expected {what:?} in the log of spoa");
            state = self.changed.wait_timeout(state, left).unwrap_or_else(PoisonError::into_inner).0;
        }
    }
}
