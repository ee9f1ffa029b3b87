//! The actions of an ACK (LIST-OF-ACTIONS, SPOE.txt section 3.4).
//!
//! HAProxy performs the actions in order, stops at the first invalid one, and logs no error (`st=0`). So the encoders
//! return an error for a name or value that HAProxy would drop or misread.

use alloc::boxed::Box;
use alloc::string::String;
use alloc::vec::Vec;

use super::encode_varint;
use super::reader::Reader;
use super::typed_data::TypedData;
use super::varint::varint_len;
use crate::error::{DecodeError, Fault, Field};

const SET_VAR: u8 = 1;
const UNSET_VAR: u8 = 2;

/// The longest variable name, in bytes.
///
/// HAProxy drops an action whose full name, `scope.prefix.name`, is longer than 63 bytes (before 3.5 it read past a
/// buffer on its stack). The scope and prefix `sess.iprep.` leave 52 bytes.
pub const VAR_NAME_LEN_MAX: usize = 52;

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

/// The reason why a variable name is invalid.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NameError {
    /// The name is empty. HAProxy skips an action with an empty name.
    #[error("a variable name cannot be empty")]
    Empty,
    /// The name is longer than [`VAR_NAME_LEN_MAX`].
    #[error(
        "a variable name of {len} bytes is too long: HAProxy accepts {VAR_NAME_LEN_MAX} after the scope and prefix"
    )]
    TooLong {
        /// The length of the name, in bytes.
        len: usize,
    },
    /// The name has a byte outside `[A-Za-z0-9_.]`. HAProxy skips an action with such a name.
    #[error(
        "a variable name cannot have the byte {byte:#04x} (at {at}): only letters, digits, '_' and '.' are allowed"
    )]
    BadByte {
        /// The first byte that is not allowed.
        byte: u8,
        /// Its index in the name.
        at: usize,
    },
}

/// A variable name that was checked once, for agents that set the same variables in every answer.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct VarName(Box<str>);

impl VarName {
    /// Creates a checked name.
    ///
    /// # Errors
    /// HAProxy would drop an action with this name.
    pub fn new(name: &str) -> Result<Self, NameError> {
        check_name(name)?;
        Ok(Self(name.into()))
    }

    /// Returns the name.
    #[inline]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// A variable name: a string, which is checked on each use, or a [`VarName`], which is already checked.
pub trait AsVarName {
    /// Returns the checked name.
    ///
    /// # Errors
    /// HAProxy would drop an action with this name.
    fn checked(&self) -> Result<&str, NameError>;
}

impl AsVarName for str {
    #[inline]
    fn checked(&self) -> Result<&str, NameError> {
        check_name(self).map(|()| self)
    }
}

impl AsVarName for String {
    #[inline]
    fn checked(&self) -> Result<&str, NameError> {
        self.as_str().checked()
    }
}

impl<N: AsVarName + ?Sized> AsVarName for &N {
    #[inline]
    fn checked(&self) -> Result<&str, NameError> {
        N::checked(self)
    }
}

impl AsVarName for VarName {
    #[inline]
    fn checked(&self) -> Result<&str, NameError> {
        Ok(&self.0)
    }
}

/// The reason why a variable cannot be set.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SetVarError {
    /// The name is invalid.
    #[error(transparent)]
    Name(#[from] NameError),
    /// The value is NULL, which unsets the variable in HAProxy (#855). Use `unset_var` for that.
    #[error("NULL cannot be the value of a variable: unset it instead")]
    Null,
    /// The integer is above 2^63-1. HAProxy's integers are signed, so it would read a negative number.
    #[error("{0} is above 2^63-1: HAProxy would read it as negative")]
    Integer(u64),
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
    reader: Reader<'b>,
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

/// A list of actions that is built separately from its ACK, for instance by a future whose answer is deferred.
///
/// ```
/// use spoa_core::wire::{Actions, Scope};
///
/// let mut actions = Actions::new();
/// actions.set_var(Scope::Session, "ip_score", 42u32)?.unset_var(Scope::Session, "ip_error")?;
/// assert_eq!(actions.iter().count(), 2);
/// # Ok::<(), spoa_core::wire::SetVarError>(())
/// ```
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Actions {
    encoded: Vec<u8>,
}

impl Actions {
    /// Creates an empty list.
    pub const fn new() -> Self {
        Self { encoded: Vec::new() }
    }

    /// Sets a variable. HAProxy puts the scope and the agent's `var-prefix` before the name.
    ///
    /// # Errors
    /// HAProxy would drop or misread the action. The list is unchanged.
    pub fn set_var<'v>(
        &mut self,
        scope: Scope,
        name: &(impl AsVarName + ?Sized),
        value: impl Into<TypedData<'v>>,
    ) -> Result<&mut Self, SetVarError> {
        let (name, value) = (name.checked()?, value.into());
        set_var_len(name, &value)?;
        encode_set_var(scope, name, &value, &mut self.encoded);
        Ok(self)
    }

    /// Unsets a variable.
    ///
    /// # Errors
    /// HAProxy would drop the action. The list is unchanged.
    pub fn unset_var(&mut self, scope: Scope, name: &(impl AsVarName + ?Sized)) -> Result<&mut Self, NameError> {
        encode_unset_var(scope, name.checked()?, &mut self.encoded);
        Ok(self)
    }

    /// True if there are no actions.
    pub fn is_empty(&self) -> bool {
        self.encoded.is_empty()
    }

    /// Iterates over the actions, which are decoded one by one.
    pub fn iter(&self) -> ActionIter<'_> {
        ActionIter::new(&self.encoded)
    }

    /// Returns the encoded actions, as in the payload of an ACK.
    pub fn as_bytes(&self) -> &[u8] {
        &self.encoded
    }

    /// Returns the encoded length of as many of the first actions as fit into `room` bytes.
    pub(crate) fn prefix_len(&self, room: usize) -> usize {
        let mut iter = self.iter();
        let mut len = 0;
        while let Some(Ok(_)) = iter.next() {
            let end = self.encoded.len() - iter.reader.rest().len();
            if end > room {
                break;
            }
            len = end;
        }
        debug_assert!(len <= room.min(self.encoded.len()), "only actions that fit are counted");
        len
    }
}

impl<'a> IntoIterator for &'a Actions {
    type Item = Result<Action<'a>, DecodeError>;
    type IntoIter = ActionIter<'a>;

    fn into_iter(self) -> ActionIter<'a> {
        self.iter()
    }
}

/// Checks the value of a SET-VAR whose name was checked. Returns the encoded length of the action.
#[inline]
pub(crate) fn set_var_len(name: &str, value: &TypedData<'_>) -> Result<usize, SetVarError> {
    match *value {
        TypedData::Null => return Err(SetVarError::Null),
        TypedData::Uint64(value) if i64::try_from(value).is_err() => return Err(SetVarError::Integer(value)),
        _ => {}
    }
    Ok(3 + encoded_name_len(name) + value.encoded_len())
}

/// Returns the encoded length of an UNSET-VAR.
#[inline]
pub(crate) const fn unset_var_len(name: &str) -> usize {
    3 + encoded_name_len(name)
}

/// Appends a SET-VAR that [`set_var_len`] accepted.
#[inline]
pub(crate) fn encode_set_var(scope: Scope, name: &str, value: &TypedData<'_>, out: &mut Vec<u8>) {
    debug_assert!(set_var_len(name, value).is_ok(), "HAProxy would misread the value {value:?}");
    out.extend_from_slice(&[SET_VAR, 3, scope as u8]);
    encode_name(name, out);
    value.encode(out);
}

/// Appends an UNSET-VAR whose name was checked.
#[inline]
pub(crate) fn encode_unset_var(scope: Scope, name: &str, out: &mut Vec<u8>) {
    out.extend_from_slice(&[UNSET_VAR, 2, scope as u8]);
    encode_name(name, out);
}

fn encode_name(name: &str, out: &mut Vec<u8>) {
    debug_assert!(check_name(name).is_ok(), "HAProxy would skip a variable with the name {name:?}");
    encode_varint(name.len() as u64, out);
    out.extend_from_slice(name.as_bytes());
}

const fn encoded_name_len(name: &str) -> usize {
    varint_len(name.len() as u64) + name.len()
}

#[inline]
fn check_name(name: &str) -> Result<(), NameError> {
    let len = name.len();
    if len == 0 {
        return Err(NameError::Empty);
    }
    if len > VAR_NAME_LEN_MAX {
        return Err(NameError::TooLong { len });
    }
    match name.bytes().position(|byte| !(byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'.'))) {
        Some(at) => Err(NameError::BadByte { byte: name.as_bytes()[at], at }),
        None => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::string::String;

    #[test]
    fn both_actions_have_the_documented_bytes() {
        let mut actions = Actions::new();
        actions.set_var(Scope::Session, "ip_score", 42u32).unwrap();
        assert_eq!(actions.as_bytes(), b"\x01\x03\x01\x08ip_score\x03\x2a");
        actions.unset_var(Scope::Response, "x").unwrap();
        assert_eq!(&actions.as_bytes()[14..], b"\x02\x02\x04\x01x");
        let decoded: Vec<_> = actions.iter().map(Result::unwrap).collect();
        assert_eq!(
            decoded,
            [
                Action::SetVar { scope: Scope::Session, name: b"ip_score", value: TypedData::Uint32(42) },
                Action::UnsetVar { scope: Scope::Response, name: b"x" },
            ]
        );
    }

    #[test]
    fn actions_that_haproxy_would_drop_or_misread_are_errors() {
        let long = "x".repeat(53);
        let mut actions = Actions::new();
        for (name, error) in [
            ("", NameError::Empty),
            (&long, NameError::TooLong { len: 53 }),
            ("ip-score", NameError::BadByte { byte: b'-', at: 2 }),
            ("é", NameError::BadByte { byte: 0xc3, at: 0 }),
        ] {
            assert_eq!(actions.set_var(Scope::Session, name, 1u32).unwrap_err(), SetVarError::Name(error));
            assert_eq!(actions.unset_var(Scope::Session, name).unwrap_err(), error);
        }
        assert_eq!(actions.set_var(Scope::Session, "x", TypedData::Null).unwrap_err(), SetVarError::Null);
        let big = 1 << 63;
        assert_eq!(actions.set_var(Scope::Session, "x", big).unwrap_err(), SetVarError::Integer(big));
        assert!(actions.is_empty(), "expected no refused action in the list");
        actions.set_var(Scope::Session, &long[..52], big - 1).unwrap();
    }

    #[test]
    fn computed_lengths_equal_the_encoded_ones() {
        let text = "x".repeat(300);
        for value in [TypedData::from(true), 5.into(), (-5i64).into(), "".into(), text.as_str().into()] {
            let mut out = Vec::new();
            encode_set_var(Scope::Process, "name", &value, &mut out);
            assert_eq!(set_var_len("name", &value), Ok(out.len()));
        }
        let mut out = Vec::new();
        encode_unset_var(Scope::Process, "name", &mut out);
        assert_eq!(unset_var_len("name"), out.len());
    }

    #[test]
    fn a_prefix_ends_between_two_actions() {
        let mut actions = Actions::new();
        actions.set_var(Scope::Session, "a", 1u32).unwrap().set_var(Scope::Session, "b", 2u32).unwrap();
        let one = actions.as_bytes().len() / 2;
        for (room, len) in [(0, 0), (one - 1, 0), (one, one), (2 * one - 1, one), (2 * one, 2 * one), (999, 2 * one)] {
            assert_eq!(actions.prefix_len(room), len, "room {room}");
        }
    }

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
