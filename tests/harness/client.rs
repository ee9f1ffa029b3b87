//! HAProxy's end of a real socket.

use std::io::{self, ErrorKind, Read, Write};
use std::net::TcpStream;
use std::os::fd::OwnedFd;
use std::time::Duration;

use spoa_sim_kit::socket::Stream;

use crate::agent::LIMIT;
use crate::bytes::{AGENT_HELLO, Frame};
use crate::frames::{Hello, agent_disconnect};

/// A connection to the agent. Reads and writes fail after [`LIMIT`], so that a test cannot wait for ever.
#[derive(Debug)]
pub struct Client {
    stream: Stream,
}

impl Client {
    /// Connects to an address, written as in the agent's log: `unix:PATH` or `IP:PORT`.
    ///
    /// # Errors
    /// If nothing listens there.
    pub fn connect(addr: &str) -> io::Result<Self> {
        let address = addr.parse().map_err(io::Error::other)?;
        let client = Self { stream: Stream::connect(&address)? };
        client.set_timeouts(LIMIT)?;
        Ok(client)
    }

    /// Connects without sending anything.
    ///
    /// # Panics
    /// If nothing listens there.
    pub fn fresh(addr: &str) -> Self {
        Self::connect(addr).expect("the agent listens")
    }

    /// Connects and completes the handshake with the default HELLO of HAProxy 3.1 and later.
    pub fn ready(addr: &str) -> Self {
        Self::with_hello(addr, &Hello::mux())
    }

    /// Connects and completes the handshake with this HELLO.
    ///
    /// # Panics
    /// If the agent does not accept it.
    pub fn with_hello(addr: &str, hello: &Hello) -> Self {
        let mut client = Self::fresh(addr);
        client.send(&hello.encode());
        let frame = client.frame();
        assert_eq!(frame.kind, AGENT_HELLO, "expected an AGENT-HELLO, got {frame:?}");
        client
    }

    /// Sends all of `bytes`.
    ///
    /// # Panics
    /// If the connection is closed, or the agent does not read.
    pub fn send(&mut self, bytes: &[u8]) {
        self.try_send(bytes).expect("the agent reads");
    }

    /// Sends all of `bytes`.
    ///
    /// # Errors
    /// If the connection is closed, or the agent does not read.
    pub fn try_send(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.stream.write_all(bytes)
    }

    /// Sends `bytes` repeatedly until the socket accepts no byte for half a second, or until at least `max` bytes are
    /// sent. Returns the number of bytes sent.
    ///
    /// # Panics
    /// If the connection is closed.
    pub fn send_until_stuck(&mut self, bytes: &[u8], max: usize) -> usize {
        self.set_timeouts(Duration::from_millis(500)).expect("the timeout is above zero");
        let mut sent = 0;
        let mut at = 0;
        while sent < max {
            match self.stream.write(&bytes[at..]) {
                Ok(len) => {
                    sent += len;
                    at = (at + len) % bytes.len();
                }
                Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => break,
                Err(error) => panic!("cannot send: {error}"),
            }
        }
        self.set_timeouts(LIMIT).expect("the timeout is above zero");
        sent
    }

    /// Reads exactly `len` bytes.
    ///
    /// # Panics
    /// If the agent sends fewer bytes.
    pub fn bytes(&mut self, len: usize) -> Vec<u8> {
        let mut bytes = vec![0; len];
        self.stream.read_exact(&mut bytes).expect("the agent sends enough bytes");
        bytes
    }

    /// Reads one frame.
    ///
    /// # Panics
    /// If the agent does not send one.
    pub fn frame(&mut self) -> Frame {
        let mut bytes = self.bytes(4);
        let len = u32::from_be_bytes(bytes[..].try_into().expect("the length has four bytes"));
        assert!((7..=1 << 24).contains(&len), "expected a frame of 7 bytes to 16 MiB, got {len} bytes");
        bytes.extend(self.bytes(len as usize));
        Frame::take(&mut &bytes[..]).expect("the frame is well-formed")
    }

    /// Reads until the agent closes the connection, and returns the bytes.
    ///
    /// # Errors
    /// If the connection is reset, or is still open after [`LIMIT`].
    pub fn read_to_end(&mut self) -> io::Result<Vec<u8>> {
        let mut bytes = Vec::new();
        self.stream.read_to_end(&mut bytes)?;
        Ok(bytes)
    }

    /// Sends `input` and checks that the next bytes from the agent are `output`.
    ///
    /// # Panics
    /// If they are not.
    pub fn exchange(&mut self, input: &[u8], output: &[u8]) {
        self.send(input);
        assert_eq!(self.bytes(output.len()), output, "wrong answer to {input:02x?}");
    }

    /// Sends `input` and checks that the agent sends an AGENT-DISCONNECT with `code`, nothing else, and closes the
    /// connection without a reset.
    ///
    /// # Panics
    /// If the agent does something else.
    pub fn expect_disconnect(&mut self, input: &[u8], code: u64) {
        self.send(input);
        let rest = self.read_to_end().expect("the connection is not reset");
        assert_eq!(rest, agent_disconnect(code), "wrong answer to {input:02x?}");
    }

    /// Shuts down the sending direction: the agent reads end of file.
    ///
    /// # Panics
    /// If the connection is closed.
    pub fn finish(&mut self) {
        self.stream.finish().expect("the connection is open");
    }

    /// Closes the connection with a reset, as HAProxy does. A unix socket is closed in the ordinary way.
    pub fn reset(self) {
        self.stream.reset();
    }

    /// Returns the TCP socket of the connection.
    ///
    /// # Panics
    /// If the connection uses a unix socket.
    pub fn into_tcp(self) -> TcpStream {
        match self.stream {
            Stream::Tcp(stream) => stream,
            Stream::Unix(_) => panic!("expected a TCP socket, got a unix socket"),
        }
    }

    /// Returns the socket of the connection.
    pub fn into_socket(self) -> OwnedFd {
        self.stream.into()
    }

    /// Makes a client of a TCP connection.
    ///
    /// # Errors
    /// If the socket has no timeouts.
    pub fn of_tcp(stream: TcpStream) -> io::Result<Self> {
        let client = Self { stream: Stream::Tcp(stream) };
        client.set_timeouts(LIMIT)?;
        Ok(client)
    }

    /// Reads a frame, or returns `None` if the connection ends before that.
    pub fn try_frame(&mut self) -> Option<Frame> {
        let mut bytes = vec![0; 4];
        self.stream.read_exact(&mut bytes).ok()?;
        let len = u32::from_be_bytes(bytes[..].try_into().ok()?) as usize;
        bytes.resize(4 + len.min(1 << 24), 0);
        self.stream.read_exact(&mut bytes[4..]).ok()?;
        Frame::take(&mut &bytes[..])
    }

    fn set_timeouts(&self, timeout: Duration) -> io::Result<()> {
        self.stream.set_read_timeout(timeout)?;
        self.stream.set_write_timeout(timeout)
    }
}
