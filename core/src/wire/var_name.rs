//! Names of variables that HAProxy accepts.

use alloc::boxed::Box;
use alloc::string::String;

/// The longest variable name, in bytes.
///
/// HAProxy drops an action whose full name, `scope.prefix.name`, is longer than 63 bytes (before 3.5 it read past a
/// buffer on its stack). The scope and prefix `sess.iprep.` leave 52 bytes.
pub const VAR_NAME_LEN_MAX: usize = 52;

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

#[inline]
pub(super) fn check_name(name: &str) -> Result<(), NameError> {
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
