//! One connection to the agent: a socket, and the faults of the network between it and HAProxy.

use std::io::{ErrorKind, Read, Write};
use std::os::fd::{AsFd, BorrowedFd};

use spoa_sim_haproxy::recording::{LinkEvent, Side};
use spoa_sim_kit::socket::Stream;

use crate::link::{Inlet, Outlet};
use crate::script::{Link, MS, Nanos};

/// The time between two pieces, so that the agent reads them one by one.
const PIECE_GAP: Nanos = MS / 2;
/// The largest number of bytes that are read at once.
const READ_MAX: usize = 16 << 10;

/// A connection. Its events are those of a recording.
pub(super) struct Connection {
    pub(super) link: Link,
    /// `None` once both sides have closed it.
    stream: Option<Stream>,
    pub(super) inlet: Inlet,
    pub(super) outlet: Outlet,
    /// The number of pieces of the current delivery that were written.
    pieces: usize,
    /// The time before which nothing is written.
    pause_end: Nanos,
    /// True if the socket did not accept all bytes.
    is_full: bool,
    has_finished: bool,
    has_agent_closed: bool,
}

impl Connection {
    pub(super) fn new(link: Link, stream: Stream) -> Self {
        Self {
            link,
            stream: Some(stream),
            inlet: Inlet::default(),
            outlet: Outlet::default(),
            pieces: 0,
            pause_end: 0,
            is_full: false,
            has_finished: false,
            has_agent_closed: false,
        }
    }

    /// True if HAProxy has not closed the connection, so that it may send.
    pub(super) const fn may_send(&self) -> bool {
        self.is_open() && !self.has_finished
    }

    /// True while bytes, or the end after them, wait to be written.
    pub(super) fn has_unwritten(&self) -> bool {
        self.is_open() && (self.is_full || self.has_work())
    }

    fn has_work(&self) -> bool {
        let finishes = self.inlet.is_at_end() && !self.inlet.has_transit() && !self.has_finished;
        !self.inlet.readable().is_empty() || self.inlet.is_deliverable() || finishes
    }

    /// True unless both sides have closed the connection.
    pub(super) const fn is_open(&self) -> bool {
        self.stream.is_some()
    }

    /// Starts a delivery of the bytes in transit.
    pub(super) const fn deliver(&mut self) {
        self.pieces = 0;
    }

    /// Closes HAProxy's side once all bytes are delivered.
    pub(super) fn finish(&mut self) {
        self.inlet.release();
        self.inlet.finish();
    }

    /// Resets the connection. Returns the event.
    pub(super) fn reset(&mut self) -> Option<LinkEvent> {
        self.stream.take()?.reset();
        Some(LinkEvent::Reset(Side::Haproxy))
    }

    /// Returns the socket if the agent's bytes have to be read.
    pub(super) fn readable(&self) -> Option<BorrowedFd<'_>> {
        let wants = !self.has_agent_closed && self.outlet.has_room();
        self.stream.as_ref().filter(|_| wants).map(AsFd::as_fd)
    }

    /// Returns the socket if it has to be written when it accepts bytes again.
    pub(super) fn writable(&self) -> Option<BorrowedFd<'_>> {
        self.stream.as_ref().filter(|_| self.is_full).map(AsFd::as_fd)
    }

    /// Returns the time to call [`write`](Self::write).
    pub(super) fn wake(&self) -> Option<Nanos> {
        (self.is_open() && !self.is_full && self.has_work()).then_some(self.pause_end)
    }

    /// Writes the next piece, or the end. Returns the event.
    pub(super) fn write(&mut self, now: Nanos) -> Option<LinkEvent> {
        if now < self.pause_end {
            return None;
        }
        let stream = self.stream.as_mut()?;
        if self.inlet.readable().is_empty() && self.inlet.arrive(self.pieces) {
            self.pieces += 1;
        }
        let bytes = self.inlet.readable();
        if bytes.is_empty() {
            return self.write_end();
        }
        match stream.write(bytes) {
            Ok(len) => {
                let event = LinkEvent::Bytes(Side::Haproxy, bytes[..len].to_vec());
                self.inlet.take(len);
                self.is_full = false;
                self.pause_end = now + PIECE_GAP;
                Some(event)
            }
            Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::Interrupted) => {
                self.is_full = true;
                None
            }
            Err(_) => self.lose(),
        }
    }

    fn write_end(&mut self) -> Option<LinkEvent> {
        if !self.inlet.is_at_end() || self.inlet.has_transit() || self.has_finished {
            return None;
        }
        self.has_finished = true;
        // It fails if the agent has reset the connection, which the next read notices.
        let _ = self.stream.as_ref()?.finish();
        self.drop_if_closed();
        Some(LinkEvent::Fin(Side::Haproxy))
    }

    /// Reads bytes of the agent, or the end. Returns the event.
    pub(super) fn read(&mut self) -> Option<LinkEvent> {
        let stream = self.stream.as_mut()?;
        let mut buf = [0; READ_MAX];
        // A smaller read would look as if the agent had cut a frame. So the limits decide only whether anything is read.
        match stream.read(&mut buf) {
            Ok(0) => {
                self.has_agent_closed = true;
                self.drop_if_closed();
                Some(LinkEvent::Fin(Side::Agent))
            }
            Ok(len) => {
                self.outlet.write(&buf[..len]);
                Some(LinkEvent::Bytes(Side::Agent, buf[..len].to_vec()))
            }
            Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::Interrupted) => None,
            Err(_) => self.lose(),
        }
    }

    /// Notes that the agent has reset the connection.
    fn lose(&mut self) -> Option<LinkEvent> {
        self.stream = None;
        (!self.has_agent_closed).then_some(LinkEvent::Reset(Side::Agent))
    }

    fn drop_if_closed(&mut self) {
        if self.has_finished && self.has_agent_closed {
            self.stream = None;
        }
    }
}
