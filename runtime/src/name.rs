//! Which connection a line of the log is about.

use std::cell::OnceCell;
use std::rc::Rc;

/// A connection in logs: its number, unique in this process, its peer and, from the HELLO on, the engine-id of HAProxy's
/// filter. Clones are the same.
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

    /// The engine-id, if it is known.
    pub(crate) fn engine(&self) -> Option<&str> {
        self.0.engine.get().map(|engine| &**engine)
    }

    /// The HELLO named the engine. What is no text is shown as such, and not more than an engine-id has.
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
