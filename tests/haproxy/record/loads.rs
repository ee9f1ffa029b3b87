//! Different numbers of clients, whose events are answered early, late or never.

use std::io::Write;
use std::net::TcpStream;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use spoa_core::Config;
use spoa_sim_haproxy::recording::{LinkEvent, Recording, Side};
use spoa_tests::frames::{ack, agent_hello};

use crate::agent::{Spoa, TestAgent, gate, gated};
use crate::client::Request;
use crate::haproxy::{Engine, Install, Setup};
use crate::raw_agent::RawAgent;
use crate::scene::{Scene, request_all};

/// `spoa` scores a few clients at a time.
pub(super) fn scores(install: &Install) -> Recording {
    let spoa = Spoa::with_seed(1);
    let mut scene = Scene::new(install, spoa.addr()).with("threads 2");
    let scoring = Setup::scoring("");
    (scene.setup.messages, scene.setup.agent) =
        (scoring.messages, scene.setup.agent.replace("messages m", &scoring.agent));
    scene.setup.frontend = "    tcp-request connection set-src ipv4(192.0.2.7)\n".into();
    let haproxy = scene.start();
    for round in 1..6 {
        request_all((0..round).map(|_| "/".into()), haproxy.addr);
    }
    scene.recorded()
}

/// Many events arrive at once, before there is any connection.
pub(super) fn burst_cold(install: &Install) -> Recording {
    let (opener, gate) = gate();
    let agent = TestAgent::start(Config::default(), gated(gate));
    let scene = Scene::new(install, &agent.addr).with_connections_max(22);
    let haproxy = scene.start();
    std::thread::scope(|scope| {
        let clients = scope.spawn(|| request_all((0..22).map(|n| format!("/wait/{n}")), haproxy.addr));
        opener.wait_for(22);
        opener.open();
        clients.join().expect("the clients do not panic")
    });
    request_all((0..5).map(|n| format!("/{n}")), haproxy.addr);
    scene.recorded()
}

/// Many events arrive at once: one connection takes as many as it can, and HAProxy opens new ones for the rest.
pub(super) fn burst_warm(install: &Install) -> Recording {
    let (opener, gate) = gate();
    let agent = TestAgent::start(Config::default(), gated(gate));
    let scene = Scene::new(install, &agent.addr);
    let haproxy = scene.start();
    request_all(["/first".into()], haproxy.addr);
    std::thread::scope(|scope| {
        let clients = scope.spawn(|| request_all((0..25).map(|n| format!("/wait/{n}")), haproxy.addr));
        opener.wait_for(25);
        opener.open();
        clients.join().expect("the clients do not panic")
    });
    request_all((0..5).map(|n| format!("/{n}")), haproxy.addr);
    scene.recorded()
}

/// The agent answers NOTIFYs in reverse order.
pub(super) fn out_of_order(install: &Install) -> Recording {
    let agent = RawAgent::start(|_, peer| {
        let Some(()) = peer.greet(&agent_hello(16380, "pipelining")).and_then(|()| peer.serve(1)) else { return };
        let mut waiting = Vec::new();
        while let Some(notify) = peer.next_notify() {
            waiting.push(notify);
            if waiting.len() == 6 {
                waiting.drain(..).rev().for_each(|notify| peer.send(&ack(notify.sid, notify.fid, &[7])));
            }
        }
    });
    let scene = Scene::new(install, &agent.addr).with_on(Engine::Applet, "maxconn 1");
    let haproxy = scene.start();
    request_all(["/first".into()], haproxy.addr);
    for _ in 0..3 {
        request_all((0..6).map(|n| format!("/{n}")), haproxy.addr);
    }
    scene.recorded()
}

/// The agent sends every other answer after the processing timeout of its event.
pub(super) fn too_late(install: &Install) -> Recording {
    let agent = RawAgent::start(|_, peer| {
        let Some(()) = peer.greet(&agent_hello(16380, "pipelining")) else { return };
        let mut late = None;
        let mut count = 0;
        while let Some(notify) = peer.next_notify() {
            let answer = ack(notify.sid, notify.fid, &[7]);
            count += 1;
            if count % 2 == 0 && late.is_none() {
                late = Some(answer);
                continue;
            }
            peer.send(&answer);
            late.take().iter().for_each(|answer| peer.send(answer));
        }
    });
    let scene = Scene::new(install, &agent.addr).with("processing 120ms").with_on(Engine::Applet, "maxconn 1");
    let haproxy = scene.start();
    for n in 0..10 {
        request_all([format!("/{n}")], haproxy.addr);
    }
    scene.recorded()
}

/// The agent answers no NOTIFY, so that more and more are in flight on its connection.
pub(super) fn never(install: &Install) -> Recording {
    let agent = RawAgent::start(|_, peer| {
        if let Some(()) = peer.greet(&agent_hello(16380, "pipelining")) {
            while peer.next_notify().is_some() {}
        }
    });
    let scene = Scene::new(install, &agent.addr).with("processing 120ms");
    let haproxy = scene.start();
    for n in 1..6 {
        request_all((0..n * 3).map(|n| format!("/{n}")), haproxy.addr);
    }
    scene.recorded()
}

/// Clients close their connections while their events wait for an answer.
pub(super) fn client_gone(install: &Install) -> Recording {
    // The agent answers only while this is not locked.
    let (lock, count) = (Arc::new(Mutex::new(())), Arc::new(AtomicUsize::new(0)));
    let (agents_lock, received) = (Arc::clone(&lock), Arc::clone(&count));
    let agent = RawAgent::start(move |_, peer| {
        let Some(()) = peer.greet(&agent_hello(16380, "pipelining")) else { return };
        while let Some(notify) = peer.next_notify() {
            received.fetch_add(1, Ordering::SeqCst);
            drop(agents_lock.lock());
            peer.send(&ack(notify.sid, notify.fid, &[7]));
        }
    });
    let scene = Scene::new(install, &agent.addr).with("may abort").with("processing 2000ms");
    let haproxy = scene.start();
    for n in 1..4 {
        let locked = lock.lock();
        let clients: Vec<_> = (0..n)
            .map(|_| {
                let mut client = TcpStream::connect(haproxy.addr).expect("HAProxy listens");
                client.write_all(b"GET /gone HTTP/1.1\r\nhost: test\r\n\r\n").expect("HAProxy reads the request");
                client
            })
            .collect();
        scene.wait("a NOTIFY of each client", |recording| notifies(recording) >= n * (n + 1) / 2 + n - 1);
        drop(clients);
        drop(locked);
        Request::get("/stays").send(haproxy.addr);
    }
    scene.recorded()
}

/// Returns the number of NOTIFYs with a path of [`client_gone`].
fn notifies(recording: &Recording) -> usize {
    let count = |bytes: &[u8]| bytes.windows(5).filter(|&five| five == b"/gone" || five == b"/stay").count();
    let counts = recording.steps.iter().map(|step| match &step.event {
        LinkEvent::Bytes(Side::Haproxy, bytes) => count(bytes),
        _ => 0,
    });
    counts.sum()
}
