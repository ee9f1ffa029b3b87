//! Tests agents that serve one stream in a task of their own.

use std::io;
use std::net::TcpListener;
use std::pin::Pin;
use std::sync::mpsc;
use std::task::{Context, Poll};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use smol::Async;
use smol::io::{AsyncRead, AsyncWrite};
use spoa_runtime::{Actions, ConnectionConfig, Handler, Scope, SetVars, StreamServer, deferred, quick};
use spoa_tests::bytes::Value;
use spoa_tests::client::Client;
use spoa_tests::frames::{ack, agent_disconnect, notify, set_var};

use crate::notifys;

/// Accepts one connection and serves it on a thread. Returns the address, and the thread with the result.
fn serve<F>(
    serve: impl FnOnce(Async<std::net::TcpStream>) -> F + Send + 'static,
) -> (String, JoinHandle<io::Result<()>>)
where
    F: Future<Output = io::Result<()>>,
{
    let socket = Async::<TcpListener>::bind(([127, 0, 0, 1], 0)).expect("a port is free");
    let addr = socket.get_ref().local_addr().expect("it has an address").to_string();
    let body = || {
        smol::block_on(async move {
            let (stream, _) = socket.accept().await?;
            serve(stream).await
        })
    };
    (addr, thread::spawn(body))
}

/// Returns a handler that answers with the stream-id, after a time that is shorter for later NOTIFYs.
fn handler() -> impl Handler {
    deferred(async |request| {
        let mut actions = Actions::new();
        for message in request.messages() {
            let sid = message.get::<u32>("sid")?;
            smol::Timer::after(Duration::from_millis(u64::from(40 - sid) / 4)).await;
            actions.set_var(Scope::Session, "sid", i64::from(sid))?;
        }
        Ok(actions)
    })
}

/// Sends 40 NOTIFYs and expects the answers of [`handler`].
fn exchange(client: &mut Client) {
    client.send(&notifys(40));
    let mut seen: Vec<_> = (0..40)
        .map(|_| {
            let frame = client.frame();
            assert_eq!(frame.payload, set_var(1, "sid", &Value::Int64(frame.sid as i64)));
            frame.sid
        })
        .collect();
    seen.sort_unstable();
    assert!(seen.into_iter().eq(0..40));
}

#[test]
fn a_stream_is_served_until_haproxy_closes_it() {
    let (addr, thread) = serve(|stream| spoa_runtime::serve_stream(stream, handler()));
    let mut client = Client::ready(&addr);
    exchange(&mut client);
    client.finish();
    assert_eq!(client.read_to_end().expect("the agent closes"), b"");
    thread.join().expect("the task does not panic").expect("the stream does not fail");
}

/// A stream that reads one byte at a time, writes three at a time, and is often not ready, as a TLS session may be.
struct Trickle {
    stream: Async<std::net::TcpStream>,
    calls: u32,
}

impl Trickle {
    /// Returns true if the stream is ready, and otherwise wakes the task, so that it tries again.
    fn is_ready(&mut self, cx: &Context<'_>) -> bool {
        self.calls += 1;
        let is_ready = !self.calls.is_multiple_of(5);
        if !is_ready {
            cx.waker().wake_by_ref();
        }
        is_ready
    }
}

impl AsyncRead for Trickle {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut [u8]) -> Poll<io::Result<usize>> {
        if !self.is_ready(cx) {
            return Poll::Pending;
        }
        Pin::new(&mut self.stream).poll_read(cx, &mut buf[..1])
    }
}

impl AsyncWrite for Trickle {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        if !self.is_ready(cx) {
            return Poll::Pending;
        }
        let len = buf.len().min(3);
        Pin::new(&mut self.stream).poll_write(cx, &buf[..len])
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_close(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_close(cx)
    }
}

#[test]
fn a_stream_may_read_and_write_in_small_pieces() {
    let (addr, thread) = serve(|stream| spoa_runtime::serve_stream(Trickle { stream, calls: 0 }, handler()));
    let mut client = Client::ready(&addr);
    exchange(&mut client);
    client.finish();
    assert_eq!(client.read_to_end().expect("the agent closes"), b"");
    thread.join().expect("the task does not panic").expect("the stream does not fail");
}

/// A stop answers what is in flight, and then closes the connection.
#[test]
fn a_stopped_stream_answers_what_is_in_flight() {
    let (stop, stopped) = smol::channel::bounded::<()>(1);
    let (arrivals, arrived) = mpsc::channel();
    let (open, gate) = smol::channel::bounded::<()>(1);
    let (addr, thread) = serve(|stream| {
        let handler = deferred(async move |_| {
            arrivals.send(())?;
            let _ = gate.recv().await;
            Ok(Actions::new())
        });
        let stopped = async move {
            let _ = stopped.recv().await;
        };
        StreamServer::new().serve_until(stream, handler, stopped)
    });
    let mut client = Client::ready(&addr);
    client.send(&notify(7, 1, &[]));
    arrived.recv().expect("the NOTIFY arrives");
    stop.close();
    open.close();
    assert_eq!(client.read_to_end().expect("the agent closes"), [ack(7, 1, &[]), agent_disconnect(0)].concat());
    thread.join().expect("the task does not panic").expect("the stream does not fail");
}

/// The limits of a connection hold: an overdue NOTIFY gets an empty ACK, and the answers to others are not late.
#[test]
fn limits_hold_on_a_stream() {
    let config = ConnectionConfig { ack_timeout: Duration::from_millis(20), ..ConnectionConfig::default() };
    let never = deferred(async |_| std::future::pending().await);
    let (addr, thread) =
        serve(move |stream| StreamServer::new().connection(config).peer("a peer").serve(stream, never));
    let mut client = Client::ready(&addr);
    client.exchange(&notify(7, 1, &[]), &ack(7, 1, &[]));
    client.reset();
    let error = thread.join().expect("the task does not panic").expect_err("the stream was reset");
    assert_eq!(error.kind(), io::ErrorKind::ConnectionReset);
    // A handler that panics costs one answer.
    let panics = quick(|_, _| panic!("as a handler may"));
    let (addr, _thread) = serve(|stream| spoa_runtime::serve_stream(stream, panics));
    Client::ready(&addr).exchange(&notify(7, 1, &[]), &ack(7, 1, &[]));
}
