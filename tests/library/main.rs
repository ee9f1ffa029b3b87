//! Tests agents that use the library, over real sockets.

mod stream;

use std::io;
use std::num::NonZeroUsize;
use std::sync::{Arc, Mutex, mpsc};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use spoa_runtime::{
    Actions, Agent, ConnectionConfig, Context, Families, Handler, HandlerError, Notify, OwnedMessages, Page,
    PageAnswer, PageRequest, Reply, Scope, Server, SetVars, Source, Stopper, TypedData, deferred, quick,
};
use spoa_tests::admin::Admin;
use spoa_tests::agent::LIMIT;
use spoa_tests::bytes::{Value, message};
use spoa_tests::client::Client;
use spoa_tests::frames::{Hello, ack, notify};

/// An agent on a free port, which is stopped when dropped.
struct Running {
    addr: String,
    stopper: Stopper,
    thread: Option<JoinHandle<()>>,
}

impl Running {
    fn start<H: Handler + Clone + Send>(config: ConnectionConfig, handler: H) -> Self {
        let addr = "127.0.0.1:0".parse().expect("the address is valid");
        let server: Server = Agent::new().listen(addr).connection(config).bind().expect("a port is free");
        let (addr, stopper) = (server.addrs()[0].to_string(), server.stopper());
        let thread = thread::spawn(move || server.serve(handler).expect("the agent can serve"));
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
            panic!("the agent panicked");
        }
    }
}

/// Encodes NOTIFYs of `count` streams, each with its stream-id as an argument.
fn notifys(count: u64) -> Vec<u8> {
    (0..count).flat_map(|sid| notify(sid, 1, &[message("m", &[("sid", Value::Uint64(sid))])])).collect()
}

/// The NOTIFYs arrive together, and their answers exceed the limit of unsent bytes again and again. All must be sent.
#[test]
fn answers_larger_than_their_notifys_are_all_sent() {
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
        client.send(&notifys(300));
        for sid in 0..300 {
            assert_eq!(client.frame().sid, sid, "with unsent_max = {unsent_max}");
        }
    }
}

#[test]
fn a_handler_that_fails_results_in_an_empty_ack() {
    let agent = Running::start(
        ConnectionConfig::default(),
        quick(|request, ack| {
            for message in request {
                ack.set_var(Scope::Session, "half", true)?;
                match message.name() {
                    b"fail" => return Err("requested by the test".into()),
                    // Panics without calling the panic hook, which would print a report.
                    b"panic" => std::panic::resume_unwind(Box::new("requested by the test")),
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

/// Deferred answers may be given in any order, and each has the ids of its own NOTIFY.
#[test]
fn deferred_answers_have_the_ids_of_their_notify() {
    let agent = Running::start(
        ConnectionConfig::default(),
        deferred(async |request| {
            let mut actions = Actions::new();
            for message in request.messages() {
                let sid = message.arg("sid").and_then(|value| value.as_i64()).ok_or("no sid")?;
                smol::Timer::after(Duration::from_millis((40 - sid as u64) / 4)).await;
                actions.set_var(Scope::Session, "sid", TypedData::Int64(sid))?;
            }
            Ok::<_, HandlerError>(actions)
        }),
    );
    let mut client = Client::ready(&agent.addr);
    client.send(&notifys(40));
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

/// If all NOTIFYs that may be in flight are answered by futures that never complete, the agent still notices end of
/// file. It drops the futures before it closes the socket, so that no future outlives its connection.
#[test]
fn futures_are_dropped_with_their_connection() {
    let (dropped, drops) = mpsc::channel();
    let agent = Running::start(
        ConnectionConfig { in_flight_max: 3, ..ConnectionConfig::default() },
        Later(move |_| {
            // Created outside the async block, because the future may be dropped before it is first polled.
            let on_drop = SendOnDrop(dropped.clone());
            async move {
                let _on_drop = on_drop;
                std::future::pending::<Result<Actions, HandlerError>>().await
            }
        }),
    );
    // The agent keeps running, because its end would drop the futures too.
    for _ in 0..50 {
        let mut client = Client::ready(&agent.addr);
        client.send(&notifys(10));
        client.finish();
        assert_eq!(client.read_to_end().map_err(|error: io::Error| error.kind()), Ok(Vec::new()));
        assert_eq!(drops.try_iter().count(), 3);
    }
}

/// A handler that calls a function for each NOTIFY at once, and answers with the future that it returns.
#[derive(Clone)]
struct Later<F>(F);

impl<F, L> Handler for Later<F>
where
    F: FnMut(OwnedMessages) -> L + 'static,
    L: Future<Output = Result<Actions, HandlerError>> + 'static,
{
    fn handle(&mut self, notify: Notify<'_>, _context: Context<'_>) -> Result<Reply, HandlerError> {
        let Self(answer) = self;
        let later = answer(notify.to_owned());
        Ok(Reply::Later(notify.defer(), Box::pin(later)))
    }
}

struct SendOnDrop(mpsc::Sender<()>);

impl Drop for SendOnDrop {
    fn drop(&mut self) {
        let _ = self.0.send(());
    }
}

/// A handler knows its connection, and the time by which it has to answer.
#[test]
fn a_handler_knows_the_context_of_a_notify() {
    let config = ConnectionConfig { ack_timeout: Duration::from_secs(7), ..ConnectionConfig::default() };
    let is_right = |deadline: Instant| deadline <= Instant::now() + Duration::from_secs(7) && deadline > Instant::now();
    let quick = quick(move |request, ack| {
        let context = request.context();
        ack.set_var(Scope::Session, "peer", context.peer().starts_with("127.0.0.1:"))?
            .set_var(Scope::Session, "engine", context.engine_id().unwrap_or("none"))?
            .set_var(Scope::Session, "time", is_right(context.deadline()))?;
        Ok(())
    });
    let deferred = deferred(async move |request| {
        let mut actions = Actions::new();
        actions.set_var(Scope::Session, "peer", request.peer().starts_with("127.0.0.1:"))?;
        actions.set_var(Scope::Session, "engine", request.engine_id().unwrap_or("none"))?;
        actions.set_var(Scope::Session, "time", is_right(request.deadline()))?;
        Ok(actions)
    });
    for agent in [Running::start(config, quick), Running::start(config, deferred)] {
        let mut client = Client::with_hello(&agent.addr, &Hello::mux().with("engine-id", Value::text("an-engine")));
        client.send(&notifys(1));
        let wanted = [("peer", Value::Bool(true)), ("engine", Value::text("an-engine")), ("time", Value::Bool(true))];
        let wanted: Vec<_> =
            wanted.iter().flat_map(|(name, value)| spoa_tests::frames::set_var(1, name, value)).collect();
        assert_eq!(client.frame().payload, wanted);
    }
}

/// A background task runs from the start to the end of the agent.
#[test]
fn a_background_task_runs_until_the_agent_ends() {
    let (sender, events) = mpsc::channel();
    let agent = Agent::new().listen("127.0.0.1:0".parse().expect("the address is valid"));
    let agent = agent.background(move || {
        let sender = sender.clone();
        async move {
            let on_drop = SendOnDrop(sender);
            let _ = on_drop.0.send(());
            std::future::pending::<()>().await;
        }
    });
    let server = agent.background(|| async { panic!("as a task may") }).bind().expect("a port is free");
    let stopper = server.stopper();
    let thread = thread::spawn(move || server.serve(quick(|_, _| Ok(()))).expect("the agent can serve"));
    events.recv_timeout(LIMIT).expect("the task has started");
    stopper.stop();
    thread.join().expect("the agent does not panic");
    events.recv_timeout(LIMIT).expect("the task was dropped");
}

/// The copies of deferred NOTIFYs are bounded by `deferred_max`: at the limit, the next NOTIFY waits until
/// a copy is dropped.
#[test]
fn copies_of_deferred_notifys_are_bounded() {
    // The current and the highest number of copies.
    let copies = Arc::new(Mutex::new((0_usize, 0_usize)));
    let config = ConnectionConfig { deferred_max: 5000, ..ConnectionConfig::default() };
    let counts = Arc::clone(&copies);
    let agent = Running::start(
        config,
        Later(move |messages| {
            let shared = Arc::clone(&counts);
            // Counted when the copy is made, not when the future is first polled.
            {
                let mut counts = shared.lock().expect("no thread has panicked");
                counts.0 += 1;
                counts.1 = counts.1.max(counts.0);
            }
            async move {
                smol::Timer::after(Duration::from_millis(5)).await;
                drop(messages);
                shared.lock().expect("no thread has panicked").0 -= 1;
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
    assert_eq!(
        copies.lock().expect("no thread has panicked").1,
        5,
        "expected five copies of 1000 bytes to reach the limit"
    );
}

/// A handler that does not return blocks its worker, and the agent reports this as bad health until the handler
/// returns.
#[test]
fn a_hung_worker_is_unhealthy() {
    let (gate, closed_gate) = mpsc::channel::<()>();
    let closed_gate = Arc::new(Mutex::new(closed_gate));
    let admin_path = std::env::temp_dir().join(format!("spoa-health-{}", std::process::id()));
    let admin = format!("unix:{}", admin_path.display());
    let agent = Agent::new().listen("127.0.0.1:0".parse().expect("the address is valid")).workers(NonZeroUsize::MIN);
    let server = agent.admin(admin.parse().expect("the address is valid")).bind().expect("the addresses are free");
    let (addr, stopper) = (server.addrs()[0].to_string(), server.stopper());
    let handler = quick(move |_, _| {
        let _ = closed_gate.lock().expect("no thread has panicked").recv();
        Ok(())
    });
    let thread = thread::spawn(move || server.serve(handler).expect("the agent can serve"));
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
        assert!(Instant::now() < deadline, "expected the agent to be unhealthy while its worker hangs");
    };
    assert!(unhealthy.ends_with("not responding: worker 0\n"), "{unhealthy}");
    assert_eq!(admin.sample("spoa_healthy"), 0.0);
    drop(gate);
    client.frame();
    let deadline = Instant::now() + LIMIT;
    while admin.get("/healthz").0 != 200 {
        assert!(Instant::now() < deadline, "expected the agent to be healthy after the worker has continued");
    }
    drop(client);
    stopper.stop();
    thread.join().expect("the agent does not panic");
}

/// While a source of metrics blocks, HAProxy can still connect and gets answers.
#[test]
fn a_slow_scrape_does_not_block_connections() {
    #[derive(Debug)]
    struct Slow(Mutex<mpsc::Receiver<()>>, mpsc::Sender<()>);
    impl Source for Slow {
        fn write(&self, _: &mut Families<'_>) -> std::fmt::Result {
            let _ = self.1.send(());
            let _ = self.0.lock().expect("no thread has panicked").recv();
            Ok(())
        }
    }
    let ((gate, closed_gate), (started, starts)) = (mpsc::channel::<()>(), mpsc::channel::<()>());
    let admin_path = std::env::temp_dir().join(format!("spoa-scrape-{}", std::process::id()));
    let admin = format!("unix:{}", admin_path.display());
    let agent = Agent::new().listen("127.0.0.1:0".parse().expect("the address is valid"));
    let agent = agent.metrics(Arc::new(Slow(Mutex::new(closed_gate), started)));
    let server = agent.admin(admin.parse().expect("the address is valid")).bind().expect("the addresses are free");
    let (addr, stopper) = (server.addrs()[0].to_string(), server.stopper());
    let thread = thread::spawn(move || server.serve(quick(|_, _| Ok(()))).expect("the agent can serve"));
    let scraper = thread::spawn(move || Admin::at(&admin).get("/metrics").0);
    starts.recv_timeout(LIMIT).expect("the scrape starts");
    for _ in 0..10 {
        Client::ready(&addr).exchange(&notify(1, 1, &[]), &ack(1, 1, &[]));
    }
    drop(gate);
    assert_eq!(scraper.join().expect("the scraper does not panic"), 200);
    stopper.stop();
    thread.join().expect("the agent does not panic");
}

/// An application's pages are served next to the metrics. A panic in one costs its answer alone.
#[test]
fn pages_are_served_and_may_panic() {
    #[derive(Debug)]
    struct Echo;
    impl Page for Echo {
        fn get(&self, request: &PageRequest<'_>) -> PageAnswer {
            match request.query() {
                // Panics without calling the panic hook, which would print a report.
                "panic" => std::panic::resume_unwind(Box::new("requested by the test")),
                "" => PageAnswer::bad_query("expected a query"),
                query => PageAnswer::json(format!("\"{query}\"")),
            }
        }
    }
    let admin_path = std::env::temp_dir().join(format!("spoa-pages-{}", std::process::id()));
    let admin = format!("unix:{}", admin_path.display());
    let agent = Agent::new().listen("127.0.0.1:0".parse().expect("the address is valid"));
    let agent = agent.page("/echo", Arc::new(Echo)).page("/healthz", Arc::new(Echo));
    let server = agent.admin(admin.parse().expect("the address is valid")).bind().expect("the addresses are free");
    let stopper = server.stopper();
    let thread = thread::spawn(move || server.serve(quick(|_, _| Ok(()))).expect("the agent can serve"));
    let admin = Admin::at(&admin);
    for (path, status, end) in [
        ("/echo?a=%20b", 200, "\r\n\r\n\"a=%20b\""),
        ("/echo", 400, "expected a query\n"),
        ("/echo?panic", 500, "failed: see the log\n"),
        ("/echo?again", 200, "\"again\""),
        ("/healthz?x", 200, "ok\n"),
    ] {
        let (got, text) = admin.get(path);
        assert!(got == status && text.ends_with(end), "{path}: {text}");
    }
    stopper.stop();
    thread.join().expect("the agent does not panic");
}
