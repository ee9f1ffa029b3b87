//! Which address a message is about.

use std::net::{IpAddr, SocketAddr};
use std::str;

use spoa_core::wire::{Message, TypedData};

/// The address of the client a message asks about, in its [canonical] form.
///
/// It is in the argument `ip`, else in the first without a name, else in the only one there is. NULL (a client on a
/// unix socket has no address) and anything else that is no address give `None`.
// Always: an address that is handed back through memory is written in pieces and read whole, for which the processor waits.
#[inline(always)]
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

/// Tells of every address that a message asks about, as it came.
///
/// They are in the argument `ip`, else in the first without a name, else in the first that has any. A string may have
/// several between commas, as X-Forwarded-For does, with ports or without; what is no address is passed over.
pub fn addresses(message: &Message<'_>, mut tell: impl FnMut(IpAddr)) {
    let chosen = message.arg("ip").or_else(|| message.arg(""));
    if let Some(value) = chosen {
        addresses_in(value, &mut tell);
        return;
    }
    for (_, value) in message.args() {
        let mut any = false;
        addresses_in(value, &mut |address| {
            any = true;
            tell(address);
        });
        if any {
            return;
        }
    }
}

fn addresses_in(value: TypedData<'_>, tell: &mut impl FnMut(IpAddr)) {
    if let Some(address) = value.as_ip() {
        tell(address);
    } else if let TypedData::String(text) = value {
        let texts = text.split(|byte| *byte == b',').filter_map(|text| str::from_utf8(text).ok());
        texts.filter_map(|text| text_address(text.trim())).for_each(tell);
    }
}

fn text_address(text: &str) -> Option<IpAddr> {
    let bare = text.strip_prefix('[').and_then(|text| text.strip_suffix(']')).unwrap_or(text);
    bare.parse().ok().or_else(|| text.parse::<SocketAddr>().ok().map(|address| address.ip()))
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
    fn one_message_may_ask_about_several() {
        let all = |args: &[(&str, TypedData<'_>)]| {
            let mut payload = Vec::new();
            let mut message = MessageEncoder::begin(&mut payload, "m");
            args.iter().for_each(|(name, value)| _ = message.arg(name, *value).unwrap());
            let mut all = Vec::new();
            addresses(&Messages::decode(&payload).unwrap().next().unwrap(), |address| all.push(address.to_string()));
            all.join(" ")
        };
        let list = "192.0.2.1, unknown,[2001:db8::1]:443 ,[2001:db8::2], 192.0.2.2:80,_x,";
        for (args, wanted) in [
            (&[("ip", list.into())][..], "192.0.2.1 2001:db8::1 2001:db8::2 192.0.2.2"),
            (&[("a", 7.into()), ("b", "host".into()), ("c", ip("192.0.2.3")), ("d", ip("192.0.2.4"))], "192.0.2.3"),
            (&[("x", ip("192.0.2.1")), ("", ip("192.0.2.2"))], "192.0.2.2"),
            (&[("ip", TypedData::Null), ("", ip("192.0.2.2"))], ""),
            (&[("ip", (&b"\xff,192.0.2.1"[..]).into())], ""),
            (&[("", TypedData::String(b"\xff,192.0.2.1"))], "192.0.2.1"),
            (&[], ""),
        ] {
            assert_eq!(all(args), wanted, "{args:?}");
        }
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
