//! Settings of HAProxy and of the agent that change the frames.

use spoa_core::Config;
use spoa_core::wire::Capabilities;
use spoa_runtime::{Scope, SetVars, quick};
use spoa_sim_haproxy::recording::Recording;
use spoa_tests::bytes::{ABORT, ACK, FIN, Frame, NOTIFY};
use spoa_tests::frames::{ack, agent_hello};

use crate::agent::{TestAgent, gate, gated};
use crate::client::Request;
use crate::haproxy::{Engine, Install};
use crate::raw_agent::RawAgent;
use crate::scene::{Scene, request_all};

/// Records an agent that holds several NOTIFYs in flight and answers them when it has received all of them.
fn together(install: &Install, config: Config, prepare: impl FnOnce(Scene) -> Scene) -> Recording {
    const CLIENTS: usize = 8;
    let (opener, gate) = gate();
    let agent = TestAgent::start(config, gated(gate));
    let scene = prepare(Scene::new(install, &agent.addr));
    let haproxy = scene.start();
    request_all(["/first".into()], haproxy.addr);
    std::thread::scope(|scope| {
        let clients = scope.spawn(|| request_all((0..CLIENTS).map(|n| format!("/wait/{n}")), haproxy.addr));
        opener.wait_for(CLIENTS);
        opener.open();
        clients.join().expect("the clients do not panic")
    });
    request_all((0..4).map(|n| format!("/{n}")), haproxy.addr);
    scene.recorded()
}

/// HAProxy's configuration disables pipelining.
pub(super) fn pipelining_off(install: &Install) -> Recording {
    together(install, Config::default(), |scene| scene.with("pipelining off"))
}

/// The agent does not offer pipelining.
pub(super) fn pipelining_refused(install: &Install) -> Recording {
    together(install, Config { capabilities: Capabilities::NONE, ..Config::default() }, |scene| scene)
}

/// Neither side offers any capability.
pub(super) fn nothing_offered(install: &Install) -> Recording {
    let config = Config { capabilities: Capabilities::NONE, ..Config::default() };
    together(install, config, |scene| scene.with("pipelining off").with("async off"))
}

/// Both sides offer the capability `async`, so that an ACK may arrive on another connection.
pub(super) fn async_agreed(install: &Install) -> Recording {
    let capabilities = Capabilities::parse(b"pipelining,async");
    together(install, Config { capabilities, ..Config::default() }, |scene| scene.with("threads 2"))
}

/// HAProxy runs several threads.
pub(super) fn threads(install: &Install) -> Recording {
    together(install, Config::default(), |scene| scene.with("threads 4"))
}

/// HAProxy's backend is before the frontend and in `mode tcp`, so that HAProxy opens a connection per event.
pub(super) fn reuse_off(install: &Install) -> Recording {
    together(install, Config::default(), |scene| scene.with("reuse off"))
}

/// Two threads share one connection, the only one that the server may have.
pub(super) fn crowded(install: &Install) -> Recording {
    let agent = TestAgent::start(Config::default(), quick(|_, _| Ok(())));
    let scene = Scene::new(install, &agent.addr).with("threads 2").with("maxconn 1");
    let haproxy = scene.start();
    for _ in 0..5 {
        request_all((0..6).map(|n| format!("/{n}")), haproxy.addr);
    }
    scene.recorded()
}

/// Records requests with a header of each of these lengths, which HAProxy sends to the agent.
fn long(install: &Install, config: Config, lengths: &[usize], prepare: impl FnOnce(Scene) -> Scene) -> Recording {
    let agent = TestAgent::start(
        config,
        quick(|request, ack| {
            let len = request
                .messages()
                .flat_map(|message| message.args())
                .filter_map(|(_, value)| Some(value.as_bytes()?.len()))
                .sum::<usize>();
            ack.set_var(Scope::Transaction, "len", len as i64)?;
            Ok(())
        }),
    );
    let mut scene = prepare(Scene::new(install, &agent.addr));
    scene.setup.messages = LONG_MESSAGE.into();
    let haproxy = scene.start();
    for len in lengths {
        Request::get("/long").header("x-long", &"x".repeat(*len)).send(haproxy.addr);
    }
    scene.recorded()
}

const LONG_MESSAGE: &str = "spoe-message m
    args path text=req.hdr(x-long) n=int(7) req.hdr(x-long)
    event on-frontend-http-request
";

const LENGTHS: &[usize] = &[10, 60, 90, 92, 93, 94, 95, 96, 97, 98, 99, 100, 101, 110, 200, 224, 300, 500, 2000, 10];

/// HAProxy's maximum frame size is 256 bytes. Up to 3.0 it sends longer NOTIFYs in fragments, since 3.1 not at all.
pub(super) fn small_frames(install: &Install) -> Recording {
    long(install, Config::default(), LENGTHS, |scene| scene.with("max-frame-size 256"))
}

/// The agent's maximum frame size is 256 bytes, which HAProxy learns from the first AGENT-HELLO.
pub(super) fn small_agent(install: &Install) -> Recording {
    long(install, Config { max_frame_size: 256, ..Config::default() }, LENGTHS, |scene| scene)
}

/// The agent has a small maximum frame size and no fragmentation, so that HAProxy closes connections with code 10 until
/// the event with a long NOTIFY times out.
pub(super) fn fragments_unwanted(install: &Install) -> Recording {
    let config = Config { max_frame_size: 256, capabilities: Capabilities::PIPELINING, ..Config::default() };
    long(install, config, &[10, 500, 10], |scene| scene.with("processing 100ms"))
}

/// HAProxy's configuration disables fragmentation, with a small maximum frame size.
pub(super) fn fragments_off(install: &Install) -> Recording {
    long(install, Config::default(), LENGTHS, |scene| scene.with("max-frame-size 256").with("send-frag-payload off"))
}

/// The agent aborts each fragmented NOTIFY at its first fragment.
pub(super) fn fragments_aborted(install: &Install) -> Recording {
    let agent = RawAgent::start(|_, peer| {
        let Some(()) = peer.greet(&agent_hello(256, "pipelining,fragmentation")) else { return };
        while let Some(frame) = peer.next_frame() {
            if frame.kind == NOTIFY && frame.flags == FIN {
                peer.send(&ack(frame.sid, frame.fid, &[7]));
            } else if frame.kind == NOTIFY {
                peer.send(&Frame::new(ACK, (frame.sid, frame.fid), []).flags(FIN | ABORT).encode());
            }
        }
    });
    let mut scene =
        Scene::new(install, &agent.addr).with("max-frame-size 256").with("processing 300ms").with_odd_agent();
    scene.setup.messages =
        "spoe-message m\n    args req.hdr(x-long) req.hdr(x-long)\n    event on-frontend-http-request\n".into();
    let haproxy = scene.start();
    for len in [10, 4000, 10, 6000, 10, 300, 10] {
        Request::get("/long").header("x-long", &"x".repeat(len)).send(haproxy.addr);
    }
    scene.recorded()
}

/// HAProxy has buffers of half the usual size.
pub(super) fn small_buffers(install: &Install) -> Recording {
    let config = Config { max_frame_size: 8188, ..Config::default() };
    long(install, config, &[10, 1000, 3000, 5000, 10], |scene| scene.with("bufsize 8192"))
}

/// HAProxy sends arguments of every type.
pub(super) fn value_types(install: &Install) -> Recording {
    const ARGS: &str = "bool(true) no=bool(false) zero=int(0) int(239) int(240) int(2287) int(2288) n=int(264432)
    args int(-1) int(4294967296) int(9223372036854775807) min=int(-9223372036854775808) ipv4(192.0.2.1)
    args a=ipv6(2001:db8::1) str(abc) text=str() bin(00ff10) body=req.body method absent=req.hdr(x-absent)
    args req.hdrs_bin long=req.hdr(x-long) path url=url src=ipv4(192.0.2.255) var(txn.none)";
    let agent = TestAgent::start(
        Config::default(),
        quick(|request, ack| {
            for (n, (_, value)) in request.messages().flat_map(|message| message.args()).enumerate() {
                ack.set_var(Scope::Transaction, &format!("v{n}"), value)?;
            }
            Ok(())
        }),
    );
    let mut scene = Scene::new(install, &agent.addr);
    scene.setup.messages = format!("spoe-message m\n    args {ARGS}\n    event on-frontend-http-request\n");
    let haproxy = scene.start();
    for len in [0, 100, 238, 239, 240, 241, 2280, 2288, 2300] {
        Request::get("/?q=1").header("x-long", &"x".repeat(len)).send(haproxy.addr);
    }
    scene.recorded()
}

/// HAProxy sends messages with conditions, for all events of a stream.
pub(super) fn several_events(install: &Install) -> Recording {
    let agent = TestAgent::start(
        Config::default(),
        quick(|request, ack| {
            for message in request {
                ack.set_var(Scope::Transaction, &String::from_utf8_lossy(message.name()).replace('-', "_"), true)?;
            }
            Ok(())
        }),
    );
    let mut scene = Scene::new(install, &agent.addr).with_on(Engine::Applet, "maxconn 2");
    scene.setup.agent = scene.setup.agent.replace("messages m", "messages client first second back served answered");
    scene.setup.messages = "
spoe-message client
    args int(1)
    event on-client-session
spoe-message first
    args n=int(2)
    event on-frontend-http-request if { path_sub 1 }
spoe-message second
    event on-frontend-http-request if { path_sub 2 }
spoe-message back
    args path
    event on-backend-http-request if { path_sub 3 }
spoe-message served
    args int(4)
    event on-server-session if { path_sub 4 }
spoe-message answered
    args status
    event on-http-response if { path_sub 5 }
"
    .into();
    scene.setup.site = Some(String::new());
    let haproxy = scene.start();
    for path in ["/12345", "/0", "/1", "/2", "/12", "/345", "/5", "/12345"] {
        request_all([path.to_owned(), format!("{path}/1")], haproxy.addr);
    }
    scene.recorded()
}
