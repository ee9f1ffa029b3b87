//! The verdicts of a running agent: the page that serves them, and the client that asks for them.

use std::error::Error;
use std::io;
use std::net::{IpAddr, TcpStream};
use std::os::unix::net::UnixStream;
use std::time::Duration;

use futures_lite::{AsyncRead, AsyncWrite, future};
use http_body_util::{BodyExt, Empty, Limited};
use hyper::body::Bytes;
use hyper::client::conn::http1;
use hyper::header::HOST;
use hyper::{Request, StatusCode};
use smol::{Async, Timer};
use smol_hyper::rt::FuturesIo;
use spoa_reputation::{Asked, Library};
use spoa_runtime::{ListenAddr, Page, PageAnswer};

use crate::cli;
use crate::explanation::Explanation;

/// The path of the page on the admin address, to which `?address=IP` is appended.
pub(crate) const PATH: &str = "/verdict";

/// The time that an answer may take.
const ANSWER_TIME: Duration = Duration::from_secs(5);

/// The largest answer that is read, in bytes.
const ANSWER_BYTES_MAX: usize = 16 << 20;

/// Serves the verdict on one address as JSON, with the lists that are in use.
#[derive(Debug)]
pub(crate) struct VerdictPage(pub(crate) Library);

impl Page for VerdictPage {
    fn get(&self, query: &str) -> PageAnswer {
        let asked = match query_of(query) {
            Ok(asked) => asked,
            Err(error) => return PageAnswer::bad_query(&error),
        };
        let (asked, address) = asked;
        let explanation = match Explanation::of(&self.0.edition(), &asked, address) {
            Ok(explanation) => explanation,
            Err(error) => return PageAnswer::bad_query(&error.to_string()),
        };
        let json =
            serde_json::to_string(&explanation).expect("an explanation has no maps, whose keys could be no strings");
        PageAnswer::json(json + "\n")
    }
}

/// Reads `address=IP`, and `message=NAME` and `policy=NAME` if they are given.
fn query_of(query: &str) -> Result<(Asked, IpAddr), String> {
    let (mut asked, mut address) = (Asked::default(), None);
    for (key, value) in form_urlencoded::parse(query.as_bytes()) {
        let is_repeated = match &*key {
            "address" => address.replace(cli::address(&value)?).is_some(),
            "message" => asked.message.replace(value.into_owned()).is_some(),
            "policy" => asked.policy.replace(value.into_owned()).is_some(),
            _ => true,
        };
        if is_repeated {
            return Err(EXPECTED.into());
        }
    }
    Ok((asked, address.ok_or(EXPECTED)?))
}

/// The query of the page.
const EXPECTED: &str = "expected ?address=IP, and perhaps &message=NAME and &policy=NAME";

/// Asks the agent with this admin address for its verdict.
///
/// # Errors
/// It cannot be reached, does not answer in time, has no lists, or is something else than this agent.
pub(crate) fn ask(agent: &ListenAddr, asked: &Asked, address: IpAddr) -> Result<Explanation, String> {
    let mut query = form_urlencoded::Serializer::new(String::new());
    query.append_pair("address", &address.to_string());
    let names = [("message", &asked.message), ("policy", &asked.policy)];
    names.into_iter().for_each(|(key, name)| _ = name.as_ref().map(|name| query.append_pair(key, name)));
    let target = format!("{PATH}?{}", query.finish());
    let answer = async { get(agent, &target).await };
    let late = async {
        Timer::after(ANSWER_TIME).await;
        Err(format!("did not answer within {} s", ANSWER_TIME.as_secs()))
    };
    let answer = smol::block_on(future::or(answer, late)).and_then(|(status, body)| match status {
        StatusCode::OK => {
            serde_json::from_slice(&body).map_err(|error| format!("sent something else than a verdict: {error}"))
        }
        StatusCode::NOT_FOUND => Err("has no verdicts: it answers with random scores, or is another program".into()),
        status => {
            let body = String::from_utf8_lossy(&body);
            Err(format!("answered with status {status}: {}", body.lines().next().unwrap_or_default()))
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
