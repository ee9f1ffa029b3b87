//! The thread that writes packets, and the queue to it.

use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant, SystemTime};
use std::{fmt, io};

use super::ring::Ring;

/// The bytes that wait to be written; further packets are lost.
const QUEUE_MAX: usize = 8 << 20;
/// The longest time that a packet is buffered before it is in the file.
const FLUSH_PERIOD: Duration = Duration::from_millis(500);
/// The time between attempts to start a file after an error.
const RETRY: Duration = Duration::from_secs(1);
/// The longest time that the end of the process waits for queued packets to be written.
const FLUSH_TIME: Duration = Duration::from_secs(1);

/// The queue to the thread.
pub(super) struct Queue {
    sender: Sender<Message>,
    /// The number of bytes that wait.
    waiting: AtomicUsize,
    counts: Counts,
    /// The last error of a file, until one is written again.
    fault: Mutex<Option<String>>,
}

enum Message {
    Packet { at: Duration, packet: Vec<u8> },
    Stop,
}

/// The numbers of packets.
#[derive(Debug, Default)]
pub(super) struct Counts {
    pub(super) written: AtomicU64,
    /// Lost because the queue was full.
    pub(super) full: AtomicU64,
    /// Lost because a file could not be written.
    pub(super) unwritten: AtomicU64,
}

impl Queue {
    /// Appends a packet, which is captured now. It waits neither for a file nor for another thread.
    pub(super) fn push(&self, packet: &[u8]) {
        let before = self.waiting.fetch_add(packet.len(), Ordering::Relaxed);
        let at = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
        let is_queued = before + packet.len() <= QUEUE_MAX
            && self.sender.send(Message::Packet { at, packet: packet.to_vec() }).is_ok();
        if !is_queued {
            self.waiting.fetch_sub(packet.len(), Ordering::Relaxed);
            self.counts.full.fetch_add(1, Ordering::Relaxed);
        }
    }

    pub(super) const fn counts(&self) -> &Counts {
        &self.counts
    }

    /// Returns the last error of a file, unless one was written since.
    pub(super) fn fault(&self) -> Option<String> {
        self.fault.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn set_fault(&self, fault: Option<String>) {
        *self.fault.lock().unwrap_or_else(PoisonError::into_inner) = fault;
    }
}

impl fmt::Debug for Queue {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Queue").field("counts", &self.counts).finish_non_exhaustive()
    }
}

/// Starts the thread.
///
/// # Errors
/// It cannot be started.
pub(super) fn start(ring: Ring) -> Result<(Arc<Queue>, Flush), String> {
    let (sender, messages) = channel();
    let queue = Arc::new(Queue {
        sender: sender.clone(),
        waiting: AtomicUsize::new(0),
        counts: Counts::default(),
        fault: Mutex::default(),
    });
    let (done, ended) = channel();
    let thread = CaptureThread { queue: Arc::clone(&queue), ring, buffered: 0, retry_at: None };
    let body = move || {
        // It fails if the process does not wait any more.
        let _ = done.send(thread.run(&messages));
    };
    let thread = thread::Builder::new().name("spoa-capture".into()).spawn(body);
    thread.map_err(|error| format!("cannot start the thread that writes captures: {error}"))?;
    Ok((queue, Flush { sender, ended }))
}

struct CaptureThread {
    queue: Arc<Queue>,
    ring: Ring,
    /// The number of packets since the last flush. They count as written when they are in the file.
    buffered: u64,
    /// The time before which no file is started, after an error.
    retry_at: Option<Instant>,
}

impl CaptureThread {
    /// Writes packets until the process stops. Returns the result of the last flush.
    fn run(mut self, messages: &Receiver<Message>) -> io::Result<()> {
        let mut flush_at = Instant::now() + FLUSH_PERIOD;
        loop {
            let message = messages.recv_timeout(flush_at.saturating_duration_since(Instant::now()));
            match message {
                Ok(Message::Packet { at, packet }) => self.write(at, &packet),
                Ok(Message::Stop) | Err(RecvTimeoutError::Disconnected) => return self.flush(),
                Err(RecvTimeoutError::Timeout) => {}
            }
            if Instant::now() >= flush_at {
                // The error is reported by another thread.
                let _ = self.flush();
                flush_at = Instant::now() + FLUSH_PERIOD;
            }
        }
    }

    fn write(&mut self, at: Duration, packet: &[u8]) {
        self.queue.waiting.fetch_sub(packet.len(), Ordering::Relaxed);
        if self.retry_at.is_some_and(|retry_at| Instant::now() < retry_at) {
            self.queue.counts.unwritten.fetch_add(1, Ordering::Relaxed);
            return;
        }
        self.buffered += 1;
        if let Err(error) = self.ring.write(at, packet) {
            self.failed(&error);
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        let flushed = self.ring.flush();
        match &flushed {
            Ok(()) if self.buffered > 0 => {
                self.queue.counts.written.fetch_add(std::mem::take(&mut self.buffered), Ordering::Relaxed);
                self.retry_at = None;
                self.queue.set_fault(None);
            }
            Ok(()) => {}
            Err(error) => self.failed(error),
        }
        flushed
    }

    /// Counts what was buffered as lost.
    fn failed(&mut self, error: &io::Error) {
        self.queue.counts.unwritten.fetch_add(std::mem::take(&mut self.buffered), Ordering::Relaxed);
        self.retry_at = Some(Instant::now() + RETRY);
        self.queue.set_fault(Some(error.to_string()));
    }
}

/// Writes queued packets when it is dropped, for at most [`FLUSH_TIME`].
pub(crate) struct Flush {
    sender: Sender<Message>,
    ended: Receiver<io::Result<()>>,
}

impl Drop for Flush {
    fn drop(&mut self) {
        // If the thread has ended, there is nobody to stop.
        let _ = self.sender.send(Message::Stop);
        match self.ended.recv_timeout(FLUSH_TIME) {
            Ok(Ok(())) => {}
            Ok(Err(error)) => tracing::warn!("the end of the capture is lost: {error}"),
            Err(RecvTimeoutError::Timeout) => {
                tracing::warn!("the end of the capture was not written within {} s", FLUSH_TIME.as_secs());
            }
            Err(RecvTimeoutError::Disconnected) => {
                tracing::warn!("the end of the capture is lost: its thread has ended");
            }
        }
    }
}
