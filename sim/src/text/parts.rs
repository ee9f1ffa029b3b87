//! Reads the parts of steps: frames, events, sizes.

use super::words::{Words, hex, named, number};
use crate::script::{Cuts, Damage, EventSpec, FrameKind, FrameSpec};

/// True for the words that change a frame. A key with such a name has to be quoted.
pub(super) fn is_modifier(word: &str) -> bool {
    matches!(word, "sid" | "fid" | "flags" | "slice") || damage(word).is_some()
}

/// Returns the fault of a frame with this word.
fn damage(word: &str) -> Option<fn(u32) -> Damage> {
    macro_rules! read {
        ($(#[$doc:meta] $variant:ident = $word:literal;)*) => {
            match word {
                $($word => Some(Damage::$variant),)*
                _ => None,
            }
        };
    }
    each_damage!(read)
}

/// Reads the rest of a line that describes an event.
pub(super) fn event(words: &mut Words<'_>) -> Result<EventSpec, String> {
    let mut event = EventSpec { thread: 0, stream: None, messages: Vec::new() };
    while let Some((name, value)) = words.modifier(|name| matches!(name, "thread" | "stream")) {
        match name {
            "thread" => event.thread = named(name, value)?,
            _ => event.stream = Some(named(name, value)?),
        }
    }
    event.messages = words.messages()?;
    Ok(event)
}

/// Reads the rest of a line that describes a frame.
pub(super) fn frame(words: &mut Words<'_>) -> Result<FrameSpec, String> {
    let kind = words.need("a kind of frame")?;
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
    Ok(frame)
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
        _ => frame.damage = damage(name).ok_or(format!("'{name}' is not a fault of a frame"))?(named(name, value)?),
    }
    Ok(())
}

/// Reads the sizes of pieces.
pub(super) fn cuts(text: &str) -> Result<Cuts, String> {
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
