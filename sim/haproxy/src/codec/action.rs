//! Applies the action list of an ACK (SPOE.txt section 3.4) as HAProxy does.

use super::cursor::Cursor;

/// The scope of a variable.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(missing_docs, reason = "HAProxy's own names")]
pub enum Scope {
    Proc,
    Sess,
    Txn,
    Req,
    Res,
}

impl Scope {
    const fn from_byte(byte: u8) -> Option<Self> {
        Some(match byte {
            0 => Self::Proc,
            1 => Self::Sess,
            2 => Self::Txn,
            3 => Self::Req,
            4 => Self::Res,
            _ => return None,
        })
    }

    /// Returns the scope as it is written before the name of a variable.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Proc => "proc",
            Self::Sess => "sess",
            Self::Txn => "txn",
            Self::Req => "req",
            Self::Res => "res",
        }
    }
}

/// A value as `spoe_decode_data` decodes it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Value<'b> {
    /// A boolean. It is true only if the flags are exactly 1.
    Bool(bool),
    /// Any of the four integer types, as 64 bits: the largest UINT64 is -1, and an INT32 of -1 that is encoded in 32
    /// bits is 4294967295.
    Int(i64),
    /// An IPv4 address.
    Ipv4([u8; 4]),
    /// An IPv6 address.
    Ipv6([u8; 16]),
    /// A STRING without flags.
    Str(&'b [u8]),
    /// A BINARY, or a STRING with flags: HAProxy recognizes a STRING only by the whole type byte.
    Bin(&'b [u8]),
}

/// One action that had an effect.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Applied<'b> {
    /// A set-var.
    Set {
        /// Scope of the variable.
        scope: Scope,
        /// Its name, without HAProxy's own prefix.
        name: &'b [u8],
        /// Its new value.
        value: Value<'b>,
    },
    /// An unset-var, or a set-var with NULL or a reserved type (#855).
    Unset {
        /// Scope of the variable.
        scope: Scope,
        /// Its name, without HAProxy's own prefix.
        name: &'b [u8],
    },
}

/// Iterates over the actions of an ACK that take effect. HAProxy applies actions in order and stops silently at the
/// first malformed one; the earlier ones remain in effect. An invalid *name* affects only its own action.
#[derive(Clone, Debug)]
pub struct AppliedActions<'b> {
    cursor: Cursor<'b>,
    prefix_len: usize,
}

/// The largest length of `scope.prefix.name`: HAProxy builds it in 64 bytes, with a zero at the end.
const FULL_NAME_MAX: usize = 63;

impl<'b> AppliedActions<'b> {
    /// Reads the payload of an ACK, for a filter whose variable prefix has `prefix_len` bytes.
    pub const fn new(payload: &'b [u8], prefix_len: usize) -> Self {
        Self { cursor: Cursor::new(payload), prefix_len }
    }

    /// Returns the part of the payload that is not read yet.
    pub const fn payload(&self) -> &'b [u8] {
        self.cursor.rest()
    }

    fn next_action(&mut self) -> Option<Applied<'b>> {
        let kind = self.cursor.byte()?;
        let nargs = match kind {
            1 => 3,
            2 => 2,
            _ => return None,
        };
        // HAProxy checks `p + 2 >= end`: three bytes have to follow, among them the count and the scope.
        if self.cursor.rest().len() < 3 || self.cursor.byte()? != nargs {
            return None;
        }
        let scope = Scope::from_byte(self.cursor.byte()?)?;
        let name = self.cursor.string()?;
        let value = if kind == 1 { read_value(&mut self.cursor)? } else { None };
        Some(match value {
            Some(value) => Applied::Set { scope, name, value },
            None => Applied::Unset { scope, name },
        })
    }

    fn is_good_name(&self, scope: Scope, name: &[u8]) -> bool {
        let full = scope.name().len() + 1 + self.prefix_len + 1 + name.len();
        !name.is_empty()
            && full <= FULL_NAME_MAX
            && name.iter().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'.'))
    }
}

impl<'b> Iterator for AppliedActions<'b> {
    type Item = Applied<'b>;

    fn next(&mut self) -> Option<Self::Item> {
        loop {
            let Some(action) = self.next_action() else {
                self.cursor = Cursor::new(&[]);
                return None;
            };
            let (Applied::Set { scope, name, .. } | Applied::Unset { scope, name }) = action;
            if self.is_good_name(scope, name) {
                return Some(action);
            }
        }
    }
}

/// Reads a value. The outer `None` means that it is malformed; the inner one that it is NULL or of a reserved type,
/// which HAProxy treats as NULL.
fn read_value<'b>(cursor: &mut Cursor<'b>) -> Option<Option<Value<'b>>> {
    let kind = cursor.byte()?;
    Some(Some(match kind & 0x0f {
        1 => Value::Bool(kind >> 4 == 1),
        2..=5 => Value::Int(cursor.varint()? as i64),
        6 => Value::Ipv4(cursor.take(4)?.try_into().ok()?),
        7 => Value::Ipv6(cursor.take(16)?.try_into().ok()?),
        8 if kind == 8 => Value::Str(cursor.string()?),
        8 | 9 => Value::Bin(cursor.string()?),
        _ => return Some(None),
    }))
}

#[cfg(test)]
mod tests {
    use std::net::{Ipv4Addr, Ipv6Addr};

    use super::*;
    use crate::vectors;

    fn run(payload: &[u8]) -> Vec<Applied<'_>> {
        AppliedActions::new(payload, 5).collect()
    }

    fn set<'b>(name: &'b [u8], value: Value<'b>) -> Applied<'b> {
        Applied::Set { scope: Scope::Sess, name, value }
    }

    #[test]
    fn a_score_is_applied() {
        assert_eq!(run(b"\x01\x03\x01\x08ip_score\x03\x2a"), [set(b"ip_score", Value::Int(42))]);
    }

    #[test]
    fn values_are_decoded_as_haproxy_does() {
        for (kind, text, bytes) in vectors::values().into_iter().chain(vectors::flags()) {
            let content = if matches!(kind, "string" | "binary") { vectors::hex(text) } else { Vec::new() };
            let value = match kind {
                "null" => None,
                "bool" => Some(Value::Bool(text == "true")),
                "ipv4" => Some(Value::Ipv4(text.parse::<Ipv4Addr>().unwrap().octets())),
                "ipv6" => Some(Value::Ipv6(text.parse::<Ipv6Addr>().unwrap().octets())),
                "string" => Some(Value::Str(&content)),
                "binary" => Some(Value::Bin(&content)),
                // All integers have 64 bits.
                _ => Some(Value::Int(text.parse::<i128>().unwrap() as i64)),
            };
            let payload = [b"\x01\x03\x01\x01v", &bytes[..]].concat();
            let unset = Applied::Unset { scope: Scope::Sess, name: b"v" };
            assert_eq!(run(&payload), [value.map_or(unset, |value| set(b"v", value))], "{kind} {text}");
        }
        // A reserved type is NULL, and 32 bits are not extended to a negative number.
        assert_eq!(run(b"\x01\x03\x01\x01v\x0c"), [Applied::Unset { scope: Scope::Sess, name: b"v" }]);
        let value = Value::Int(4_294_967_295);
        assert_eq!(run(b"\x01\x03\x01\x01v\x02\xff\xf0\xfe\xfe\x7e"), [set(b"v", value)]);
    }

    #[test]
    fn a_malformed_action_stops_the_rest() {
        let good = b"\x01\x03\x01\x01v\x03\x01";
        for bad in [
            &b"\x03\x03\x01\x01v\x03\x01"[..],
            b"\x01\x02\x01\x01v\x03\x01",
            b"\x01\x03\x05\x01v\x03\x01",
            b"\x01\x03\x01\x01v\x08\x63",
            b"\x02\x03\x01\x01v",
        ] {
            let payload = [&good[..], bad, good].concat();
            assert_eq!(run(&payload).len(), 1, "{bad:x?}");
        }
    }

    #[test]
    fn a_bad_name_costs_only_its_own_action() {
        let good = b"\x02\x02\x02\x01v";
        for bad in [&b"\x01\x03\x01\x00\x03\x01"[..], b"\x01\x03\x01\x03a-b\x03\x01"] {
            let payload = [bad, good].concat();
            assert_eq!(run(&payload), [Applied::Unset { scope: Scope::Txn, name: b"v" }], "{bad:x?}");
        }
    }

    #[test]
    fn a_full_name_above_63_bytes_is_ignored() {
        // "sess.iprep." leaves 52 bytes.
        for (len, applied) in [(52usize, 1), (53, 0)] {
            let mut payload = b"\x01\x03\x01".to_vec();
            payload.push(len as u8);
            payload.extend(std::iter::repeat_n(b'n', len));
            payload.extend_from_slice(b"\x03\x01");
            assert_eq!(run(&payload).len(), applied, "{len}");
        }
    }
}
