//! A minimal HTTP client that can choose its source address.

use std::io::{ErrorKind, Read, Write};
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::Duration;

use socket2::{Domain, Socket, Type};

/// The longest time to wait for a response. `timeout processing` is shorter in every scenario.
const RESPONSE_MAX: Duration = Duration::from_secs(20);

/// A request, which is sent on a new connection or on a [`Connection`].
pub(crate) struct Request<'r> {
    source: Option<IpAddr>,
    method: &'r str,
    path: &'r str,
    headers: Vec<(&'r str, &'r str)>,
}

impl<'r> Request<'r> {
    pub(crate) fn get(path: &'r str) -> Self {
        Self { source: None, method: "GET", path, headers: Vec::new() }
    }

    /// Returns a POST. Its body, of `length` bytes, has to be sent separately.
    pub(crate) fn post(path: &'r str, length: &'r str) -> Self {
        Self { source: None, method: "POST", path, headers: vec![("content-length", length)] }
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
        self.send_on(connect(self.source, to)?)
    }

    /// Sends the request as [`send`](Self::send) does, but over a unix socket, so that the client has no address.
    #[track_caller]
    pub(crate) fn send_unix(&self, to: &Path) -> Response {
        let stream = UnixStream::connect(to).expect("HAProxy listens");
        stream.set_read_timeout(Some(RESPONSE_MAX)).expect("the timeout is above zero");
        self.send_on(stream).expect("HAProxy responds")
    }

    /// Sends the request on this connection, as its last one, and reads the response.
    fn send_on(&self, mut stream: impl Read + Write) -> std::io::Result<Response> {
        stream.write_all(self.head("connection: close\r\n").as_bytes())?;
        let mut bytes = Vec::new();
        stream.read_to_end(&mut bytes)?;
        Response::parse(&bytes)
    }

    /// Returns the head of the request, with these lines before its own headers.
    fn head(&self, lines: &str) -> String {
        let mut head = format!("{} {} HTTP/1.1\r\nhost: test\r\n{lines}", self.method, self.path);
        for (name, value) in &self.headers {
            head += &format!("{name}: {value}\r\n");
        }
        head + "\r\n"
    }
}

/// Opens a connection from `source`, or else from the address that the system chooses.
fn connect(source: Option<IpAddr>, to: SocketAddr) -> std::io::Result<Socket> {
    let socket = Socket::new(Domain::for_address(to), Type::STREAM, None)?;
    if let Some(source) = source {
        socket.bind(&SocketAddr::new(source, 0).into())?;
    }
    socket.connect_timeout(&to.into(), RESPONSE_MAX)?;
    socket.set_read_timeout(Some(RESPONSE_MAX))?;
    Ok(socket)
}

/// A connection to HAProxy for one request after the other.
pub(crate) struct Connection {
    socket: Socket,
    unread: Vec<u8>,
}

impl Connection {
    pub(crate) fn open(source: impl Into<IpAddr>, to: SocketAddr) -> std::io::Result<Self> {
        Ok(Self { socket: connect(Some(source.into()), to)?, unread: Vec::new() })
    }

    /// Sends a request without waiting for its response.
    pub(crate) fn send(&mut self, request: &Request<'_>) -> std::io::Result<()> {
        self.send_body(request.head("").as_bytes())
    }

    /// Sends the body of the request, or a part of it.
    pub(crate) fn send_body(&mut self, bytes: &[u8]) -> std::io::Result<()> {
        self.socket.write_all(bytes)
    }

    /// Sends a request and waits for its response.
    pub(crate) fn exchange(&mut self, request: &Request<'_>) -> std::io::Result<Response> {
        self.send(request)?;
        self.receive()
    }

    /// Waits for the response to the oldest request that has none.
    pub(crate) fn receive(&mut self) -> std::io::Result<Response> {
        let mut buf = vec![0; 65_536];
        loop {
            // The response is incomplete while it cannot be parsed, or its body is too short.
            let head = Response::parse(&self.unread);
            let length = head.as_ref().map_or(0, |head| head.header("content-length").parse().unwrap_or(0));
            match head {
                Ok(mut response) if response.body.len() >= length => {
                    let rest = response.body.split_off(length);
                    self.unread = rest.into_bytes();
                    return Ok(response);
                }
                incomplete => match self.socket.read(&mut buf) {
                    Ok(0) => return incomplete.and(Err(ErrorKind::UnexpectedEof.into())),
                    Ok(len) => self.unread.extend_from_slice(&buf[..len]),
                    Err(error) if error.kind() == ErrorKind::Interrupted => {}
                    Err(error) => return Err(error),
                },
            }
        }
    }

    /// Waits for the response as [`receive`](Self::receive) does, but returns `None` if there is none after `limit`.
    pub(crate) fn receive_within(&mut self, limit: Duration) -> std::io::Result<Option<Response>> {
        self.socket.set_read_timeout(Some(limit))?;
        let result = self.receive();
        self.socket.set_read_timeout(Some(RESPONSE_MAX))?;
        match result {
            Err(error) if is_timeout(&error) => Ok(None),
            result => result.map(Some),
        }
    }
}

/// True if nothing arrived in time.
pub(crate) fn is_timeout(error: &std::io::Error) -> bool {
    matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut)
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
