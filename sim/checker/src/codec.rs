//! A second codec of SPOP, written from SPOE.txt section 3.
//!
//! It shares no code with the core. The checker, the script encoder of the simulator and the tests use it, so that a mistake of
//! the core's codec is not made on both sides. The models of HAProxy have their own, which is as lenient as HAProxy.

mod read;
mod write;

pub use read::{Bytes, Part, messages, pairs};
pub use write::{disconnect, frame, hello, reason, string, varint};

/// A typed value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Value<'b> {
    /// NULL.
    Null,
    /// BOOL.
    Bool(bool),
    /// The varint of an integer, and the type of the integer. A signed integer is the varint as two's complement.
    Integer(u64, IntegerType),
    /// IPV4 or IPV6: 4 or 16 bytes.
    Address(&'b [u8]),
    /// STRING.
    Text(&'b [u8]),
    /// BINARY, or a STRING with flags.
    Binary(&'b [u8]),
}

/// The type of an integer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(missing_docs, reason = "the types of SPOE.txt")]
pub enum IntegerType {
    Signed32,
    Unsigned32,
    Signed64,
    Unsigned64,
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::vectors;

    #[test]
    fn varints_are_written_and_read() {
        for (number, bytes) in vectors::varints() {
            assert_eq!(Bytes(&bytes).varint(), number, "{bytes:x?}");
            assert_eq!(Bytes(&bytes[..bytes.len() - 1]).varint(), None, "{bytes:x?}");
            if let Some(number) = number {
                let mut out = Vec::new();
                varint(number, &mut out);
                assert_eq!(out, bytes, "{number}");
            }
        }
    }

    #[test]
    fn values_are_written_and_read() {
        for (kind, text, bytes) in vectors::values() {
            let content = content(kind, text);
            let value = value(kind, text, &content);
            let mut out = Vec::new();
            value.encode(&mut out);
            assert_eq!((&out, Bytes(&bytes).value()), (&bytes, Some(value)), "{kind} {text}");
            for cut in 0..bytes.len() {
                assert_eq!(Bytes(&bytes[..cut]).value(), None, "{kind} {text} cut at {cut}");
            }
        }
    }

    #[test]
    fn flags_are_read_as_haproxy_reads_them() {
        for (kind, text, bytes) in vectors::flags() {
            let content = content(kind, text);
            assert_eq!(Bytes(&bytes).value(), Some(value(kind, text, &content)), "{bytes:x?}");
        }
        assert!((10..16).all(|kind| Bytes(&[kind]).value().is_none()), "reserved types are malformed");
    }

    #[test]
    fn status_codes_have_the_texts_of_haproxy() {
        for (code, text) in vectors::statuses() {
            assert_eq!(reason(code), text, "{code}");
        }
    }

    /// Returns the bytes of an address, a string or a binary value.
    fn content(kind: &str, text: &str) -> Vec<u8> {
        match kind {
            "ipv4" => text.parse::<std::net::Ipv4Addr>().expect("an address").octets().into(),
            "ipv6" => text.parse::<std::net::Ipv6Addr>().expect("an address").octets().into(),
            "string" | "binary" => vectors::hex(text),
            _ => Vec::new(),
        }
    }

    fn value<'b>(kind: &str, text: &str, content: &'b [u8]) -> Value<'b> {
        let signed = || text.parse::<i64>().expect("a number") as u64;
        let unsigned = || text.parse::<u64>().expect("a number");
        match kind {
            "null" => Value::Null,
            "bool" => Value::Bool(text == "true"),
            "int32" => Value::Integer(signed(), IntegerType::Signed32),
            "uint32" => Value::Integer(unsigned(), IntegerType::Unsigned32),
            "int64" => Value::Integer(signed(), IntegerType::Signed64),
            "uint64" => Value::Integer(unsigned(), IntegerType::Unsigned64),
            "ipv4" | "ipv6" => Value::Address(content),
            "string" => Value::Text(content),
            "binary" => Value::Binary(content),
            _ => panic!("expected a type, got {kind}"),
        }
    }
}
