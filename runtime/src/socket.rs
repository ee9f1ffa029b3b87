//! The socket of one connection, with its name and its observers: the log of frames, and a recorder.

use std::io::{self, Read as _, Write as _};
use std::net::Shutdown;
use std::os::fd::AsRawFd;
use std::sync::Arc;

use mio::unix::SourceFd;
use mio::{Interest, Poll, Token};
use socket2::Socket as SystemSocket;
use spoa_core::Connection;
use spoa_core::endpoint::{Io, Readiness, Socket};

use crate::counters::Counters;
use crate::engines::EngineConnection;
use crate::frame_log::FrameLog;
use crate::name::{Name, tell};
use crate::recorder::{ConnectionRecorder, Ends, Recorder, Transfer};
use crate::shell::NamedSocket;

/// A connected socket of a worker.
pub(crate) struct ServedSocket {
    socket: SystemSocket,
    pub(crate) name: Name,
    /// It is served, not rejected.
    pub(crate) welcome: bool,
    /// The readiness that it is watched for.
    interest: Interest,
    /// `None` for most sockets: nobody observes them.
    observers: Option<Box<Observers>>,
    /// The engine of HAProxy that it belongs to, from the HELLO on.
    engine: Option<EngineConnection>,
    counters: Arc<Counters>,
}

impl ServedSocket {
    /// Takes a socket that was accepted.
    pub(crate) fn connected(socket: SystemSocket, name: Name, welcome: bool, counters: Arc<Counters>) -> Self {
        tell!(debug, name, "connected");
        counters.accepted.add(1);
        Self { socket, name, welcome, interest: Interest::READABLE, observers: None, engine: None, counters }
    }

    /// Records the connection from now on.
    pub(crate) fn record(&mut self, recorder: &dyn Recorder) {
        // The system does not know the peer any more if it has reset the connection.
        let peer = self.name.peer().parse().ok();
        let local = self.socket.local_addr().ok().and_then(|addr| addr.as_socket());
        let ends = Ends { number: self.name.number(), peer, local };
        self.observers.get_or_insert_default().recorder = Some(recorder.connected(ends));
    }

    /// Watches the socket, whose readiness shows as `token`.
    pub(crate) fn register(&self, poll: &Poll, token: Token) -> io::Result<()> {
        poll.registry().register(&mut SourceFd(&self.socket.as_raw_fd()), token, self.interest)
    }

    /// Watches the socket for room to write too, while it `is_blocked`.
    pub(crate) fn watch(&mut self, poll: &Poll, token: Token, is_blocked: bool) -> io::Result<()> {
        let interest = if is_blocked { Interest::READABLE.add(Interest::WRITABLE) } else { Interest::READABLE };
        if interest != self.interest {
            poll.registry().reregister(&mut SourceFd(&self.socket.as_raw_fd()), token, interest)?;
            self.interest = interest;
        }
        Ok(())
    }

    /// Starts or stops logging frames, between two frames of the connection.
    pub(crate) fn log_frames(&mut self, wanted: bool, connection: &Connection, frame_max: u32) {
        if !wanted {
            if let Some(observers) = &mut self.observers {
                observers.frame_log = None;
            }
            return;
        }
        let is_logged = self.observers.as_ref().is_some_and(|observers| observers.frame_log.is_some());
        if !is_logged && connection.is_idle() && !connection.has_output() {
            let log = FrameLog::new(self.name.clone(), frame_max);
            self.observers.get_or_insert_default().frame_log = Some(log);
        }
    }

    fn failed(&mut self, error: &io::Error) -> Io {
        tell!(debug, self.name, "{error}");
        self.observe(Transfer::Failed);
        Io::Failed
    }

    fn observe(&mut self, transfer: Transfer<'_>) {
        if let Some(observers) = &mut self.observers {
            observers.observe(transfer);
        }
    }
}

/// The observers of the bytes of a socket.
#[derive(Default)]
struct Observers {
    frame_log: Option<FrameLog>,
    recorder: Option<Box<dyn ConnectionRecorder>>,
}

impl Observers {
    #[cold]
    fn observe(&mut self, transfer: Transfer<'_>) {
        match (&mut self.frame_log, transfer) {
            (Some(log), Transfer::Received(bytes)) => log.received(bytes),
            (Some(log), Transfer::Sent(bytes)) => log.sent(bytes),
            _ => {}
        }
        if let Some(recorder) = &mut self.recorder {
            recorder.record(transfer);
        }
    }
}

impl NamedSocket for ServedSocket {
    fn name(&self) -> &Name {
        &self.name
    }

    fn name_and_engine(&mut self) -> (&Name, &mut Option<EngineConnection>) {
        (&self.name, &mut self.engine)
    }
}

impl Socket for ServedSocket {
    fn read(&mut self, buf: &mut [u8]) -> Io {
        match uninterrupted(|| (&self.socket).read(buf)) {
            Ok(len) => {
                self.counters.bytes_received.add(len as u64);
                self.observe(if len > 0 { Transfer::Received(&buf[..len]) } else { Transfer::ReceivedEnd });
                Io::Done(len)
            }
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => Io::WouldBlock,
            Err(error) => self.failed(&error),
        }
    }

    fn write(&mut self, bytes: &[u8]) -> Io {
        match uninterrupted(|| (&self.socket).write(bytes)) {
            Ok(len) => {
                self.counters.bytes_sent.add(len as u64);
                self.observe(Transfer::Sent(&bytes[..len]));
                Io::Done(len)
            }
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => Io::WouldBlock,
            Err(error) => self.failed(&error),
        }
    }

    fn shut_down(&mut self) {
        let _ = self.socket.shutdown(Shutdown::Write);
        self.observe(Transfer::SentEnd);
    }

    fn memory(&self) -> usize {
        self.observers.as_ref().and_then(|observers| observers.frame_log.as_ref()).map_or(0, FrameLog::memory)
    }
}

/// Repeats a system call that a signal interrupted.
fn uninterrupted(mut call: impl FnMut() -> io::Result<usize>) -> io::Result<usize> {
    loop {
        match call() {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            result => return result,
        }
    }
}

/// Converts an event of a socket.
pub(crate) fn readiness(event: &mio::event::Event) -> Readiness {
    Readiness {
        readable: event.is_readable(),
        writable: event.is_writable(),
        ended: event.is_read_closed(),
        reset: event.is_error(),
    }
}
