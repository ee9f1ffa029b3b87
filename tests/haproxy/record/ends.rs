//! Ends of connections: closed or reset by the agent, stopped agents, idle connections, stops and reloads of HAProxy.

use std::num::NonZeroU64;

use spoa_core::Config;
use spoa_runtime::quick;
use spoa_sim_haproxy::recording::{LinkEvent, Recording, Side};
use spoa_tests::frames::{ack, agent_hello};

use crate::agent::{Spoa, TestAgent, gate, gated};
use crate::client::Request;
use crate::haproxy::{Engine, Install};
use crate::load::Load;
use crate::raw_agent::Peer;
use crate::scene::{Scene, request_all, run_cases};

/// The agent sends FIN or RST at each point of a connection.
pub(super) fn of_the_agent(install: &Install) -> Recording {
    const POINTS: usize = 7;
    let script = |case: usize, peer: &mut Peer| {
        let hello = agent_hello(16380, "pipelining");
        let _ = (|| {
            let point = case % POINTS;
            if point == 0 {
                return None;
            }
            peer.greet(if point == 1 { &hello[..20] } else { &hello })?;
            if point <= 2 {
                return None;
            }
            let notify = peer.next_notify()?;
            let answer = ack(notify.sid, notify.fid, &[7]);
            match point {
                3 => {}
                4 => peer.send(&answer[..9]),
                5 => peer.send(&answer),
                _ => {
                    peer.send(&answer);
                    peer.next_notify()?;
                }
            }
            Some(())
        })();
        if case < POINTS { peer.finish() } else { peer.reset() }
    };
    run_cases(install, 2 * POINTS, script, |scene| scene.with("processing 100ms").with_odd_agent())
}

/// `spoa` is stopped under load.
pub(super) fn stops(install: &Install) -> Recording {
    let spoa = Spoa::start(&["--listen", "127.0.0.1:0", "--seed", "5", "--delay", "5ms"], 1);
    let mut scene = Scene::new(install, spoa.addr()).with("processing 500ms");
    scene.setup.messages = "spoe-message m\n    args ip=ipv4(192.0.2.1)\n    event on-client-session\n".into();
    let haproxy = scene.start();
    let load = Load::start(6, haproxy.addr);
    load.wait("60 answers", |answers| answers.len() >= 60);
    assert!(spoa.stop().success());
    let answers_before = load.count();
    load.wait("answers without the agent", |answers| answers.len() >= answers_before + 6);
    load.stop();
    scene.recorded()
}

/// The agent closes each connection after two NOTIFYs.
pub(super) fn notify_max(install: &Install) -> Recording {
    let agent = TestAgent::start(Config { notify_max: NonZeroU64::new(2), ..Config::default() }, quick(|_, _| Ok(())));
    let scene = Scene::new(install, &agent.addr).with("processing 1000ms");
    let haproxy = scene.start();
    for n in 0..9 {
        Request::get(&format!("/{n}")).send(haproxy.addr);
    }
    scene.recorded()
}

/// HAProxy closes idle connections.
pub(super) fn idle(install: &Install) -> Recording {
    let agent = TestAgent::start(Config::default(), quick(|_, _| Ok(())));
    let scene = Scene::new(install, &agent.addr)
        .with_on(Engine::Applet, "idle 150ms")
        .with_on(Engine::Mux, "pool-purge-delay 150ms");
    let haproxy = scene.start();
    for round in 1..3 {
        let (ended, opened) = (ends(&scene.recorded()), round * 2);
        request_all((0..opened).map(|n| format!("/{n}")), haproxy.addr);
        scene.wait("another closed connection", |recording| ends(recording) > ended);
    }
    scene.recorded()
}

/// Returns the number of connections that HAProxy has closed or reset.
fn ends(recording: &Recording) -> usize {
    let end = |what: &LinkEvent| matches!(what, LinkEvent::Fin(Side::Haproxy) | LinkEvent::Reset(Side::Haproxy));
    recording.steps.iter().filter(|step| end(&step.event)).count()
}

/// Returns the number of connections that HAProxy has opened.
fn opens(recording: &Recording) -> usize {
    recording.steps.iter().filter(|step| step.event == LinkEvent::Open).count()
}

/// HAProxy gets SIGUSR1, a soft stop, while its connections are idle.
pub(super) fn soft_stop_idle(install: &Install) -> Recording {
    let agent = TestAgent::start(Config::default(), quick(|_, _| Ok(())));
    let scene = Scene::new(install, &agent.addr).with("threads 2").with("may stop").with("may exit");
    let mut haproxy = scene.start();
    for n in 1..5 {
        request_all((0..n).map(|n| format!("/{n}")), haproxy.addr);
    }
    haproxy.process.signal("USR1");
    assert!(haproxy.process.wait().success());
    scene.wait("the end of all connections", |recording| ends(recording) == opens(recording));
    scene.recorded()
}

/// HAProxy gets SIGUSR1, a soft stop, while NOTIFYs are in flight.
pub(super) fn soft_stop_busy(install: &Install) -> Recording {
    busy(install, "USR1", |scene| scene.with("may stop").with("may exit"))
}

/// HAProxy gets SIGTERM while NOTIFYs are in flight.
pub(super) fn hard_stop(install: &Install) -> Recording {
    busy(install, "TERM", |scene| scene.with("may exit"))
}

fn busy(install: &Install, signal: &str, prepare: impl FnOnce(Scene) -> Scene) -> Recording {
    let (opener, gate) = gate();
    let agent = TestAgent::start(Config::default(), gated(gate));
    let scene = prepare(Scene::new(install, &agent.addr).with("threads 2"));
    let mut haproxy = scene.start();
    request_all(["/first".into()], haproxy.addr);
    std::thread::scope(|scope| {
        let addr = haproxy.addr;
        let clients: Vec<_> =
            (0..8).map(|n| scope.spawn(move || Request::get(&format!("/wait/{n}")).try_send(addr))).collect();
        opener.wait_for(8);
        haproxy.process.signal(signal);
        if signal == "TERM" {
            haproxy.process.wait();
        }
        opener.open();
        for client in clients {
            drop(client.join().expect("the client does not panic"));
        }
    });
    haproxy.process.wait();
    scene.wait("the end of all connections", |recording| ends(recording) == opens(recording));
    scene.recorded()
}

/// HAProxy is reloaded under load.
pub(super) fn reload(install: &Install) -> Recording {
    let spoa = Spoa::start(&["--listen", "127.0.0.1:0", "--seed", "5", "--delay", "20ms"], 1);
    let mut scene = Scene::new(install, spoa.addr()).with("processes 2").with("may stop").with("may exit");
    scene.setup.messages = "spoe-message m\n    args ip=ipv4(192.0.2.1)\n    event on-client-session\n".into();
    let haproxy = scene.start();
    let load = Load::start(3, haproxy.addr);
    load.wait("20 answers", |answers| answers.len() >= 20);
    crate::reload_under_load::reload_once(&haproxy);
    load.wait("answers of the new process", |answers| {
        crate::reload_under_load::workers(answers).values().filter(|&&count| count >= 20).count() == 2
    });
    load.stop();
    scene.recorded()
}
