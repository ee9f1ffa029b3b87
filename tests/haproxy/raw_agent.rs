//! Agents that say just what a test has them say, good or bad.

use std::io::{Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use spoa_tests::bytes::{DISCONNECT, FIN, Frame, HELLO, NOTIFY, UNSET, Value};
use spoa_tests::frames::{ack, agent_disconnect, agent_hello};

use crate::relay::reset_on_close;

/// An agent; it takes no more connections when dropped.
pub(crate) struct RawAgent {
    pub(crate) addr: SocketAddr,
    gone: Arc<AtomicBool>,
    ended: Arc<AtomicUsize>,
}

impl RawAgent {
    /// Runs `script` for each connection, which counts from 0, on a thread of its own. When it returns, the connection
    /// is closed.
    pub(crate) fn start(script: impl Fn(usize, &mut Peer) + Send + Sync + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let addr = listener.local_addr().expect("it is bound");
        let (gone, ended, script) = (Arc::default(), Arc::<AtomicUsize>::default(), Arc::new(script));
        let (is_gone, has_ended) = (Arc::clone(&gone), Arc::clone(&ended));
        std::thread::spawn(move || {
            let count = AtomicUsize::new(0);
            for stream in listener.incoming().map_while(Result::ok) {
                if AtomicBool::load(&is_gone, Ordering::Relaxed) {
                    return;
                }
                let _ = stream.set_nodelay(true);
                let (script, ended) = (Arc::clone(&script), Arc::clone(&has_ended));
                let connection = count.fetch_add(1, Ordering::Relaxed);
                std::thread::spawn(move || {
                    script(connection, &mut Peer { stream, unread: Vec::new() });
                    ended.fetch_add(1, Ordering::SeqCst);
                });
            }
        });
        Self { addr, gone, ended }
    }

    /// How many connections are through.
    pub(crate) fn ended(&self) -> usize {
        self.ended.load(Ordering::SeqCst)
    }
}

impl Drop for RawAgent {
    fn drop(&mut self) {
        self.gone.store(true, Ordering::Relaxed);
        let _ = TcpStream::connect(self.addr); // wakes the thread that accepts
    }
}

/// HAProxy's end, as the agent sees it.
pub(crate) struct Peer {
    stream: TcpStream,
    unread: Vec<u8>,
}

impl Peer {
    /// The next frame; `None` when HAProxy has closed, one way or the other.
    pub(crate) fn next(&mut self) -> Option<Frame> {
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

    /// The next whole NOTIFY. A DISCONNECT on the way is answered, and then there is none.
    pub(crate) fn notify(&mut self) -> Option<Frame> {
        loop {
            let frame = self.next()?;
            match frame.kind {
                NOTIFY | UNSET if frame.flags == FIN => return Some(frame),
                DISCONNECT => {
                    let code = frame.value("status-code");
                    self.say(&agent_disconnect(if let Some(Value::Uint32(code)) = code { code } else { 99 }));
                    self.end();
                    return None;
                }
                _ => {}
            }
        }
    }

    /// Waits for the HELLO and answers with `greeting`; a health check with what it likes to hear, and that ends it.
    pub(crate) fn greet(&mut self, greeting: &[u8]) -> Option<()> {
        let hello = self.next().filter(|frame| frame.kind == HELLO)?;
        if hello.value("healthcheck").is_some() {
            self.say(&agent_hello(16380, ""));
            self.end();
            return None;
        }
        self.say(greeting);
        Some(())
    }

    /// Answers with a score what comes, `count` times.
    pub(crate) fn serve(&mut self, count: usize) -> Option<()> {
        for _ in 0..count {
            let notify = self.notify()?;
            self.say(&ack(notify.sid, notify.fid, &[42]));
        }
        Some(())
    }

    /// One write. Whoever is not there does not hear it.
    pub(crate) fn say(&mut self, bytes: &[u8]) {
        let _ = self.stream.write_all(bytes);
    }

    /// A write for each piece of at most `len` bytes, far enough apart to be read one by one.
    pub(crate) fn say_in_pieces(&mut self, bytes: &[u8], len: usize) {
        for piece in bytes.chunks(len) {
            self.say(piece);
            std::thread::sleep(Duration::from_millis(1)); // an agent that is slow: nobody waits for this to be over
        }
    }

    /// Says FIN and reads on until HAProxy has closed too.
    pub(crate) fn end(&mut self) {
        let _ = self.stream.shutdown(Shutdown::Write);
        while self.next().is_some() {}
    }

    /// Reads until HAProxy has closed, answering nothing.
    pub(crate) fn listen(&mut self) {
        while self.next().is_some() {}
    }

    /// Closes by RST.
    pub(crate) fn reset(&mut self) {
        reset_on_close(&self.stream);
    }
}
