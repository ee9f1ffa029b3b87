//! Asks a running agent on its admin address.

use std::error::Error;
use std::io;
use std::net::TcpStream;
use std::os::unix::net::UnixStream;
use std::time::Duration;

use futures_lite::{AsyncRead, AsyncWrite, future};
use http_body_util::{BodyExt, Empty, Limited};
use hyper::body::Bytes;
use hyper::client::conn::http1;
use hyper::header::HOST;
use hyper::{Request, StatusCode};
use serde::de::DeserializeOwned;
use smol::{Async, Timer};
use smol_hyper::rt::FuturesIo;
use spoa_runtime::ListenAddr;

/// The time that an answer may take.
const ANSWER_TIME: Duration = Duration::from_secs(5);

/// The largest answer that is read, in bytes.
const ANSWER_BYTES_MAX: usize = 16 << 20;

/// Asks the agent with this admin address for the JSON at `target`. If there is nothing, it has `missing`.
///
/// # Errors
/// It cannot be reached, does not answer in time, or is something else than this agent. The text names its address.
pub(crate) fn get_json<T: DeserializeOwned>(agent: &ListenAddr, target: &str, missing: &str) -> Result<T, String> {
    let text = get_text(agent, target, missing)?;
    let failed =
        |error| format!("the agent at {agent} sent something else than expected: {error}; is it of another version?");
    serde_json::from_str(&text).map_err(failed)
}

/// Asks the agent with this admin address for the text at `target`. If there is nothing, it has `missing`.
///
/// # Errors
/// It cannot be reached, does not answer in time, or is something else than this agent. The text names its address.
pub(crate) fn get_text(agent: &ListenAddr, target: &str, missing: &str) -> Result<String, String> {
    let answer = async { get(agent, target).await };
    let late = async {
        Timer::after(ANSWER_TIME).await;
        Err(format!("did not answer within {} s", ANSWER_TIME.as_secs()))
    };
    let answer = smol::block_on(future::or(answer, late)).and_then(|(status, body)| {
        let body = String::from_utf8_lossy(&body).into_owned();
        match status {
            StatusCode::OK => Ok(body),
            StatusCode::NOT_FOUND => Err(format!("has {missing}")),
            status => Err(format!("answered with status {status}: {}", body.lines().next().unwrap_or_default())),
        }
    });
    answer.map_err(|error| format!("the agent at {agent} {error}"))
}

/// Sends a GET request. Returns the status and the body of the answer.
async fn get(agent: &ListenAddr, target: &str) -> Result<(StatusCode, Bytes), String> {
    match agent {
        ListenAddr::Tcp(addr) => exchange(Async::<TcpStream>::connect(*addr).await, target).await,
        ListenAddr::Unix(socket) => exchange(Async::<UnixStream>::connect(&socket.path).await, target).await,
    }
}

/// Sends a GET request on a stream, if it is connected.
async fn exchange<S>(connected: io::Result<S>, target: &str) -> Result<(StatusCode, Bytes), String>
where
    S: AsyncRead + AsyncWrite + Unpin + 'static,
{
    let stream = connected.map_err(|error| format!("cannot be reached: {error}"))?;
    let request = Request::get(target).header(HOST, "localhost").body(Empty::<Bytes>::new());
    let request = request.map_err(|error| error.to_string())?;
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
