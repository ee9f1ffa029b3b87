//! Asks a running agent on its admin address.

use std::error::Error;
use std::fmt;
use std::io;
use std::net::TcpStream;
use std::os::unix::net::UnixStream;
use std::time::Duration;

use futures_lite::{AsyncRead, AsyncWrite, future};
use http_body_util::{BodyExt, Full, Limited};
use hyper::body::Bytes;
use hyper::client::conn::http1;
use hyper::header::{AUTHORIZATION, CONTENT_TYPE, HOST};
use hyper::{Method, Request, StatusCode};
use serde::Deserialize;
use serde::de::DeserializeOwned;
use smol::{Async, Timer};
use smol_hyper::rt::FuturesIo;
use spoa_runtime::ListenAddr;

/// The time that an answer may take.
const ANSWER_TIME: Duration = Duration::from_secs(5);

/// The largest answer that is read, in bytes.
const ANSWER_BYTES_MAX: usize = 16 << 20;

/// The reason why an agent does not answer as expected. The text names its address.
#[derive(Debug)]
pub(crate) struct HttpError {
    /// The status of the answer, if there was one.
    pub(crate) status: Option<StatusCode>,
    text: String,
}

impl fmt::Display for HttpError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

/// A POST request: its JSON, and the value of its header Authorization.
pub(crate) struct Post {
    pub(crate) json: String,
    pub(crate) authorization: Option<String>,
}

/// Asks the agent with this admin address for the JSON at `target`. If there is nothing, it has `missing`.
///
/// # Errors
/// It cannot be reached, does not answer in time, or is something else than this agent. The text names its address.
pub(crate) fn get_json<T: DeserializeOwned>(agent: &ListenAddr, target: &str, missing: &str) -> Result<T, String> {
    read_json(agent, &get_text(agent, target, missing)?)
}

/// Reads the JSON that an agent has sent.
///
/// # Errors
/// It is something else than expected. The text names the agent.
pub(crate) fn read_json<'t, T: Deserialize<'t>>(agent: &ListenAddr, text: &'t str) -> Result<T, String> {
    let failed =
        |error| format!("the agent at {agent} sent something else than expected: {error}; is it of another version?");
    serde_json::from_str(text).map_err(failed)
}

/// Asks the agent with this admin address for the text at `target`. If there is nothing, it has `missing`.
///
/// # Errors
/// It cannot be reached, does not answer in time, or is something else than this agent. The text names its address.
pub(crate) fn get_text(agent: &ListenAddr, target: &str, missing: &str) -> Result<String, String> {
    text(agent, target, None, missing).map_err(|error| error.text)
}

/// Sends a GET request, or `post`. Returns the body of the answer. If there is nothing at `target`, the agent has `missing`.
///
/// # Errors
/// The agent cannot be reached, does not answer in time, refuses the request, or is something else than this agent.
pub(crate) fn text(agent: &ListenAddr, target: &str, post: Option<Post>, missing: &str) -> Result<String, HttpError> {
    let answer = async { ask(agent, target, post).await };
    let late = async {
        Timer::after(ANSWER_TIME).await;
        Err(format!("did not answer within {} s", ANSWER_TIME.as_secs()))
    };
    let failed = |status, text| HttpError { status, text: format!("the agent at {agent} {text}") };
    let (status, body) = smol::block_on(future::or(answer, late)).map_err(|error| failed(None, error))?;
    let body = String::from_utf8_lossy(&body).into_owned();
    let line = || body.lines().next().unwrap_or_default();
    match status {
        StatusCode::OK => Ok(body),
        StatusCode::NOT_FOUND => Err(failed(Some(status), format!("has {missing}"))),
        StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN => Err(failed(Some(status), format!("refuses: {}", line()))),
        _ => Err(failed(Some(status), format!("answered with status {status}: {}", line()))),
    }
}

/// Sends a request. Returns the status and the body of the answer.
async fn ask(agent: &ListenAddr, target: &str, post: Option<Post>) -> Result<(StatusCode, Bytes), String> {
    let request = Request::builder().uri(target).header(HOST, "localhost");
    let request = match post {
        None => request.body(Full::default()),
        Some(Post { json, authorization }) => {
            let request = request.method(Method::POST).header(CONTENT_TYPE, "application/json");
            let request =
                authorization.into_iter().fold(request, |request, value| request.header(AUTHORIZATION, value));
            request.body(Full::new(Bytes::from(json)))
        }
    };
    let request = request.map_err(|error| error.to_string())?;
    match agent {
        ListenAddr::Tcp(addr) => exchange(Async::<TcpStream>::connect(*addr).await, request).await,
        ListenAddr::Unix(socket) => exchange(Async::<UnixStream>::connect(&socket.path).await, request).await,
    }
}

/// Sends a request on a stream, if it is connected.
async fn exchange<S>(connected: io::Result<S>, request: Request<Full<Bytes>>) -> Result<(StatusCode, Bytes), String>
where
    S: AsyncRead + AsyncWrite + Unpin + 'static,
{
    let stream = connected.map_err(|error| format!("cannot be reached: {error}"))?;
    let failed = |error: Box<dyn Error + Send + Sync>| format!("does not answer as an agent's admin address: {error}");
    let (mut sender, connection) =
        http1::handshake(FuturesIo::new(stream)).await.map_err(|error| failed(error.into()))?;
    let answer = async {
        let answer = sender.send_request(request).await.map_err(|error| failed(error.into()))?;
        let status = answer.status();
        let body = Limited::new(answer.into_body(), ANSWER_BYTES_MAX).collect().await.map_err(failed)?;
        Ok((status, body.to_bytes()))
    };
    let connection = async {
        // An error of the connection is one of the answer too.
        let _ = connection.await;
        future::pending().await
    };
    future::or(answer, connection).await
}
