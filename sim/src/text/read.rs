//! Reads scripts from text.

use super::words::{Words, flag, hex, is_name, named, number, or_all, time};
use super::{MAGIC, VERSION, settings};
use crate::script::{AgentSetup, Cuts, Damage, EventSpec, FrameKind, FrameSpec, Script, Step};

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
        let offered = &mut agent.connection;
        (offered.pipelining, offered.fragmentation, offered.asynchronous) = (false, false, false);
        for capability in value.split(',').filter(|value| *value != "none") {
            match capability {
                "pipelining" => offered.pipelining = true,
                "fragmentation" => offered.fragmentation = true,
                "async" => offered.asynchronous = true,
                _ => return Err(format!("'{capability}' is not a capability")),
            }
        }
        return Ok(());
    }
    macro_rules! of_unit {
        (s) => {
            time
        };
        (flag) => {
            flag
        };
        ($unit:ident) => {
            number
        };
    }
    macro_rules! read {
        ($(($($field:tt)*) $name:ident $unit:ident;)*) => {
            $(if is_name(name, stringify!($name)) {
                agent.$($field)* = of_unit!($unit)(value)?;
                return Ok(());
            })*
        };
    }
    each_limit!(read);
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
