//! Serves metrics, health and pages of the application over HTTP.

mod origin;

use std::collections::VecDeque;
use std::convert::Infallible;
use std::net::TcpStream;
use std::panic::{self, AssertUnwindSafe};
use std::rc::Rc;
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use futures_lite::future;
use http_body_util::{BodyExt, Full, Limited};
use hyper::body::{Bytes, Incoming};
use hyper::header::{
    ACCEPT, AUTHORIZATION, CACHE_CONTROL, CONTENT_SECURITY_POLICY, CONTENT_TYPE, HeaderValue, VARY, WWW_AUTHENTICATE,
    X_CONTENT_TYPE_OPTIONS,
};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Method, Request, Response, StatusCode};
use smol::channel::{Receiver, Sender, bounded};
use smol::{Async, LocalExecutor, Task, Timer};
use smol_hyper::rt::{FuturesIo, SmolTimer};
use socket2::Socket;

use crate::addr::ListenAddr;
use crate::engines::Engine;
use crate::error::Error;
use crate::listener::Listener;
use crate::metrics::{Metrics, TextFormat};
use crate::page::{AgentState, NOTHING, Page, PageAnswer, PagePost, PageRequest, PageStatus, PostSender, Transport};
use crate::pool::Pool;
use crate::priority::lower_priority;

/// The number of connections served at once on each socket; a further one closes the oldest. A scraper and two probes need
/// three.
const CONNECTIONS_MAX: usize = 64;

/// The longest time that the head of a request may take to arrive.
const REQUEST_TIME: Duration = Duration::from_secs(2);

/// The largest size in bytes of the head of a request: a scraper sends a few hundred.
const REQUEST_BYTES_MAX: usize = 16 << 10;

/// The largest size in bytes of the body of a request.
const BODY_BYTES_MAX: usize = 1 << 20;

/// The longest time that a connection may last.
const CONNECTION_TIME: Duration = Duration::from_secs(10);

/// The longest time that a stopping agent waits for this thread, which a [`Source`](crate::Source) of metrics may block.
const STOP_TIME: Duration = Duration::from_secs(1);

/// The paths of the agent itself.
const PATHS: [&str; 3] = ["/metrics", "/healthz", "/readyz"];

const PLAIN: HeaderValue = HeaderValue::from_static("text/plain; charset=utf-8");

/// The data that is served.
pub(crate) struct Admin {
    pub(crate) pool: Arc<Pool>,
    pub(crate) metrics: Metrics,
    pub(crate) pages: Vec<(&'static str, Arc<dyn Page>)>,
}

/// A POST request that is answered on a thread of its own.
type Job = Box<dyn FnOnce() + Send>;

/// The thread that serves [`Admin`], so that no scrape delays the accepting thread or a worker. Dropping this stops the thread
/// and waits for its end, for at most [`STOP_TIME`].
pub(crate) struct AdminThread {
    stop: Sender<()>,
    ended: Receiver<()>,
}

impl AdminThread {
    /// Serves the data that `admin` returns on these sockets. Starts no thread if there are none.
    pub(crate) fn start(listeners: Vec<Listener>, admin: impl FnOnce() -> Admin) -> Result<Option<Self>, Error> {
        if listeners.is_empty() {
            return Ok(None);
        }
        let ((stop, stopped), (ending, ended)) = (bounded::<()>(1), bounded::<()>(1));
        let admin = admin();
        let (jobs, next_job) = bounded::<Job>(CONNECTIONS_MAX);
        let work = move || {
            lower_priority(false);
            while let Ok(job) = next_job.recv_blocking() {
                job();
            }
        };
        thread::Builder::new().name("spoa-admin-post".into()).spawn(work).map_err(Error::Worker)?;
        let body = move || {
            lower_priority(false);
            let admin = Rc::new(Serving { admin, jobs });
            // Tasks of `executor` spawn tasks on `connections`, which must therefore outlive it.
            let (connections, executor) = (LocalExecutor::new(), LocalExecutor::new());
            for listener in listeners {
                executor.spawn(accept(Rc::clone(&admin), listener, &connections)).detach();
            }
            let stopped = async {
                let _ = stopped.recv().await;
            };
            smol::block_on(connections.run(executor.run(stopped)));
            // Closes the sockets before the end is reported.
            drop(executor);
            drop(connections);
            drop(ending);
        };
        thread::Builder::new().name("spoa-admin".into()).spawn(body).map_err(Error::Worker)?;
        Ok(Some(Self { stop, ended }))
    }
}

impl Drop for AdminThread {
    fn drop(&mut self) {
        self.stop.close();
        let ended = async {
            let _ = self.ended.recv().await;
        };
        let late = async {
            Timer::after(STOP_TIME).await;
        };
        smol::block_on(future::or(ended, late));
    }
}

/// Accepts connections and serves each of them in a task of `executor`.
async fn accept(admin: Rc<Serving>, listener: Listener, executor: &LocalExecutor<'static>) {
    let mut open = VecDeque::<Task<()>>::new();
    let transport = match listener.addr() {
        ListenAddr::Unix(_) => Transport::Unix,
        ListenAddr::Tcp(_) => Transport::Tcp,
    };
    loop {
        let socket = match listener.accept().await {
            Ok(accepted) => accepted.socket,
            Err(error) => {
                tracing::debug!("cannot accept connections on {}: {error}; retrying", listener.addr());
                Timer::after(Duration::from_millis(100)).await;
                continue;
            }
        };
        let admin = Rc::clone(&admin);
        let task = async move {
            let timeout = async {
                Timer::after(CONNECTION_TIME).await;
            };
            future::or(admin.serve(socket, transport), timeout).await;
        };
        open.retain(|task| !task.is_finished());
        if open.len() == CONNECTIONS_MAX
            && let Some(oldest) = open.pop_front()
        {
            oldest.cancel().await;
        }
        open.push_back(executor.spawn(task));
        // Lets the tasks of open connections run, even if new connections keep arriving.
        future::yield_now().await;
    }
}

/// The data and the helper of the admin thread.
struct Serving {
    admin: Admin,
    /// The thread that answers POST requests ends when this is dropped.
    jobs: Sender<Job>,
}

impl Serving {
    async fn serve(&self, socket: Socket, transport: Transport) {
        // This may be a unix socket: only reads and writes follow, which are the same for both.
        let Ok(stream) = Async::new(TcpStream::from(socket)) else { return };
        // A panic in a page or source of the application costs one answer.
        let failed = || response(StatusCode::INTERNAL_SERVER_ERROR, PLAIN, "failed: see the log\n".into());
        let service = service_fn(async |request: Request<Incoming>| {
            let answer = match self.admin.page(request.uri().path()) {
                Some(page) => self.page(page, request, transport).await,
                None => caught(|| self.admin.answer(&request)),
            };
            Ok::<_, Infallible>(answer.unwrap_or_else(failed))
        });
        let connection = http1::Builder::new()
            .timer(SmolTimer::new())
            .header_read_timeout(REQUEST_TIME)
            .max_buf_size(REQUEST_BYTES_MAX)
            .serve_connection(FuturesIo::new(stream), service);
        if let Err(error) = connection.await {
            tracing::debug!("a request on the admin address failed: {error}");
        }
    }

    /// Answers a request for a page of the application. Returns `None` if the page panics.
    async fn page(
        &self,
        page: &Arc<dyn Page>,
        request: Request<Incoming>,
        transport: Transport,
    ) -> Option<Response<Full<Bytes>>> {
        if !origin::is_host_allowed(request.headers()) {
            let hosts = "use the agent's IP address, localhost or a name without dots\n";
            return Some(response(StatusCode::MISDIRECTED_REQUEST, PLAIN, hosts.into()));
        }
        match *request.method() {
            Method::GET | Method::HEAD => {
                let query = request.uri().query().unwrap_or_default();
                caught(|| response_of(page.get(&PageRequest { query, agent: &self.admin })))
            }
            Method::POST => self.post(page, request, transport).await,
            _ => Some(response(StatusCode::METHOD_NOT_ALLOWED, PLAIN, NOT_ALLOWED.into())),
        }
    }

    /// Answers a POST request, on a thread where the page may wait for a disk. Returns `None` if the page panics.
    async fn post(
        &self,
        page: &Arc<dyn Page>,
        request: Request<Incoming>,
        transport: Transport,
    ) -> Option<Response<Full<Bytes>>> {
        let (head, body) = request.into_parts();
        let plain = |status, text: &str| Some(response(status, PLAIN, text.into()));
        if origin::is_cross_site(&head.headers) {
            return plain(StatusCode::FORBIDDEN, "a page of another site may not change anything\n");
        }
        let authorization = head.headers.get(AUTHORIZATION).and_then(|value| value.to_str().ok());
        let sender = PostSender { transport, bearer: authorization.and_then(|value| value.strip_prefix("Bearer ")) };
        if let Err(answer) = caught(|| page.authorize(&sender))? {
            return Some(response_of(answer));
        }
        let content_type = head.headers.get(CONTENT_TYPE).map_or(&b""[..], HeaderValue::as_bytes);
        if !content_type.starts_with(b"application/json") {
            return plain(StatusCode::UNSUPPORTED_MEDIA_TYPE, "expected the header Content-Type: application/json\n");
        }
        let Ok(body) = Limited::new(body, BODY_BYTES_MAX).collect().await else {
            return plain(StatusCode::PAYLOAD_TOO_LARGE, "the body is incomplete, or has more than 1 MiB\n");
        };
        let (page, body) = (Arc::clone(page), body.to_bytes());
        let (done, answer) = bounded(1);
        let job = move || {
            let query = head.uri.query().unwrap_or_default();
            let answer = caught(|| page.post(&PagePost { query, body: &body }));
            // The connection may be closed by now.
            let _ = done.try_send(answer);
        };
        self.jobs.send(Box::new(job)).await.ok()?;
        answer.recv().await.ok()?.map(response_of)
    }
}

/// Returns the result of code of the application, or `None` if it panics.
fn caught<T>(code: impl FnOnce() -> T) -> Option<T> {
    panic::catch_unwind(AssertUnwindSafe(code)).ok()
}

impl Admin {
    /// Returns the page of the application at a path.
    fn page(&self, path: &str) -> Option<&Arc<dyn Page>> {
        let known = self.pages.iter().find(|(known, _)| *known == path && !PATHS.contains(known));
        known.map(|(_, page)| page)
    }

    /// Answers a request for a path that is no page of the application.
    fn answer(&self, request: &Request<Incoming>) -> Response<Full<Bytes>> {
        let is_read = matches!(*request.method(), Method::GET | Method::HEAD);
        let path = request.uri().path();
        let plain = |status, text| response(status, PLAIN, text);
        match path {
            _ if !is_read && PATHS.contains(&path) => plain(StatusCode::METHOD_NOT_ALLOWED, NOT_ALLOWED.into()),
            "/metrics" => {
                let accepted = request.headers().get_all(ACCEPT).iter().filter_map(|value| value.to_str().ok());
                let format = TextFormat::accepted(accepted);
                let kind = HeaderValue::from_static(format.content_type());
                response(StatusCode::OK, kind, self.metrics.text(format))
            }
            "/healthz" => match self.pool.hung_threads() {
                hung if hung.is_empty() => plain(StatusCode::OK, "ok\n".into()),
                hung => plain(StatusCode::SERVICE_UNAVAILABLE, format!("not responding: {}\n", hung.join(", "))),
            },
            "/readyz" if self.pool.is_ready() => plain(StatusCode::OK, "ready\n".into()),
            "/readyz" => plain(StatusCode::SERVICE_UNAVAILABLE, "stopping\n".into()),
            _ => {
                let paths: Vec<_> = PATHS.into_iter().chain(self.pages.iter().map(|(path, _)| *path)).collect();
                plain(StatusCode::NOT_FOUND, format!("not found: the paths are {}\n", paths.join(", ")))
            }
        }
    }
}

impl AgentState for Admin {
    fn metrics(&self) -> String {
        self.metrics.text(TextFormat::Prometheus)
    }

    fn engines(&self) -> Vec<Engine> {
        self.pool.engines()
    }
}

/// The body of the answer to a request with another method.
const NOT_ALLOWED: &str = "only GET and HEAD are allowed\n";

/// Returns the response with the answer of a page.
fn response_of(answer: PageAnswer) -> Response<Full<Bytes>> {
    let status = match answer.status {
        PageStatus::Ok => StatusCode::OK,
        PageStatus::BadRequest => StatusCode::BAD_REQUEST,
        PageStatus::Unauthorized => StatusCode::UNAUTHORIZED,
        PageStatus::Forbidden => StatusCode::FORBIDDEN,
        PageStatus::MethodNotAllowed => StatusCode::METHOD_NOT_ALLOWED,
        PageStatus::Gone => StatusCode::GONE,
    };
    let mut response = response(status, HeaderValue::from_static(answer.content_type), answer.body);
    if status == StatusCode::UNAUTHORIZED {
        response.headers_mut().insert(WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
    }
    if let Ok(policy) = HeaderValue::try_from(&*answer.content_security_policy) {
        response.headers_mut().insert(CONTENT_SECURITY_POLICY, policy);
    }
    response
}

fn response(status: StatusCode, kind: HeaderValue, text: String) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::new(Bytes::from(text)));
    *response.status_mut() = status;
    let constant = HeaderValue::from_static;
    response.headers_mut().extend([
        (CONTENT_TYPE, kind),
        (VARY, constant("accept")),
        (CACHE_CONTROL, constant("no-store")),
        // Texts of lists and of clients are in the bodies: a browser must not take them for something else.
        (X_CONTENT_TYPE_OPTIONS, constant("nosniff")),
        (CONTENT_SECURITY_POLICY, constant(NOTHING)),
    ]);
    response
}
