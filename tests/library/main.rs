//! Agents written on the library, over real sockets.

use std::io;
use std::num::NonZeroUsize;
use std::sync::{Arc, Mutex, mpsc};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use spoa_runtime::{
    Actions, Agent, ConnectionConfig, Families, Handler, HandlerError, Scope, Server, Source, Stopper, TypedData,
    deferred, quick,
};
use spoa_tests::admin::Admin;
use spoa_tests::agent::LIMIT;
use spoa_tests::bytes::{Value, message};
use spoa_tests::client::Client;
use spoa_tests::frames::{ack, notify};

/// An agent on a free port, which ends with this value.
struct Running {
    addr: String,
    stopper: Stopper,
    thread: Option<JoinHandle<()>>,
}

impl Running {
    fn start<H: Handler + Clone + Send>(config: ConnectionConfig, handler: H) -> Self {
        let addr = "127.0.0.1:0".parse().expect("an address");
        let server: Server = Agent::new().listen(addr).connection(config).bind().expect("a free port");
        let (addr, stopper) = (server.addrs()[0].to_string(), server.stopper());
        let thread = thread::spawn(move || server.serve(handler).expect("it serves"));
        Self { addr, stopper, thread: Some(thread) }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.stopper.stop();
        if let Some(thread) = self.thread.take()
            && thread.join().is_err()
            && !thread::panicking()
        {
            panic!("the agent failed");
        }
    }
}

fn many(count: u64) -> Vec<u8> {
    (0..count).flat_map(|sid| notify(sid, 1, &[message("m", &[("sid", Value::Uint64(sid))])])).collect()
}

/// All of them come in one piece and pass the mark of unsent bytes over and over: none may stay behind.
#[test]
fn answers_larger_than_their_questions_all_leave() {
    for unsent_max in [1, 3000, 64 << 10] {
        let text = "x".repeat(1000);
        let config = ConnectionConfig { unsent_max, ..ConnectionConfig::default() };
        let agent = Running::start(
            config,
            quick(move |_, ack| {
                ack.set_var(Scope::Session, "text", text.as_str())?;
                Ok(())
            }),
        );
        let mut client = Client::ready(&agent.addr);
        client.send(&many(300));
        for sid in 0..300 {
            assert_eq!(client.frame().sid, sid, "with {unsent_max} bytes");
        }
    }
}

#[test]
fn a_handler_that_fails_costs_an_empty_ack() {
    let agent = Running::start(
        ConnectionConfig::default(),
        quick(|messages, ack| {
            for message in messages {
                ack.set_var(Scope::Session, "half", true)?;
                match message.name() {
                    b"fail" => return Err("as asked".into()),
                    // A panic, but without the report that the hook prints.
                    b"panic" => std::panic::resume_unwind(Box::new("as asked")),
                    _ => {}
                }
            }
            Ok(())
        }),
    );
    let mut client = Client::ready(&agent.addr);
    for (sid, name) in ["fail", "panic", "fail"].into_iter().enumerate() {
        client.exchange(&notify(sid as u64, 1, &[message(name, &[])]), &ack(sid as u64, 1, &[]));
    }
}

/// Answers that come later come in the order they are ready, each to its own NOTIFY.
#[test]
fn later_answers_find_their_own_notify() {
    let agent = Running::start(
        ConnectionConfig::default(),
        deferred(async |kept| {
            let mut actions = Actions::new();
            for message in kept.messages() {
                let sid = message.arg("sid").and_then(|value| value.as_i64()).ok_or("no sid")?;
                smol::Timer::after(Duration::from_millis((40 - sid as u64) / 4)).await;
                actions.set_var(Scope::Session, "sid", TypedData::Int64(sid))?;
            }
            Ok::<_, HandlerError>(actions)
        }),
    );
    let mut client = Client::ready(&agent.addr);
    client.send(&many(40));
    let mut seen = Vec::new();
    for _ in 0..40 {
        let frame = client.frame();
        let wanted = spoa_tests::frames::set_var(1, "sid", &Value::Int64(frame.sid as i64));
        assert_eq!(frame.payload, wanted);
        seen.push(frame.sid);
    }
    seen.sort_unstable();
    assert!(seen.into_iter().eq(0..40));
}

/// With all places taken by work that never ends, the end is still seen, and the work dropped before the socket is: whoever
/// comes and goes leaves nothing behind.
#[test]
fn work_is_dropped_with_its_connection() {
    let (dropped, drops) = mpsc::channel();
    let agent = Running::start(
        ConnectionConfig { in_flight_max: 3, ..ConnectionConfig::default() },
        deferred(move |_| {
            // Part of the future from the start: it may be dropped before it first runs.
            let told = TellsWhenDropped(dropped.clone());
            async move {
                let _told = told;
                std::future::pending::<Result<Actions, HandlerError>>().await
            }
        }),
    );
    // The agent still runs all the while: its end would drop the work as well.
    for _ in 0..50 {
        let mut client = Client::ready(&agent.addr);
        client.send(&many(10));
        client.finish();
        assert_eq!(client.rest().map_err(|error: io::Error| error.kind()), Ok(Vec::new()));
        assert_eq!(drops.try_iter().count(), 3);
    }
}

struct TellsWhenDropped(mpsc::Sender<()>);

impl Drop for TellsWhenDropped {
    fn drop(&mut self) {
        let _ = self.0.send(());
    }
}

/// The copies that deferred answers keep are bounded: beyond the mark the next NOTIFY waits, and is served afterwards.
#[test]
fn copies_of_deferred_notifies_are_bounded() {
    let kept = Arc::new(Mutex::new((0_usize, 0_usize)));
    let config = ConnectionConfig { deferred_max: 5000, ..ConnectionConfig::default() };
    let seen = Arc::clone(&kept);
    let agent = Running::start(
        config,
        deferred(move |messages| {
            let seen = Arc::clone(&seen);
            // Counted when the copy is made, not when the future first runs.
            {
                let mut counts = seen.lock().expect("no thread has panicked");
                counts.0 += 1;
                counts.1 = counts.1.max(counts.0);
            }
            async move {
                smol::Timer::after(Duration::from_millis(5)).await;
                drop(messages);
                seen.lock().expect("no thread has panicked").0 -= 1;
                Ok(Actions::new())
            }
        }),
    );
    let mut client = Client::ready(&agent.addr);
    let text = Value::text(&"x".repeat(1000));
    for sid in 0..40 {
        client.send(&notify(sid, 1, &[message("m", &[("text", text.clone())])]));
    }
    let mut seen: Vec<_> = (0..40).map(|_| client.frame().sid).collect();
    seen.sort_unstable();
    assert!(seen.into_iter().eq(0..40));
    assert_eq!(kept.lock().expect("no thread has panicked").1, 5, "five of a thousand bytes pass the mark");
}

/// A handler that never returns costs its worker; whoever asks for the agent's health is told, and so is a watchdog.
#[test]
fn a_worker_that_hangs_is_no_good_health() {
    let (gate, held) = mpsc::channel::<()>();
    let held = Arc::new(Mutex::new(held));
    let admin_path = std::env::temp_dir().join(format!("spoa-health-{}", std::process::id()));
    let admin = format!("unix:{}", admin_path.display());
    let agent = Agent::new().listen("127.0.0.1:0".parse().expect("an address")).workers(NonZeroUsize::MIN);
    let server = agent.admin(admin.parse().expect("an address")).bind().expect("free addresses");
    let (addr, stopper) = (server.addrs()[0].to_string(), server.stopper());
    let handler = quick(move |_, _| {
        let _ = held.lock().expect("no thread has panicked").recv();
        Ok(())
    });
    let thread = thread::spawn(move || server.serve(handler).expect("it serves"));
    let admin = Admin::at(&admin);
    assert_eq!((admin.get("/healthz").0, admin.sample("spoa_healthy")), (200, 1.0));
    let mut client = Client::ready(&addr);
    client.send(&notify(1, 1, &[]));
    let deadline = Instant::now() + LIMIT;
    let unhealthy = loop {
        let (status, text) = admin.get("/healthz");
        if status == 503 {
            break text;
        }
        assert!(Instant::now() < deadline, "a worker hangs, and the agent says that it is well");
    };
    assert!(unhealthy.ends_with("not responding: worker 0\n"), "{unhealthy}");
    assert_eq!(admin.sample("spoa_healthy"), 0.0);
    drop(gate);
    client.frame();
    let deadline = Instant::now() + LIMIT;
    while admin.get("/healthz").0 != 200 {
        assert!(Instant::now() < deadline, "the worker goes on, and the agent says that it is not well");
    }
    drop(client);
    stopper.stop();
    thread.join().expect("no panic");
}

/// Metrics that take their time: HAProxy connects and is answered meanwhile.
#[test]
fn a_scrape_delays_nobody() {
    #[derive(Debug)]
    struct Slow(Mutex<mpsc::Receiver<()>>, mpsc::Sender<()>);
    impl Source for Slow {
        fn write(&self, _: &mut Families<'_>) -> std::fmt::Result {
            let _ = self.1.send(());
            let _ = self.0.lock().expect("no thread has panicked").recv();
            Ok(())
        }
    }
    let ((gate, held), (begun, begins)) = (mpsc::channel::<()>(), mpsc::channel::<()>());
    let admin_path = std::env::temp_dir().join(format!("spoa-scrape-{}", std::process::id()));
    let admin = format!("unix:{}", admin_path.display());
    let agent = Agent::new().listen("127.0.0.1:0".parse().expect("an address"));
    let agent = agent.metrics(Arc::new(Slow(Mutex::new(held), begun)));
    let server = agent.admin(admin.parse().expect("an address")).bind().expect("free addresses");
    let (addr, stopper) = (server.addrs()[0].to_string(), server.stopper());
    let thread = thread::spawn(move || server.serve(quick(|_, _| Ok(()))).expect("it serves"));
    let scraper = thread::spawn(move || Admin::at(&admin).get("/metrics").0);
    begins.recv_timeout(LIMIT).expect("a scrape");
    for _ in 0..10 {
        Client::ready(&addr).exchange(&notify(1, 1, &[]), &ack(1, 1, &[]));
    }
    drop(gate);
    assert_eq!(scraper.join().expect("no panic"), 200);
    stopper.stop();
    thread.join().expect("no panic");
}
