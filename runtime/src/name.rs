//! Names connections in the log.

use std::cell::OnceCell;
use std::net::SocketAddr;
use std::rc::Rc;

/// The name of a connection in the log: its number, which is unique in this process, its peer and, after the HELLO, the
/// engine-id of HAProxy's filter. Clones share it.
#[derive(Clone, Debug)]
pub(crate) struct Name(Rc<Parts>);

#[derive(Debug)]
struct Parts {
    number: u64,
    peer: String,
    engine: OnceCell<Box<str>>,
}

impl Name {
    pub(crate) fn new(number: u64, peer: String) -> Self {
        Self(Rc::new(Parts { number, peer, engine: OnceCell::new() }))
    }

    pub(crate) fn number(&self) -> u64 {
        self.0.number
    }

    pub(crate) fn peer(&self) -> &str {
        &self.0.peer
    }

    /// Returns the peer without its port, or without the number of its connection to a unix socket.
    pub(crate) fn host(&self) -> String {
        let peer = self.peer();
        match peer.parse::<SocketAddr>() {
            Ok(address) => address.ip().to_canonical().to_string(),
            Err(_) => peer.rsplit_once('#').map_or(peer, |(socket, _)| socket).to_owned(),
        }
    }

    /// Returns the engine-id, if it is known.
    pub(crate) fn engine(&self) -> Option<&str> {
        self.0.engine.get().map(|engine| &**engine)
    }

    /// Sets the engine-id that the HELLO named. It is escaped, and cut to the length that engine-ids have.
    pub(crate) fn set_engine(&self, id: &[u8]) {
        const LEN_MAX: usize = 64;
        let _ = self.0.engine.set(id[..id.len().min(LEN_MAX)].escape_ascii().to_string().into());
    }
}

/// Logs a line about a connection: `tell!(warn, name, "what {happened}")`.
macro_rules! tell {
    ($level:ident, $name:expr, $($text:tt)+) => {
        tracing::$level!(conn = $name.number(), peer = $name.peer(), engine = $name.engine(), $($text)+)
    };
}
pub(crate) use tell;
