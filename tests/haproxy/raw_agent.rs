//! Agents that send exactly the bytes that a test chooses, valid or not.

use std::io::{Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use spoa_tests::bytes::{DISCONNECT, FIN, Frame, HELLO, NOTIFY, UNSET, Value};
use spoa_tests::frames::{ack, agent_disconnect, agent_hello};

use crate::relay::reset_on_close;

/// An agent that runs a script per connection. It accepts no more connections after it is dropped.
pub(crate) struct RawAgent {
    pub(crate) addr: SocketAddr,
    is_stopped: Arc<AtomicBool>,
    finished: Arc<AtomicUsize>,
}

impl RawAgent {
    /// Starts an agent that runs `script` for each connection, on a thread per connection. Connections are numbered
    /// from 0. When the script returns, its connection is closed.
    pub(crate) fn start(script: impl Fn(usize, &mut Peer) + Send + Sync + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port is free");
        let addr = listener.local_addr().expect("the socket is bound");
        let agent = Self { addr, is_stopped: Arc::default(), finished: Arc::default() };
        let (is_stopped, finished, script) =
            (Arc::clone(&agent.is_stopped), Arc::clone(&agent.finished), Arc::new(script));
        std::thread::spawn(move || {
            let count = AtomicUsize::new(0);
            for stream in listener.incoming().map_while(Result::ok) {
                if is_stopped.load(Ordering::Relaxed) {
                    return;
                }
                let _ = stream.set_nodelay(true);
                let (script, finished) = (Arc::clone(&script), Arc::clone(&finished));
                let connection = count.fetch_add(1, Ordering::Relaxed);
                std::thread::spawn(move || {
                    script(connection, &mut Peer { stream, unread: Vec::new() });
                    finished.fetch_add(1, Ordering::SeqCst);
                });
            }
        });
        agent
    }

    /// Returns the number of connections whose script has returned.
    pub(crate) fn finished(&self) -> usize {
        self.finished.load(Ordering::SeqCst)
    }
}

impl Drop for RawAgent {
    fn drop(&mut self) {
        self.is_stopped.store(true, Ordering::Relaxed);
        let _ = TcpStream::connect(self.addr); // wakes the accepting thread, which then returns
    }
}

/// The connection to HAProxy, for a script.
pub(crate) struct Peer {
    stream: TcpStream,
    unread: Vec<u8>,
}

impl Peer {
    /// Waits for the next frame. Returns `None` if HAProxy has closed or reset the connection.
    pub(crate) fn next_frame(&mut self) -> Option<Frame> {
        let mut buf = vec![0; 65_536];
        loop {
            let mut rest = &self.unread[..];
            if let Some(frame) = Frame::take(&mut rest) {
                self.unread = rest.to_vec();
                return Some(frame);
            }
            match self.stream.read(&mut buf) {
                Ok(len @ 1..) => self.unread.extend_from_slice(&buf[..len]),
                Ok(_) | Err(_) => return None,
            }
        }
    }

    /// Waits for the next frame that completes a NOTIFY: an unfragmented one or a last fragment. If DISCONNECT arrives
    /// first, answers it and returns `None`.
    pub(crate) fn next_notify(&mut self) -> Option<Frame> {
        loop {
            let frame = self.next_frame()?;
            match frame.kind {
                NOTIFY | UNSET if frame.flags == FIN => return Some(frame),
                DISCONNECT => {
                    let code = frame.value("status-code");
                    self.send(&agent_disconnect(if let Some(Value::Uint32(code)) = code { code } else { 99 }));
                    self.finish();
                    return None;
                }
                _ => {}
            }
        }
    }

    /// Waits for the HELLO and answers it with `greeting`. Returns `None` if there is none, or if it is a health check,
    /// which is answered correctly.
    pub(crate) fn greet(&mut self, greeting: &[u8]) -> Option<()> {
        let hello = self.next_frame().filter(|frame| frame.kind == HELLO)?;
        if hello.value("healthcheck").is_some() {
            self.send(&agent_hello(16380, ""));
            self.finish();
            return None;
        }
        self.send(greeting);
        Some(())
    }

    /// Answers the next `count` NOTIFYs with a score. Returns `None` if HAProxy closes the connection earlier.
    pub(crate) fn serve(&mut self, count: usize) -> Option<()> {
        for _ in 0..count {
            let notify = self.next_notify()?;
            self.send(&ack(notify.sid, notify.fid, &[42]));
        }
        Some(())
    }

    /// Sends bytes in one write. Errors are ignored: HAProxy may have closed the connection.
    pub(crate) fn send(&mut self, bytes: &[u8]) {
        let _ = self.stream.write_all(bytes);
    }

    /// Sends bytes in pieces of at most `len` bytes, one write per piece, with pauses so that HAProxy reads them one by
    /// one.
    pub(crate) fn send_in_pieces(&mut self, bytes: &[u8], len: usize) {
        for piece in bytes.chunks(len) {
            self.send(piece);
            std::thread::sleep(Duration::from_millis(1)); // a slow agent: no event shows that HAProxy has read a piece
        }
    }

    /// Sends FIN and reads until HAProxy has closed the connection too.
    pub(crate) fn finish(&mut self) {
        let _ = self.stream.shutdown(Shutdown::Write);
        while self.next_frame().is_some() {}
    }

    /// Reads until HAProxy has closed the connection, and answers nothing.
    pub(crate) fn read_to_end(&mut self) {
        while self.next_frame().is_some() {}
    }

    /// Makes the connection close with RST when the script returns.
    pub(crate) fn reset(&mut self) {
        reset_on_close(&self.stream);
    }
}
