//! Runs agents: the program `spoa`, and agents in this process that use the library.

use std::process::{Command, ExitStatus};
use std::sync::mpsc;
use std::thread::JoinHandle;

use spoa_runtime::{Actions, Agent, ConnectionConfig, Handler, ListenAddr, OwnedRequest, Scope, SetVars, Stopper};
use spoa_tests::agent::RANDOM;

use crate::haproxy::Process;
use crate::log::WAIT_MAX;

/// A running `spoa`.
pub(crate) struct Spoa {
    pub(crate) process: Process,
    /// Its listen addresses, one per `--listen`.
    pub(crate) addrs: Vec<String>,
}

impl Spoa {
    /// Starts `spoa` and waits until it listens on `sockets` sockets.
    pub(crate) fn start(args: &[&str], sockets: usize) -> Self {
        let process = Process::start(Command::new(spoa_tests::agent::binary()).args(args));
        let addr = |n| process.lines.wait_count("listening on ", n).split_whitespace().next().unwrap_or("").to_owned();
        let addrs = (1..=sockets).map(addr).collect();
        Self { process, addrs }
    }

    /// Starts `spoa` on a free port of 127.0.0.1, with random scores that depend on `seed`.
    pub(crate) fn with_seed(seed: u64) -> Self {
        Self::start(&["--listen", "127.0.0.1:0", "--seed", &seed.to_string()], 1)
    }

    pub(crate) fn addr(&self) -> &str {
        &self.addrs[0]
    }

    /// Stops `spoa` with SIGTERM and returns its exit status.
    ///
    /// # Panics
    /// If it logged an unexpected warning or error.
    #[track_caller]
    pub(crate) fn stop(mut self) -> ExitStatus {
        self.process.signal("TERM");
        let status = self.process.wait();
        let lines = self.process.lines.all();
        let is_warning = |line: &&String| line.contains("WARN") || line.contains("ERROR");
        // Some tests run without lists, and scenes send the message `m`, which `spoa` does not serve.
        let is_expected = |line: &&String| line.contains(RANDOM) || line.contains("the message \"m\" is not served");
        assert!(lines.iter().filter(is_warning).all(|line| is_expected(&line)), "{lines:#?}");
        status
    }
}

/// An agent in this process, which is stopped when dropped.
pub(crate) struct TestAgent {
    pub(crate) addr: ListenAddr,
    pub(crate) stopper: Stopper,
    thread: Option<JoinHandle<()>>,
}

impl TestAgent {
    /// Starts an agent with `handler` on a free port of 127.0.0.1.
    pub(crate) fn start<H: Handler + Clone + Send>(config: ConnectionConfig, handler: H) -> Self {
        let (sender, receiver) = mpsc::channel();
        let thread = std::thread::spawn(move || {
            let listen = "127.0.0.1:0".parse().expect("the address is valid");
            let server = Agent::new().listen(listen).connection(config).bind().expect("a port is free");
            sender.send((server.addrs()[0].clone(), server.stopper())).expect("the test waits for the address");
            server.serve(handler).expect("the agent can serve");
        });
        let (addr, stopper) = receiver.recv_timeout(WAIT_MAX).expect("the agent starts");
        Self { addr, stopper, thread: Some(thread) }
    }
}

impl Drop for TestAgent {
    fn drop(&mut self) {
        // The second call ends the grace period at once.
        self.stopper.stop();
        self.stopper.stop();
        let ended = self.thread.take().expect("only this method takes the thread").join();
        assert!(ended.is_ok() || std::thread::panicking(), "the agent panicked");
    }
}

/// Returns a handler that sets `txn.path` to the argument `path`. If the path starts with `/wait`, it first waits until
/// the gate is open.
pub(crate) fn gated(gate: Gate) -> impl Handler + Clone + Send {
    spoa_runtime::deferred(move |request: OwnedRequest| {
        let gate = gate.clone();
        async move {
            let path = request.messages().next().and_then(|message| message.arg("path")?.as_str().map(str::to_owned));
            let path = path.ok_or("no path")?;
            if path.starts_with("/wait") {
                gate.pass().await;
            }
            let mut actions = Actions::new();
            actions.set_var(Scope::Transaction, "path", path.as_str())?;
            Ok(actions)
        }
    })
}

/// A gate at which handlers wait until an [`Opener`] opens it.
#[derive(Clone)]
pub(crate) struct Gate {
    arrivals: mpsc::Sender<()>,
    /// Carries no messages: it is closed when the gate is opened.
    channel: async_channel::Receiver<()>,
}

/// Opens a [`Gate`], and waits for handlers to arrive at it.
pub(crate) struct Opener {
    arrivals: mpsc::Receiver<()>,
    channel: async_channel::Sender<()>,
}

/// Creates a closed gate.
pub(crate) fn gate() -> (Opener, Gate) {
    let (arrivals_sender, arrivals) = mpsc::channel();
    let (opener, channel) = async_channel::bounded(1);
    (Opener { arrivals, channel: opener }, Gate { arrivals: arrivals_sender, channel })
}

impl Gate {
    /// Waits until the gate is open.
    pub(crate) async fn pass(&self) {
        let _ = self.arrivals.send(());
        let _ = self.channel.recv().await;
    }
}

impl Opener {
    /// Waits until `count` more handlers have arrived at the gate.
    #[track_caller]
    pub(crate) fn wait_for(&self, count: usize) {
        for n in 0..count {
            assert!(self.arrivals.recv_timeout(WAIT_MAX).is_ok(), "expected {count} handlers at the gate, got {n}");
        }
    }

    /// Opens the gate for all handlers, for good.
    pub(crate) fn open(&self) {
        self.channel.close();
    }
}
