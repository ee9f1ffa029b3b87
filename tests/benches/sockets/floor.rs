//! The floor: a server that does less than any agent. It waits for all sockets at once, then makes one read and one
//! write per ready socket, and copies the ids of each NOTIFY into a prepared ACK. It checks nothing, decodes no
//! messages and has no limits.

use std::io::{self, ErrorKind, Read, Write};
use std::net::SocketAddr;
use std::os::fd::AsRawFd;
use std::path::Path;

use mio::unix::SourceFd;
use mio::{Events, Interest, Poll, Token};
use socket2::{Domain, SockAddr, Socket, Type};
use spoa_tests::bytes::{HELLO, NOTIFY};
use spoa_tests::frames::{ack, agent_hello};

/// Token of the listening socket. The token of a connection is its index.
const LISTENER: Token = Token(usize::MAX);

/// Maximum number of bytes per read.
const BUFFER_LEN: usize = 1 << 18;

/// Serves on the unix socket at `path`, or else on a free port, until the process is killed. The address is printed.
pub(crate) fn serve(path: Option<&Path>) -> ! {
    let mut poll = Poll::new().expect("an epoll instance can be created");
    let registry = poll.registry().try_clone().expect("an epoll instance can be shared");
    let register = |socket: &Socket, token| {
        let result = registry.register(&mut SourceFd(&socket.as_raw_fd()), token, Interest::READABLE);
        result.expect("the socket can be registered");
    };
    let listener = listen(path).expect("a port is free");
    let addr = listener.local_addr().expect("the socket is bound");
    match path {
        Some(path) => println!("unix:{}", path.display()),
        None => println!("{}", addr.as_socket().expect("it is a TCP socket")),
    }
    register(&listener, LISTENER);
    let mut connections: Vec<Option<Connection>> = Vec::new();
    let (canned, mut buf, mut out) = (Canned::new(), vec![0; BUFFER_LEN], Vec::new());
    let mut events = Events::with_capacity(256);
    loop {
        if poll.poll(&mut events, None).is_err() {
            continue;
        }
        for event in &events {
            if event.token() == LISTENER {
                while let Ok((socket, _)) = listener.accept() {
                    socket.set_nonblocking(true).expect("the socket can be nonblocking");
                    register(&socket, Token(connections.len()));
                    connections.push(Some(Connection { socket, part: Vec::new() }));
                }
                continue;
            }
            let connection = &mut connections[event.token().0];
            if connection.as_mut().is_some_and(|connection| !connection.serve(&canned, &mut buf, &mut out)) {
                *connection = None;
            }
        }
    }
}

/// Returns a listening socket with the same options as in `spoa`: connections send data without delay, and thousands
/// may wait to be accepted.
fn listen(path: Option<&Path>) -> io::Result<Socket> {
    let domain = if path.is_some() { Domain::UNIX } else { Domain::IPV4 };
    let socket = Socket::new(domain, Type::STREAM, None)?;
    let addr = match path {
        Some(path) => SockAddr::unix(path)?,
        None => SocketAddr::from(([127, 0, 0, 1], 0)).into(),
    };
    if path.is_none() {
        socket.set_tcp_nodelay(true)?;
    }
    socket.set_nonblocking(true)?;
    socket.bind(&addr)?;
    socket.listen(4096)?;
    Ok(socket)
}

/// Prepared frames.
struct Canned {
    hello: Vec<u8>,
    /// The parts of an ACK before and after its ids.
    ack: (Vec<u8>, Vec<u8>),
}

impl Canned {
    fn new() -> Self {
        let ack = ack(1, 1, &[42]);
        Self { hello: agent_hello(16380, "pipelining"), ack: (ack[4..9].to_vec(), ack[11..].to_vec()) }
    }
}

struct Connection {
    socket: Socket,
    /// The received part of an incomplete frame.
    part: Vec<u8>,
}

impl Connection {
    /// Reads once and answers the complete frames. Returns false if the connection must be closed.
    fn serve(&mut self, canned: &Canned, buf: &mut [u8], out: &mut Vec<u8>) -> bool {
        let had = self.part.len();
        buf[..had].copy_from_slice(&self.part);
        let len = match self.socket.read(&mut buf[had..]) {
            Ok(0) => return false,
            Ok(len) => had + len,
            Err(error) => return error.kind() == ErrorKind::WouldBlock,
        };
        out.clear();
        let mut rest = &buf[..len];
        while let Some((length, after)) = rest.split_first_chunk::<4>()
            && let Some((frame, after)) = after.split_at_checked(u32::from_be_bytes(*length) as usize)
        {
            match frame[0] {
                HELLO => out.extend_from_slice(&canned.hello),
                NOTIFY => {
                    let (head, tail) = &canned.ack;
                    let ids = &frame[5..5 + ids_len(&frame[5..])];
                    let len = head.len() + ids.len() + tail.len();
                    out.extend_from_slice(&(len as u32).to_be_bytes());
                    out.extend_from_slice(head);
                    out.extend_from_slice(ids);
                    out.extend_from_slice(tail);
                }
                _ => return false,
            }
            rest = after;
        }
        self.part.clear();
        self.part.extend_from_slice(rest);
        // The client never has more in flight than fits into the buffer of the socket.
        out.is_empty() || matches!(self.socket.write(out), Ok(len) if len == out.len())
    }
}

/// Returns the length of two varints. Each ends with its first byte if that is below 240, or else with the first later
/// byte below 128.
fn ids_len(bytes: &[u8]) -> usize {
    let mut len = 0;
    for _ in 0..2 {
        let mut last = 240;
        while bytes[len] >= last {
            len += 1;
            last = 128;
        }
        len += 1;
    }
    len
}
