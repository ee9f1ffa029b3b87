//! HAProxy's end of a real socket.

use std::io::{self, ErrorKind, Read, Write};
use std::net::{Shutdown, TcpStream};
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::net::UnixStream;
use std::time::Duration;

use rustix::net::sockopt::set_socket_linger;

use crate::agent::LIMIT;
use crate::bytes::{AGENT_HELLO, Frame};
use crate::frames::{Hello, agent_disconnect};

/// A connection to the agent. Every read and write fails its test rather than wait for ever.
#[derive(Debug)]
pub struct Client {
    stream: Stream,
}

#[derive(Debug)]
enum Stream {
    Tcp(TcpStream),
    Unix(UnixStream),
}

impl Client {
    /// Connects to an address as the agent's log names it.
    ///
    /// # Errors
    /// Nobody listens there.
    pub fn connect(addr: &str) -> io::Result<Self> {
        let stream = match addr.strip_prefix("unix:") {
            Some(path) => Stream::Unix(UnixStream::connect(path)?),
            None => {
                let stream = TcpStream::connect(addr)?;
                stream.set_nodelay(true)?;
                Stream::Tcp(stream)
            }
        };
        let client = Self { stream };
        client.set_timeouts(LIMIT)?;
        Ok(client)
    }

    /// Connects, and says nothing yet.
    ///
    /// # Panics
    /// If nobody listens there.
    pub fn fresh(addr: &str) -> Self {
        Self::connect(addr).expect("the agent listens")
    }

    /// Connects and says HAProxy's default HELLO.
    pub fn ready(addr: &str) -> Self {
        Self::greeted(addr, &Hello::mux())
    }

    /// Connects and says this HELLO, which the agent must accept.
    ///
    /// # Panics
    /// If it does not.
    pub fn greeted(addr: &str, hello: &Hello) -> Self {
        let mut client = Self::fresh(addr);
        client.send(&hello.encode());
        let frame = client.frame();
        assert_eq!(frame.kind, AGENT_HELLO, "{frame:?}");
        client
    }

    /// Sends all of `bytes`.
    ///
    /// # Panics
    /// If the agent does not take them.
    pub fn send(&mut self, bytes: &[u8]) {
        self.try_send(bytes).expect("the agent takes it");
    }

    /// Sends all of `bytes`.
    ///
    /// # Errors
    /// The connection is gone, or nobody reads.
    pub fn try_send(&mut self, bytes: &[u8]) -> io::Result<()> {
        match &mut self.stream {
            Stream::Tcp(stream) => stream.write_all(bytes),
            Stream::Unix(stream) => stream.write_all(bytes),
        }
    }

    /// Sends `bytes` again and again until the agent takes no more for half a second, at most `max` bytes; gives how many
    /// it took.
    ///
    /// # Panics
    /// If the connection is gone.
    pub fn send_until_stuck(&mut self, bytes: &[u8], max: usize) -> usize {
        self.set_timeouts(Duration::from_millis(500)).expect("a socket");
        let mut taken = 0;
        let mut at = 0;
        while taken < max {
            let rest = &bytes[at..];
            let written = match &mut self.stream {
                Stream::Tcp(stream) => stream.write(rest),
                Stream::Unix(stream) => stream.write(rest),
            };
            match written {
                Ok(len) => {
                    taken += len;
                    at = (at + len) % bytes.len();
                }
                Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => break,
                Err(error) => panic!("{error}"),
            }
        }
        self.set_timeouts(LIMIT).expect("a socket");
        taken
    }

    /// Reads exactly `len` bytes.
    ///
    /// # Panics
    /// If the agent does not send them.
    pub fn bytes(&mut self, len: usize) -> Vec<u8> {
        let mut bytes = vec![0; len];
        let read = match &mut self.stream {
            Stream::Tcp(stream) => stream.read_exact(&mut bytes),
            Stream::Unix(stream) => stream.read_exact(&mut bytes),
        };
        read.expect("the agent answers");
        bytes
    }

    /// Reads one frame.
    ///
    /// # Panics
    /// If the agent does not send one.
    pub fn frame(&mut self) -> Frame {
        let mut bytes = self.bytes(4);
        let len = u32::from_be_bytes(bytes[..].try_into().expect("four bytes"));
        assert!((7..=1 << 24).contains(&len), "a frame of {len} bytes");
        bytes.extend(self.bytes(len as usize));
        Frame::take(&mut &bytes[..]).expect("it is whole")
    }

    /// Reads to the end.
    ///
    /// # Errors
    /// It is a reset.
    pub fn rest(&mut self) -> io::Result<Vec<u8>> {
        let mut bytes = Vec::new();
        match &mut self.stream {
            Stream::Tcp(stream) => stream.read_to_end(&mut bytes)?,
            Stream::Unix(stream) => stream.read_to_end(&mut bytes)?,
        };
        Ok(bytes)
    }

    /// Says `input` and hears exactly `output`.
    ///
    /// # Panics
    /// If it is something else.
    pub fn exchange(&mut self, input: &[u8], output: &[u8]) {
        self.send(input);
        assert_eq!(self.bytes(output.len()), output, "in answer to {input:02x?}");
    }

    /// Says `input` and hears D(`code`) and the orderly end.
    ///
    /// # Panics
    /// If it is something else.
    pub fn is_disconnected(&mut self, input: &[u8], code: u64) {
        self.send(input);
        assert_eq!(self.rest().expect("no reset"), agent_disconnect(code), "in answer to {input:02x?}");
    }

    /// Closes our direction: the agent reads an end.
    ///
    /// # Panics
    /// If the connection is gone.
    pub fn finish(&mut self) {
        let shut = match &self.stream {
            Stream::Tcp(stream) => stream.shutdown(Shutdown::Write),
            Stream::Unix(stream) => stream.shutdown(Shutdown::Write),
        };
        shut.expect("it is open");
    }

    /// Closes the connection with a reset, as HAProxy does (a unix socket just ends).
    ///
    /// # Panics
    /// If this is no socket.
    pub fn reset(self) {
        set_socket_linger(self.fd(), Some(Duration::ZERO)).expect("a socket");
    }

    /// Its TCP socket, to go on without this.
    ///
    /// # Panics
    /// If it has a unix socket.
    pub fn into_tcp(self) -> TcpStream {
        match self.stream {
            Stream::Tcp(stream) => stream,
            Stream::Unix(_) => panic!("it is connected to a unix socket"),
        }
    }

    fn fd(&self) -> BorrowedFd<'_> {
        match &self.stream {
            Stream::Tcp(stream) => stream.as_fd(),
            Stream::Unix(stream) => stream.as_fd(),
        }
    }

    fn set_timeouts(&self, timeout: Duration) -> io::Result<()> {
        let timeout = Some(timeout);
        match &self.stream {
            Stream::Tcp(stream) => stream.set_read_timeout(timeout).and_then(|()| stream.set_write_timeout(timeout)),
            Stream::Unix(stream) => stream.set_read_timeout(timeout).and_then(|()| stream.set_write_timeout(timeout)),
        }
    }
}
