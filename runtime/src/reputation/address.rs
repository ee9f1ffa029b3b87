//! Which address a message is about.

use std::net::IpAddr;

use spoa_core::wire::{Message, TypedData};

/// The address of the client a message asks about, in its [canonical] form.
///
/// It is in the argument `ip`, else in the first without a name, else in the only one there is. NULL (a client on a
/// unix socket has no address) and anything else that is no address give `None`.
#[inline]
pub fn client_address(message: &Message<'_>) -> Option<IpAddr> {
    let args = message.args();
    let (is_only, mut unnamed) = (args.len() == 1, None);
    for (name, value) in args {
        if name == b"ip" {
            return address(value).map(canonical);
        }
        if unnamed.is_none() && (is_only || name.is_empty()) {
            unnamed = Some(value);
        }
    }
    address(unnamed?).map(canonical)
}

#[inline]
fn address(value: TypedData<'_>) -> Option<IpAddr> {
    value.as_ip().or_else(|| value.as_str()?.parse().ok())
}

/// The IPv4 address that an IPv4-mapped one (`::ffff:a.b.c.d`) stands for, else `address` itself: what a client of a
/// `bind :::80 v4v6` listener has, and it should not change its score.
pub fn canonical(address: IpAddr) -> IpAddr {
    address.to_canonical()
}

#[cfg(test)]
mod tests {
    use super::*;
    use spoa_core::wire::{MessageEncoder, Messages};

    fn found(args: &[(&str, TypedData<'_>)]) -> Option<IpAddr> {
        let mut payload = Vec::new();
        let mut message = MessageEncoder::begin(&mut payload, "m");
        for (name, value) in args {
            message.arg(name, *value).unwrap();
        }
        client_address(&Messages::decode(&payload).unwrap().next().unwrap())
    }

    fn ip(text: &str) -> TypedData<'static> {
        text.parse::<IpAddr>().unwrap().into()
    }

    #[test]
    fn the_argument_is_chosen_by_name_then_place() {
        let (a, b) = (ip("192.0.2.1"), ip("192.0.2.2"));
        let a_ip = Some("192.0.2.1".parse().unwrap());
        for args in [
            &[("ip", a)][..],
            &[("", b), ("ip", a)],
            &[("x", b), ("", a), ("", b)],
            &[("client", a)],
            &[("ip", a), ("ip", b)],
        ] {
            assert_eq!(found(args), a_ip, "{args:?}");
        }
        assert_eq!(found(&[("x", a), ("y", b)]), None, "two named arguments, neither called ip");
        assert_eq!(found(&[]), None);
    }

    #[test]
    fn only_addresses_are_addresses() {
        for value in [TypedData::Null, true.into(), 7.into(), "".into(), "host".into(), (&[192, 0, 2, 1][..]).into()] {
            assert_eq!(found(&[("ip", value)]), None, "{value:?}");
        }
        assert_eq!(found(&[("", ip("::ffff:192.0.2.1"))]), Some("192.0.2.1".parse().unwrap()));
        assert_eq!(found(&[("", "::ffff:192.0.2.1".into())]), Some("192.0.2.1".parse().unwrap()));
        assert_eq!(found(&[("", "2001:db8::1".into())]), Some("2001:db8::1".parse().unwrap()));
    }
}
