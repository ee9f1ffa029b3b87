//! Connections that send as much as the agent takes.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::os::fd::AsFd;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use rustix::net::sockopt::set_socket_linger;
use rustix::process::setpriority_process;
use spoa_tests::bytes::{Frame, NOTIFY, UNSET};
use spoa_tests::client::Client;
use spoa_tests::frames::Hello;

/// Connections that are attacking.
pub(crate) struct Attackers {
    /// Each connection, and the number of bytes of its input that it has sent.
    connections: Mutex<Vec<(TcpStream, usize)>>,
    input: Vec<u8>,
}

impl Attackers {
    /// Opens connections that will send `input` again and again.
    pub(crate) fn connect(addr: &str, count: usize, hello: &Hello, input: &[u8]) -> Self {
        let connect = |_| {
            let stream = Client::with_hello(addr, hello).into_tcp();
            stream.set_nonblocking(true).expect("the socket can be made non-blocking");
            (stream, 0)
        };
        Self { connections: Mutex::new((0..count).map(connect).collect()), input: input.into() }
    }

    /// Attacks while `act` runs.
    pub(crate) fn beside<T>(&self, act: impl FnOnce() -> T) -> T {
        let is_over = AtomicBool::new(false);
        thread::scope(|scope| {
            scope.spawn(|| {
                // Of this thread alone.
                let _ = setpriority_process(None, 19);
                let mut connections = self.connections.lock().expect("no attacker has panicked");
                while !is_over.load(Ordering::Relaxed) {
                    let moved =
                        connections.iter_mut().map(|connection| usize::from(self.push(connection))).sum::<usize>();
                    if moved == 0 {
                        thread::sleep(Duration::from_millis(1));
                    }
                }
            });
            // Until every connection has sent its first input.
            thread::sleep(Duration::from_millis(500));
            let result = act();
            is_over.store(true, Ordering::Relaxed);
            result
        })
    }

    /// Reads and writes as much as the socket takes at once. Returns false if it takes nothing.
    fn push(&self, (stream, sent): &mut (TcpStream, usize)) -> bool {
        let mut answers = [0; 1 << 16];
        let has_read = stream.read(&mut answers).is_ok_and(|len| len > 0);
        let written = stream.write(&self.input[*sent..]).unwrap_or(0);
        *sent = (*sent + written) % self.input.len();
        has_read || written > 0
    }

    /// Resets all connections.
    pub(crate) fn reset(self) {
        for (stream, _) in self.connections.into_inner().expect("no attacker has panicked") {
            set_socket_linger(stream.as_fd(), Some(Duration::ZERO)).expect("the socket can be reset");
        }
    }
}

/// Returns a NOTIFY of so many fragments of `len` bytes each, and an ABORT.
pub(crate) fn fragments(len: usize, count: usize) -> Vec<u8> {
    let mut bytes = open_fragments(len, count);
    bytes.extend(Frame::new(UNSET, (1, 1), []).flags(3).encode());
    bytes
}

/// Returns so many fragments of `len` bytes each, without the last one.
pub(crate) fn open_fragments(len: usize, count: usize) -> Vec<u8> {
    let kind = |n| if n == 0 { NOTIFY } else { UNSET };
    (0..count).flat_map(|n| Frame::new(kind(n), (1, 1), vec![0; len]).flags(0).encode()).collect()
}
