//! The HELLO, judged: what HAProxy offers against what we do.

use crate::config::Config;
use crate::error::PeerError;
use crate::wire::{Capabilities, HaproxyHello, MAX_FRAME_SIZE_MIN, TypedData};

/// The version we say, whatever 2.x HAProxy says: a peer that knows a major version knows its minor ones.
pub(crate) const VERSION: &[u8] = b"2.0";

/// What both sides settled on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Negotiated {
    /// The largest frame, in bytes without its length: 256 or more.
    pub max_frame_size: u32,
    /// What both may use; fragmentation is ours alone to offer.
    pub capabilities: Capabilities,
}

/// Settles on what both sides can do.
///
/// # Errors
/// A key is missing, no version is 2.x, or frames would have to be below 256 bytes. If several are wrong, the first in
/// the order of their codes.
pub(crate) fn negotiate(hello: &HaproxyHello<'_>, config: &Config) -> Result<Negotiated, PeerError> {
    let versions = hello.supported_versions.ok_or(PeerError::NoVersion)?;
    let offered = hello.max_frame_size.ok_or(PeerError::NoMaxFrameSize)?;
    let capabilities = hello.capabilities.ok_or(PeerError::NoCapabilities)?;
    check_versions(versions)?;
    let max_frame_size = max_frame_size(offered, config.max_frame_size).ok_or(PeerError::BadMaxFrameSize)?;
    // HAProxy never lists fragmentation, since it takes no fragments, but sends them to an agent that does (#659).
    let offered = Capabilities::parse(capabilities) | Capabilities::FRAGMENTATION;
    Ok(Negotiated { max_frame_size, capabilities: offered & config.capabilities })
}

/// The error of a HELLO that names its versions, none of which is ours.
pub(crate) fn foreign_version(hello: &HaproxyHello<'_>) -> Option<PeerError> {
    check_versions(hello.supported_versions?).err()
}

fn check_versions(list: &[u8]) -> Result<(), PeerError> {
    if list.split(|&byte| byte == b',').any(is_version_2) { Ok(()) } else { Err(PeerError::BadVersion) }
}

/// True for `2.` and a decimal number, blanks around it ignored.
fn is_version_2(token: &[u8]) -> bool {
    match token.trim_ascii().strip_prefix(b"2.") {
        Some(minor) => !minor.is_empty() && minor.iter().all(u8::is_ascii_digit),
        None => false,
    }
}

/// The smaller of both; `None` if HAProxy's is below the least there is. An integer of any type counts by its value.
fn max_frame_size(offered: TypedData<'_>, ours: u32) -> Option<u32> {
    // Above i64::MAX only a UINT64 can be, which ours is below in any case.
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
    fn versions() {
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
    fn frame_sizes_of_every_integer_type() {
        let with = |size| {
            let config = Config { max_frame_size: 16384, ..Config::default() };
            negotiate(&HaproxyHello { max_frame_size: Some(size), ..HELLO }, &config).map(|n| n.max_frame_size)
        };
        for (offered, settled) in [
            (TypedData::Uint32(256), 256),
            (TypedData::Int32(16380), 16380),
            (TypedData::Int64(16384), 16384),
            (TypedData::Uint64(1 << 32), 16384),
            (TypedData::Uint64(u64::MAX), 16384),
        ] {
            assert_eq!(with(offered), Ok(settled), "{offered:?}");
        }
        for offered in [TypedData::Uint32(255), TypedData::Int32(-1), TypedData::Int64(i64::MIN), TypedData::Uint64(0)]
        {
            assert_eq!(with(offered), Err(PeerError::BadMaxFrameSize), "{offered:?}");
        }
    }

    #[test]
    fn capabilities_are_those_of_both_and_fragmentation_is_ours() {
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
    fn missing_keys_in_the_order_of_their_codes() {
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
