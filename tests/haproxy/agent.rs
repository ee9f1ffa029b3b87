//! Agents: the program `spoa`, and agents of the tests' own on the library, in this process.

use std::process::{Command, ExitStatus};
use std::sync::mpsc;
use std::thread::JoinHandle;

use spoa_runtime::{Actions, Agent, ConnectionConfig, Handler, ListenAddr, OwnedMessages, Scope, Stopper};
use spoa_tests::agent::RANDOM;

use crate::haproxy::Process;
use crate::log::WAIT_MAX;

/// The program `spoa`, running.
pub(crate) struct Spoa {
    pub(crate) process: Process,
    /// Where it listens, one for each `--listen`.
    pub(crate) addrs: Vec<String>,
}

impl Spoa {
    /// Starts it and waits until it accepts connections on `sockets` sockets.
    pub(crate) fn start(args: &[&str], sockets: usize) -> Self {
        let process = Process::start(Command::new(spoa_tests::agent::binary()).args(args));
        let addr = |n| process.lines.wait_count("listening on ", n).split_whitespace().next().unwrap_or("").to_owned();
        let addrs = (1..=sockets).map(addr).collect();
        Self { process, addrs }
    }

    /// On any free port of 127.0.0.1, with scores drawn from `seed`.
    pub(crate) fn with_seed(seed: u64) -> Self {
        Self::start(&["--listen", "127.0.0.1:0", "--seed", &seed.to_string()], 1)
    }

    pub(crate) fn addr(&self) -> &str {
        &self.addrs[0]
    }

    /// Asks it to stop and waits until it has. By then it has found nothing wrong with HAProxy.
    #[track_caller]
    pub(crate) fn stop(mut self) -> ExitStatus {
        self.process.signal("TERM");
        let status = self.process.wait();
        let lines = self.process.lines.all();
        let is_warning = |line: &&String| line.contains("WARN") || line.contains("ERROR");
        // The scenes' own message is one that `spoa` does not serve.
        let is_expected = |line: &&String| line.contains(RANDOM) || line.contains("the message \"m\" is not served");
        assert!(lines.iter().filter(is_warning).all(|line| is_expected(&line)), "{lines:#?}");
        status
    }
}

/// An agent in this process; it ends with the value.
pub(crate) struct TestAgent {
    pub(crate) addr: ListenAddr,
    pub(crate) stopper: Stopper,
    thread: Option<JoinHandle<()>>,
}

impl TestAgent {
    /// Serves with `handler` on a free port of 127.0.0.1.
    pub(crate) fn start<H: Handler + Clone + Send>(config: ConnectionConfig, handler: H) -> Self {
        let (tell, told) = mpsc::channel();
        let thread = std::thread::spawn(move || {
            let listen = "127.0.0.1:0".parse().expect("an address");
            let server = Agent::new().listen(listen).connection(config).bind().expect("a free port");
            tell.send((server.addrs()[0].clone(), server.stopper())).expect("the test waits for it");
            server.serve(handler).expect("sockets that work");
        });
        let (addr, stopper) = told.recv_timeout(WAIT_MAX).expect("the agent comes up");
        Self { addr, stopper, thread: Some(thread) }
    }
}

impl Drop for TestAgent {
    fn drop(&mut self) {
        // The second one cuts the grace period short.
        self.stopper.stop();
        self.stopper.stop();
        let ended = self.thread.take().expect("it is taken only here").join();
        assert!(ended.is_ok() || std::thread::panicking(), "the agent panicked");
    }
}

/// A handler that answers `txn.path` with the argument `path`, and paths below `/wait` only once the gate is open.
pub(crate) fn gated(gate: Gate) -> impl Handler + Clone + Send {
    spoa_runtime::deferred(move |messages: OwnedMessages| {
        let gate = gate.clone();
        async move {
            let path = messages.messages().next().and_then(|message| message.arg("path")?.as_str().map(str::to_owned));
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

/// What handlers wait at.
#[derive(Clone)]
pub(crate) struct Gate {
    arrived: mpsc::Sender<()>,
    closed: async_channel::Receiver<()>,
}

/// Who opens a gate, once and for all.
pub(crate) struct Opener {
    arrived: mpsc::Receiver<()>,
    closed: async_channel::Sender<()>,
}

pub(crate) fn gate() -> (Opener, Gate) {
    let (tell, told) = mpsc::channel();
    let (hold, held) = async_channel::bounded(1);
    (Opener { arrived: told, closed: hold }, Gate { arrived: tell, closed: held })
}

impl Gate {
    /// Returns when the gate is open.
    pub(crate) async fn pass(&self) {
        let _ = self.arrived.send(());
        let _ = self.closed.recv().await;
    }
}

impl Opener {
    /// Waits until `count` more handlers stand at the gate.
    #[track_caller]
    pub(crate) fn wait_for(&self, count: usize) {
        for n in 0..count {
            assert!(self.arrived.recv_timeout(WAIT_MAX).is_ok(), "{n} of {count} came to the gate");
        }
    }

    pub(crate) fn open(&self) {
        self.closed.close();
    }
}
