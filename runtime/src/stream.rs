//! Serves HAProxy on one stream of the caller, in a task of the caller: over TLS, over an in-memory pipe, or on sockets that another
//! program accepts.

use std::future::{Future, pending, poll_fn};
use std::io;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use futures_lite::future;
use smol::Timer;
use smol::io::{AsyncRead, AsyncWrite};
use spoa_core::Config;
use spoa_core::endpoint::{Drain, Endpoint, Io, Key, Origin, Readiness, Socket, Turn};

use crate::counters::Counters;
use crate::engines::EngineConnection;
use crate::handler::Handler;
use crate::name::Name;
use crate::settings::Settings;
use crate::shell::{NamedSocket, Shell};
use crate::timer::LazyTimer;

/// The time that the stream may take to close after the last byte.
const CLOSE_TIME: Duration = Duration::from_secs(1);

/// The time that a drain waits for an ACK that leaves nothing in flight.
const PATIENCE: Duration = Duration::from_millis(100);

/// Serves HAProxy on a stream with default limits, until one side closes it; see [`StreamServer::serve`].
///
/// ```
/// use smol::net::{TcpListener, TcpStream};
/// use spoa_runtime::{Handler, serve_stream};
///
/// /// Serves HAProxy on a socket of a program that has its own executor.
/// async fn serve(socket: TcpListener, handler: impl Handler + Clone) -> std::io::Result<()> {
///     let executor = smol::LocalExecutor::new();
///     executor.run(async {
///         loop {
///             let (stream, _) = socket.accept().await?;
///             executor.spawn(serve_stream(stream, handler.clone())).detach();
///         }
///     }).await
/// }
/// ```
///
/// # Errors
/// The stream fails.
pub async fn serve_stream<S, H>(stream: S, handler: H) -> io::Result<()>
where
    S: AsyncRead + AsyncWrite + Unpin,
    H: Handler,
{
    StreamServer::new().serve(stream, handler).await
}

/// The settings for serving HAProxy on one stream. [`Agent`](crate::Agent) is faster, and limits all of its connections together.
#[derive(Clone, Debug)]
pub struct StreamServer {
    settings: Settings,
    peer: String,
}

impl Default for StreamServer {
    fn default() -> Self {
        Self::new()
    }
}

impl StreamServer {
    /// Returns default limits.
    pub fn new() -> Self {
        Self { settings: Settings::default(), peer: "stream".into() }
    }

    /// Sets the limits of the connection.
    #[must_use]
    pub const fn connection(mut self, config: Config) -> Self {
        self.settings.connection = config;
        self
    }

    /// Sets the name of the peer in logs, such as its address; by default `stream`.
    #[must_use]
    pub fn peer(mut self, peer: impl Into<String>) -> Self {
        self.peer = peer.into();
        self
    }

    /// Sets the time that answers in flight have after the stop of [`serve_until`](Self::serve_until); default 5 s.
    #[must_use]
    pub const fn grace(mut self, grace: Duration) -> Self {
        self.settings.grace = grace;
        self
    }

    /// Serves HAProxy on a stream, until one side closes it. The future is not `Send`: it runs on one thread, such as that of a
    /// [`LocalExecutor`](smol::LocalExecutor). Dropping it drops the stream and all deferred answers.
    ///
    /// # Errors
    /// The stream fails.
    ///
    /// # Panics
    /// If a limit is out of range; see [`Config::validate`].
    pub async fn serve<S, H>(self, stream: S, handler: H) -> io::Result<()>
    where
        S: AsyncRead + AsyncWrite + Unpin,
        H: Handler,
    {
        self.serve_until(stream, handler, pending()).await
    }

    /// Serves HAProxy on a stream as [`serve`](Self::serve) does. When `stop` is ready, it answers what is in flight, within the
    /// [grace](Self::grace) period, and closes the connection.
    ///
    /// # Errors
    /// The stream fails.
    ///
    /// # Panics
    /// If a limit is out of range; see [`Config::validate`].
    pub async fn serve_until<S, H>(self, stream: S, handler: H, stop: impl Future<Output = ()>) -> io::Result<()>
    where
        S: AsyncRead + AsyncWrite + Unpin,
        H: Handler,
    {
        let Self { settings, peer } = self;
        let mut serving = Serving::new(settings, peer, stream, handler);
        let (mut stop, mut is_stopping) = (pin!(stop), false);
        let mut socket = poll_fn(|cx| {
            if !is_stopping && stop.as_mut().poll(cx).is_ready() {
                is_stopping = true;
                serving.drain();
            }
            serving.poll(cx)
        })
        .await;
        let close = async { poll_fn(|cx| Pin::new(&mut socket.stream).poll_close(cx)).await };
        let late = async {
            Timer::after(CLOSE_TIME).await;
            Ok(())
        };
        match socket.error.take() {
            Some(error) => Err(error),
            None => future::or(close, late).await,
        }
    }
}

/// An endpoint with one connection.
struct Serving<H: Handler, S: AsyncRead + AsyncWrite + Unpin> {
    endpoint: Endpoint<Shell<H, StreamSocket<S>>>,
    shell: Shell<H, StreamSocket<S>>,
    key: Key,
    timer: LazyTimer,
}

impl<H: Handler, S: AsyncRead + AsyncWrite + Unpin> Serving<H, S> {
    fn new(settings: Settings, peer: String, stream: S, handler: H) -> Self {
        static NUMBER: AtomicU64 = AtomicU64::new(1);
        let name = Name::new(NUMBER.fetch_add(1, Ordering::Relaxed), peer);
        let mut endpoint = Endpoint::new(settings.connection, settings.worker_limits());
        let shell = Shell::new(settings, handler, Arc::<Counters>::default());
        let key = endpoint.accept(shell.clock.now(), StreamSocket::new(stream, name), Origin::default(), true);
        Self { endpoint, shell, key, timer: LazyTimer::default() }
    }

    fn drain(&mut self) {
        let grace = self.shell.reporter.settings.grace;
        self.endpoint.drain(Drain { grace, patience: PATIENCE.min(grace) });
    }

    /// Does what is possible now. Returns the socket when the conversation has ended.
    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<StreamSocket<S>> {
        let Self { endpoint, shell, key, timer } = self;
        if let Some((_, socket)) = endpoint.get_mut(*key) {
            socket.waker.clone_from(cx.waker());
        }
        // The stream does not tell for what it woke this task. A read or a write finds out.
        endpoint.socket_ready(*key, Readiness { readable: true, writable: true, ..Readiness::default() });
        let now = shell.clock.now();
        endpoint.begin_pass(now);
        let mut closed = None;
        while let Some(key) = endpoint.next_turn() {
            if let Turn::Closed(socket) = endpoint.turn(key, now, shell) {
                closed = Some(socket);
            }
        }
        endpoint.end_pass(now, shell);
        if let Some(socket) = closed {
            return Poll::Ready(socket);
        }
        if let Some((_, socket)) = endpoint.get_mut(*key) {
            socket.flush(cx);
        }
        // After the turns, which may have added deferred answers.
        shell.answers.run(cx);
        shell.answers.take().for_each(|answer| endpoint.answer(answer));
        let is_due = endpoint.next_deadline().is_some_and(|at| timer.poll(cx, shell.clock.std_time(at)));
        if is_due || endpoint.has_turns() {
            cx.waker().wake_by_ref();
        }
        Poll::Pending
    }
}

/// A stream as a socket of an endpoint.
struct StreamSocket<S> {
    stream: S,
    name: Name,
    engine: Option<EngineConnection>,
    /// Wakes the task that serves the stream.
    waker: Waker,
    /// True if the end of the stream was sent.
    is_shut: bool,
    error: Option<io::Error>,
}

impl<S: AsyncRead + AsyncWrite + Unpin> StreamSocket<S> {
    fn new(stream: S, name: Name) -> Self {
        Self { stream, name, engine: None, waker: Waker::noop().clone(), is_shut: false, error: None }
    }

    /// Sends what the stream has buffered. An error of it is one of the next read, too.
    fn flush(&mut self, cx: &mut Context<'_>) {
        let stream = Pin::new(&mut self.stream);
        let _ = if self.is_shut { stream.poll_close(cx) } else { stream.poll_flush(cx) };
    }

    /// Repeats a read or a write until all of `len` bytes are done, or the stream will wake the task: a stream that has more
    /// bytes, as TLS may have in its buffer, does not.
    fn repeat(
        &mut self,
        len: usize,
        mut step: impl FnMut(Pin<&mut S>, &mut Context<'_>, usize) -> Poll<io::Result<usize>>,
    ) -> Io {
        let mut done = 0;
        while done < len {
            match step(Pin::new(&mut self.stream), &mut Context::from_waker(&self.waker), done) {
                Poll::Ready(Ok(0)) => break,
                Poll::Ready(Ok(count)) => done += count,
                Poll::Ready(Err(error)) if error.kind() == io::ErrorKind::Interrupted => {}
                Poll::Ready(Err(error)) => {
                    self.error = Some(error);
                    return Io::Failed;
                }
                Poll::Pending if done == 0 => return Io::WouldBlock,
                Poll::Pending => return Io::Done(done),
            }
        }
        if 0 < done && done < len {
            // The end, which the next read returns again.
            self.waker.wake_by_ref();
        }
        Io::Done(done)
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> NamedSocket for StreamSocket<S> {
    fn name(&self) -> &Name {
        &self.name
    }

    fn name_and_engine(&mut self) -> (&Name, &mut Option<EngineConnection>) {
        (&self.name, &mut self.engine)
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> Socket for StreamSocket<S> {
    fn read(&mut self, buf: &mut [u8]) -> Io {
        self.repeat(buf.len(), |stream, cx, done| match stream.poll_read(cx, &mut buf[done..]) {
            // HAProxy ends TLS sessions without a close_notify. A frame that was cut off shows by its length.
            Poll::Ready(Err(error)) if error.kind() == io::ErrorKind::UnexpectedEof => Poll::Ready(Ok(0)),
            result => result,
        })
    }

    fn write(&mut self, bytes: &[u8]) -> Io {
        self.repeat(bytes.len(), |stream, cx, done| stream.poll_write(cx, &bytes[done..]))
    }

    fn shut_down(&mut self) {
        self.is_shut = true;
    }
}
