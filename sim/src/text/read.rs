//! Reads scripts from text.

use std::net::{Ipv4Addr, Ipv6Addr};
use std::str::FromStr;

use super::{MAGIC, VERSION, limits, settings};
use crate::plan::{Answer, Plan};
use crate::script::{
    AgentId, AgentSetup, Bytes, Cuts, Damage, EventSpec, FrameKind, FrameSpec, Haproxy, Link, MessageSpec, Nanos,
    Script, Step, Value,
};

/// The error in a text that is not a script.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("line {line}: {what}")]
pub struct ScriptError {
    /// The number of the line, from 1.
    pub line: usize,
    /// The description of the error.
    pub what: String,
}

/// Reads a script of this version or an earlier one.
///
/// # Errors
/// The first line that cannot be read, and the cause.
pub fn parse(text: &str) -> Result<Script, ScriptError> {
    let mut script = Script::default();
    let mut lines = text.lines().zip(1..);
    let head = lines.next().map(|(line, _)| line).unwrap_or_default();
    check_version(head).map_err(|what| ScriptError { line: 1, what })?;
    for (line, number) in lines {
        read_line(line.trim(), &mut script).map_err(|what| ScriptError { line: number, what })?;
    }
    Ok(script)
}

/// True for the words that change a frame. A key with such a name has to be quoted.
pub(super) fn is_modifier(word: &str) -> bool {
    matches!(word, "sid" | "fid" | "flags" | "slice" | "length" | "trim" | "pad" | "flip")
}

fn check_version(head: &str) -> Result<(), String> {
    let version = head.strip_prefix(MAGIC).ok_or(format!("expected {MAGIC} and a version"))?;
    match version.trim().parse::<u32>() {
        Ok(version) if (1..=VERSION).contains(&version) => Ok(()),
        _ => Err(format!("expected a version from 1 to {VERSION}, got '{}'", version.trim())),
    }
}

fn read_line(line: &str, script: &mut Script) -> Result<(), String> {
    if let Some(story) = line.strip_prefix('#') {
        script.story.push(story.strip_prefix(' ').unwrap_or(story).into());
        return Ok(());
    }
    let mut words = Words { rest: line };
    let Some(verb) = words.next_word() else { return Ok(()) };
    let step = match verb {
        "agent" => {
            while let Some(word) = words.next_word() {
                limit(word, &mut script.agent)?;
            }
            return Ok(());
        }
        "connect" => Step::Connect(words.scripted()?),
        "send" => send(&mut words)?,
        "cut" => Step::Cut(words.link()?, cuts(words.need("sizes")?)?),
        "hold" => Step::Hold(words.link()?),
        "release" => Step::Release(words.link()?),
        "room" => Step::Room(words.link()?, or_all(words.need("a number of bytes")?)?),
        "take" => Step::Take(words.link()?, or_all(words.need("a number of bytes")?)?),
        "fin" => Step::Fin(words.scripted()?),
        "reset" => Step::Reset(words.link()?),
        "shed" => Step::Shed(words.link()?),
        "haproxy" => start(&mut words)?,
        "ask" => ask(&mut words)?,
        "check" => Step::Check(words.haproxy()?),
        "soft-stop" => Step::SoftStop(words.haproxy()?),
        "lose" => Step::Lose(words.link()?),
        "lame-duck" => Step::LameDuck(words.agent()?),
        "drain" => Step::Drain(words.agent()?, words.grace()?),
        "kill" => Step::Kill(words.agent()?),
        "hang" => Step::Hang(words.agent()?),
        "resume" => Step::Resume(words.agent()?),
        "launch" => Step::Launch(words.agent()?),
        "wait" => Step::Wait(time(words.need("a time")?)?),
        "stop" => Step::Stop { grace: words.grace()? },
        _ => return Err(format!("'{verb}' is not a step")),
    };
    if let Some(more) = words.next_word() {
        return Err(format!("expected no more words in the line, got '{more}'"));
    }
    script.steps.push(step);
    Ok(())
}

fn limit(word: &str, agent: &mut AgentSetup) -> Result<(), String> {
    let (name, value) = word.split_once('=').ok_or(format!("expected LIMIT=VALUE, got '{word}'"))?;
    if name == "capabilities" {
        (agent.pipelining, agent.fragmentation, agent.asynchronous) = (false, false, false);
        for capability in value.split(',').filter(|value| *value != "none") {
            match capability {
                "pipelining" => agent.pipelining = true,
                "fragmentation" => agent.fragmentation = true,
                "async" => agent.asynchronous = true,
                _ => return Err(format!("'{capability}' is not a capability")),
            }
        }
        return Ok(());
    }
    macro_rules! read {
        ($name:literal, $field:ident, $kind:ident) => {
            if name == $name {
                agent.$field = $kind(value)?;
                return Ok(());
            }
        };
    }
    limits!(read);
    Err(format!("'{name}' is not a limit of the agent"))
}

fn start(words: &mut Words<'_>) -> Result<Step, String> {
    let haproxy = words.haproxy()?;
    let mut settings = settings::engine(words.need("engine=mux or engine=applet")?)?;
    while let Some(word) = words.next_word() {
        settings::set(word, &mut settings)?;
    }
    Ok(Step::Start(haproxy, Box::new(settings)))
}

fn ask(words: &mut Words<'_>) -> Result<Step, String> {
    let haproxy = words.haproxy()?;
    let mut event = EventSpec { thread: 0, stream: None, messages: Vec::new() };
    while let Some((name, value)) = words.modifier(|name| matches!(name, "thread" | "stream")) {
        match name {
            "thread" => event.thread = named(name, value)?,
            _ => event.stream = Some(named(name, value)?),
        }
    }
    event.messages = words.messages()?;
    Ok(Step::Ask(haproxy, event))
}

fn send(words: &mut Words<'_>) -> Result<Step, String> {
    let link = words.scripted()?;
    let kind = words.need("a kind of frame")?;
    if kind == "raw" {
        return Ok(Step::Raw(link, hex(words.need("bytes in hex")?)?));
    }
    let other = if kind == "type" { Some(number::<u8>(words.need("a frame type")?)?) } else { None };
    let mut frame = FrameSpec {
        kind: FrameKind::Other(0, Vec::new()),
        flags: 1,
        stream_id: 0,
        frame_id: 0,
        slice: None,
        damage: Damage::None,
    };
    while let Some((name, value)) = words.modifier(is_modifier) {
        modify(&mut frame, name, value)?;
    }
    frame.kind = match kind {
        "hello" => FrameKind::Hello(words.items()?),
        "disconnect" => FrameKind::Disconnect(words.items()?),
        "notify" => FrameKind::Notify(words.messages()?),
        "unset" => FrameKind::Unset(words.messages()?),
        "type" => FrameKind::Other(other.unwrap_or_default(), words.next_word().map_or(Ok(Vec::new()), hex)?),
        _ => return Err(format!("'{kind}' is not a kind of frame")),
    };
    Ok(Step::Send(link, frame))
}

fn modify(frame: &mut FrameSpec, name: &str, value: &str) -> Result<(), String> {
    match name {
        "sid" => frame.stream_id = named(name, value)?,
        "fid" => frame.frame_id = named(name, value)?,
        "flags" => {
            let error = || format!("flags: expected a hexadecimal number such as 0x1, got '{value}'");
            let digits = value.strip_prefix("0x").ok_or_else(error)?;
            frame.flags = u32::from_str_radix(digits, 16).map_err(|_| error())?;
        }
        "slice" => {
            let (start, end) = value.split_once("..").ok_or(format!("slice: expected START..END, got '{value}'"))?;
            frame.slice = Some((number(start)?, number(end)?));
        }
        "length" => frame.damage = Damage::Length(named(name, value)?),
        "trim" => frame.damage = Damage::Trim(named(name, value)?),
        "pad" => frame.damage = Damage::Pad(named(name, value)?),
        _ => frame.damage = Damage::Flip(named(name, value)?),
    }
    Ok(())
}

fn cuts(text: &str) -> Result<Cuts, String> {
    let (sizes, repeat) = match (text.strip_suffix("..."), text.strip_suffix('*')) {
        (Some(sizes), _) => (sizes, true),
        (_, Some(sizes)) => (sizes, false),
        _ => (text, false),
    };
    let sizes = sizes.split(',').filter(|size| !size.is_empty()).map(number::<u32>).collect::<Result<Vec<_>, _>>()?;
    if sizes.contains(&0) {
        return Err("expected a size of 1 or more, got 0".into());
    }
    Ok(Cuts { repeat: repeat && !sizes.is_empty(), sizes })
}

fn or_all(text: &str) -> Result<Option<u32>, String> {
    if text == "*" { Ok(None) } else { number(text).map(Some) }
}

fn named<T: FromStr>(name: &str, value: &str) -> Result<T, String> {
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

fn hex(text: &str) -> Result<Vec<u8>, String> {
    if text == "-" {
        return Ok(Vec::new());
    }
    let error = || format!("expected an even number of hex digits, got '{text}'");
    if !text.len().is_multiple_of(2) || !text.is_ascii() {
        return Err(error());
    }
    (0..text.len()).step_by(2).map(|at| u8::from_str_radix(&text[at..at + 2], 16).map_err(|_| error())).collect()
}

fn scripted(word: &str) -> Option<Link> {
    word.strip_prefix('c')?.parse().ok().map(Link::Scripted)
}

fn haproxy(word: &str) -> Option<Haproxy> {
    word.strip_prefix('h')?.parse().ok().map(Haproxy)
}

/// The unread rest of a line.
struct Words<'t> {
    rest: &'t str,
}

impl<'t> Words<'t> {
    /// Takes the next word, if there is one.
    fn next_word(&mut self) -> Option<&'t str> {
        self.rest = self.rest.trim_start();
        let end = self.rest.find(char::is_whitespace).unwrap_or(self.rest.len());
        let (word, rest) = self.rest.split_at(end);
        self.rest = rest;
        (!word.is_empty()).then_some(word)
    }

    fn need(&mut self, what: &str) -> Result<&'t str, String> {
        self.next_word().ok_or_else(|| format!("{what} is missing"))
    }

    /// Takes a link of any kind.
    fn link(&mut self) -> Result<Link, String> {
        let word = self.need("the link (c1, h1 or h1.0)")?;
        let link = match word.split_once('.') {
            Some((process, connection)) => haproxy(process).zip(connection.parse().ok()).map(|(h, n)| Link::Of(h, n)),
            None => haproxy(word).map(Link::All).or_else(|| scripted(word)),
        };
        link.ok_or(format!("expected a link (c1, h1 or h1.0), got '{word}'"))
    }

    /// Takes a link on which the script itself says what HAProxy sends.
    fn scripted(&mut self) -> Result<Link, String> {
        let word = self.need("the link (c1, c2, ...)")?;
        scripted(word).ok_or(format!("expected a link on which the script sends (c1, c2, ...), got '{word}'"))
    }

    fn haproxy(&mut self) -> Result<Haproxy, String> {
        let word = self.need("the process (h1, h2, ...)")?;
        haproxy(word).ok_or(format!("expected a process (h1, h2, ...), got '{word}'"))
    }

    fn agent(&mut self) -> Result<AgentId, String> {
        let word = self.need("the agent (a1, a2, ...)")?;
        let number = word.strip_prefix('a').and_then(|number| number.parse().ok()).filter(|number| *number > 0);
        number.map(AgentId).ok_or(format!("expected an agent (a1, a2, ...), got '{word}'"))
    }

    fn grace(&mut self) -> Result<Nanos, String> {
        time(self.need("grace=TIME")?.strip_prefix("grace=").ok_or("expected grace=TIME")?)
    }

    /// Takes the next word if it is `NAME=VALUE` with a known name, and returns name and value.
    fn modifier(&mut self, is_known: impl FnOnce(&str) -> bool) -> Option<(&'t str, &'t str)> {
        let (name, _) = self.rest.trim_start().split_once('=')?;
        if !is_known(name) {
            return None;
        }
        self.next_word()?.split_once('=')
    }

    /// Takes all `key=value` up to the end of the line.
    fn items(&mut self) -> Result<Vec<(Bytes, Value)>, String> {
        let mut items = Vec::new();
        while self.peek().is_some() {
            let key = self.name()?;
            self.expect('=')?;
            items.push((key, self.value()?));
        }
        Ok(items)
    }

    /// Takes all `name(arg=value, ...)` up to the end of the line.
    fn messages(&mut self) -> Result<Vec<MessageSpec>, String> {
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

    fn peek(&mut self) -> Option<char> {
        self.rest = self.rest.trim_start();
        self.rest.chars().next()
    }

    fn expect(&mut self, expected: char) -> Result<(), String> {
        match self.peek() {
            Some(found) if found == expected => {
                self.rest = &self.rest[found.len_utf8()..];
                Ok(())
            }
            Some(found) => Err(format!("expected '{expected}', got '{found}'")),
            None => Err(format!("expected '{expected}' at the end of the line")),
        }
    }

    fn name(&mut self) -> Result<Bytes, String> {
        let name = if self.peek() == Some('"') { self.quoted()? } else { self.bare().as_bytes().to_vec() };
        Ok(name.into())
    }

    /// Takes an unquoted name or value: everything up to a space or one of `=(),`.
    fn bare(&mut self) -> &'t str {
        self.rest = self.rest.trim_start();
        let end = self.rest.find(|c: char| c.is_whitespace() || "=(),".contains(c)).unwrap_or(self.rest.len());
        let (word, rest) = self.rest.split_at(end);
        self.rest = rest;
        word
    }

    fn quoted(&mut self) -> Result<Vec<u8>, String> {
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

    fn value(&mut self) -> Result<Value, String> {
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
