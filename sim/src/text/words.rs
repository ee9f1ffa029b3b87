//! The words of a line of a script: names, values, messages.

use std::net::{Ipv4Addr, Ipv6Addr};
use std::str::FromStr;

use crate::plan::{Answer, Plan};
use crate::script::{AgentId, Bytes, Haproxy, Link, MessageSpec, Nanos, Value};

/// The unread rest of a line.
pub(super) struct Words<'t> {
    pub(super) rest: &'t str,
}

impl<'t> Words<'t> {
    /// Takes the next word, if there is one.
    pub(super) fn next_word(&mut self) -> Option<&'t str> {
        self.rest = self.rest.trim_start();
        let end = self.rest.find(char::is_whitespace).unwrap_or(self.rest.len());
        let (word, rest) = self.rest.split_at(end);
        self.rest = rest;
        (!word.is_empty()).then_some(word)
    }

    pub(super) fn need(&mut self, what: &str) -> Result<&'t str, String> {
        self.next_word().ok_or_else(|| format!("{what} is missing"))
    }

    /// True if the word after the next one is `second`.
    pub(super) fn has_second(&self, second: &str) -> bool {
        self.rest.split_whitespace().nth(1) == Some(second)
    }

    /// Takes a link of any kind.
    pub(super) fn link(&mut self) -> Result<Link, String> {
        let word = self.need("the link (c1, h1 or h1.0)")?;
        let link = match word.split_once('.') {
            Some((process, connection)) => haproxy(process).zip(connection.parse().ok()).map(|(h, n)| Link::Of(h, n)),
            None => haproxy(word).map(Link::All).or_else(|| scripted(word)),
        };
        link.ok_or(format!("expected a link (c1, h1 or h1.0), got '{word}'"))
    }

    /// Takes a link on which the script itself says what HAProxy sends.
    pub(super) fn scripted(&mut self) -> Result<Link, String> {
        let word = self.need("the link (c1, c2, ...)")?;
        scripted(word).ok_or(format!("expected a link on which the script sends (c1, c2, ...), got '{word}'"))
    }

    pub(super) fn process(&mut self) -> Result<Haproxy, String> {
        let word = self.need("the process (h1, h2, ...)")?;
        haproxy(word).ok_or(format!("expected a process (h1, h2, ...), got '{word}'"))
    }

    pub(super) fn agent(&mut self) -> Result<AgentId, String> {
        let word = self.need("the agent (a1, a2, ...)")?;
        let number = word.strip_prefix('a').and_then(|number| number.parse().ok()).filter(|number| *number > 0);
        number.map(AgentId).ok_or(format!("expected an agent (a1, a2, ...), got '{word}'"))
    }

    pub(super) fn grace(&mut self) -> Result<Nanos, String> {
        time(self.need("grace=TIME")?.strip_prefix("grace=").ok_or("expected grace=TIME")?)
    }

    /// Takes the next word if it is `NAME=VALUE` with a known name, and returns name and value.
    pub(super) fn modifier(&mut self, is_known: impl FnOnce(&str) -> bool) -> Option<(&'t str, &'t str)> {
        let (name, _) = self.rest.trim_start().split_once('=')?;
        if !is_known(name) {
            return None;
        }
        self.next_word()?.split_once('=')
    }

    /// Takes all `key=value` up to the end of the line.
    pub(super) fn items(&mut self) -> Result<Vec<(Bytes, Value)>, String> {
        let mut items = Vec::new();
        while self.peek().is_some() {
            let key = self.name()?;
            self.expect('=')?;
            items.push((key, self.value()?));
        }
        Ok(items)
    }

    /// Takes all `name(arg=value, ...)` up to the end of the line.
    pub(super) fn messages(&mut self) -> Result<Vec<MessageSpec>, String> {
        let mut messages = Vec::new();
        while self.peek().is_some() {
            let name = self.name()?;
            self.expect('(')?;
            let mut args = Vec::new();
            while self.peek() != Some(')') {
                if !args.is_empty() {
                    self.expect(',')?;
                }
                let arg = if self.peek() == Some('=') { Bytes::default() } else { self.name()? };
                self.expect('=')?;
                args.push((arg, self.value()?));
            }
            self.expect(')')?;
            messages.push(MessageSpec { name, args });
        }
        Ok(messages)
    }

    pub(super) fn peek(&mut self) -> Option<char> {
        self.rest = self.rest.trim_start();
        self.rest.chars().next()
    }

    pub(super) fn expect(&mut self, expected: char) -> Result<(), String> {
        match self.peek() {
            Some(found) if found == expected => {
                self.rest = &self.rest[found.len_utf8()..];
                Ok(())
            }
            Some(found) => Err(format!("expected '{expected}', got '{found}'")),
            None => Err(format!("expected '{expected}' at the end of the line")),
        }
    }

    pub(super) fn name(&mut self) -> Result<Bytes, String> {
        let name = if self.peek() == Some('"') { self.quoted()? } else { self.bare().as_bytes().to_vec() };
        Ok(name.into())
    }

    /// Takes an unquoted name or value: everything up to a space or one of `=(),`.
    pub(super) fn bare(&mut self) -> &'t str {
        self.rest = self.rest.trim_start();
        let end = self.rest.find(|c: char| c.is_whitespace() || "=(),".contains(c)).unwrap_or(self.rest.len());
        let (word, rest) = self.rest.split_at(end);
        self.rest = rest;
        word
    }

    pub(super) fn quoted(&mut self) -> Result<Vec<u8>, String> {
        self.expect('"')?;
        let mut out = Vec::new();
        let mut bytes = self.rest.bytes().enumerate();
        while let Some((at, byte)) = bytes.next() {
            match byte {
                b'"' => {
                    self.rest = &self.rest[at + 1..];
                    return Ok(out);
                }
                b'\\' => out.push(unescape(&mut bytes).ok_or("expected \\n, \\r, \\t, \\xNN, \\\", \\' or \\\\")?),
                _ => out.push(byte),
            }
        }
        Err("expected a closing quote before the end of the line".into())
    }

    pub(super) fn value(&mut self) -> Result<Value, String> {
        if self.peek() == Some('"') {
            return Ok(Value::Text(self.quoted()?.into()));
        }
        let word = self.bare();
        if let Some((kind, rest)) = word.split_once(':') {
            match kind {
                "i32" => return number(rest).map(Value::Int32),
                "u32" => return number(rest).map(Value::Uint32),
                "i64" => return number(rest).map(Value::Int64),
                "u64" => return number(rest).map(Value::Uint64),
                "text" => return number(rest).map(Value::LongText),
                "bin" => return hex(rest).map(Value::Binary),
                "raw" => return Ok(Value::Bytes(hex(rest)?.into())),
                _ => {}
            }
        }
        match word {
            "null" => return Ok(Value::Null),
            "true" => return Ok(Value::Bool(true)),
            "false" => return Ok(Value::Bool(false)),
            _ => {}
        }
        if let Ok(address) = word.parse::<Ipv4Addr>() {
            return Ok(Value::Ipv4(address.octets()));
        }
        if let Ok(address) = word.parse::<Ipv6Addr>() {
            return Ok(Value::Ipv6(address.octets()));
        }
        plan(word).map(Value::Plan)
    }
}

fn plan(word: &str) -> Result<Plan, String> {
    let (name, delay) = match word.split_once('@') {
        Some((name, delay)) => (name, time(delay)?),
        None => (word, 0),
    };
    let answer = Answer::ALL.iter().find(|(_, known)| *known == name);
    let (answer, _) = answer.ok_or(format!("'{word}' is not a value"))?;
    Ok(Plan { answer: *answer, delay })
}

/// Returns the byte of an escape, after its backslash. The escapes are those of `escape_ascii`.
fn unescape(bytes: &mut impl Iterator<Item = (usize, u8)>) -> Option<u8> {
    let mut next = || bytes.next().map(|(_, byte)| byte);
    Some(match next()? {
        b'n' => b'\n',
        b'r' => b'\r',
        b't' => b'\t',
        b'x' => {
            let mut digit = || char::from(next()?).to_digit(16);
            (digit()? * 16 + digit()?) as u8
        }
        same @ (b'"' | b'\'' | b'\\') => same,
        _ => return None,
    })
}

pub(super) fn or_all(text: &str) -> Result<Option<u32>, String> {
    if text == "*" { Ok(None) } else { number(text).map(Some) }
}

pub(super) fn named<T: FromStr>(name: &str, value: &str) -> Result<T, String> {
    number(value).map_err(|error| format!("{name}: {error}"))
}

pub(super) fn number<T: FromStr>(text: &str) -> Result<T, String> {
    text.parse().map_err(|_| format!("'{text}' is not a number, or too large"))
}

/// The longest time, about two years, so that sums of times do not overflow.
const TIME_MAX: Nanos = 1 << 56;

pub(super) fn time(text: &str) -> Result<Nanos, String> {
    let digits = text.bytes().take_while(u8::is_ascii_digit).count();
    let (digits, unit) = text.split_at(digits);
    let size: Nanos = match unit {
        "ns" => 1,
        "us" => 1000,
        "ms" => 1_000_000,
        "s" => 1_000_000_000,
        _ => return Err(format!("expected a time (a whole number with ns, us, ms or s), got '{text}'")),
    };
    let time = digits.parse::<Nanos>().ok().and_then(|n| n.checked_mul(size)).filter(|time| *time <= TIME_MAX);
    time.ok_or(format!("expected a time of at most {} s, got '{text}'", TIME_MAX / 1_000_000_000))
}

/// Reads a number that is true unless it is 0.
pub(super) fn flag(text: &str) -> Result<bool, String> {
    number::<u32>(text).map(|number| number > 0)
}

/// True if `word` is the name of this field, with `-` for `_`.
pub(super) fn is_name(word: &str, field: &str) -> bool {
    word.len() == field.len()
        && word
            .bytes()
            .zip(field.bytes())
            .all(|(byte, of_field)| byte == if of_field == b'_' { b'-' } else { of_field })
}

pub(super) fn hex(text: &str) -> Result<Vec<u8>, String> {
    if text == "-" {
        return Ok(Vec::new());
    }
    let error = || format!("expected an even number of hex digits, got '{text}'");
    if !text.len().is_multiple_of(2) || !text.is_ascii() {
        return Err(error());
    }
    (0..text.len()).step_by(2).map(|at| u8::from_str_radix(&text[at..at + 2], 16).map_err(|_| error())).collect()
}

pub(super) fn scripted(word: &str) -> Option<Link> {
    word.strip_prefix('c')?.parse().ok().map(Link::Scripted)
}

pub(super) fn haproxy(word: &str) -> Option<Haproxy> {
    word.strip_prefix('h')?.parse().ok().map(Haproxy)
}
