//! `spoa probe`: is an agent there, and what does it answer?

use std::error::Error;
use std::io::{self, Read, Write};
use std::net::{IpAddr, TcpStream};
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::{Duration, Instant};

use socket2::{Domain, SockAddr, Socket, Type};
use spoa_core::wire::{
    AgentHello, Flags, Frame, FrameEncoder, FrameId, FrameType, HaproxyHello, LENGTH_LEN, MessageEncoder, StreamId,
    TypedData,
};
use spoa_runtime::ListenAddr;

use crate::tell;

/// What HAProxy offers with its default `tune.bufsize`.
const FRAME_SIZE: u32 = 16_380;

/// Does HAProxy's health check and, if there is an `address`, asks about it in a message of this name; tells what is answered.
///
/// # Errors
/// Nobody answers within `timeout`, or something else than a HELLO and an ACK.
pub(crate) fn run(
    agent: &ListenAddr,
    address: Option<IpAddr>,
    message: &str,
    timeout: Duration,
) -> Result<(), Box<dyn Error>> {
    let until = Instant::now() + timeout;
    let mut checked = Conversation::start(agent, true, until)?;
    tell(checked.receive(FrameType::AGENT_HELLO)? + "\n");
    let Some(address) = address else { return Ok(()) };
    let mut asked = Conversation::start(agent, false, until)?;
    asked.receive(FrameType::AGENT_HELLO)?;
    asked.ask(message, address)?;
    tell(asked.receive(FrameType::ACK)? + "\n");
    Ok(())
}

/// HAProxy's end of a connection.
struct Conversation {
    stream: Box<dyn Stream>,
    until: Instant,
    since: Instant,
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
    /// Connects and says HELLO.
    fn start(agent: &ListenAddr, healthcheck: bool, until: Instant) -> Result<Self, Box<dyn Error>> {
        let since = Instant::now();
        let timeout = until.saturating_duration_since(since).max(Duration::from_millis(1));
        let stream: io::Result<Box<dyn Stream>> = match agent {
            ListenAddr::Tcp(addr) => TcpStream::connect_timeout(addr, timeout).map(|stream| Box::new(stream) as _),
            ListenAddr::Unix(path) => connect_unix(path).map(|stream| Box::new(stream) as _),
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
        let mut conversation = Self { stream, until, since };
        conversation.send(&hello)?;
        Ok(conversation)
    }

    fn ask(&mut self, message: &str, address: IpAddr) -> Result<(), Box<dyn Error>> {
        let mut notify = Vec::new();
        let mut frame = FrameEncoder::begin(&mut notify, FrameType::NOTIFY, Flags::FIN, StreamId(1), FrameId(1));
        MessageEncoder::begin(frame.payload(), message).arg("ip", address)?;
        frame.finish();
        self.since = Instant::now();
        self.send(&notify)
    }

    /// What is left of the time.
    fn time_left(&self) -> Result<(), Box<dyn Error>> {
        let left = self.until.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return Err("no answer in time".into());
        }
        Ok(self.stream.set_timeout(left)?)
    }

    fn send(&mut self, bytes: &[u8]) -> Result<(), Box<dyn Error>> {
        self.time_left()?;
        self.stream.write_all(bytes).map_err(|error| format!("the agent takes nothing: {error}").into())
    }

    /// The next frame, in words, with the time it took.
    fn receive(&mut self, wanted: FrameType) -> Result<String, Box<dyn Error>> {
        let mut length = [0; LENGTH_LEN];
        self.fill(&mut length)?;
        let len = u32::from_be_bytes(length);
        if len > FRAME_SIZE {
            return Err(format!("that is no agent: a frame of {len} bytes").into());
        }
        let mut bytes = vec![0; len as usize];
        self.fill(&mut bytes)?;
        let frame = Frame::decode(&bytes).map_err(|error| format!("that is no agent: {error}"))?;
        let took = self.since.elapsed();
        if frame.frame_type == wanted {
            if wanted == FrameType::AGENT_HELLO {
                AgentHello::decode(frame.payload).map_err(|error| format!("a HELLO that HAProxy refuses: {error}"))?;
            }
            return Ok(format!("{frame} ({took:.1?})"));
        }
        Err(format!("the agent says {frame}").into())
    }

    fn fill(&mut self, mut into: &mut [u8]) -> Result<(), Box<dyn Error>> {
        while !into.is_empty() {
            self.time_left()?;
            match self.stream.read(into) {
                Ok(0) => return Err("the agent closes without an answer".into()),
                Ok(len) => into = &mut into[len..],
                Err(error) if matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut) => {
                    return Err("no answer in time".into());
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(format!("no answer: {error}").into()),
            }
        }
        Ok(())
    }
}

/// An agent that hangs may have as many waiting as may be: then this fails at once, where connecting would wait for ever.
fn connect_unix(path: &Path) -> io::Result<UnixStream> {
    let socket = Socket::new(Domain::UNIX, Type::STREAM, None)?;
    socket.set_nonblocking(true)?;
    socket.connect(&SockAddr::unix(path)?)?;
    socket.set_nonblocking(false)?;
    Ok(OwnedFd::from(socket).into())
}
