//! A relay between HAProxy and an agent, which neither notices: bytes go on as they were cut, FIN as FIN, RST as RST.
//! What is made of them is for [`Watch`] to say.

use std::io::{self, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Weak};
use std::time::Duration;

use rustix::net::sockopt::set_socket_linger;
use spoa_sim_haproxy::recording::Side;

/// Who is told what goes by. Each call comes before the other side learns of it, from several threads.
pub(crate) trait Watch: Send + Sync + 'static {
    /// Whether an RST goes on as one. It may overtake what was said before it: as FIN it does not.
    const RESETS: bool;

    /// HAProxy has connected; connections count from 0.
    fn opened(&self, connection: usize);

    /// One read of `side`'s bytes; gives what goes on in their place.
    fn bytes(&self, connection: usize, side: Side, bytes: &[u8]) -> Vec<u8>;

    /// `side` says no more, or has torn the connection down.
    fn ended(&self, connection: usize, side: Side, reset: bool);
}

/// The relay; it takes no more connections when dropped.
pub(crate) struct Relay<W: Watch> {
    /// Where HAProxy is to connect.
    pub(crate) addr: SocketAddr,
    watch: Option<Arc<W>>,
}

impl<W: Watch> Relay<W> {
    /// Relays to `agent`.
    pub(crate) fn before(agent: &(impl ToString + ?Sized), watch: W) -> Self {
        let agent: SocketAddr = agent.to_string().parse().expect("a TCP agent");
        let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let addr = listener.local_addr().expect("it is bound");
        let watch = Arc::new(watch);
        let weak = Arc::downgrade(&watch);
        std::thread::spawn(move || {
            for (connection, haproxy) in listener.incoming().map_while(Result::ok).enumerate() {
                let Some(watch) = weak.upgrade() else { return };
                watch.opened(connection);
                let Ok(agent) = TcpStream::connect(agent) else {
                    // From now on nobody listens here either: HAProxy is to see what it would without us.
                    watch.ended(connection, Side::Agent, true);
                    return reset_on_close(&haproxy);
                };
                Link::start(connection, haproxy, agent, &weak);
            }
        });
        Self { addr, watch: Some(watch) }
    }

    /// Who watches.
    pub(crate) fn watch(&self) -> &W {
        self.watch.as_ref().expect("only dropping takes it")
    }
}

impl<W: Watch> Drop for Relay<W> {
    fn drop(&mut self) {
        self.watch = None;
        let _ = TcpStream::connect(self.addr); // wakes the thread that accepts, which then finds nobody interested
    }
}

/// One connection: a socket to each side, closed when both directions are through.
struct Link {
    connection: usize,
    haproxy: TcpStream,
    agent: TcpStream,
    /// Whether we have closed our direction to HAProxy, to the agent.
    said_fin: [AtomicBool; 2],
    /// One side is gone by RST, so the other one is about to learn that.
    torn: AtomicBool,
}

impl Link {
    fn start<W: Watch>(connection: usize, haproxy: TcpStream, agent: TcpStream, watch: &Weak<W>) {
        for socket in [&haproxy, &agent] {
            let _ = socket.set_nodelay(true);
        }
        let link =
            Arc::new(Self { connection, haproxy, agent, said_fin: Default::default(), torn: AtomicBool::default() });
        for side in [Side::Haproxy, Side::Agent] {
            let (link, watch) = (Arc::clone(&link), watch.clone());
            std::thread::spawn(move || link.pump(side, &watch));
        }
    }

    /// Passes on what `side` does until that ends.
    fn pump<W: Watch>(&self, side: Side, watch: &Weak<W>) {
        let (mut from, mut to) = (self.socket(side), self.socket(other(side)));
        let mut buf = vec![0; 65_536];
        loop {
            let read = from.read(&mut buf);
            let Some(watch) = watch.upgrade() else { return self.tear(other(side)) };
            if self.torn.load(Ordering::SeqCst) {
                return;
            }
            match read {
                Ok(0) if !self.was_reset(side) => {
                    watch.ended(self.connection, side, false);
                    self.said_fin[other(side) as usize].store(true, Ordering::SeqCst);
                    let _ = to.shutdown(Shutdown::Write);
                    return;
                }
                Ok(len @ 1..) => {
                    let bytes = watch.bytes(self.connection, side, &buf[..len]);
                    if to.write_all(&bytes).is_err() {
                        // The other side reads no more and says so by RST; its own pump will meet that, unless it has
                        // ended: then this side is still to be told.
                        if self.said_fin[side as usize].load(Ordering::SeqCst) {
                            self.tear(side);
                        }
                        return;
                    }
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Ok(_) | Err(_) => {
                    watch.ended(self.connection, side, true);
                    if W::RESETS {
                        return self.tear(other(side));
                    }
                    let _ = to.shutdown(Shutdown::Write);
                    return;
                }
            }
        }
    }

    /// An RST is told once: if a write to the socket learnt of it, a read sees an end. But such a socket has no peer
    /// any more, as one has that saw FIN, unless we had said FIN before.
    fn was_reset(&self, side: Side) -> bool {
        !self.said_fin[side as usize].load(Ordering::SeqCst) && self.socket(side).peer_addr().is_err()
    }

    /// Has `side` see an RST as soon as both pumps are through, and wakes the one that reads from it.
    fn tear(&self, side: Side) {
        self.torn.store(true, Ordering::SeqCst);
        let socket = self.socket(side);
        reset_on_close(socket);
        let _ = socket.shutdown(Shutdown::Read); // of this, nothing is sent
    }

    const fn socket(&self, side: Side) -> &TcpStream {
        match side {
            Side::Haproxy => &self.haproxy,
            Side::Agent => &self.agent,
        }
    }
}

const fn other(side: Side) -> Side {
    match side {
        Side::Haproxy => Side::Agent,
        Side::Agent => Side::Haproxy,
    }
}

/// Makes the close of a socket an RST.
pub(crate) fn reset_on_close(socket: &TcpStream) {
    let _ = set_socket_linger(socket, Some(Duration::ZERO)); // should it fail, it is a FIN
}
