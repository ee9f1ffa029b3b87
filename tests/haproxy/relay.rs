//! A relay between HAProxy and an agent that neither of them notices: it forwards the bytes of each read in one write,
//! FIN as FIN and RST as RST. A [`Watch`] observes the traffic and may change it.

use std::io::{self, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Weak};
use std::time::Duration;

use rustix::net::sockopt::set_socket_linger;
use spoa_sim_haproxy::recording::Side;

/// Observes the traffic of a relay. Its methods are called from several threads, before anything is forwarded.
pub(crate) trait Watch: Send + Sync + 'static {
    /// True to forward an RST as RST, which may overtake the bytes before it. Otherwise it is forwarded as FIN, which
    /// does not.
    const RESETS: bool;

    /// HAProxy has opened a connection. Connections are numbered from 0.
    fn opened(&self, connection: usize);

    /// A read has returned these bytes of `side`. Returns the bytes to forward.
    fn bytes(&self, connection: usize, side: Side, bytes: &[u8]) -> Vec<u8>;

    /// `side` has closed its direction of the connection, or has reset the connection.
    fn ended(&self, connection: usize, side: Side, reset: bool);
}

/// A running relay. It accepts no more connections after it is dropped.
pub(crate) struct Relay<W: Watch> {
    /// The address that HAProxy has to connect to.
    pub(crate) addr: SocketAddr,
    watch: Option<Arc<W>>,
}

impl<W: Watch> Relay<W> {
    /// Starts a relay to `agent`.
    pub(crate) fn start(agent: &(impl ToString + ?Sized), watch: W) -> Self {
        let agent: SocketAddr = agent.to_string().parse().expect("the agent has a TCP address");
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port is free");
        let addr = listener.local_addr().expect("the socket is bound");
        let watch = Arc::new(watch);
        let weak = Arc::downgrade(&watch);
        std::thread::spawn(move || {
            for (connection, haproxy) in listener.incoming().map_while(Result::ok).enumerate() {
                let Some(watch) = weak.upgrade() else { return };
                watch.opened(connection);
                let Ok(agent) = TcpStream::connect(agent) else {
                    // The relay stops listening too, so that HAProxy gets the same errors as without it.
                    watch.ended(connection, Side::Agent, true);
                    return reset_on_close(&haproxy);
                };
                Link::start(connection, haproxy, agent, &weak);
            }
        });
        Self { addr, watch: Some(watch) }
    }

    /// Returns the observer.
    pub(crate) fn watch(&self) -> &W {
        self.watch.as_ref().expect("only `drop` takes it")
    }
}

impl<W: Watch> Drop for Relay<W> {
    fn drop(&mut self) {
        self.watch = None;
        let _ = TcpStream::connect(self.addr); // wakes the accepting thread, which finds the observer gone and returns
    }
}

/// One relayed connection: a socket to each side. They are closed when both directions have ended.
struct Link {
    connection: usize,
    haproxy: TcpStream,
    agent: TcpStream,
    /// True for a side to which the relay has sent FIN. Indexed by [`Side`].
    fin_sent: [AtomicBool; 2],
    /// True if one side has reset the connection, so that the relay resets the other one.
    is_reset: AtomicBool,
}

impl Link {
    fn start<W: Watch>(connection: usize, haproxy: TcpStream, agent: TcpStream, watch: &Weak<W>) {
        for socket in [&haproxy, &agent] {
            let _ = socket.set_nodelay(true);
        }
        let link = Arc::new(Self {
            connection,
            haproxy,
            agent,
            fin_sent: Default::default(),
            is_reset: AtomicBool::default(),
        });
        for side in [Side::Haproxy, Side::Agent] {
            let (link, watch) = (Arc::clone(&link), watch.clone());
            std::thread::spawn(move || link.forward(side, &watch));
        }
    }

    /// Forwards the bytes of `side`, and then its FIN or RST.
    fn forward<W: Watch>(&self, side: Side, watch: &Weak<W>) {
        let (mut from, mut to) = (self.socket(side), self.socket(opposite(side)));
        let mut buf = vec![0; 65_536];
        loop {
            let read = from.read(&mut buf);
            let Some(watch) = watch.upgrade() else { return self.reset(opposite(side)) };
            if self.is_reset.load(Ordering::SeqCst) {
                return;
            }
            match read {
                Ok(0) if !self.was_reset(side) => {
                    watch.ended(self.connection, side, false);
                    self.fin_sent[opposite(side) as usize].store(true, Ordering::SeqCst);
                    let _ = to.shutdown(Shutdown::Write);
                    return;
                }
                Ok(len @ 1..) => {
                    let bytes = watch.bytes(self.connection, side, &buf[..len]);
                    if to.write_all(&bytes).is_err() {
                        // The other side has reset the connection. The thread that reads from it forwards the RST,
                        // unless it has ended with a FIN: then `side` has to be reset here.
                        if self.fin_sent[side as usize].load(Ordering::SeqCst) {
                            self.reset(side);
                        }
                        return;
                    }
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Ok(_) | Err(_) => {
                    watch.ended(self.connection, side, true);
                    if W::RESETS {
                        return self.reset(opposite(side));
                    }
                    let _ = to.shutdown(Shutdown::Write);
                    return;
                }
            }
        }
    }

    /// Returns true if a read of zero bytes means RST and not FIN. The system reports an RST only once: if a write to
    /// the socket got the error, the next read returns zero bytes. After an RST the socket has no peer address. After a
    /// FIN it has one, unless the relay had sent FIN too.
    fn was_reset(&self, side: Side) -> bool {
        !self.fin_sent[side as usize].load(Ordering::SeqCst) && self.socket(side).peer_addr().is_err()
    }

    /// Makes the relay send an RST to `side` when both threads of the connection have ended, and wakes the one that
    /// reads from `side`.
    fn reset(&self, side: Side) {
        self.is_reset.store(true, Ordering::SeqCst);
        let socket = self.socket(side);
        reset_on_close(socket);
        let _ = socket.shutdown(Shutdown::Read); // sends nothing
    }

    const fn socket(&self, side: Side) -> &TcpStream {
        match side {
            Side::Haproxy => &self.haproxy,
            Side::Agent => &self.agent,
        }
    }
}

const fn opposite(side: Side) -> Side {
    match side {
        Side::Haproxy => Side::Agent,
        Side::Agent => Side::Haproxy,
    }
}

/// Makes closing the socket send RST.
pub(crate) fn reset_on_close(socket: &TcpStream) {
    let _ = set_socket_linger(socket, Some(Duration::ZERO)); // if this fails, closing sends FIN
}
