//! Splits a line of HAProxy's configuration into words, as HAProxy's `parse_line` does.

use std::collections::BTreeMap;
use std::str::Chars;

/// Environment variables. Those that are not known stay in the text as `${NAME}`.
pub(crate) struct Environment<'e> {
    outer: &'e dyn Fn(&str) -> Option<String>,
    set: BTreeMap<String, String>,
}

impl<'e> Environment<'e> {
    pub(crate) fn new(outer: &'e dyn Fn(&str) -> Option<String>) -> Self {
        Self { outer, set: BTreeMap::new() }
    }

    pub(crate) fn get(&self, name: &str) -> Option<String> {
        self.set.get(name).cloned().or_else(|| (self.outer)(name))
    }

    /// Applies a line of the section `global`: `setenv` or `presetenv`.
    pub(crate) fn apply(&mut self, words: &[String]) {
        match words {
            [keyword, name, value, ..] if keyword == "setenv" => _ = self.set.insert(name.clone(), value.clone()),
            [keyword, name, value, ..] if keyword == "presetenv" && self.get(name).is_none() => {
                self.set.insert(name.clone(), value.clone());
            }
            _ => {}
        }
    }
}

/// True if no part of the word depends on an unknown environment variable.
pub(crate) fn is_known(word: &str) -> bool {
    !word.contains("${")
}

/// Returns the words of a line: without the comment, quotes and escapes, and with environment variables in double quotes replaced.
pub(crate) fn split(line: &str, environment: &Environment<'_>) -> Vec<String> {
    let mut words = Vec::new();
    // `None` between two words.
    let mut word = None::<String>;
    let mut rest = line.chars();
    let (mut quote, mut room) = (None, WORD_MAX);
    while let Some(char) = rest.next() {
        match char {
            '\\' if quote != Some('\'') => escape(&mut rest, word.get_or_insert_default()),
            '"' | '\'' if quote == Some(char) => quote = None,
            '"' | '\'' if quote.is_none() => {
                quote = Some(char);
                word.get_or_insert_default();
            }
            '$' if quote == Some('"') => variable(&mut rest, word.get_or_insert_default(), environment, &mut room),
            '#' if quote.is_none() => break,
            char if quote.is_none() && char.is_ascii_whitespace() => words.extend(word.take()),
            char => word.get_or_insert_default().push(char),
        }
    }
    words.extend(word);
    words
}

/// Reads the character after a backslash.
fn escape(rest: &mut Chars<'_>, word: &mut String) {
    match rest.next() {
        Some('n') => word.push('\n'),
        Some('r') => word.push('\r'),
        Some('t') => word.push('\t'),
        Some('x') => {
            let digits = rest.as_str().get(..2);
            match digits.and_then(|digits| u8::from_str_radix(digits, 16).ok()) {
                Some(byte) => {
                    word.push(char::from(byte));
                    rest.nth(1);
                }
                None => word.push('x'),
            }
        }
        Some(char) => word.push(char),
        None => word.push('\\'),
    }
}

/// The number of bytes that variables may add to a line.
const WORD_MAX: usize = 64 << 10;

/// The length in bytes of the name of a variable and its default.
const NAME_MAX: usize = 256;

/// Reads the name after a `$`, with an optional default as in `${NAME-default}`, and adds its value.
fn variable(rest: &mut Chars<'_>, word: &mut String, environment: &Environment<'_>, room: &mut usize) {
    let text = rest.as_str();
    let (inner, after) = match text.strip_prefix('{') {
        Some(braced) => match braced.bytes().take(NAME_MAX).position(|byte| byte == b'}') {
            Some(end) => (&braced[..end], &braced[end + 1..]),
            None => return word.push('$'),
        },
        None => {
            let is_name = |char: char| char.is_ascii_alphanumeric() || char == '_';
            text.split_at(text.find(|char| !is_name(char)).unwrap_or(text.len()))
        }
    };
    *rest = after.chars();
    let (name, default) = inner.split_once('-').map_or((inner, None), |(name, default)| (name, Some(default)));
    match environment.get(name.trim_end_matches("[*]")) {
        // A variable that is made of itself doubles with each line.
        Some(value) if value.len() > *room => {}
        Some(value) => {
            *room -= value.len();
            word.push_str(&value);
        }
        None => match default {
            Some(default) => word.push_str(default),
            None => *word += &format!("${{{name}}}"),
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(line: &str) -> Vec<String> {
        let outer = |name: &str| (name == "SET").then(|| "a b".to_owned());
        split(line, &Environment::new(&outer))
    }

    /// HAProxy 2.6, 3.0 and 3.2 show the same words with `-dC`.
    #[test]
    fn words_are_those_of_haproxy() {
        for (line, expected) in [
            ("  a  b\tc ", &["a", "b", "c"][..]),
            ("", &[]),
            ("# comment", &[]),
            ("x a#b", &["x", "a"]),
            ("x \"a#b\" # c", &["x", "a#b"]),
            ("x a\\ b \\# '\\n' \"\\\"\"", &["x", "a b", "#", "\\n", "\""]),
            ("\\x41\\x4 \\", &["Ax4", "\\"]),
            ("'' \"\"", &["", ""]),
            ("a'b c'd", &["ab cd"]),
            ("\"$SET/${SET}\" $SET '${SET}'", &["a b/a b", "$SET", "${SET}"]),
            ("\"${GONE}\" \"${GONE-x y}\" \"${SET-x}\" \"${SET[*]}\" \"${\"", &["${GONE}", "x y", "a b", "a b", "${"]),
            ("é \"ü\" \"open", &["é", "ü", "open"]),
        ] {
            assert_eq!(words(line), expected, "{line}");
        }
    }

    #[test]
    fn global_lines_set_variables() {
        let outer = |name: &str| (name == "SET").then(|| "outer".to_owned());
        let mut environment = Environment::new(&outer);
        let line = |text: &str| text.split(' ').map(str::to_owned).collect::<Vec<_>>();
        for text in ["presetenv SET inner", "setenv NEW 1", "presetenv FREE 2", "setenv", "maxconn 3"] {
            environment.apply(&line(text));
        }
        let seen = ["SET", "NEW", "FREE", "GONE"].map(|name| environment.get(name));
        assert_eq!(seen, [Some("outer".into()), Some("1".into()), Some("2".into()), None]);
    }
}
