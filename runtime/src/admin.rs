//! Metrics and health, over HTTP.

use std::collections::VecDeque;
use std::convert::Infallible;
use std::net::TcpStream;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use futures_lite::future;
use http_body_util::Full;
use hyper::body::{Bytes, Incoming};
use hyper::header::{CONTENT_TYPE, HeaderValue};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Method, Request, Response, StatusCode};
use smol::{Async, LocalExecutor, Task, Timer};
use smol_hyper::rt::{FuturesIo, SmolTimer};
use socket2::Socket;

use crate::listener::Listener;
use crate::metrics::Metrics;
use crate::pool::Pool;

/// How many are answered at once; for one more the oldest has to go. A scraper and two probes are three.
const CONNECTIONS_MAX: usize = 64;

/// How long a request may take to come.
const REQUEST_TIME: Duration = Duration::from_secs(2);

/// How long a connection may last, whatever comes on it.
const CONNECTION_TIME: Duration = Duration::from_secs(10);

const TEXT: HeaderValue = HeaderValue::from_static("text/plain; charset=utf-8");
const OPENMETRICS: HeaderValue = HeaderValue::from_static("application/openmetrics-text; version=1.0.0; charset=utf-8");

/// What is told, and of whom.
pub(crate) struct Admin {
    pub(crate) pool: Arc<Pool>,
    pub(crate) metrics: Metrics,
}

impl Admin {
    /// Answers all who connect, on the accepting thread: no worker has anything to do with it but to let its numbers be read.
    pub(crate) async fn serve(self, listener: Listener, executor: &LocalExecutor<'static>) {
        let (admin, mut open) = (Rc::new(self), VecDeque::<Task<()>>::new());
        loop {
            let socket = match listener.accept().await {
                Ok((socket, _)) => socket,
                Err(error) => {
                    tracing::debug!("cannot accept on {}: {error}", listener.addr());
                    Timer::after(Duration::from_millis(100)).await;
                    continue;
                }
            };
            let admin = Rc::clone(&admin);
            let task = async move {
                let conversation = admin.converse(socket);
                let timeout = async {
                    Timer::after(CONNECTION_TIME).await;
                };
                future::or(conversation, timeout).await;
            };
            open.retain(|task| !task.is_finished());
            if open.len() == CONNECTIONS_MAX
                && let Some(oldest) = open.pop_front()
            {
                oldest.cancel().await;
            }
            open.push_back(executor.spawn(task));
            // However many come, those before them have their turn, and so have HAProxy's.
            future::yield_now().await;
        }
    }

    async fn converse(&self, socket: Socket) {
        // Of a unix socket too: it is read and written alike.
        let Ok(stream) = Async::new(TcpStream::from(socket)) else { return };
        let service = service_fn(async |request| Ok::<_, Infallible>(self.answer(&request)));
        let connection = http1::Builder::new()
            .timer(SmolTimer::new())
            .header_read_timeout(REQUEST_TIME)
            .serve_connection(FuturesIo::new(stream), service);
        if let Err(error) = connection.await {
            tracing::debug!("a request for metrics or health: {error}");
        }
    }

    fn answer(&self, request: &Request<Incoming>) -> Response<Full<Bytes>> {
        let is_read = matches!(*request.method(), Method::GET | Method::HEAD);
        let (status, kind, text) = match request.uri().path() {
            "/metrics" | "/healthz" | "/readyz" if !is_read => {
                (StatusCode::METHOD_NOT_ALLOWED, TEXT, "only GET and HEAD\n".into())
            }
            "/metrics" => (StatusCode::OK, OPENMETRICS, self.metrics.text()),
            // That it answers at all is the news; without a worker the process ends by itself.
            "/healthz" => (StatusCode::OK, TEXT, "ok\n".into()),
            "/readyz" if self.pool.is_ready() => (StatusCode::OK, TEXT, "ready\n".into()),
            "/readyz" => (StatusCode::SERVICE_UNAVAILABLE, TEXT, "on the way out\n".into()),
            _ => (StatusCode::NOT_FOUND, TEXT, "there are /metrics, /healthz and /readyz\n".into()),
        };
        let mut response = Response::new(Full::new(Bytes::from(text)));
        *response.status_mut() = status;
        response.headers_mut().insert(CONTENT_TYPE, kind);
        response
    }
}
