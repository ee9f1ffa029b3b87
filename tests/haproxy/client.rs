//! A minimal HTTP client that can choose its source address.

use std::io::{Read, Write};
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::Duration;

use socket2::{Domain, SockAddr, Socket, Type};

/// The longest time to wait for a response. `timeout processing` is shorter in every scenario.
const RESPONSE_MAX: Duration = Duration::from_secs(20);

/// A request, which is sent on a new connection.
pub(crate) struct Request<'r> {
    source: Option<IpAddr>,
    path: &'r str,
    headers: Vec<(&'r str, &'r str)>,
}

impl<'r> Request<'r> {
    pub(crate) fn get(path: &'r str) -> Self {
        Self { source: None, path, headers: Vec::new() }
    }

    /// Sets the source address, one of this machine's.
    pub(crate) fn from(mut self, source: impl Into<IpAddr>) -> Self {
        self.source = Some(source.into());
        self
    }

    pub(crate) fn header(mut self, name: &'r str, value: &'r str) -> Self {
        self.headers.push((name, value));
        self
    }

    /// Sends the request and waits for the complete response.
    #[track_caller]
    pub(crate) fn send(&self, to: SocketAddr) -> Response {
        self.try_send(to).unwrap_or_else(|error| panic!("GET {} at {to}: {error}", self.path))
    }

    pub(crate) fn try_send(&self, to: SocketAddr) -> std::io::Result<Response> {
        let socket = Socket::new(Domain::for_address(to), Type::STREAM, None)?;
        if let Some(source) = self.source {
            socket.bind(&SocketAddr::new(source, 0).into())?;
        }
        self.connect_and_send(socket, &to.into())
    }

    /// Sends the request as [`send`](Self::send) does, but over a unix socket, so that the client has no address.
    #[track_caller]
    pub(crate) fn send_unix(&self, to: &Path) -> Response {
        let stream = UnixStream::connect(to).expect("HAProxy listens");
        stream.set_read_timeout(Some(RESPONSE_MAX)).expect("the timeout is above zero");
        self.send_on(stream).expect("HAProxy responds")
    }

    fn connect_and_send(&self, socket: Socket, to: &SockAddr) -> std::io::Result<Response> {
        socket.connect_timeout(to, RESPONSE_MAX)?;
        socket.set_read_timeout(Some(RESPONSE_MAX))?;
        self.send_on(socket)
    }

    /// Sends the request on this connection and reads the response.
    fn send_on(&self, mut stream: impl Read + Write) -> std::io::Result<Response> {
        let mut request = format!("GET {} HTTP/1.1\r\nhost: test\r\nconnection: close\r\n", self.path);
        for (name, value) in &self.headers {
            request += &format!("{name}: {value}\r\n");
        }
        request += "\r\n";
        stream.write_all(request.as_bytes())?;
        let mut bytes = Vec::new();
        stream.read_to_end(&mut bytes)?;
        Response::parse(&bytes)
    }
}

/// A response of HAProxy.
#[derive(Debug)]
pub(crate) struct Response {
    pub(crate) status: u16,
    headers: Vec<(String, String)>,
    pub(crate) body: String,
}

impl Response {
    /// Returns the value of a header without surrounding spaces, or an empty string if the header is missing.
    pub(crate) fn header(&self, name: &str) -> &str {
        self.headers.iter().find(|(header, _)| header == name).map_or("", |(_, value)| value)
    }

    /// Returns HAProxy's id of the stream, which its SPOE log has too. Every test configuration adds it as the header
    /// `x-sid`.
    #[track_caller]
    pub(crate) fn sid(&self) -> u64 {
        self.header("x-sid").parse().unwrap_or_else(|_| panic!("no x-sid in {self:?}"))
    }

    fn parse(bytes: &[u8]) -> std::io::Result<Self> {
        let text = String::from_utf8_lossy(bytes);
        let bad = || std::io::Error::other(format!("incomplete response: {text:?}"));
        let (head, body) = text.split_once("\r\n\r\n").ok_or_else(bad)?;
        let mut lines = head.split("\r\n");
        let status = lines.next().and_then(|line| line.split(' ').nth(1)?.parse().ok()).ok_or_else(bad)?;
        let headers = lines
            .filter_map(|line| line.split_once(':'))
            .map(|(name, value)| (name.to_ascii_lowercase(), value.trim().to_owned()))
            .collect();
        Ok(Self { status, headers, body: body.to_owned() })
    }
}

/// Returns the loopback address 127.0.0.`n`.
pub(crate) fn loopback(n: u8) -> Ipv4Addr {
    Ipv4Addr::new(127, 0, 0, n)
}
