//! The actions of an ACK (LIST-OF-ACTIONS, SPOE.txt section 3.4).
//!
//! HAProxy runs actions in order and stops silently at the first bad one, with `st=0`: what it would not take must
//! not be built. So a name or value that HAProxy would drop, or read as something else, is an error here.

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

/// The longest name of a variable, in bytes.
///
/// HAProxy drops an action whose full name, `scope.prefix.name`, is over 63 bytes (before 3.5 it read past its
/// stack); `sess.iprep.` leaves 52.
pub const VAR_NAME_LEN_MAX: usize = 52;

/// Where a variable lives and for how long.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Scope {
    /// The HAProxy process. Such a variable must exist already, unless `force-set-var` is on.
    Process = 0,
    /// The client's session.
    Session = 1,
    /// The request and its response.
    Transaction = 2,
    /// The request alone.
    Request = 3,
    /// The response alone; cannot be set while the request is processed.
    Response = 4,
}

impl Scope {
    /// The scope of a VAR-SCOPE byte.
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

    /// What HAProxy's configuration calls it: `proc`, `sess`, `txn`, `req` or `res`.
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

/// Why a variable cannot have this name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NameError {
    /// HAProxy skips an action with an empty name.
    #[error("a variable name cannot be empty")]
    Empty,
    /// Above [`VAR_NAME_LEN_MAX`].
    #[error("a variable name of {len} bytes is too long: HAProxy takes {VAR_NAME_LEN_MAX} after its scope and prefix")]
    TooLong {
        /// Bytes of the name.
        len: usize,
    },
    /// HAProxy skips an action whose name has a byte outside `[A-Za-z0-9_.]`.
    #[error("a variable name cannot have the byte {byte:#04x} (at {at}): only letters, digits, '_' and '.'")]
    BadByte {
        /// The first such byte.
        byte: u8,
        /// Where it is.
        at: usize,
    },
}

/// A name that HAProxy takes, checked once: for what sets the same variables again and again.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct VarName(Box<str>);

impl VarName {
    /// This name.
    ///
    /// # Errors
    /// HAProxy would drop an action that has it.
    pub fn new(name: &str) -> Result<Self, NameError> {
        check_name(name)?;
        Ok(Self(name.into()))
    }

    /// The name.
    #[inline]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// What names a variable: a text, which is checked each time, or a [`VarName`], which was.
pub trait AsVarName {
    /// The name.
    ///
    /// # Errors
    /// HAProxy would drop an action that has it.
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

/// Why a variable cannot be set.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SetVarError {
    /// Its name would not do.
    #[error(transparent)]
    Name(#[from] NameError),
    /// A NULL unsets the variable in HAProxy (#855): say so with `unset_var`.
    #[error("NULL cannot be the value of a variable: unset it instead")]
    Null,
    /// HAProxy's integers are signed: it would read this one as negative.
    #[error("{0} is above 2^63-1: HAProxy would read it as negative")]
    Integer(u64),
}

/// One action, decoded: HAProxy's side.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Action<'b> {
    /// Give a variable a value.
    SetVar {
        /// Where it lives.
        scope: Scope,
        /// Its name without scope and prefix.
        name: &'b [u8],
        /// Its new value.
        value: TypedData<'b>,
    },
    /// Remove a variable.
    UnsetVar {
        /// Where it lives.
        scope: Scope,
        /// Its name without scope and prefix.
        name: &'b [u8],
    },
}

/// The actions of an ACK's payload; the first malformed one is the last.
#[derive(Clone, Debug)]
pub struct ActionIter<'b> {
    reader: Reader<'b>,
}

impl<'b> ActionIter<'b> {
    /// The actions of `payload`, decoded as they are asked for.
    pub const fn new(payload: &'b [u8]) -> Self {
        Self { reader: Reader::new(payload) }
    }

    fn action(&mut self) -> Result<Action<'b>, DecodeError> {
        let reader = &mut self.reader;
        let kind = reader.u8(Field::ActionType)?;
        let wanted = match kind {
            SET_VAR => 3,
            UNSET_VAR => 2,
            _ => return Err(DecodeError::new(Field::ActionType, Fault::OutOfRange)),
        };
        if reader.u8(Field::ArgCount)? != wanted {
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

/// Actions built apart from their ACK, for instance by a future that answers later.
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
    /// None yet.
    pub const fn new() -> Self {
        Self { encoded: Vec::new() }
    }

    /// Gives a variable a value; see [`Scope`] for where it lives.
    ///
    /// # Errors
    /// HAProxy would drop or misread the action; the list stays as it is.
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

    /// Removes a variable.
    ///
    /// # Errors
    /// HAProxy would drop the action; the list stays as it is.
    pub fn unset_var(&mut self, scope: Scope, name: &(impl AsVarName + ?Sized)) -> Result<&mut Self, NameError> {
        encode_unset_var(scope, name.checked()?, &mut self.encoded);
        Ok(self)
    }

    /// True if there is none.
    pub fn is_empty(&self) -> bool {
        self.encoded.is_empty()
    }

    /// The actions, decoded again.
    pub fn iter(&self) -> ActionIter<'_> {
        ActionIter::new(&self.encoded)
    }

    /// The actions as an ACK carries them.
    pub fn as_bytes(&self) -> &[u8] {
        &self.encoded
    }

    /// How many of the first bytes are whole actions and at most `room`.
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

/// Checks a SET-VAR whose name was checked, and gives its size in bytes.
#[inline]
pub(crate) fn set_var_len(name: &str, value: &TypedData<'_>) -> Result<usize, SetVarError> {
    match *value {
        TypedData::Null => return Err(SetVarError::Null),
        TypedData::Uint64(value) if i64::try_from(value).is_err() => return Err(SetVarError::Integer(value)),
        _ => {}
    }
    Ok(3 + name_len(name) + value.encoded_len())
}

/// The size of an UNSET-VAR in bytes.
#[inline]
pub(crate) const fn unset_var_len(name: &str) -> usize {
    3 + name_len(name)
}

/// Appends a SET-VAR that [`set_var_len`] has checked.
#[inline]
pub(crate) fn encode_set_var(scope: Scope, name: &str, value: &TypedData<'_>, out: &mut Vec<u8>) {
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
    encode_varint(name.len() as u64, out);
    out.extend_from_slice(name.as_bytes());
}

const fn name_len(name: &str) -> usize {
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
    fn the_bytes_of_both_actions() {
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
    fn what_haproxy_would_drop_is_refused() {
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
        assert!(actions.is_empty(), "a refused action leaves nothing behind");
        actions.set_var(Scope::Session, &long[..52], big - 1).unwrap();
    }

    #[test]
    fn announced_lengths_are_the_encoded_ones() {
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
    fn malformed_actions_are_found() {
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
