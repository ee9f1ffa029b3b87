//! Typed values (SPOE.txt section 3.1).

use alloc::vec::Vec;
use core::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use core::str;

use super::reader::Reader;
use super::varint::{encode_varint, varint_len};
use crate::error::{DecodeError, Fault, Field};

const NULL: u8 = 0;
const BOOL: u8 = 1;
const INT32: u8 = 2;
const UINT32: u8 = 3;
const INT64: u8 = 4;
const UINT64: u8 = 5;
const IPV4: u8 = 6;
const IPV6: u8 = 7;
const STRING: u8 = 8;
const BINARY: u8 = 9;
/// BOOL with its flag. HAProxy reads no other first byte as true.
const TRUE: u8 = 0x10 | BOOL;

/// The typed value of an argument, a key or a variable.
///
/// Strings are bytes, as in HAProxy, because a path or a header may contain any bytes. HAProxy sends every integer as
/// INT64, and an absent sample (no address, missing header, failed fetch) as NULL.
// A tag of eight bytes costs no space and aligns the value. After a tag of one byte, an address would be copied with
// loads that overlap several earlier stores, and processors stall on such loads.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u64)]
pub enum TypedData<'b> {
    /// No value: the sample of an argument is absent.
    Null,
    /// A boolean.
    Bool(bool),
    /// A signed integer of 32 bits.
    Int32(i32),
    /// An unsigned integer of 32 bits.
    Uint32(u32),
    /// A signed integer of 64 bits.
    Int64(i64),
    /// An unsigned integer of 64 bits.
    Uint64(u64),
    /// An IPv4 address.
    Ipv4(Ipv4Addr),
    /// An IPv6 address. The address of an IPv4 client on a `v4v6` listener is `::ffff:a.b.c.d`.
    Ipv6(Ipv6Addr),
    /// A string of any encoding.
    String(&'b [u8]),
    /// Binary data.
    Binary(&'b [u8]),
}

impl<'b> TypedData<'b> {
    /// Reads a value.
    ///
    /// An INT32 or UINT32 outside its range keeps its value, as in HAProxy, and is returned as INT64 or UINT64.
    ///
    /// # Errors
    /// `field` is truncated, overflows, or has a reserved type (10..=15), whose size is unknown.
    #[inline]
    pub fn decode(reader: &mut Reader<'b>, field: Field) -> Result<Self, DecodeError> {
        let first = reader.u8(field)?;
        // IPv4 has its own path because most lookups are of IPv4 addresses. Code that is shared by all types would
        // write the address in several stores, and a later load of the whole address would stall on them.
        if first & 0x0f == IPV4 {
            return Ok(Self::Ipv4(reader.array::<4>(field)?.into()));
        }
        Self::decode_other(first, reader, field)
    }

    /// Reads a value and passes it to `visit`, as [`decode`](Self::decode) would return it. `visit` is inlined separately for
    /// IPv4, so that an address stays in registers.
    #[inline(always)]
    pub(super) fn visit<T>(
        reader: &mut Reader<'b>,
        field: Field,
        visit: impl FnOnce(Self) -> T,
    ) -> Result<T, DecodeError> {
        let first = reader.u8(field)?;
        if first & 0x0f == IPV4 {
            return Ok(visit(Self::Ipv4(reader.array::<4>(field)?.into())));
        }
        Ok(visit(Self::decode_other(first, reader, field)?))
    }

    #[inline(never)]
    fn decode_other(first: u8, reader: &mut Reader<'b>, field: Field) -> Result<Self, DecodeError> {
        Ok(match first & 0x0f {
            NULL => Self::Null,
            BOOL => Self::Bool(first == TRUE),
            INT32 => {
                let value = reader.varint(field)? as i64;
                i32::try_from(value).map_or(Self::Int64(value), Self::Int32)
            }
            UINT32 => {
                let value = reader.varint(field)?;
                u32::try_from(value).map_or(Self::Uint64(value), Self::Uint32)
            }
            INT64 => Self::Int64(reader.varint(field)? as i64),
            UINT64 => Self::Uint64(reader.varint(field)?),
            IPV6 => Self::Ipv6(reader.array::<16>(field)?.into()),
            STRING if first == STRING => Self::String(reader.string(field)?),
            STRING | BINARY => Self::Binary(reader.string(field)?),
            reserved => return Err(DecodeError::new(field, Fault::ReservedType(reserved))),
        })
    }

    /// Skips a value. Returns the same errors as [`decode`](Self::decode) and is much faster.
    ///
    /// # Errors
    /// The same as those of [`decode`](Self::decode).
    #[inline(always)] // like its caller
    pub(super) fn skip(reader: &mut Reader<'b>, field: Field) -> Result<(), DecodeError> {
        match reader.u8(field)? & 0x0f {
            NULL | BOOL => Ok(()),
            INT32 | UINT32 | INT64 | UINT64 => reader.varint(field).map(drop),
            IPV4 => reader.array::<4>(field).map(drop),
            IPV6 => reader.array::<16>(field).map(drop),
            STRING | BINARY => reader.string(field).map(drop),
            reserved => Err(DecodeError::new(field, Fault::ReservedType(reserved))),
        }
    }

    /// Appends the value. All flags are zero, except the flag of a true BOOL: HAProxy compares the first byte of a
    /// STRING including its flags.
    #[inline]
    pub fn encode(&self, out: &mut Vec<u8>) {
        let start = out.len();
        self.append(out);
        debug_assert_eq!(out.len(), start + self.encoded_len(), "a value has the length that is reserved for it");
    }

    #[inline]
    fn append(&self, out: &mut Vec<u8>) {
        let integer = |out: &mut Vec<u8>, kind, value| {
            out.push(kind);
            encode_varint(value, out);
        };
        match *self {
            Self::Null => out.push(NULL),
            Self::Bool(value) => out.push(if value { TRUE } else { BOOL }),
            // Signed values are sent as 64 bits, sign-extended, so every negative one takes ten bytes.
            Self::Int32(value) => integer(out, INT32, i64::from(value) as u64),
            Self::Uint32(value) => integer(out, UINT32, u64::from(value)),
            Self::Int64(value) => integer(out, INT64, value as u64),
            Self::Uint64(value) => integer(out, UINT64, value),
            Self::Ipv4(address) => {
                out.push(IPV4);
                out.extend_from_slice(&address.octets());
            }
            Self::Ipv6(address) => {
                out.push(IPV6);
                out.extend_from_slice(&address.octets());
            }
            Self::String(bytes) => {
                integer(out, STRING, bytes.len() as u64);
                out.extend_from_slice(bytes);
            }
            Self::Binary(bytes) => {
                integer(out, BINARY, bytes.len() as u64);
                out.extend_from_slice(bytes);
            }
        }
    }

    /// Returns the number of bytes that [`encode`](Self::encode) appends.
    #[inline]
    pub fn encoded_len(&self) -> usize {
        1 + match *self {
            Self::Null | Self::Bool(_) => 0,
            Self::Int32(value) => varint_len(i64::from(value) as u64),
            Self::Uint32(value) => varint_len(u64::from(value)),
            Self::Int64(value) => varint_len(value as u64),
            Self::Uint64(value) => varint_len(value),
            Self::Ipv4(_) => 4,
            Self::Ipv6(_) => 16,
            Self::String(bytes) | Self::Binary(bytes) => varint_len(bytes.len() as u64) + bytes.len(),
        }
    }

    /// Returns the name of its type in SPOE.txt.
    pub const fn type_name(&self) -> &'static str {
        match self {
            Self::Null => "NULL",
            Self::Bool(_) => "BOOL",
            Self::Int32(_) => "INT32",
            Self::Uint32(_) => "UINT32",
            Self::Int64(_) => "INT64",
            Self::Uint64(_) => "UINT64",
            Self::Ipv4(_) => "IPV4",
            Self::Ipv6(_) => "IPV6",
            Self::String(_) => "STRING",
            Self::Binary(_) => "BINARY",
        }
    }

    /// Returns the boolean, if this is a BOOL.
    pub const fn as_bool(&self) -> Option<bool> {
        match *self {
            Self::Bool(value) => Some(value),
            _ => None,
        }
    }

    /// Returns the integer, if this has an integer type and fits into `i64`.
    pub fn as_i64(&self) -> Option<i64> {
        match *self {
            Self::Int32(value) => Some(i64::from(value)),
            Self::Uint32(value) => Some(i64::from(value)),
            Self::Int64(value) => Some(value),
            Self::Uint64(value) => i64::try_from(value).ok(),
            _ => None,
        }
    }

    /// Returns the address, if this is an IPv4 or IPv6 address. It is not converted; see [`Ipv6Addr::to_ipv4_mapped`].
    pub const fn as_ip(&self) -> Option<IpAddr> {
        match *self {
            Self::Ipv4(address) => Some(IpAddr::V4(address)),
            Self::Ipv6(address) => Some(IpAddr::V6(address)),
            _ => None,
        }
    }

    /// Returns the string, if this is a STRING in UTF-8.
    pub fn as_str(&self) -> Option<&'b str> {
        match *self {
            Self::String(bytes) => str::from_utf8(bytes).ok(),
            _ => None,
        }
    }

    /// Returns the bytes, if this is a STRING or BINARY.
    pub const fn as_bytes(&self) -> Option<&'b [u8]> {
        match *self {
            Self::String(bytes) | Self::Binary(bytes) => Some(bytes),
            _ => None,
        }
    }
}

macro_rules! from {
    ($($source:ty => $variant:ident),*) => {$(
        impl From<$source> for TypedData<'_> {
            fn from(value: $source) -> Self {
                Self::$variant(value)
            }
        }
    )*};
}
from!(bool => Bool, i32 => Int32, u32 => Uint32, i64 => Int64, u64 => Uint64, Ipv4Addr => Ipv4, Ipv6Addr => Ipv6);

impl From<IpAddr> for TypedData<'_> {
    fn from(address: IpAddr) -> Self {
        match address {
            IpAddr::V4(address) => Self::Ipv4(address),
            IpAddr::V6(address) => Self::Ipv6(address),
        }
    }
}

impl<'b> From<&'b str> for TypedData<'b> {
    fn from(text: &'b str) -> Self {
        Self::String(text.as_bytes())
    }
}

impl<'b> From<&'b [u8]> for TypedData<'b> {
    fn from(bytes: &'b [u8]) -> Self {
        Self::Binary(bytes)
    }
}

const _: () = assert!(size_of::<Option<TypedData<'_>>>() == 24);

#[cfg(test)]
mod tests {
    use super::*;
    use crate::vectors;

    /// Decodes a value that is all of `bytes`, and checks that skipping it gives the same result.
    fn decode(bytes: &[u8]) -> Result<TypedData<'_>, DecodeError> {
        let (mut reader, mut skipping) = (Reader::new(bytes), Reader::new(bytes));
        let value = TypedData::decode(&mut reader, Field::Value);
        assert_eq!(TypedData::skip(&mut skipping, Field::Value), value.map(drop));
        assert!(value.is_err() || skipping.is_empty());
        let value = value?;
        assert!(reader.is_empty(), "expected {value:?} to be all of the bytes, got {:?} after it", reader.rest());
        Ok(value)
    }

    /// Calls `check` with each value of a file of vectors and its bytes.
    fn each_value(vectors: &[(&str, &str, Vec<u8>)], check: impl Fn(TypedData<'_>, &[u8])) {
        for (kind, text, bytes) in vectors {
            let content = if matches!(*kind, "string" | "binary") { vectors::hex(text) } else { Vec::new() };
            let value = match *kind {
                "null" => TypedData::Null,
                "bool" => TypedData::Bool(*text == "true"),
                "int32" => TypedData::Int32(text.parse().unwrap()),
                "uint32" => TypedData::Uint32(text.parse().unwrap()),
                "int64" => TypedData::Int64(text.parse().unwrap()),
                "uint64" => TypedData::Uint64(text.parse().unwrap()),
                "ipv4" => TypedData::Ipv4(text.parse().unwrap()),
                "ipv6" => TypedData::Ipv6(text.parse().unwrap()),
                "string" => TypedData::String(&content),
                "binary" => TypedData::Binary(&content),
                _ => panic!("expected a type, got {kind}"),
            };
            check(value, bytes);
        }
    }

    #[test]
    fn every_type_is_encoded_and_decoded() {
        each_value(&vectors::values(), |value, bytes| {
            let mut out = Vec::new();
            value.encode(&mut out);
            assert_eq!(out, bytes, "{value:?}");
            assert_eq!(value.encoded_len(), bytes.len(), "{value:?}");
            assert_eq!(decode(bytes), Ok(value));
            for cut in 0..bytes.len() {
                assert_eq!(decode(&bytes[..cut]), Err(DecodeError::new(Field::Value, Fault::Truncated)), "{value:?}");
            }
        });
    }

    #[test]
    fn flags_have_the_same_meaning_as_in_haproxy() {
        each_value(&vectors::flags(), |value, bytes| assert_eq!(decode(bytes), Ok(value), "{bytes:x?}"));
    }

    #[test]
    fn an_integer_out_of_its_range_keeps_its_value() {
        assert_eq!(decode(&[2, 0xff, 0xf0, 0xfe, 0xfe, 0x7e]), Ok(TypedData::Int64(4_294_967_295)));
        assert_eq!(decode(&[3, 0xf0, 0xf1, 0xfe, 0xfe, 0x7e]), Ok(TypedData::Uint64(4_294_967_296)));
    }

    #[test]
    fn reserved_types_are_errors() {
        for kind in 10..=15 {
            assert_eq!(decode(&[kind]), Err(DecodeError::new(Field::Value, Fault::ReservedType(kind))));
        }
    }
}
