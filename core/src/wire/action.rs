//! The actions of an ACK (LIST-OF-ACTIONS, SPOE.txt section 3.4).
//!
//! HAProxy performs the actions in order, stops at the first invalid one, and logs no error (`st=0`). So the encoders
//! return an error for a name or value that HAProxy would drop or misread.

use super::reader::Reader;
use super::typed_data::TypedData;
use crate::error::{DecodeError, Fault, Field};

pub(super) const SET_VAR: u8 = 1;
pub(super) const UNSET_VAR: u8 = 2;

/// The scope of a variable, which decides who can read it and how long it exists.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Scope {
    /// The HAProxy process. Such a variable must already exist, unless HAProxy's option `force-set-var` is set.
    Process = 0,
    /// The client's session.
    Session = 1,
    /// The request and its response.
    Transaction = 2,
    /// The request alone.
    Request = 3,
    /// The response alone. Such a variable cannot be set while the request is processed.
    Response = 4,
}

impl Scope {
    /// Returns the scope for a VAR-SCOPE byte.
    pub const fn from_byte(byte: u8) -> Option<Self> {
        Some(match byte {
            0 => Self::Process,
            1 => Self::Session,
            2 => Self::Transaction,
            3 => Self::Request,
            4 => Self::Response,
            _ => return None,
        })
    }

    /// Returns the name in HAProxy's configuration: `proc`, `sess`, `txn`, `req` or `res`.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Process => "proc",
            Self::Session => "sess",
            Self::Transaction => "txn",
            Self::Request => "req",
            Self::Response => "res",
        }
    }
}

/// A decoded action, as HAProxy reads it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Action<'b> {
    /// Sets a variable.
    SetVar {
        /// The scope of the variable.
        scope: Scope,
        /// The name without scope and prefix.
        name: &'b [u8],
        /// The new value.
        value: TypedData<'b>,
    },
    /// Unsets a variable.
    UnsetVar {
        /// The scope of the variable.
        scope: Scope,
        /// The name without scope and prefix.
        name: &'b [u8],
    },
}

/// An iterator over the actions of an ACK. It ends after the first malformed action.
#[derive(Clone, Debug)]
pub struct ActionIter<'b> {
    pub(super) reader: Reader<'b>,
}

impl<'b> ActionIter<'b> {
    /// Iterates over the actions of `payload`, which are decoded one by one.
    pub const fn new(payload: &'b [u8]) -> Self {
        Self { reader: Reader::new(payload) }
    }

    fn action(&mut self) -> Result<Action<'b>, DecodeError> {
        let reader = &mut self.reader;
        let kind = reader.u8(Field::ActionType)?;
        let arg_count = match kind {
            SET_VAR => 3,
            UNSET_VAR => 2,
            _ => return Err(DecodeError::new(Field::ActionType, Fault::OutOfRange)),
        };
        if reader.u8(Field::ArgCount)? != arg_count {
            return Err(DecodeError::new(Field::ArgCount, Fault::OutOfRange));
        }
        let scope = Scope::from_byte(reader.u8(Field::Scope)?).ok_or(DecodeError::new(Field::Scope, Fault::OutOfRange));
        let scope = scope?;
        let name = reader.string(Field::VarName)?;
        Ok(if kind == SET_VAR {
            Action::SetVar { scope, name, value: TypedData::decode(reader, Field::Value)? }
        } else {
            Action::UnsetVar { scope, name }
        })
    }
}

impl<'b> Iterator for ActionIter<'b> {
    type Item = Result<Action<'b>, DecodeError>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.reader.is_empty() {
            return None;
        }
        let action = self.action();
        if action.is_err() {
            self.reader = Reader::new(&[]);
        }
        Some(action)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::string::String;
    use alloc::vec::Vec;

    #[test]
    fn malformed_actions_are_errors() {
        for (bytes, field) in [
            (&[3, 3, 1, 1, b'x', 0][..], Field::ActionType),
            (&[1, 2, 1, 1, b'x', 0], Field::ArgCount),
            (&[2, 3, 1, 1, b'x', 0], Field::ArgCount),
            (&[1, 3, 5, 1, b'x', 0], Field::Scope),
            (&[1, 3, 1, 2, b'x'], Field::VarName),
            (&[1, 3, 1, 1, b'x'], Field::Value),
        ] {
            let mut iter = ActionIter::new(bytes);
            assert_eq!(iter.next().unwrap().unwrap_err().field, field);
            assert_eq!(iter.next(), None);
        }
    }

    #[test]
    fn scopes_have_their_bytes_and_names() {
        let names: Vec<String> = (0..5).map(|b| Scope::from_byte(b).unwrap().name().into()).collect();
        assert_eq!(names, ["proc", "sess", "txn", "req", "res"]);
        assert_eq!(Scope::from_byte(5), None);
    }
}
