//! Reads AGENT-HELLO and AGENT-DISCONNECT as HAProxy does.

use super::FRAME_SIZE_MIN;
use super::code;
use super::cursor::Cursor;

/// The capabilities of an agent.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Capabilities {
    /// Several NOTIFYs may be in flight on one connection.
    pub pipelining: bool,
    /// An ACK may arrive on another connection of the same engine.
    pub asynchronous: bool,
    /// The agent accepts fragmented NOTIFYs. HAProxy never lists this capability, but uses it if the agent lists it
    /// (#659).
    pub fragmentation: bool,
}

/// A valid AGENT-HELLO.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AgentHello {
    /// The agent's `max-frame-size`, or HAProxy's own if the agent sent none, which only the mux allows.
    pub max_frame_size: u32,
    /// The capabilities that the agent lists, including those that HAProxy does not list.
    pub capabilities: Capabilities,
}

/// The differences between the three readers of AGENT-HELLO in HAProxy.
#[derive(Clone, Copy, Debug)]
pub struct HelloRules {
    /// True if a key only has to start with a name: "versionX" is "version". Only the health check since 3.1 compares
    /// whole keys.
    pub keys_by_prefix: bool,
    /// The code for a version that is not of the form MAJOR.MINOR.
    pub version_unparsable: u32,
    /// True if `max-frame-size` may be missing.
    pub size_optional: bool,
    /// True if `capabilities` may be missing.
    pub capabilities_optional: bool,
    /// HAProxy's own `max-frame-size`.
    pub max_frame_size: u32,
}

impl HelloRules {
    /// Returns the rules of `spoe_handle_agenthello_frame` in 1.8 to 3.0, for connections and health checks.
    pub const fn applet(max_frame_size: u32) -> Self {
        Self {
            keys_by_prefix: true,
            version_unparsable: code::BAD_VERSION,
            size_optional: false,
            capabilities_optional: true,
            max_frame_size,
        }
    }

    /// Returns the rules of `spop_conn_handle_hello` since 3.1.
    pub const fn mux(max_frame_size: u32) -> Self {
        Self { version_unparsable: code::INVALID, size_optional: true, ..Self::applet(max_frame_size) }
    }

    /// Returns the rules of `tcpcheck_spop_expect_hello` since 3.1: all three keys are required, with their exact
    /// names.
    pub const fn mux_check(max_frame_size: u32) -> Self {
        Self {
            keys_by_prefix: false,
            version_unparsable: code::INVALID,
            size_optional: false,
            capabilities_optional: false,
            max_frame_size,
        }
    }
}

/// Reads the payload of an AGENT-HELLO.
///
/// Keys may have any order, and the last of two equal keys wins. But each value is checked when it is read, so an
/// unsupported version before a supported one is an error.
///
/// # Errors
/// The status code with which HAProxy disconnects.
pub fn decode_agent_hello(payload: &[u8], rules: &HelloRules) -> Result<AgentHello, u32> {
    let mut cursor = Cursor::new(payload);
    let mut version = false;
    let mut size = rules.size_optional.then_some(rules.max_frame_size);
    let mut capabilities = None;
    while !cursor.is_empty() {
        let key = cursor.string().filter(|key| !key.is_empty()).ok_or(code::INVALID)?;
        let is = |name: &[u8]| if rules.keys_by_prefix { key.starts_with(name) } else { key == name };
        if is(b"version") {
            let text = string_value(&mut cursor).ok_or(code::INVALID)?;
            match parse_version(text) {
                None => return Err(rules.version_unparsable),
                Some((2, 0)) => version = true,
                Some(_) => return Err(code::BAD_VERSION),
            }
        } else if is(b"max-frame-size") {
            let value = integer_value(&mut cursor).ok_or(code::INVALID)?;
            if value < u64::from(FRAME_SIZE_MIN) || value > u64::from(rules.max_frame_size) {
                return Err(code::BAD_FRAME_SIZE);
            }
            size = Some(value as u32);
        } else if is(b"capabilities") {
            let text = string_value(&mut cursor).ok_or(code::INVALID)?;
            add_capabilities(text, capabilities.get_or_insert_default());
        } else {
            cursor.skip_value().ok_or(code::INVALID)?;
        }
    }
    if !version {
        return Err(code::NO_VERSION);
    }
    let max_frame_size = size.ok_or(code::NO_FRAME_SIZE)?;
    if capabilities.is_none() && !rules.capabilities_optional {
        return Err(code::NO_CAPABILITIES);
    }
    Ok(AgentHello { max_frame_size, capabilities: capabilities.unwrap_or_default() })
}

/// Reads the payload of an AGENT-DISCONNECT. Returns its code, or 0 if it has none, or `None` if the frame is
/// malformed.
///
/// `message_max` is the length of the longest text that is accepted: 255 for the applet, which drops a frame with a
/// longer one. It is `None` for the mux, which does not read the text.
pub fn decode_agent_disconnect(payload: &[u8], message_max: Option<usize>) -> Option<u32> {
    let mut cursor = Cursor::new(payload);
    let mut status = code::NORMAL;
    while !cursor.is_empty() {
        let key = cursor.string().filter(|key| !key.is_empty())?;
        if key.starts_with(b"status-code") {
            status = integer_value(&mut cursor)? as u32;
        } else if let Some(max) = message_max.filter(|_| key.starts_with(b"message")) {
            string_value(&mut cursor).filter(|text| text.len() <= max)?;
        } else {
            cursor.skip_value()?;
        }
    }
    Some(status)
}

fn string_value<'b>(cursor: &mut Cursor<'b>) -> Option<&'b [u8]> {
    // The flags in the upper half of the byte are ignored.
    if cursor.byte()? & 0x0f != 8 {
        return None;
    }
    cursor.string()
}

fn integer_value(cursor: &mut Cursor<'_>) -> Option<u64> {
    if !matches!(cursor.byte()? & 0x0f, 2..=5) {
        return None;
    }
    cursor.varint()
}

/// True for the bytes of C's `isspace`.
const fn is_space(byte: u8) -> bool {
    matches!(byte, b' ' | b'\t'..=b'\r')
}

/// Parses a version as `spoe_str_to_vsn` does: spaces, digits, a point, digits, spaces. A major version of 0 and a
/// minor version above 999 are invalid.
fn parse_version(text: &[u8]) -> Option<(u32, u32)> {
    let text = trim_start(text);
    let point = text.iter().position(|&byte| byte == b'.')?;
    let (major, minor) = (&text[..point], &text[point + 1..]);
    let digits = minor.iter().take_while(|byte| byte.is_ascii_digit()).count();
    if digits == 0 || !trim_start(&minor[digits..]).is_empty() {
        return None;
    }
    let (major, minor) = (parse_digits(major)?, parse_digits(&minor[..digits])?);
    (major != 0 && minor <= 999).then_some((major, minor))
}

fn parse_digits(digits: &[u8]) -> Option<u32> {
    digits.iter().try_fold(0u32, |sum, byte| {
        byte.is_ascii_digit().then(|| sum.wrapping_mul(10).wrapping_add(u32::from(byte - b'0')))
    })
}

fn trim_start(text: &[u8]) -> &[u8] {
    let spaces = text.iter().take_while(|&&byte| is_space(byte)).count();
    &text[spaces..]
}

/// Adds the capabilities in a list. A name has to be followed by a comma, a space or the end of the list. Text between
/// a space and the next comma is ignored.
fn add_capabilities(text: &[u8], found: &mut Capabilities) {
    for item in text.split(|&byte| byte == b',') {
        let item = trim_start(item);
        let end = item.iter().position(|&byte| is_space(byte)).unwrap_or(item.len());
        match &item[..end] {
            b"pipelining" => found.pipelining = true,
            b"async" => found.asynchronous = true,
            b"fragmentation" => found.fragmentation = true,
            _ => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const APPLET: HelloRules = HelloRules::applet(16380);
    const MUX: HelloRules = HelloRules::mux(16380);
    const CHECK: HelloRules = HelloRules::mux_check(16380);
    const VERSION: &[u8] = b"\x07version\x08\x032.0";
    const SIZE: &[u8] = b"\x0emax-frame-size\x03\xfc\xf0\x06";
    const CAPS: &[u8] = b"\x0ccapabilities\x08\x0apipelining";

    fn all(parts: &[&[u8]]) -> [Result<AgentHello, u32>; 3] {
        [APPLET, MUX, CHECK].map(|rules| decode_agent_hello(&parts.concat(), &rules))
    }

    #[test]
    fn a_valid_hello_is_accepted_in_any_order() {
        let capabilities = Capabilities { pipelining: true, ..Capabilities::default() };
        let good = Ok(AgentHello { max_frame_size: 16380, capabilities });
        assert_eq!(all(&[VERSION, SIZE, CAPS]), [good; 3]);
        assert_eq!(all(&[b"\x01x\x0c", CAPS, b"\x02yy\x08\x01z", SIZE, VERSION]), [good; 3], "unknown keys");
    }

    #[test]
    fn the_code_depends_on_the_missing_key() {
        assert_eq!(all(&[SIZE, CAPS]), [Err(5); 3]);
        let [applet, mux, check] = all(&[VERSION, CAPS]);
        assert_eq!((applet, mux.map(|hello| hello.max_frame_size), check), (Err(6), Ok(16380), Err(6)));
        let [applet, mux, check] = all(&[VERSION, SIZE]);
        assert!(applet.is_ok() && mux.is_ok());
        assert_eq!(check, Err(7));
    }

    #[test]
    fn only_version_2_0_is_accepted() {
        let hello = |text: &str| {
            let mut version = b"\x07version\x08".to_vec();
            version.push(text.len() as u8);
            version.extend_from_slice(text.as_bytes());
            all(&[&version, SIZE, CAPS]).map(Result::err)
        };
        assert_eq!(hello(" 2.0 "), [None; 3]);
        assert_eq!(hello("2.000"), [None; 3]);
        for text in ["2.1", "1.0", "3.0", "2.999"] {
            assert_eq!(hello(text), [Some(8); 3], "{text}");
        }
        for text in ["2", "", "2.", ".0", "0.0", "2.0, 1.0", "2.1000", "two.0", "2.0x"] {
            assert_eq!(hello(text), [Some(8), Some(4), Some(4)], "{text}");
        }
    }

    #[test]
    fn keys_match_by_prefix_and_the_last_one_wins() {
        let long = b"\x08versionX\x08\x032.0";
        let [applet, mux, check] = all(&[long, SIZE, CAPS]);
        assert!(applet.is_ok() && mux.is_ok());
        assert_eq!(check, Err(5));
        let [applet, mux, check] = all(&[VERSION, SIZE, b"\x0emax-frame-size\x02\xf0\x01", CAPS]);
        for hello in [applet, mux, check] {
            assert_eq!(hello.map(|hello| hello.max_frame_size), Ok(256));
        }
        assert_eq!(all(&[b"\x07version\x08\x031.0", VERSION, SIZE, CAPS]), [Err(8); 3]);
    }

    #[test]
    fn wrong_sizes_and_malformed_values_are_rejected() {
        for value in [&b"\x03\xff\x00"[..], b"\x03\xfd\xf0\x06", b"\x05\xff\xf0\xfe\xfe\xfe\xfe\xfe\xfe\xfe\x0e"] {
            assert_eq!(all(&[VERSION, b"\x0emax-frame-size", value, CAPS]), [Err(9); 3], "{value:x?}");
        }
        for bad in [
            &b"\x0emax-frame-size\x08\x00"[..],
            b"\x00\x00",
            b"\x01x",
            b"\x05abc",
            b"\x01x\x08\x09abc",
            b"\x07version\x03\x00",
        ] {
            assert_eq!(all(&[VERSION, SIZE, CAPS, bad]), [Err(4); 3], "{bad:x?}");
        }
    }

    #[test]
    fn capabilities_are_separated_by_commas() {
        let found = |text: &str| {
            let mut found = Capabilities::default();
            add_capabilities(text.as_bytes(), &mut found);
            (found.pipelining, found.asynchronous, found.fragmentation)
        };
        assert_eq!(found("pipelining"), (true, false, false));
        assert_eq!(found(" pipelining ,\tfragmentation,foo"), (true, false, true));
        assert_eq!(found("pipelining x,async"), (true, true, false));
        assert_eq!(found("pipeliningX, xasync"), (false, false, false));
        assert_eq!(found(""), (false, false, false));
    }

    #[test]
    fn the_code_of_a_disconnect_is_read() {
        let frame = b"\x0bstatus-code\x03\x08\x07message\x08\x03bye";
        assert_eq!(decode_agent_disconnect(frame, Some(255)), Some(8));
        assert_eq!(decode_agent_disconnect(frame, Some(2)), None, "the text is longer than the limit of the applet");
        assert_eq!(decode_agent_disconnect(frame, None), Some(8));
        assert_eq!(decode_agent_disconnect(b"", None), Some(0));
        assert_eq!(decode_agent_disconnect(b"\x0bstatus-code\x08\x00", None), None);
        assert_eq!(
            decode_agent_disconnect(b"\x0bstatus-code\x04\xf0\xc0\x2f", None),
            Some(240 + (0xc0 << 4) + (0x2f << 11))
        );
        assert_eq!(decode_agent_disconnect(b"\x07message\x03\x00", None), Some(0), "the mux does not read the text");
        assert_eq!(decode_agent_disconnect(b"\x07message\x03\x00", Some(255)), None);
    }
}
