//! Sets variables: the actions of an ACK under construction.

use alloc::vec::Vec;

use super::action::{Action, ActionIter, SET_VAR, Scope, UNSET_VAR};
use super::encode_varint;
use super::typed_data::TypedData;
use super::var_name::{AsVarName, NameError, check_name};
use super::varint::varint_len;
use crate::error::DecodeError;

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

/// A destination of actions: an [`Ack`](crate::Ack), or [`Actions`], which are added to an ACK later.
pub trait SetVars: Append {
    /// Sets a variable. HAProxy puts the scope and the agent's `var-prefix` before the name.
    ///
    /// # Errors
    /// HAProxy would drop or misread the action. Nothing is changed.
    #[inline]
    fn set_var<'v>(
        &mut self,
        scope: Scope,
        name: &(impl AsVarName + ?Sized),
        value: impl Into<TypedData<'v>>,
    ) -> Result<&mut Self, SetVarError> {
        let (name, value) = (name.checked()?, value.into());
        let len = set_var_len(name, &value)?;
        self.append(len, |out| encode_set_var(scope, name, &value, out));
        Ok(self)
    }

    /// Unsets a variable.
    ///
    /// # Errors
    /// HAProxy would drop the action. Nothing is changed.
    #[inline]
    fn unset_var(&mut self, scope: Scope, name: &(impl AsVarName + ?Sized)) -> Result<&mut Self, NameError> {
        let name = name.checked()?;
        self.append(unset_var_len(name), |out| encode_unset_var(scope, name, out));
        Ok(self)
    }
}

impl<A: Append> SetVars for A {}

/// The part of [`SetVars`] that differs.
#[allow(unnameable_types, reason = "nothing outside of the crate can implement it")]
pub trait Append {
    /// Appends an action of `len` bytes, which `encode` writes. An ACK counts the action instead if it does not fit.
    fn append(&mut self, len: usize, encode: impl FnOnce(&mut Vec<u8>));
}

impl Append for Actions {
    #[inline]
    fn append(&mut self, len: usize, encode: impl FnOnce(&mut Vec<u8>)) {
        let before = self.encoded.len();
        encode(&mut self.encoded);
        debug_assert_eq!(self.encoded.len(), before + len, "an action has the length that was computed");
    }
}

/// A list of actions that is built separately from its ACK, for instance by a future whose answer is deferred.
///
/// ```
/// use spoa_core::wire::{Actions, Scope, SetVars};
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
fn set_var_len(name: &str, value: &TypedData<'_>) -> Result<usize, SetVarError> {
    match *value {
        TypedData::Null => return Err(SetVarError::Null),
        TypedData::Uint64(value) if i64::try_from(value).is_err() => return Err(SetVarError::Integer(value)),
        _ => {}
    }
    Ok(3 + encoded_name_len(name) + value.encoded_len())
}

/// Returns the encoded length of an UNSET-VAR.
#[inline]
const fn unset_var_len(name: &str) -> usize {
    3 + encoded_name_len(name)
}

/// Appends a SET-VAR that [`set_var_len`] accepted.
#[inline]
fn encode_set_var(scope: Scope, name: &str, value: &TypedData<'_>, out: &mut Vec<u8>) {
    debug_assert!(set_var_len(name, value).is_ok(), "HAProxy would misread the value {value:?}");
    out.extend_from_slice(&[SET_VAR, 3, scope as u8]);
    encode_name(name, out);
    value.encode(out);
}

/// Appends an UNSET-VAR whose name was checked.
#[inline]
fn encode_unset_var(scope: Scope, name: &str, out: &mut Vec<u8>) {
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

#[cfg(test)]
mod tests {
    use super::*;

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
}
