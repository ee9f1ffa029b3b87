//! Negotiation: checks HAProxy's HELLO and combines its offer with our configuration.

use crate::config::Config;
use crate::error::PeerError;
use crate::wire::{Capabilities, HaproxyHello, MAX_FRAME_SIZE_MIN, TypedData};

/// The version in our HELLO, whichever 2.x versions HAProxy lists: a peer that supports a major version supports all of
/// its minor versions.
pub(crate) const VERSION: &[u8] = b"2.0";

/// The result of the HELLO exchange.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Negotiated {
    /// The largest frame, in bytes without its length: 256 or more.
    pub max_frame_size: u32,
    /// The capabilities that both sides may use. Fragmentation is included if the agent offers it, since HAProxy never
    /// lists it.
    pub capabilities: Capabilities,
    /// The capabilities that HAProxy listed, whether or not they are used: only HAProxy up to 3.0 lists async.
    pub offered: Capabilities,
}

/// Negotiates the frame size and the capabilities.
///
/// # Errors
/// A key is missing, no version is 2.x, or HAProxy's maximum frame size is below 256 bytes. Of several errors, the one
/// with the lowest status code is returned.
pub(crate) fn negotiate(hello: &HaproxyHello<'_>, config: &Config) -> Result<Negotiated, PeerError> {
    let versions = hello.supported_versions.ok_or(PeerError::NoVersion)?;
    let size = hello.max_frame_size.ok_or(PeerError::NoMaxFrameSize)?;
    let capabilities = hello.capabilities.ok_or(PeerError::NoCapabilities)?;
    check_versions(versions)?;
    let max_frame_size = max_frame_size(size, config.max_frame_size).ok_or(PeerError::BadMaxFrameSize)?;
    // HAProxy accepts no fragments and never lists fragmentation, but it sends them to an agent that does (#659).
    debug_assert!((MAX_FRAME_SIZE_MIN..=config.max_frame_size).contains(&max_frame_size), "both accept the size");
    let offered = Capabilities::parse(capabilities);
    let capabilities = (offered | Capabilities::FRAGMENTATION) & config.capabilities;
    Ok(Negotiated { max_frame_size, capabilities, offered })
}

/// Returns the error of a HELLO that lists its versions, but no version 2.x.
pub(crate) fn version_error(hello: &HaproxyHello<'_>) -> Option<PeerError> {
    check_versions(hello.supported_versions?).err()
}

fn check_versions(list: &[u8]) -> Result<(), PeerError> {
    if list.split(|&byte| byte == b',').any(is_version_2) { Ok(()) } else { Err(PeerError::BadVersion) }
}

/// True for `2.` followed by a decimal number; whitespace around it is ignored.
fn is_version_2(token: &[u8]) -> bool {
    match token.trim_ascii().strip_prefix(b"2.") {
        Some(minor) => !minor.is_empty() && minor.iter().all(u8::is_ascii_digit),
        None => false,
    }
}

/// Returns the smaller of both sizes, or `None` if HAProxy's is below [`MAX_FRAME_SIZE_MIN`]. Any integer type is
/// accepted.
fn max_frame_size(offered: TypedData<'_>, ours: u32) -> Option<u32> {
    // Only a UINT64 can be above i64::MAX, and our own size is smaller than that in any case.
    let offered = offered.as_i64().unwrap_or(i64::MAX);
    if offered < i64::from(MAX_FRAME_SIZE_MIN) {
        return None;
    }
    Some(u32::try_from(offered).map_or(ours, |offered| offered.min(ours)))
}

#[cfg(test)]
mod tests {
    use super::*;

    const HELLO: HaproxyHello<'_> = HaproxyHello {
        supported_versions: Some(b"2.0"),
        max_frame_size: Some(TypedData::Uint32(16380)),
        capabilities: Some(b"pipelining"),
        healthcheck: false,
        engine_id: None,
    };

    #[test]
    fn a_hello_needs_a_version_2() {
        let with = |versions: &'static [u8]| {
            negotiate(&HaproxyHello { supported_versions: Some(versions), ..HELLO }, &Config::default())
        };
        for good in [&b"2.0"[..], b"2.1", b"2.0, 1.5", b" 1.0 , 2.0 ", b"abc,2.10", b"\t2.0"] {
            assert!(with(good).is_ok(), "{}", good.escape_ascii());
        }
        for bad in [&b""[..], b"1.0", b"3.0", b"abc", b"2", b"2.", b"2.x", b"12.0", b"2.0.1", b"2 .0", b"-2.0"] {
            assert_eq!(with(bad), Err(PeerError::BadVersion), "{}", bad.escape_ascii());
        }
    }

    #[test]
    fn the_frame_size_may_be_of_any_integer_type() {
        let with = |size| {
            let config = Config { max_frame_size: 16384, ..Config::default() };
            negotiate(&HaproxyHello { max_frame_size: Some(size), ..HELLO }, &config).map(|n| n.max_frame_size)
        };
        for (offered, negotiated) in [
            (TypedData::Uint32(256), 256),
            (TypedData::Int32(16380), 16380),
            (TypedData::Int64(16384), 16384),
            (TypedData::Uint64(1 << 32), 16384),
            (TypedData::Uint64(u64::MAX), 16384),
        ] {
            assert_eq!(with(offered), Ok(negotiated), "{offered:?}");
        }
        for offered in [TypedData::Uint32(255), TypedData::Int32(-1), TypedData::Int64(i64::MIN), TypedData::Uint64(0)]
        {
            assert_eq!(with(offered), Err(PeerError::BadMaxFrameSize), "{offered:?}");
        }
    }

    #[test]
    fn capabilities_must_be_offered_by_both_except_fragmentation() {
        let all = Capabilities::PIPELINING | Capabilities::FRAGMENTATION | Capabilities::ASYNC;
        for (offered, ours, agreed) in [
            (&b"pipelining,async"[..], all, all),
            (b"pipelining", Capabilities::PIPELINING, Capabilities::PIPELINING),
            (b"pipelining", Capabilities::ASYNC, Capabilities::NONE),
            (b"", all, Capabilities::FRAGMENTATION),
            (b"fragmentation", Capabilities::PIPELINING, Capabilities::NONE),
        ] {
            let config = Config { capabilities: ours, ..Config::default() };
            let hello = HaproxyHello { capabilities: Some(offered), ..HELLO };
            assert_eq!(negotiate(&hello, &config).unwrap().capabilities, agreed);
        }
    }

    #[test]
    fn errors_are_reported_in_the_order_of_their_status_codes() {
        let nothing = HaproxyHello::default();
        let version = HaproxyHello { supported_versions: Some(b"9.9"), ..nothing };
        let size = HaproxyHello { max_frame_size: Some(TypedData::Uint32(1)), ..version };
        for (hello, error) in [
            (nothing, PeerError::NoVersion),
            (version, PeerError::NoMaxFrameSize),
            (size, PeerError::NoCapabilities),
            (HaproxyHello { capabilities: Some(b""), ..size }, PeerError::BadVersion),
        ] {
            assert_eq!(negotiate(&hello, &Config::default()), Err(error));
        }
    }
}
