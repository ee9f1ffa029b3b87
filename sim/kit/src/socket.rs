//! Sockets to an agent: TCP or unix.

use std::fmt;
use std::io::{self, Read, Write};
use std::net::{Shutdown, TcpStream, ToSocketAddrs};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::str::FromStr;
use std::time::Duration;

use rustix::net::sockopt::set_socket_linger;
use socket2::{Domain, SockAddr, Socket, Type};

/// The longest time until a connection is open. The kernel tries again after 1, 3 and 7 s if the queue of the agent is full.
const CONNECT_MAX: Duration = Duration::from_secs(10);

/// The size of a small receive buffer, in bytes: about thirty segments, so that the kernel acknowledges without delay.
const SMALL_BUFFER: usize = 16 << 10;

/// The address of an agent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Address {
    /// A TCP address: `HOST:PORT`.
    Tcp(String),
    /// The path of a unix socket.
    Unix(PathBuf),
}

impl FromStr for Address {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match (text.strip_prefix("unix:"), text.rsplit_once(':')) {
            (Some(""), _) => Err("expected a path after unix:"),
            (Some(path), _) => Ok(Self::Unix(path.into())),
            (None, Some((host, port))) if !host.is_empty() && port.parse::<u16>().is_ok() => Ok(Self::Tcp(text.into())),
            _ => Err("expected HOST:PORT or unix:PATH"),
        }
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tcp(addr) => f.write_str(addr),
            Self::Unix(path) => write!(f, "unix:{}", path.display()),
        }
    }
}

/// A connected socket.
#[derive(Debug)]
pub enum Stream {
    /// A TCP connection, without Nagle's algorithm.
    Tcp(TcpStream),
    /// A connection to a unix socket.
    Unix(UnixStream),
}

impl Stream {
    /// Connects to an agent. Waits for at most 10 s, for each address of a host name.
    ///
    /// # Errors
    /// If nothing listens there, or the host is unknown.
    pub fn connect(address: &Address) -> io::Result<Self> {
        let host = match address {
            Address::Unix(path) => {
                let socket = Socket::new(Domain::UNIX, Type::STREAM, None)?;
                // Otherwise a full queue of the agent holds up the connection without end.
                socket.set_write_timeout(Some(CONNECT_MAX))?;
                socket.connect(&SockAddr::unix(path)?)?;
                return Ok(Self::Unix(socket.into()));
            }
            Address::Tcp(host) => host,
        };
        let mut last = no_address(host);
        for addr in host.to_socket_addrs()? {
            match TcpStream::connect_timeout(&addr, CONNECT_MAX) {
                // The kernel may connect a socket to itself if its own port is the one where nothing listens yet.
                Ok(stream) if stream.local_addr()? == addr => last = io::ErrorKind::ConnectionRefused.into(),
                Ok(stream) => {
                    stream.set_nodelay(true)?;
                    return Ok(Self::Tcp(stream));
                }
                Err(error) => last = error,
            }
        }
        Err(last)
    }

    /// Connects to an agent as [`connect`](Self::connect) does, with small buffers on both sides. A unix socket has
    /// ordinary ones.
    ///
    /// # Errors
    /// If nothing listens there, or the host is unknown.
    pub fn connect_with_small_buffer(address: &Address) -> io::Result<Self> {
        let Address::Tcp(host) = address else { return Self::connect(address) };
        let mut last = no_address(host);
        for addr in host.to_socket_addrs()? {
            let socket = Socket::new(Domain::for_address(addr), Type::STREAM, None)?;
            // A buffer whose size is set does not grow any more. Small segments keep the send buffer of the agent small, because
            // the kernel sizes it by them.
            socket.set_recv_buffer_size(SMALL_BUFFER)?;
            socket.set_tcp_mss(536)?;
            socket.set_tcp_nodelay(true)?;
            match socket.connect_timeout(&addr.into(), CONNECT_MAX) {
                Ok(()) => return Ok(Self::Tcp(socket.into())),
                Err(error) => last = error,
            }
        }
        Err(last)
    }

    /// Makes reads fail after this time with [`io::ErrorKind::WouldBlock`]. The time must not be zero.
    ///
    /// # Errors
    /// If the time is zero.
    pub fn set_read_timeout(&self, timeout: Duration) -> io::Result<()> {
        match self {
            Self::Tcp(stream) => stream.set_read_timeout(Some(timeout)),
            Self::Unix(stream) => stream.set_read_timeout(Some(timeout)),
        }
    }

    /// Makes writes fail after this time with [`io::ErrorKind::WouldBlock`]. The time must not be zero.
    ///
    /// # Errors
    /// If the time is zero.
    pub fn set_write_timeout(&self, timeout: Duration) -> io::Result<()> {
        match self {
            Self::Tcp(stream) => stream.set_write_timeout(Some(timeout)),
            Self::Unix(stream) => stream.set_write_timeout(Some(timeout)),
        }
    }

    /// Makes reads and writes return at once, with [`io::ErrorKind::WouldBlock`] if they would wait.
    ///
    /// # Errors
    /// If the kernel refuses it.
    pub fn set_nonblocking(&self) -> io::Result<()> {
        match self {
            Self::Tcp(stream) => stream.set_nonblocking(true),
            Self::Unix(stream) => stream.set_nonblocking(true),
        }
    }

    /// Shuts down the sending direction: the agent reads end of file.
    ///
    /// # Errors
    /// If the connection has ended.
    pub fn finish(&self) -> io::Result<()> {
        match self {
            Self::Tcp(stream) => stream.shutdown(Shutdown::Write),
            Self::Unix(stream) => stream.shutdown(Shutdown::Write),
        }
    }

    /// Closes the connection with a reset, as HAProxy does. A unix socket has no reset and is closed in the ordinary way.
    pub fn reset(self) {
        // Without SO_LINGER the socket is closed by FIN, which is the best that is left.
        let _ = set_socket_linger(self.as_fd(), Some(Duration::ZERO));
    }
}

fn no_address(host: &str) -> io::Error {
    io::Error::new(io::ErrorKind::NotFound, format!("{host} has no address"))
}

impl Read for Stream {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        match self {
            Self::Tcp(stream) => stream.read(buf),
            Self::Unix(stream) => stream.read(buf),
        }
    }
}

impl Write for Stream {
    fn write(&mut self, buf: &[u8]) -> io::Result<usize> {
        match self {
            Self::Tcp(stream) => stream.write(buf),
            Self::Unix(stream) => stream.write(buf),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl AsFd for Stream {
    fn as_fd(&self) -> BorrowedFd<'_> {
        match self {
            Self::Tcp(stream) => stream.as_fd(),
            Self::Unix(stream) => stream.as_fd(),
        }
    }
}

impl From<Stream> for OwnedFd {
    fn from(stream: Stream) -> Self {
        match stream {
            Stream::Tcp(stream) => stream.into(),
            Stream::Unix(stream) => stream.into(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_read_and_written() {
        for text in ["127.0.0.1:12345", "[::1]:1", "agent.example:9000", "unix:/run/a.sock", "unix:a"] {
            assert_eq!(text.parse::<Address>().map(|addr| addr.to_string()), Ok(text.into()));
        }
        for text in ["", "localhost", ":1", "host:", "host:65536", "unix:", "http://host"] {
            assert!(text.parse::<Address>().is_err(), "{text}");
        }
    }
}
