//! HAProxy's end of one connection to the agent.

use std::io::{self, ErrorKind, Read, Write};
use std::thread;
use std::time::{Duration, Instant};

use spoa_sim_haproxy::recording::{LinkEvent, Side};

use crate::bytes::Frame;
use crate::recorder::{LinkRecorder, Recorder};
use crate::socket::{Address, Stream};

/// The largest number of frames that are kept of an agent that does not stop sending.
const FRAMES_MAX: usize = 1000;

/// The time after which a socket that accepts nothing counts as full. An agent on a busy machine may pause for a while.
const FULL_AFTER: Duration = Duration::from_secs(1);

/// The longest time of a flood. A slow agent that reads on would take minutes.
const FLOOD_MAX: Duration = Duration::from_secs(5);

/// A connection, with the time that the agent has for each answer.
#[derive(Debug)]
pub struct Peer {
    stream: Option<Stream>,
    timeout: Duration,
    /// Bytes that are received and not parsed.
    received: Vec<u8>,
    record: LinkRecorder,
    end: Option<End>,
}

/// The end of a connection, or the reason why nothing arrives.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    /// The agent closed the connection.
    Fin,
    /// The agent reset the connection.
    Reset,
    /// The connection is open, and nothing arrived within the timeout.
    Silence,
}

/// The next thing that the agent does.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Arrival {
    /// A whole frame.
    Frame(Frame),
    /// Bytes that cannot be read as a frame, with the reason.
    Malformed(String),
    /// Nothing more.
    End(End),
}

impl Peer {
    /// Connects to the agent, which has `timeout` for each answer.
    ///
    /// # Errors
    /// If nothing listens there.
    pub fn connect(address: &Address, timeout: Duration, recorder: &Recorder) -> io::Result<Self> {
        Self::of(Stream::connect(address)?, timeout, recorder)
    }

    /// Connects as [`connect`](Self::connect) does, with a receive buffer of a few KiB, so that an agent soon writes against a
    /// full socket.
    ///
    /// # Errors
    /// If nothing listens there.
    pub fn connect_with_small_buffer(address: &Address, timeout: Duration, recorder: &Recorder) -> io::Result<Self> {
        Self::of(Stream::connect_with_small_buffer(address)?, timeout, recorder)
    }

    fn of(stream: Stream, timeout: Duration, recorder: &Recorder) -> io::Result<Self> {
        stream.set_write_timeout(timeout)?;
        Ok(Self { stream: Some(stream), timeout, received: Vec::new(), record: recorder.open(), end: None })
    }

    /// Sets the time that the agent has for each answer.
    pub fn set_timeout(&mut self, timeout: Duration) {
        self.timeout = timeout;
    }

    /// Sends all of `bytes`. An agent that has closed the connection, or does not read, is found by the next read.
    pub fn send(&mut self, bytes: &[u8]) {
        self.record.push(LinkEvent::Bytes(Side::Haproxy, bytes.to_vec()));
        if let Some(stream) = &mut self.stream {
            let _ = stream.write_all(bytes);
        }
    }

    /// Sends `bytes` one by one, with a pause after each, so that the agent reads each alone.
    pub fn send_bytewise(&mut self, bytes: &[u8]) {
        bytes.iter().for_each(|byte| self.send_alone(&[*byte]));
    }

    /// Sends `bytes`, and pauses for a millisecond, so that the agent reads them without those that are sent next.
    pub fn send_alone(&mut self, bytes: &[u8]) {
        self.send(bytes);
        thread::sleep(Duration::from_millis(1));
    }

    /// Sends `bytes` repeatedly until the socket accepts nothing for a second, the connection ends, at least `max` bytes are sent,
    /// or five seconds are over. Returns the number of bytes sent.
    pub fn flood(&mut self, bytes: &[u8], max: usize) -> usize {
        let Some(stream) = &mut self.stream else { return 0 };
        // These cannot fail, because the times are not zero.
        let _ = stream.set_write_timeout(FULL_AFTER);
        let mut sent = 0;
        let deadline = Instant::now() + FLOOD_MAX;
        while sent < max && Instant::now() < deadline {
            match stream.write(&bytes[sent % bytes.len()..]) {
                Ok(len) if len > 0 => sent += len,
                _ => break,
            }
        }
        let _ = stream.set_write_timeout(self.timeout);
        self.record.push(LinkEvent::Bytes(Side::Haproxy, bytes[..bytes.len().min(sent)].to_vec()));
        sent
    }

    /// Shuts down the sending direction: the agent reads end of file.
    pub fn finish(&mut self) {
        if let Some(stream) = &self.stream {
            self.record.push(LinkEvent::Fin(Side::Haproxy));
            // It fails only if the agent has reset the connection, which the next read finds.
            let _ = stream.finish();
        }
    }

    /// Closes the connection with a reset, as HAProxy does.
    pub fn reset(&mut self) {
        if let Some(stream) = self.stream.take() {
            self.record.push(LinkEvent::Reset(Side::Haproxy));
            stream.reset();
        }
    }

    /// Returns the next frame, or the end of the connection.
    pub fn arrival(&mut self) -> Arrival {
        self.arrival_by(Instant::now() + self.timeout)
    }

    fn arrival_by(&mut self, deadline: Instant) -> Arrival {
        loop {
            match Frame::take_first(&mut self.received) {
                Ok(Some(frame)) => return Arrival::Frame(frame),
                Ok(None) => {}
                Err(reason) => return Arrival::Malformed(reason),
            }
            if let Some(end) = self.end.or_else(|| self.read(deadline)) {
                // Silence is the state of this moment; the others are final.
                self.end = (end != End::Silence).then_some(end);
                if self.end.is_some() && !self.received.is_empty() {
                    let left = self.received.split_off(0).len();
                    return Arrival::Malformed(format!("the connection ended after {left} bytes of a frame"));
                }
                return Arrival::End(end);
            }
        }
    }

    /// Returns all frames until the connection ends or the timeout is over, the reason if bytes are no frame, and the end.
    pub fn rest(&mut self) -> (Vec<Frame>, Option<String>, End) {
        let (mut frames, mut malformed) = (Vec::new(), None);
        let deadline = Instant::now() + self.timeout;
        while frames.len() < FRAMES_MAX {
            match self.arrival_by(deadline) {
                Arrival::Frame(frame) => frames.push(frame),
                Arrival::Malformed(reason) => {
                    malformed = Some(reason);
                    self.received.clear();
                }
                Arrival::End(end) => return (frames, malformed, end),
            }
        }
        (frames, malformed, End::Silence)
    }

    /// Reads once. Returns the end of the connection, or silence at the deadline.
    fn read(&mut self, deadline: Instant) -> Option<End> {
        let Some(stream) = &mut self.stream else { return Some(End::Reset) };
        let left = deadline.saturating_duration_since(Instant::now());
        if left.is_zero() || stream.set_read_timeout(left).is_err() {
            return Some(End::Silence);
        }
        let mut buffer = [0; 1 << 14];
        match stream.read(&mut buffer) {
            Ok(0) => {
                self.record.push(LinkEvent::Fin(Side::Agent));
                Some(End::Fin)
            }
            Ok(len) => {
                self.record.push(LinkEvent::Bytes(Side::Agent, buffer[..len].to_vec()));
                self.received.extend_from_slice(&buffer[..len]);
                None
            }
            Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => Some(End::Silence),
            Err(error) if error.kind() == ErrorKind::Interrupted => None,
            Err(_) => {
                self.record.push(LinkEvent::Reset(Side::Agent));
                Some(End::Reset)
            }
        }
    }

    /// True if a whole frame, or bytes that are none, were read.
    pub fn has_frame(&self) -> bool {
        !matches!(Frame::first(&self.received), Ok(None))
    }

    /// Reads once and returns the number of bytes that arrived together; 0 if the connection ended or nothing arrived.
    pub fn read_once(&mut self) -> usize {
        let before = self.received.len();
        self.end = self.end.or_else(|| self.read(Instant::now() + self.timeout)).filter(|end| *end != End::Silence);
        self.received.len() - before
    }
}
