//! `spoa probe`: sends the same frames as HAProxy and checks the answers.

use std::error::Error;
use std::io::{self, Read, Write};
use std::net::{IpAddr, TcpStream};
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::{Duration, Instant};

use socket2::{Domain, SockAddr, Socket, Type};
use spoa_core::wire::{
    Action, ActionIter, AgentHello, Flags, Frame, FrameEncoder, FrameId, FrameType, HaproxyHello, LENGTH_LEN,
    MessageEncoder, StreamId, TypedData,
};
use spoa_runtime::ListenAddr;

use crate::{Failure, print_line};

/// The frame size that HAProxy offers with its default `tune.bufsize`.
const FRAME_SIZE: u32 = 16_380;

/// A NOTIFY to send, and the variables that its ACK must set.
pub(crate) struct TestNotify<'q> {
    pub(crate) address: IpAddr,
    pub(crate) message: &'q str,
    pub(crate) argument: &'q str,
    /// `NAME` or `NAME=VALUE` for each variable. If this is empty, any variable is enough.
    pub(crate) expected: &'q [String],
}

/// Sends HAProxy's health check and, if `notify` is given, a NOTIFY on another connection. Prints the answers.
///
/// # Errors
/// The agent does not answer within `timeout`, an answer is not as expected, or standard output cannot be written to.
pub(crate) fn run(agent: &ListenAddr, notify: Option<&TestNotify<'_>>, timeout: Duration) -> Result<(), Failure> {
    let deadline = Instant::now() + timeout;
    let mut check = Conversation::start(agent, true, deadline)?;
    print_line(&check.receive(FrameType::AGENT_HELLO)?.1)?;
    let Some(notify) = notify else { return Ok(()) };
    let mut conversation = Conversation::start(agent, false, deadline)?;
    conversation.receive(FrameType::AGENT_HELLO)?;
    conversation.send_notify(notify)?;
    let (payload, text) = conversation.receive(FrameType::ACK)?;
    print_line(&text)?;
    Ok(notify.check_answer(&payload)?)
}

impl TestNotify<'_> {
    /// Checks the variables that an ACK sets.
    fn check_answer(&self, ack: &[u8]) -> Result<(), Box<dyn Error>> {
        let set: Vec<_> = ActionIter::new(ack).map_while(Result::ok).filter_map(variable).collect();
        if set.is_empty() {
            let (message, argument) = (self.message, self.argument);
            return Err(format!(
                "the answer sets no variable: the agent does not serve the message \"{message}\", or finds no address in the \
                 argument \"{argument}\"; its log names the cause"
            )
            .into());
        }
        for expected in self.expected {
            let (name, value) =
                expected.split_once('=').map_or((expected.as_str(), None), |(name, value)| (name, Some(value)));
            let found = set.iter().find(|(scope, found, _)| name == found || name == format!("{scope}.{found}"));
            match (found, value) {
                (None, _) => return Err(format!("expected the variable {name}, which the answer does not set").into()),
                (Some((_, _, got)), Some(wanted)) if got != wanted => {
                    return Err(format!("expected {name}={wanted}, got {got}").into());
                }
                _ => {}
            }
        }
        Ok(())
    }
}

/// Returns the scope, name and value that an action sets, as text.
fn variable(action: Action<'_>) -> Option<(&'static str, String, String)> {
    let Action::SetVar { scope, name, value } = action else { return None };
    let value = value.as_str().map_or_else(|| value.to_string(), str::to_owned);
    Some((scope.name(), String::from_utf8_lossy(name).into_owned(), value))
}

/// HAProxy's end of a connection.
struct Conversation {
    stream: Box<dyn Stream>,
    deadline: Instant,
    /// The time when the last frame was sent, or for the HELLO, when connecting began.
    sent_at: Instant,
}

trait Stream: Read + Write {
    fn set_timeout(&self, timeout: Duration) -> io::Result<()>;
}

impl Stream for TcpStream {
    fn set_timeout(&self, timeout: Duration) -> io::Result<()> {
        self.set_read_timeout(Some(timeout)).and_then(|()| self.set_write_timeout(Some(timeout)))
    }
}

impl Stream for UnixStream {
    fn set_timeout(&self, timeout: Duration) -> io::Result<()> {
        self.set_read_timeout(Some(timeout)).and_then(|()| self.set_write_timeout(Some(timeout)))
    }
}

impl Conversation {
    /// Connects and sends a HELLO.
    fn start(agent: &ListenAddr, healthcheck: bool, deadline: Instant) -> Result<Self, Box<dyn Error>> {
        let sent_at = Instant::now();
        let timeout = deadline.saturating_duration_since(sent_at).max(Duration::from_millis(1));
        let stream: io::Result<Box<dyn Stream>> = match agent {
            ListenAddr::Tcp(addr) => TcpStream::connect_timeout(addr, timeout).map(|stream| Box::new(stream) as _),
            ListenAddr::Unix(socket) => connect_unix(&socket.path).map(|stream| Box::new(stream) as _),
        };
        let stream = stream.map_err(|error| format!("cannot connect to {agent}: {error}"))?;
        let mut hello = Vec::new();
        HaproxyHello {
            supported_versions: Some(b"2.0"),
            max_frame_size: Some(TypedData::Uint32(FRAME_SIZE)),
            capabilities: Some(if healthcheck { b"" } else { b"pipelining" }),
            healthcheck,
            engine_id: None,
        }
        .encode(&mut hello);
        let mut conversation = Self { stream, deadline, sent_at };
        conversation.send(&hello)?;
        Ok(conversation)
    }

    fn send_notify(&mut self, notify: &TestNotify<'_>) -> Result<(), Box<dyn Error>> {
        let mut bytes = Vec::new();
        let mut frame = FrameEncoder::begin(&mut bytes, FrameType::NOTIFY, Flags::FIN, StreamId(1), FrameId(1));
        MessageEncoder::begin(frame.payload(), notify.message).arg(notify.argument, notify.address)?;
        frame.finish();
        self.sent_at = Instant::now();
        self.send(&bytes)
    }

    /// Sets the timeout of the socket to the time until the deadline.
    ///
    /// # Errors
    /// The deadline has passed.
    fn set_timeout(&self) -> Result<(), Box<dyn Error>> {
        let left = self.deadline.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return Err("the agent did not answer in time".into());
        }
        Ok(self.stream.set_timeout(left)?)
    }

    fn send(&mut self, bytes: &[u8]) -> Result<(), Box<dyn Error>> {
        self.set_timeout()?;
        self.stream.write_all(bytes).map_err(|error| format!("the agent does not read: {error}").into())
    }

    /// Receives a frame of type `wanted`. Returns its payload, and a line of text with the frame and its response time.
    fn receive(&mut self, wanted: FrameType) -> Result<(Vec<u8>, String), Box<dyn Error>> {
        let mut length = [0; LENGTH_LEN];
        self.fill(&mut length)?;
        let len = u32::from_be_bytes(length);
        if len > FRAME_SIZE {
            return Err(format!("this is not an agent: it sent a frame of {len} bytes").into());
        }
        let mut bytes = vec![0; len as usize];
        self.fill(&mut bytes)?;
        let frame =
            Frame::decode(&bytes).map_err(|error| format!("this is not an agent: it sent a frame with {error}"))?;
        let took = self.sent_at.elapsed();
        if frame.frame_type == wanted {
            if wanted == FrameType::AGENT_HELLO {
                AgentHello::decode(frame.payload).map_err(|error| format!("HAProxy refuses this HELLO: {error}"))?;
            }
            return Ok((frame.payload.to_vec(), format!("{frame} ({} us)", took.as_micros())));
        }
        Err(format!("expected {wanted}, got {frame}").into())
    }

    fn fill(&mut self, mut into: &mut [u8]) -> Result<(), Box<dyn Error>> {
        while !into.is_empty() {
            self.set_timeout()?;
            match self.stream.read(into) {
                Ok(0) => return Err("the agent closed the connection without an answer".into()),
                Ok(len) => into = &mut into[len..],
                Err(error) if matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut) => {
                    return Err("the agent did not answer in time".into());
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(format!("cannot read the answer: {error}").into()),
            }
        }
        Ok(())
    }
}

/// Connects without blocking, because connect(2) would wait for ever if the agent hangs and its backlog is full.
fn connect_unix(path: &Path) -> io::Result<UnixStream> {
    let socket = Socket::new(Domain::UNIX, Type::STREAM, None)?;
    socket.set_nonblocking(true)?;
    socket.connect(&SockAddr::unix(path)?)?;
    socket.set_nonblocking(false)?;
    Ok(OwnedFd::from(socket).into())
}
