//! Clients that keep sending requests on new connections.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::Instant;

use crate::client::{Request, Response, loopback};
use crate::log::WAIT_MAX;

/// Running clients. Each has its own address and sends one request after the other, on a new connection per request.
/// They stop when this value is dropped.
pub(crate) struct Load {
    clients: Vec<JoinHandle<()>>,
    shared: Arc<Shared>,
}

#[derive(Default)]
struct Shared {
    stop: AtomicBool,
    answers: Mutex<Vec<std::io::Result<Response>>>,
    more: Condvar,
}

impl Load {
    pub(crate) fn start(clients: u8, to: SocketAddr) -> Self {
        let shared = Arc::new(Shared::default());
        let client = |n| {
            let shared = Arc::clone(&shared);
            std::thread::spawn(move || {
                while !shared.stop.load(Ordering::Relaxed) {
                    let answer = Request::get("/").from(loopback(n)).try_send(to);
                    shared.answers.lock().unwrap_or_else(PoisonError::into_inner).push(answer);
                    shared.more.notify_all();
                }
            })
        };
        Self { clients: (1..=clients).map(client).collect(), shared }
    }

    /// Waits until `is_enough` returns true for the answers so far.
    #[track_caller]
    pub(crate) fn wait(&self, what: &str, is_enough: impl Fn(&[std::io::Result<Response>]) -> bool) {
        let until = Instant::now() + WAIT_MAX;
        let mut answers = self.shared.answers.lock().unwrap_or_else(PoisonError::into_inner);
        while !is_enough(&answers) {
            let left = until.saturating_duration_since(Instant::now());
            let last = answers.len().saturating_sub(3);
            assert!(
                !left.is_zero(),
                "expected {what}, got {} answers, the last ones {:?}",
                answers.len(),
                &answers[last..]
            );
            answers = self.shared.more.wait_timeout(answers, left).unwrap_or_else(PoisonError::into_inner).0;
        }
    }

    /// Returns the number of answers so far.
    pub(crate) fn count(&self) -> usize {
        self.shared.answers.lock().unwrap_or_else(PoisonError::into_inner).len()
    }

    /// Stops the clients and returns all answers.
    pub(crate) fn stop(mut self) -> Vec<std::io::Result<Response>> {
        self.join();
        std::mem::take(&mut *self.shared.answers.lock().unwrap_or_else(PoisonError::into_inner))
    }

    fn join(&mut self) {
        self.shared.stop.store(true, Ordering::Relaxed);
        for client in self.clients.drain(..) {
            let _ = client.join();
        }
    }
}

impl Drop for Load {
    fn drop(&mut self) {
        self.join();
    }
}
