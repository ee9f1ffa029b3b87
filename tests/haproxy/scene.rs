//! What recordings are made of: an agent, the recorder before it, and a HAProxy whose settings the recording names.

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

/// A HAProxy about to be recorded.
pub(crate) struct Scene {
    install: Install,
    recorder: Recorder,
    conditions: Vec<(String, String)>,
    /// Its configuration, for what no condition says.
    pub(crate) setup: Setup,
    kept: usize,
}

/// Connections of a recording, unless a scene says otherwise: an engine that is refused connects again and again.
const KEPT: usize = 10;

impl Scene {
    /// Events of each request go to the agent at `agent`, with its path and an address.
    pub(crate) fn before(install: &Install, agent: &(impl ToString + ?Sized)) -> Self {
        let recorder = Recorder::recording(agent);
        let setup = Setup::asking(&recorder.addr, "on-frontend-http-request", "path=path ip=ipv4(192.0.2.1)");
        let scene = Self { install: install.clone(), recorder, conditions: Vec::new(), setup, kept: KEPT };
        let version = scene.install.full.split('-').next().unwrap_or_default().to_owned();
        scene
            .said("haproxy", &version)
            .with("threads 1")
            .with("hello 5000ms")
            .with("idle 60000ms")
            .with("processing 10000ms")
    }

    /// With a setting, which is a condition of the recording too.
    pub(crate) fn with(mut self, condition: &str) -> Self {
        let (name, value) = condition.split_once(' ').expect("a name and a value");
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
            _ => panic!("nothing is known about {name}"),
        }
        self.said(name, value)
    }

    /// [`with`](Self::with), for HAProxys of one engine.
    pub(crate) fn with_on(self, engine: Engine, condition: &str) -> Self {
        if self.install.engine() == engine { self.with(condition) } else { self }
    }

    /// Keeps another number of connections.
    pub(crate) fn keeping(self, kept: usize) -> Self {
        Self { kept, ..self }
    }

    /// The agent may break the rules, so what HAProxy says need not be what it says to a good one.
    pub(crate) fn odd(self) -> Self {
        self.with("agent odd")
    }

    fn said(mut self, name: &str, value: &str) -> Self {
        self.conditions.retain(|(known, _)| known != name || name == "may");
        self.conditions.push((name.to_owned(), value.to_owned()));
        self
    }

    pub(crate) fn start(&self) -> Haproxy {
        self.setup.start(&self.install)
    }

    /// What was recorded until now.
    pub(crate) fn recorded(&self) -> Recording {
        let mut recording = self.recorder.recorded();
        recording.conditions.clone_from(&self.conditions);
        recording.truncate(self.kept);
        recording
    }

    /// The first `count` connections.
    pub(crate) fn recorded_up_to(&self, count: usize) -> Recording {
        let mut recording = self.recorded();
        recording.truncate(count);
        recording
    }

    /// Waits until a recording holds what is asked for.
    #[track_caller]
    pub(crate) fn wait(&self, what: &str, enough: impl Fn(&Recording) -> bool) {
        let until = Instant::now() + WAIT_MAX;
        while !enough(&self.recorder.recorded()) {
            assert!(Instant::now() < until, "no {what} in {}", self.recorder.recorded());
            std::thread::sleep(Duration::from_millis(2));
        }
    }
}

/// An agent with another script for each connection, and good behaviour once they are used up: HAProxy is asked until
/// that is so.
pub(crate) fn walk(
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
    let scene = prepare(Scene::before(install, &agent.addr)).keeping(cases + 1);
    let haproxy = scene.start();
    let until = Instant::now() + WAIT_MAX;
    for n in 0.. {
        Request::get(&format!("/{n}")).send(haproxy.addr);
        if agent.ended() >= cases {
            break;
        }
        assert!(Instant::now() < until, "{} of {cases} were played: {}", agent.ended(), scene.recorder.recorded());
    }
    Request::get("/last").send(haproxy.addr);
    scene.recorded()
}

/// Sends one request for each path at the same time, and waits for all answers.
pub(crate) fn ask_all(paths: impl IntoIterator<Item = String>, to: SocketAddr) -> Vec<Response> {
    let ask = |path: String| std::thread::spawn(move || Request::get(&path).send(to));
    let clients: Vec<_> = paths.into_iter().map(ask).collect();
    clients.into_iter().map(|client| client.join().expect("HAProxy answers")).collect()
}

/// The model's HAProxy could have had that conversation.
pub(crate) fn judge(name: &str, install: &Install, recording: &Recording) {
    let path = path(name, install);
    let written = path.parent().map(fs::create_dir_all).and_then(|_| fs::write(&path, recording.to_string()).ok());
    assert!(written.is_some(), "{} cannot be written", path.display());
    // What is written is what the simulator's tests will read.
    let recording = Recording::parse(&recording.to_string()).expect("it was written by us");
    let mut variant = Variant::of(&recording).expect("conditions that are known");
    if !is_kept() {
        variant.slack = BUSY;
    }
    assert!(recording.steps.len() >= 2, "nothing was recorded");
    if let Err(mismatch) = accepts(&variant, &recording) {
        panic!("{}: {mismatch}\n{recording}", path.display());
    }
}

/// Times of a recording that is thrown away may be those of a busy machine. One that is kept has to be exact.
const BUSY: Time = 500 * MILLISECOND;

/// Told to record anew, for the tests that have no HAProxy.
fn is_kept() -> bool {
    env::var_os("SPOA_RECORD").is_some()
}

/// In the repository if asked to record anew, else where cargo has tests write.
fn path(name: &str, install: &Install) -> PathBuf {
    let folder = if is_kept() {
        Path::new(env!("CARGO_MANIFEST_DIR")).join("../sim/recordings")
    } else {
        Path::new(env!("CARGO_TARGET_TMPDIR")).join("recordings")
    };
    let (major, minor) = install.version;
    folder.join(format!("{major}.{minor}/{name}.rec"))
}
