//! Asks a handler without sockets and without HAProxy, for tests of agents.
//!
//! ```
//! use spoa_runtime::{Scope, SetVars, quick, testing};
//!
//! let mut handler = quick(|request, ack| {
//!     for message in request {
//!         let path = message.get::<&str>("path")?;
//!         ack.set_var(Scope::Transaction, "is_admin", path.starts_with("/admin"))?;
//!     }
//!     Ok(())
//! });
//! let answer = testing::message("route").arg("path", "/admin/users").ask(&mut handler)?;
//! assert_eq!(answer.to_string(), "set txn.is_admin=true");
//! assert!(testing::message("route").ask(&mut handler).is_err(), "the argument is missing");
//! # Ok::<(), spoa_runtime::HandlerError>(())
//! ```

use std::fmt;

use spoa_core::wire::{
    Action, ActionIter, Flags, Frame, FrameEncoder, FrameId, FrameType, HaproxyHello, MessageEncoder, Scope, StreamId,
    TypedData, encode_varint,
};
use spoa_core::{Config, Connection, Event, Instant};

use crate::context::Context;
use crate::handler::{Handler, HandlerError, Reply};

/// Returns a NOTIFY with one message, which has no arguments yet.
pub fn message(name: &str) -> Ask {
    Ask { payload: Vec::new(), count_at: 0 }.message(name)
}

/// A NOTIFY for a handler. Create one with [`message`].
#[derive(Clone, Debug)]
pub struct Ask {
    payload: Vec<u8>,
    /// The index of the byte with the number of arguments of the last message.
    count_at: usize,
}

impl Ask {
    /// Adds another message. The next arguments are those of this message.
    #[must_use]
    pub fn message(mut self, name: &str) -> Self {
        MessageEncoder::begin(&mut self.payload, name);
        self.count_at = self.payload.len() - 1;
        self
    }

    /// Adds an argument to the last message. An empty name makes it unnamed, and [`TypedData::Null`] is the value of an absent sample.
    ///
    /// # Panics
    /// If the message has 255 arguments already.
    #[must_use]
    pub fn arg<'v>(mut self, name: &str, value: impl Into<TypedData<'v>>) -> Self {
        let count = &mut self.payload[self.count_at];
        *count = count.checked_add(1).expect("a message can have at most 255 arguments");
        encode_varint(name.len() as u64, &mut self.payload);
        self.payload.extend_from_slice(name.as_bytes());
        value.into().encode(&mut self.payload);
        self
    }

    /// Asks a handler, and waits for its answer if that is deferred. Timers and sockets of smol work in it; no timeout applies.
    ///
    /// # Errors
    /// The error of the handler. HAProxy would get an empty ACK.
    ///
    /// # Panics
    /// If the handler panics, or if the messages are larger than a frame of 16380 bytes.
    pub fn ask(&self, handler: &mut impl Handler) -> Result<Answer, HandlerError> {
        let mut connection = Connection::new(Config::default(), Instant::ZERO);
        receive(&mut connection, &hello());
        while connection.poll_event().is_some() {}
        let hello_len = connection.poll_transmit().map_or(0, <[u8]>::len);
        connection.transmitted(Instant::ZERO, hello_len);
        let mut notify = Vec::new();
        let mut frame = FrameEncoder::begin(&mut notify, FrameType::NOTIFY, Flags::FIN, StreamId(1), FrameId(1));
        frame.payload().extend_from_slice(&self.payload);
        frame.finish();
        receive(&mut connection, &notify);
        let mut later = None;
        while let Some(event) = connection.poll_event() {
            match event {
                Event::Notify(notify) => {
                    if let Reply::Later(ticket, future) = handler.handle(notify, Context::unknown())? {
                        later = Some((ticket, future));
                    }
                }
                Event::Closed(reason) => panic!("the messages cannot be sent: {reason:?}"),
                Event::Ready { .. } => {}
            }
        }
        if let Some((ticket, future)) = later {
            let actions = smol::block_on(future)?;
            let mut ack = connection.ack(Instant::ZERO, ticket)?;
            ack.actions(&actions);
            ack.finish()?;
        }
        let output = connection.poll_transmit().unwrap_or_default();
        let (ack, _) = Frame::split(output)?.ok_or("the handler dropped its NOTIFY or ticket")?;
        Ok(Answer { payload: ack.payload.to_owned() })
    }
}

/// The answer of a handler: the actions of its ACK. It is shown as a list such as `set txn.is_admin=true, unset sess.user`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Answer {
    payload: Vec<u8>,
}

impl Answer {
    /// Returns the value that a variable is set to; the last one, if it is set several times. `None` if it is not set, or unset
    /// at last.
    pub fn var(&self, scope: Scope, name: &str) -> Option<TypedData<'_>> {
        let of_var = self.actions().map(|action| match action {
            Action::SetVar { scope: of, name: called, value } => (of, called, Some(value)),
            Action::UnsetVar { scope: of, name: called } => (of, called, None),
        });
        of_var.filter(|(of, called, _)| (*of, *called) == (scope, name.as_bytes())).last()?.2
    }

    /// Returns the actions, in order.
    pub fn actions(&self) -> impl Iterator<Item = Action<'_>> {
        ActionIter::new(&self.payload).map_while(Result::ok)
    }
}

impl fmt::Display for Answer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.actions().enumerate().try_for_each(|(number, action)| {
            let comma = if number > 0 { ", " } else { "" };
            write!(f, "{comma}{action}")
        })
    }
}

/// Returns the HELLO of HAProxy.
fn hello() -> Vec<u8> {
    let mut hello = Vec::new();
    HaproxyHello {
        supported_versions: Some(b"2.0"),
        max_frame_size: Some(TypedData::Uint32(16380)),
        capabilities: Some(b"pipelining"),
        ..HaproxyHello::default()
    }
    .encode(&mut hello);
    hello
}

/// Hands bytes to a connection.
///
/// # Panics
/// If they are larger than its buffer.
fn receive(connection: &mut Connection, bytes: &[u8]) {
    connection.recv_buf()[..bytes.len()].copy_from_slice(bytes);
    connection.handle_input(Instant::ZERO, bytes.len());
}

#[cfg(test)]
mod tests {
    use std::net::IpAddr;

    use super::*;
    use crate::{Actions, SetVars, deferred, quick};

    #[test]
    fn a_handler_is_asked_without_a_socket() {
        let mut handler = deferred(async |request| {
            let mut actions = Actions::new();
            for message in request.messages() {
                smol::Timer::after(std::time::Duration::from_millis(1)).await;
                actions.set_var(Scope::Session, "ip", message.get::<IpAddr>("src")?)?;
                actions.unset_var(Scope::Request, "old")?;
            }
            Ok(actions)
        });
        let ip = IpAddr::from([192, 0, 2, 1]);
        let answer = message("a").arg("src", ip).message("b").arg("src", ip).ask(&mut handler).expect("it answers");
        assert_eq!(answer.var(Scope::Session, "ip"), Some(ip.into()));
        assert_eq!(answer.var(Scope::Transaction, "ip"), None);
        let all = "set sess.ip=192.0.2.1, unset req.old, set sess.ip=192.0.2.1, unset req.old";
        assert_eq!(answer.to_string(), all);
        let error = message("a").arg("src", TypedData::Null).ask(&mut handler).expect_err("there is no address");
        assert_eq!(error.to_string(), "the argument \"src\" of the message a has no value");
        let mut silent = quick(|_, _| Ok(()));
        assert_eq!(message("a").ask(&mut silent).expect("it answers").to_string(), "");
    }
}
