//! The action list of an ACK (SPOE.txt section 3.4) as HAProxy runs it.

use super::cursor::Cursor;

/// Where a variable lives.
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

    /// As it stands before a variable's name.
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

/// A value after `spoe_decode_data`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Value<'b> {
    /// True only if the flag nibble is exactly 1.
    Bool(bool),
    /// All four integer types alike, as 64 bits: UINT64's greatest is -1, INT32's -1 in 32 bits is 4294967295.
    Int(i64),
    /// An IPv4 address.
    Ipv4([u8; 4]),
    /// An IPv6 address.
    Ipv6([u8; 16]),
    /// A STRING without flags.
    Str(&'b [u8]),
    /// A BINARY, or a STRING with flags: HAProxy compares the whole type byte there.
    Bin(&'b [u8]),
}

/// One action that had an effect.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Applied<'b> {
    /// set-var.
    Set {
        /// Scope of the variable.
        scope: Scope,
        /// Its name, HAProxy's own prefix not included.
        name: &'b [u8],
        /// Its new value.
        value: Value<'b>,
    },
    /// unset-var, or set-var with NULL or a reserved type (#855).
    Unset {
        /// Scope of the variable.
        scope: Scope,
        /// Its name, HAProxy's own prefix not included.
        name: &'b [u8],
    },
}

/// The actions of an ACK that take effect: in order, up to the first malformed one, which ends the run in silence and
/// leaves the earlier ones standing. A bad *name* costs only its own action.
#[derive(Clone, Debug)]
pub struct AppliedActions<'b> {
    cursor: Cursor<'b>,
    prefix_len: usize,
}

/// `scope.prefix.name` has this many bytes at most: it is put together in 64 with a closing zero.
const FULL_NAME_MAX: usize = 63;

impl<'b> AppliedActions<'b> {
    /// Of an ACK's payload, for a filter whose variable prefix has `prefix_len` bytes.
    pub const fn new(payload: &'b [u8], prefix_len: usize) -> Self {
        Self { cursor: Cursor::new(payload), prefix_len }
    }

    /// The payload not run yet.
    pub const fn payload(&self) -> &'b [u8] {
        self.cursor.rest()
    }

    fn step(&mut self) -> Option<Applied<'b>> {
        let kind = self.cursor.byte()?;
        let nargs = match kind {
            1 => 3,
            2 => 2,
            _ => return None,
        };
        // `p + 2 >= end`: three bytes must be left, the count and the scope among them.
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
            let Some(action) = self.step() else {
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

/// Outer `None`: malformed. Inner: NULL, or a type that HAProxy does not know and takes as empty.
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
    use super::*;

    fn run(payload: &[u8]) -> Vec<Applied<'_>> {
        AppliedActions::new(payload, 5).collect()
    }

    fn set<'b>(name: &'b [u8], value: Value<'b>) -> Applied<'b> {
        Applied::Set { scope: Scope::Sess, name, value }
    }

    #[test]
    fn the_score() {
        assert_eq!(run(b"\x01\x03\x01\x08ip_score\x03\x2a"), [set(b"ip_score", Value::Int(42))]);
    }

    #[test]
    fn values() {
        for (bytes, value) in [
            (&b"\x11"[..], Value::Bool(true)),
            (b"\x31", Value::Bool(false)),
            (b"\x05\xff\xf0\xfe\xfe\xfe\xfe\xfe\xfe\xfe\x0e", Value::Int(-1)),
            (b"\x02\xff\xf0\xfe\xfe\x7e", Value::Int(4_294_967_295)),
            (b"\x06\x01\x02\x03\x04", Value::Ipv4([1, 2, 3, 4])),
            (b"\x08\x02ab", Value::Str(b"ab")),
            (b"\x18\x02ab", Value::Bin(b"ab")),
            (b"\x09\x02ab", Value::Bin(b"ab")),
        ] {
            let payload = [b"\x01\x03\x01\x01v", bytes].concat();
            assert_eq!(run(&payload), [set(b"v", value)], "{bytes:x?}");
        }
        for null in [&b"\x00"[..], b"\x0c"] {
            let payload = [b"\x01\x03\x01\x01v", null].concat();
            assert_eq!(run(&payload), [Applied::Unset { scope: Scope::Sess, name: b"v" }]);
        }
    }

    #[test]
    fn the_first_malformed_action_ends_the_run() {
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
    fn the_full_name_has_63_bytes() {
        // "sess.iprep." leaves 52.
        for (len, taken) in [(52usize, 1), (53, 0)] {
            let mut payload = b"\x01\x03\x01".to_vec();
            payload.push(len as u8);
            payload.extend(std::iter::repeat_n(b'n', len));
            payload.extend_from_slice(b"\x03\x01");
            assert_eq!(run(&payload).len(), taken, "{len}");
        }
    }
}
