//! Clients in all sorts of numbers, answered soon, late or not at all.

use std::io::Write;
use std::net::TcpStream;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use spoa_core::Config;
use spoa_sim_haproxy::recording::{Recording, Side, What};
use spoa_tests::frames::{ack, agent_hello};

use crate::agent::{Spoa, TestAgent, gate, gated};
use crate::client::Request;
use crate::haproxy::{Engine, Install, Setup};
use crate::raw_agent::RawAgent;
use crate::scene::{Scene, ask_all};

/// The program `spoa` scores clients, a few at a time.
pub(super) fn scores(install: &Install) -> Recording {
    let spoa = Spoa::with_seed(1);
    let mut scene = Scene::before(install, spoa.addr()).with("threads 2");
    let scoring = Setup::scoring("");
    (scene.setup.messages, scene.setup.agent) =
        (scoring.messages, scene.setup.agent.replace("messages m", &scoring.agent));
    scene.setup.frontend = "    tcp-request connection set-src ipv4(192.0.2.7)\n".into();
    let haproxy = scene.start();
    for round in 1..6 {
        ask_all((0..round).map(|_| "/".into()), haproxy.addr);
    }
    scene.recorded()
}

/// Many at once, before there is any connection.
pub(super) fn burst_cold(install: &Install) -> Recording {
    let (opener, gate) = gate();
    let agent = TestAgent::start(Config::default(), gated(gate));
    let scene = Scene::before(install, &agent.addr).keeping(22);
    let haproxy = scene.start();
    std::thread::scope(|scope| {
        let clients = scope.spawn(|| ask_all((0..22).map(|n| format!("/wait/{n}")), haproxy.addr));
        opener.wait_for(22);
        opener.open();
        clients.join().expect("clients")
    });
    ask_all((0..5).map(|n| format!("/{n}")), haproxy.addr);
    scene.recorded()
}

/// As many on a connection as there can be, and the others on new ones.
pub(super) fn burst_warm(install: &Install) -> Recording {
    let (opener, gate) = gate();
    let agent = TestAgent::start(Config::default(), gated(gate));
    let scene = Scene::before(install, &agent.addr);
    let haproxy = scene.start();
    ask_all(["/first".into()], haproxy.addr);
    std::thread::scope(|scope| {
        let clients = scope.spawn(|| ask_all((0..25).map(|n| format!("/wait/{n}")), haproxy.addr));
        opener.wait_for(25);
        opener.open();
        clients.join().expect("clients")
    });
    ask_all((0..5).map(|n| format!("/{n}")), haproxy.addr);
    scene.recorded()
}

/// The last one asked is the first to be answered.
pub(super) fn out_of_order(install: &Install) -> Recording {
    let agent = RawAgent::start(|_, peer| {
        let Some(()) = peer.greet(&agent_hello(16380, "pipelining")).and_then(|()| peer.serve(1)) else { return };
        let mut waiting = Vec::new();
        while let Some(notify) = peer.notify() {
            waiting.push(notify);
            if waiting.len() == 6 {
                waiting.drain(..).rev().for_each(|notify| peer.say(&ack(notify.sid, notify.fid, &[7])));
            }
        }
    });
    let scene = Scene::before(install, &agent.addr).with_on(Engine::Applet, "maxconn 1");
    let haproxy = scene.start();
    ask_all(["/first".into()], haproxy.addr);
    for _ in 0..3 {
        ask_all((0..6).map(|n| format!("/{n}")), haproxy.addr);
    }
    scene.recorded()
}

/// Each second answer comes after the processing timeout, when its event is over.
pub(super) fn too_late(install: &Install) -> Recording {
    let agent = RawAgent::start(|_, peer| {
        let Some(()) = peer.greet(&agent_hello(16380, "pipelining")) else { return };
        let mut late = None;
        let mut count = 0;
        while let Some(notify) = peer.notify() {
            let answer = ack(notify.sid, notify.fid, &[7]);
            count += 1;
            if count % 2 == 0 && late.is_none() {
                late = Some(answer);
                continue;
            }
            peer.say(&answer);
            late.take().iter().for_each(|answer| peer.say(answer));
        }
    });
    let scene = Scene::before(install, &agent.addr).with("processing 120ms").with_on(Engine::Applet, "maxconn 1");
    let haproxy = scene.start();
    for n in 0..10 {
        ask_all([format!("/{n}")], haproxy.addr);
    }
    scene.recorded()
}

/// An agent that answers nothing: more and more wait on its connection.
pub(super) fn never(install: &Install) -> Recording {
    let agent = RawAgent::start(|_, peer| {
        if let Some(()) = peer.greet(&agent_hello(16380, "pipelining")) {
            while peer.notify().is_some() {}
        }
    });
    let scene = Scene::before(install, &agent.addr).with("processing 120ms");
    let haproxy = scene.start();
    for n in 1..6 {
        ask_all((0..n * 3).map(|n| format!("/{n}")), haproxy.addr);
    }
    scene.recorded()
}

/// Clients that leave while their event waits.
pub(super) fn client_gone(install: &Install) -> Recording {
    let (gone, count) = (Arc::new(Mutex::new(())), Arc::new(AtomicUsize::new(0)));
    let (may_answer, asked) = (Arc::clone(&gone), Arc::clone(&count));
    let agent = RawAgent::start(move |_, peer| {
        let Some(()) = peer.greet(&agent_hello(16380, "pipelining")) else { return };
        while let Some(notify) = peer.notify() {
            asked.fetch_add(1, Ordering::SeqCst);
            drop(may_answer.lock());
            peer.say(&ack(notify.sid, notify.fid, &[7]));
        }
    });
    let scene = Scene::before(install, &agent.addr).with("may abort").with("processing 2000ms");
    let haproxy = scene.start();
    for n in 1..4 {
        let held = gone.lock();
        let clients: Vec<_> = (0..n)
            .map(|_| {
                let mut client = TcpStream::connect(haproxy.addr).expect("HAProxy listens");
                client.write_all(b"GET /gone HTTP/1.1\r\nhost: test\r\n\r\n").expect("HAProxy reads");
                client
            })
            .collect();
        scene.wait("NOTIFYs of all", |recording| notifies(recording) >= n * (n + 1) / 2 + n - 1);
        drop(clients);
        drop(held);
        Request::get("/stays").send(haproxy.addr);
    }
    scene.recorded()
}

/// Those about a path of this scene.
fn notifies(recording: &Recording) -> usize {
    let ours = |bytes: &[u8]| bytes.windows(5).filter(|&five| five == b"/gone" || five == b"/stay").count();
    let counts = recording.steps.iter().map(|step| match &step.what {
        What::Bytes(Side::Haproxy, bytes) => ours(bytes),
        _ => 0,
    });
    counts.sum()
}
