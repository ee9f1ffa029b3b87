//! Persistent connections with a fixed number of NOTIFYs in flight, in one thread.

use std::io::{self, ErrorKind, Read, Write};
use std::os::fd::{AsFd, AsRawFd};
use std::time::{Duration, Instant};
use std::{array, mem};

use mio::unix::SourceFd;
use mio::{Events, Interest, Poll, Token};
use spoa_sim_checker::codec::{Bytes, frame};

use super::{Figures, Load, LoadError, SILENCE_MAX, check_hello, figures, histogram, record};
use crate::bytes::{ACK, FIN, Frame, NOTIFY};
use crate::frames::Hello;
use crate::process;
use crate::socket::Stream;

/// The size of the receive buffer of a connection, in bytes. It holds all ACKs to the NOTIFYs in flight.
const RECEIVE_BUFFER: usize = 1 << 18;

struct Connection {
    stream: Stream,
    received: Vec<u8>,
    len: usize,
    out: Vec<u8>,
    /// For each slot, the stream-id of its NOTIFY and the start of the NOTIFY's latency: when the client received the ACK before
    /// it.
    slots: Vec<(u64, Instant)>,
    /// The number of NOTIFYs that were sent.
    sent: u64,
}

pub(super) fn run(load: &Load, connections: usize, in_flight: usize, warm_up: Duration) -> Result<Figures, LoadError> {
    let mut poll = Poll::new()?;
    let notify = load.question.encode();
    let mut all = (0..connections).map(|_| Connection::open(load, in_flight)).collect::<Result<Vec<_>, _>>()?;
    let start = Instant::now();
    for (number, connection) in all.iter_mut().enumerate() {
        let fd = connection.stream.as_fd().as_raw_fd();
        poll.registry().register(&mut SourceFd(&fd), Token(number), Interest::READABLE)?;
        (0..in_flight).for_each(|slot| connection.notify(slot, start, &notify));
        connection.flush()?;
    }
    let (mut latencies, mut since, mut measured) = (histogram(), None, None);
    let cpu = || load.pid.and_then(process::cpu_time);
    // Once the time is over, every NOTIFY in flight still has to be answered.
    let mut left = connections * in_flight;
    let mut events = Events::with_capacity(256);
    while left > 0 {
        poll.poll(&mut events, Some(SILENCE_MAX))?;
        if events.is_empty() {
            return Err(LoadError::Silence);
        }
        let now = Instant::now();
        if since.is_none() && now - start >= warm_up {
            since = Some((now, cpu()));
            latencies.reset();
        }
        if let Some((since, before)) = since.filter(|_| measured.is_none() && now - start >= warm_up + load.time) {
            let cpu = cpu().zip(before).map(|(after, before)| after.saturating_sub(before));
            measured = Some(figures(&latencies, since.elapsed(), cpu));
        }
        for event in &events {
            let connection = &mut all[event.token().0];
            connection.receive(load, |connection, slot, started| {
                record(&mut latencies, now - started);
                if measured.is_none() {
                    connection.notify(slot, now, &notify);
                } else {
                    left -= 1;
                }
            })?;
            connection.flush()?;
        }
    }
    measured.ok_or(LoadError::Silence)
}

impl Connection {
    /// Opens a connection and completes its handshake.
    fn open(load: &Load, in_flight: usize) -> Result<Self, LoadError> {
        let mut stream = Stream::connect(&load.address)?;
        stream.set_read_timeout(SILENCE_MAX)?;
        stream.write_all(&Hello::mux().encode())?;
        if !check_hello(&read_frame(&mut stream)?)?.has("pipelining") && in_flight > 1 {
            return Err(LoadError::NoPipelining);
        }
        stream.set_nonblocking()?;
        let slots = vec![(0, Instant::now()); in_flight];
        Ok(Self { stream, received: vec![0; RECEIVE_BUFFER], len: 0, out: Vec::new(), slots, sent: 0 })
    }

    /// Writes the next NOTIFY of `slot` to the buffer. Its stream-id identifies the slot and is never used again.
    fn notify(&mut self, slot: usize, now: Instant, notify: &[u8]) {
        self.sent += 1;
        let stream = self.sent * self.slots.len() as u64 + slot as u64;
        self.slots[slot] = (stream, now);
        frame(NOTIFY, FIN, (stream, 1), &mut self.out, |out| out.extend_from_slice(notify));
    }

    /// Sends the contents of the buffer.
    fn flush(&mut self) -> io::Result<()> {
        if !self.out.is_empty() {
            // All NOTIFYs in flight fit into the buffer of the socket.
            self.stream.write_all(&self.out)?;
            self.out.clear();
        }
        Ok(())
    }

    /// Reads once, and calls `on_ack` for each ACK with its slot and the start of its latency.
    fn receive(&mut self, load: &Load, mut on_ack: impl FnMut(&mut Self, usize, Instant)) -> Result<(), LoadError> {
        match self.stream.read(&mut self.received[self.len..]) {
            Ok(0) => return Err(LoadError::Closed),
            Ok(len) => self.len += len,
            Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(()),
            Err(error) => return Err(error.into()),
        }
        let received = mem::take(&mut self.received);
        let mut rest = &received[..self.len];
        while let Some((ack, after)) = split(rest)? {
            rest = after;
            let slot = (ack.stream % self.slots.len() as u64) as usize;
            let (stream, started) = self.slots[slot];
            if ack.stream != stream {
                return Err(LoadError::Answer(format!("an ACK to the stream {}", ack.stream)));
            }
            load.check_answer(ack.payload)?;
            on_ack(self, slot, started);
        }
        let left = rest.len();
        self.received = received;
        self.received.copy_within(self.len - left..self.len, 0);
        self.len = left;
        Ok(())
    }
}

/// An ACK with FIN and the frame-id 1.
struct Ack<'b> {
    stream: u64,
    payload: &'b [u8],
}

/// Takes the first frame, which has to be an ACK, if it is whole.
fn split(bytes: &[u8]) -> Result<Option<(Ack<'_>, &[u8])>, LoadError> {
    let Some(length) = bytes.first_chunk() else { return Ok(None) };
    let len = u32::from_be_bytes(*length) as usize;
    if len > RECEIVE_BUFFER - 4 {
        return Err(LoadError::Answer(format!("a frame of {len} bytes")));
    }
    let Some((body, after)) = bytes[4..].split_at_checked(len) else { return Ok(None) };
    let mut body = Bytes(body);
    let head: [Option<u8>; 5] = array::from_fn(|_| body.byte());
    let ids = body.varint().zip(body.varint());
    match (head, ids) {
        ([Some(ACK), Some(0), Some(0), Some(0), Some(1)], Some((stream, 1))) => {
            Ok(Some((Ack { stream, payload: body.0 }, after)))
        }
        ([Some(kind), ..], _) => Err(LoadError::Answer(format!("a frame of type {kind}"))),
        _ => Err(LoadError::Answer("a frame that is too short".into())),
    }
}

/// Reads one frame.
pub(super) fn read_frame(stream: &mut Stream) -> Result<Frame, LoadError> {
    let mut bytes = vec![0; 4];
    read(stream, &mut bytes)?;
    let len = bytes.first_chunk().map_or(0, |length| u32::from_be_bytes(*length) as usize);
    if len > RECEIVE_BUFFER {
        return Err(LoadError::Answer(format!("a frame of {len} bytes")));
    }
    bytes.resize(4 + len, 0);
    read(stream, &mut bytes[4..])?;
    Frame::take(&mut &bytes[..]).ok_or_else(|| LoadError::Answer("a frame that is too short".into()))
}

fn read(stream: &mut Stream, bytes: &mut [u8]) -> Result<(), LoadError> {
    stream.read_exact(bytes).map_err(|error| match error.kind() {
        ErrorKind::UnexpectedEof => LoadError::Closed,
        ErrorKind::WouldBlock | ErrorKind::TimedOut => LoadError::Silence,
        _ => error.into(),
    })
}
