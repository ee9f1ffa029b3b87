//! Scenes for recordings. A scene has an agent, a recording relay in front of it, and a HAProxy whose settings the
//! recording states.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};
use std::{env, fs};

use spoa_sim_haproxy::recording::Recording;
use spoa_sim_haproxy::{MILLISECOND, Time, Variant, accepts};
use spoa_tests::frames::agent_hello;

use crate::client::{Request, Response};
use crate::haproxy::{Engine, Haproxy, Install, Setup};
use crate::log::WAIT_MAX;
use crate::raw_agent::{Peer, RawAgent};
use crate::recorder::Recorder;

/// A HAProxy to record, with the settings that the recording states as its conditions.
pub(crate) struct Scene {
    install: Install,
    recorder: Recorder,
    conditions: Vec<(String, String)>,
    /// Configuration of the HAProxy, for changes that are not conditions.
    pub(crate) setup: Setup,
    connections_max: usize,
}

/// Number of connections that a recording has at most, unless the scene sets another. A HAProxy whose handshake fails
/// connects again and again, so most recordings would be much longer without a limit.
const CONNECTIONS_MAX: usize = 10;

impl Scene {
    /// Creates a scene in which HAProxy sends the path of each request and a fixed address to the agent at `agent`.
    pub(crate) fn new(install: &Install, agent: &(impl ToString + ?Sized)) -> Self {
        let recorder = Recorder::recording(agent);
        let setup = Setup::with_message(&recorder.addr, "on-frontend-http-request", "path=path ip=ipv4(192.0.2.1)");
        let scene = Self {
            install: install.clone(),
            recorder,
            conditions: Vec::new(),
            setup,
            connections_max: CONNECTIONS_MAX,
        };
        let version = scene.install.full.split('-').next().unwrap_or_default().to_owned();
        scene
            .record_condition("haproxy", &version)
            .with("threads 1")
            .with("hello 5000ms")
            .with("idle 60000ms")
            .with("processing 10000ms")
    }

    /// Applies a setting and adds it to the conditions of the recording.
    pub(crate) fn with(mut self, condition: &str) -> Self {
        let (name, value) = condition.split_once(' ').expect("the condition has a name and a value");
        let off = if value == "off" { "no " } else { "" };
        let (agent, global, server) = (&mut self.setup.agent, &mut self.setup.global, &mut self.setup.servers[0]);
        match name {
            "threads" => *global += &format!("    nbthread {value}\n"),
            "bufsize" => *global += &format!("    tune.bufsize {value}\n"),
            "max-frame-size" => *agent += &format!("\n    max-frame-size {value}"),
            "pipelining" | "async" | "send-frag-payload" => *agent += &format!("\n    {off}option {name}"),
            "processing" | "hello" | "idle" => *agent += &format!("\n    timeout {name} {value}"),
            "check" => self.setup.backend += &format!("    timeout check {value}\n"),
            "pool-purge-delay" | "maxconn" => *server += &format!(" {condition}"),
            "reuse" => self.setup.agents_first = value == "off",
            "processes" => self.setup.master = true,
            "may" | "agent" => {}
            _ => panic!("unknown condition {name}"),
        }
        self.record_condition(name, value)
    }

    /// Applies a setting as [`with`](Self::with) does, but only to a HAProxy with this engine.
    pub(crate) fn with_on(self, engine: Engine, condition: &str) -> Self {
        if self.install.engine() == engine { self.with(condition) } else { self }
    }

    /// Sets how many connections the recording has at most.
    pub(crate) fn with_connections_max(self, connections_max: usize) -> Self {
        Self { connections_max, ..self }
    }

    /// Marks the recording as that of an agent that breaks the protocol. HAProxy may send other frames to a correct
    /// agent.
    pub(crate) fn with_odd_agent(self) -> Self {
        self.with("agent odd")
    }

    fn record_condition(mut self, name: &str, value: &str) -> Self {
        self.conditions.retain(|(known, _)| known != name || name == "may");
        self.conditions.push((name.to_owned(), value.to_owned()));
        self
    }

    pub(crate) fn start(&self) -> Haproxy {
        self.setup.start(&self.install)
    }

    /// Returns the recording so far.
    pub(crate) fn recorded(&self) -> Recording {
        let mut recording = self.recorder.recorded();
        recording.conditions.clone_from(&self.conditions);
        recording.truncate(self.connections_max);
        recording
    }

    /// Returns the first `count` connections of the recording so far.
    pub(crate) fn recorded_up_to(&self, count: usize) -> Recording {
        let mut recording = self.recorded();
        recording.truncate(count);
        recording
    }

    /// Waits until `is_enough` returns true for the recording so far.
    #[track_caller]
    pub(crate) fn wait(&self, what: &str, is_enough: impl Fn(&Recording) -> bool) {
        let until = Instant::now() + WAIT_MAX;
        while !is_enough(&self.recorder.recorded()) {
            assert!(Instant::now() < until, "expected {what}, got {}", self.recorder.recorded());
            std::thread::sleep(Duration::from_millis(2));
        }
    }
}

/// Records an agent that calls `script` with the number of the connection for its first `cases` connections, and serves
/// later ones correctly. Sends requests to HAProxy until all of these calls have returned.
pub(crate) fn run_cases(
    install: &Install,
    cases: usize,
    script: impl Fn(usize, &mut Peer) + Send + Sync + 'static,
    prepare: impl FnOnce(Scene) -> Scene,
) -> Recording {
    let agent = RawAgent::start(move |connection, peer| {
        if connection < cases {
            script(connection, peer);
        } else if peer.greet(&agent_hello(16380, "pipelining")).is_some() {
            peer.serve(usize::MAX);
        }
    });
    let scene = prepare(Scene::new(install, &agent.addr)).with_connections_max(cases + 1);
    let haproxy = scene.start();
    let until = Instant::now() + WAIT_MAX;
    for n in 0.. {
        Request::get(&format!("/{n}")).send(haproxy.addr);
        if agent.finished() >= cases {
            break;
        }
        assert!(
            Instant::now() < until,
            "expected {cases} cases to end, got {}: {}",
            agent.finished(),
            scene.recorder.recorded()
        );
    }
    Request::get("/last").send(haproxy.addr);
    scene.recorded()
}

/// Sends one request per path, all at the same time, and returns the responses.
pub(crate) fn request_all(paths: impl IntoIterator<Item = String>, to: SocketAddr) -> Vec<Response> {
    let request = |path: String| std::thread::spawn(move || Request::get(&path).send(to));
    let clients: Vec<_> = paths.into_iter().map(request).collect();
    clients.into_iter().map(|client| client.join().expect("HAProxy responds")).collect()
}

/// Writes a recording to a file, and checks that the model of this HAProxy accepts it.
pub(crate) fn check_recording(name: &str, install: &Install, recording: &Recording) {
    let path = recording_path(name, install);
    let written = path.parent().map(fs::create_dir_all).and_then(|_| fs::write(&path, recording.to_string()).ok());
    assert!(written.is_some(), "cannot write {}", path.display());
    // The written text is what the simulator's tests will read.
    let recording = Recording::parse(&recording.to_string()).expect("the text is a recording");
    let mut variant = Variant::of(&recording).expect("the model knows the conditions");
    if !updates_repository() {
        variant.slack = BUSY_SLACK;
    }
    assert!(recording.steps.len() >= 2, "nothing was recorded");
    if let Err(mismatch) = accepts(&variant, &recording) {
        panic!("{}: {mismatch}\n{recording}", path.display());
    }
}

/// Tolerance for the times of a recording that is not written to the repository, since the machine may be busy. The
/// times in the repository have to be exact.
const BUSY_SLACK: Time = 500 * MILLISECOND;

/// True if `SPOA_RECORD` is set: recordings then replace those in the repository, which the tests without HAProxy read.
fn updates_repository() -> bool {
    env::var_os("SPOA_RECORD").is_some()
}

/// Returns the path of a recording: in the repository if that is updated, else in cargo's folder for files of tests.
fn recording_path(name: &str, install: &Install) -> PathBuf {
    let folder = if updates_repository() {
        Path::new(env!("CARGO_MANIFEST_DIR")).join("../sim/recordings")
    } else {
        Path::new(env!("CARGO_TARGET_TMPDIR")).join("recordings")
    };
    let (major, minor) = install.version;
    folder.join(format!("{major}.{minor}/{name}.rec"))
}
