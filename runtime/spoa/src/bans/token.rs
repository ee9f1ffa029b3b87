//! The token for changing bans over TCP.

use std::fmt;
use std::fs;
use std::path::Path;

use subtle::ConstantTimeEq;

/// A token. It is never shown.
#[derive(Clone)]
pub(crate) struct Token(String);

/// The number of characters that a token needs, so that nobody finds it by trying.
const LEN_MIN: usize = 16;

impl Token {
    /// Reads the token in a file, without blanks and line breaks around it.
    ///
    /// # Errors
    /// The file cannot be read, or has no usable token.
    pub(crate) fn read(path: &Path) -> Result<Self, String> {
        let shown = path.display();
        let text = fs::read_to_string(path).map_err(|error| format!("cannot read the token in {shown}: {error}"))?;
        let token = text.trim();
        if token.len() < LEN_MIN || !token.bytes().all(|byte| byte.is_ascii_graphic()) {
            return Err(format!(
                "{shown} needs one line with a token: {LEN_MIN} or more letters, digits and signs of ASCII"
            ));
        }
        Ok(Self(token.to_owned()))
    }

    /// Returns true if the token of a request is this one. The time that it takes does not depend on the difference.
    pub(crate) fn is(&self, given: &str) -> bool {
        self.0.as_bytes().ct_eq(given.as_bytes()).into()
    }

    /// Returns the header with which a request carries it.
    pub(crate) fn header(&self) -> String {
        format!("Bearer {}", self.0)
    }
}

impl fmt::Debug for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Token")
    }
}
