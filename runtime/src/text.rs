//! Formats text for people: times, numbers with their unit, and untrusted text.

use std::fmt::{self, Write};
use std::time::Duration;

/// A time in its largest exact unit: `200 ms`, `5 s`, `10 min`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Span(pub Duration);

impl fmt::Display for Span {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let micros = self.0.as_micros();
        let units = [(3_600_000_000, "h"), (60_000_000, "min"), (1_000_000, "s"), (1_000, "ms"), (1, "us")];
        let exact = units.iter().find(|(unit, _)| micros >= *unit && micros.is_multiple_of(*unit));
        match exact {
            Some((unit, name)) => write!(f, "{} {name}", micros / unit),
            None => f.write_str("0 s"),
        }
    }
}

/// A number of things, in the singular or plural: `1 prefix`, `2 prefixes`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Count<'n>(pub u64, pub &'n str);

impl fmt::Display for Count<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self(count, name) = *self;
        match name.as_bytes().last() {
            _ if count == 1 => write!(f, "{count} {name}"),
            Some(b'x') => write!(f, "{count} {name}es"),
            Some(b'y') => write!(f, "{count} {}ies", &name[..name.len() - 1]),
            _ => write!(f, "{count} {name}s"),
        }
    }
}

/// Untrusted text, for a terminal or a line of a log. Characters that could move the cursor, change how text looks, hide it or
/// begin a new line are shown as escape sequences, such as `\n` or `\u{202e}`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Escaped<T>(pub T);

impl<T: fmt::Display> fmt::Display for Escaped<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(Escaping(f), "{}", self.0)
    }
}

/// Escapes what is written through it, as [`Escaped`] does.
#[derive(Debug)]
pub struct Escaping<W>(pub W);

impl<W: Write> Write for Escaping<W> {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        let mut rest = text;
        while let Some((at, unsafe_char)) = rest.char_indices().find(|(_, char)| is_unsafe(*char)) {
            self.0.write_str(&rest[..at])?;
            match unsafe_char {
                '\n' => self.0.write_str("\\n")?,
                '\r' => self.0.write_str("\\r")?,
                '\t' => self.0.write_str("\\t")?,
                char => write!(self.0, "{}", char.escape_unicode())?,
            }
            rest = &rest[at + unsafe_char.len_utf8()..];
        }
        self.0.write_str(rest)
    }
}

/// True for control characters, and for those that change the direction of text or are invisible.
pub const fn is_unsafe(char: char) -> bool {
    matches!(char,
        '\0'..='\x1f' | '\x7f'..='\u{9f}' | '\u{ad}' | '\u{61c}' | '\u{180e}' | '\u{200b}'..='\u{200f}'
        | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{206f}' | '\u{feff}' | '\u{fff9}'..='\u{fffb}'
        | '\u{e0000}'..='\u{e007f}')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_have_the_largest_exact_unit() {
        let span = |micros| Span(Duration::from_micros(micros)).to_string();
        assert_eq!([0, 7, 1_000, 1_500, 200_000].map(span), ["0 s", "7 us", "1 ms", "1500 us", "200 ms"]);
        assert_eq!([1_500_000, 5_000_000, 90_000_000].map(span), ["1500 ms", "5 s", "90 s"]);
        assert_eq!([300_000_000, 3_600_000_000, 5_400_000_000].map(span), ["5 min", "1 h", "90 min"]);
    }

    #[test]
    fn numbers_have_their_unit() {
        assert_eq!(Count(1, "prefix").to_string() + " " + &Count(2, "prefix").to_string(), "1 prefix 2 prefixes");
        assert_eq!(Count(0, "bad line").to_string(), "0 bad lines");
        assert_eq!(Count(1, "entry").to_string() + " " + &Count(2, "entry").to_string(), "1 entry 2 entries");
    }

    #[test]
    fn nothing_of_others_reaches_a_terminal_raw() {
        let text = "a\x1b[31m\r\n\t\u{202e}txt\u{9b}\u{200b}\u{7f}é €\\\u{2028}";
        let shown = r"a\u{1b}[31m\r\n\t\u{202e}txt\u{9b}\u{200b}\u{7f}é €\\u{2028}";
        assert_eq!(Escaped(text).to_string(), shown);
        assert_eq!(Escaped(format_args!("{}{}", "x\n", 7)).to_string(), "x\\n7");
        for char in (0..=0x10_ffff).filter_map(char::from_u32) {
            let shown = Escaped(char).to_string();
            assert!(!shown.chars().any(|char| char.is_control() || is_unsafe(char)), "{shown:?}");
        }
    }
}
