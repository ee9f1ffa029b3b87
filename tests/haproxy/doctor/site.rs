//! The site that HAProxy protects.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

/// An HTTP server that returns the head of each request as the body of its response.
pub(super) struct Site {
    pub(super) addr: SocketAddr,
    is_stopped: Arc<AtomicBool>,
}

impl Site {
    pub(super) fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port is free");
        let addr = listener.local_addr().expect("the socket is bound");
        let site = Self { addr, is_stopped: Arc::default() };
        let is_stopped = Arc::clone(&site.is_stopped);
        std::thread::spawn(move || {
            for stream in listener.incoming().map_while(Result::ok) {
                if is_stopped.load(Ordering::Relaxed) {
                    return;
                }
                std::thread::spawn(move || respond(stream));
            }
        });
        site
    }
}

impl Drop for Site {
    fn drop(&mut self) {
        self.is_stopped.store(true, Ordering::Relaxed);
        let _ = TcpStream::connect(self.addr); // wakes the accepting thread, which then returns
    }
}

/// Responds until HAProxy closes the connection.
fn respond(mut stream: TcpStream) {
    let (mut head, mut buf) = (Vec::new(), vec![0; 65_536]);
    while let Ok(len @ 1..) = stream.read(&mut buf) {
        head.extend_from_slice(&buf[..len]);
        if !head.ends_with(b"\r\n\r\n") {
            continue;
        }
        let response = format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n", head.len());
        if stream.write_all(&[response.as_bytes(), &*head].concat()).is_err() {
            return;
        }
        head.clear();
    }
}
