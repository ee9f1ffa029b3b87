//! The decision about a HAPROXY-HELLO.

use crate::codec::{IntegerType, Value, pairs};
use crate::limits::Limits;

/// The decision about a HELLO.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Decision<'b> {
    /// The HELLO is accepted with these values.
    Accept {
        max_frame_size: u32,
        pipelining: bool,
        fragmentation: bool,
        asynchronous: bool,
        /// True for each capability that HAProxy lists: pipelining, fragmentation, async.
        offered: [bool; 3],
        healthcheck: bool,
        engine_id: Option<&'b [u8]>,
    },
    /// The HELLO is refused with this code: immediately if it is a health check, otherwise after a delay.
    Refuse { code: u32, healthcheck: bool },
}

/// The known keys of a HELLO. If a key occurs twice, its last value counts.
#[derive(Default)]
struct Keys<'b> {
    versions: Option<&'b [u8]>,
    size: Option<(u64, IntegerType)>,
    capabilities: Option<&'b [u8]>,
    healthcheck: bool,
    engine_id: Option<&'b [u8]>,
}

/// Decides about the HELLO with these flags, ids and payload.
pub(crate) fn decide<'b>(flags: u32, ids: (u64, u64), payload: &'b [u8], limits: &Limits) -> Decision<'b> {
    let mut keys = Keys::default();
    let well_formed = read(payload, &mut keys);
    // The key `healthcheck` counts even if another key is invalid: a health check is refused without delay.
    let mut healthcheck = false;
    pairs(payload, |key, value| {
        if key == b"healthcheck" {
            healthcheck = value == Value::Bool(true);
        }
        true
    });
    let refuse = |code| Decision::Refuse { code, healthcheck };
    let foreign = well_formed && keys.versions.is_some_and(|versions| !versions.split(|b| *b == b',').any(is_2));
    if flags & 1 == 0 {
        return refuse(if foreign { 8 } else { 10 });
    }
    if ids != (0, 0) {
        return refuse(if foreign { 8 } else { 4 });
    }
    if !well_formed {
        return refuse(4);
    }
    if keys.versions.is_none() {
        return refuse(5);
    }
    let Some((size, integer)) = keys.size else { return refuse(6) };
    let Some(capabilities) = keys.capabilities else { return refuse(7) };
    if foreign {
        return refuse(8);
    }
    // In the signed types the highest bit is the sign.
    let negative = matches!(integer, IntegerType::Signed32 | IntegerType::Signed64) && size >> 63 == 1;
    if negative || size < 256 {
        return refuse(9);
    }
    let offers = |name: &str| capabilities.split(|b| *b == b',').any(|token| token.trim_ascii() == name.as_bytes());
    let offered = ["pipelining", "fragmentation", "async"].map(offers);
    Decision::Accept {
        max_frame_size: size.min(u64::from(limits.max_frame_size)) as u32,
        pipelining: limits.pipelining && offered[0],
        fragmentation: limits.fragmentation,
        asynchronous: limits.asynchronous && offered[2],
        offered,
        healthcheck,
        engine_id: keys.engine_id,
    }
}

/// Reads the keys. Returns false if the list is malformed or a value of a known key has a wrong type.
fn read<'b>(payload: &'b [u8], keys: &mut Keys<'b>) -> bool {
    pairs(payload, |key, value| {
        match (key, value) {
            (b"supported-versions", Value::Text(text)) => keys.versions = Some(text),
            (b"max-frame-size", Value::Integer(size, integer)) => keys.size = Some((size, integer)),
            (b"capabilities", Value::Text(text)) => keys.capabilities = Some(text),
            (b"healthcheck", Value::Bool(on)) => keys.healthcheck = on,
            (b"engine-id", Value::Text(text)) => keys.engine_id = Some(text),
            (b"supported-versions" | b"max-frame-size" | b"capabilities" | b"healthcheck" | b"engine-id", _) => {
                return false;
            }
            _ => {}
        }
        true
    })
}

/// True if the token is a version 2.N.
fn is_2(token: &[u8]) -> bool {
    let token = token.trim_ascii();
    token.len() > 2 && token.starts_with(b"2.") && token[2..].iter().all(u8::is_ascii_digit)
}
