//! Finds the addresses in a message.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::str;

use spoa_core::wire::{Message, TypedData};

/// Calls `each` with every address in a message that counts, without conversion. Returns false if `arguments` is not empty and
/// the message has none of them.
///
/// The addresses are in
/// 1. the arguments that the message rule names (`arguments`), all of them;
/// 2. if it names none, the arguments called `ip`;
/// 3. if no argument is called `ip`, the first unnamed argument of an address type;
/// 4. if there is no such argument either, the first argument of an address type.
///
/// A string counts only in an argument of 1 or 2, or if it is the message's only argument: a client can write anything into
/// a header, and must not be able to choose the address that it is judged by. A string may hold several addresses between
/// commas or blanks, as X-Forwarded-For does, each with quotes, brackets, a port and a zone or without; in the header Forwarded
/// (RFC 7239) they are those after `for=`. Anything else in it is skipped. `lost` is called with the name of an argument whose
/// string, which is not empty, has no address.
// Inlined, so that an address stays in registers: passed through memory it is written in pieces and read as a whole, which
// stalls the processor.
#[inline(always)]
pub fn addresses(
    message: &Message<'_>,
    arguments: &[String],
    mut each: impl FnMut(IpAddr),
    mut lost: impl FnMut(&[u8]),
) -> bool {
    let args = message.args();
    let mut is_named = false;
    if !arguments.is_empty() {
        args.visit(|name, value| {
            if arguments.iter().any(|wanted| wanted.as_bytes() == name) {
                is_named = true;
                if !addresses_in(value, &mut each) {
                    lost(name);
                }
            }
        });
        return is_named;
    }
    let is_only = args.len() == 1;
    let (mut unnamed, mut named) = (First::default(), First::default());
    args.visit(|name, value| {
        if name == b"ip" {
            is_named = true;
            if !addresses_in(value, &mut each) {
                lost(name);
            }
        } else if let Some(address) = value.as_ip() {
            let first = if name.is_empty() { &mut unnamed } else { &mut named };
            first.add(address);
        } else if is_only && !addresses_in(value, &mut each) {
            lost(name);
        }
    });
    if !is_named {
        let first = if unnamed.is_some() { unnamed } else { named };
        first.v4.into_iter().for_each(|v4| each(IpAddr::V4(v4)));
        first.v6.into_iter().for_each(|v6| each(IpAddr::V6(v6)));
    }
    true
}

/// The first address of a kind. The families are apart, so that an IPv4 address stays in a register.
#[derive(Clone, Copy, Default)]
struct First {
    v4: Option<Ipv4Addr>,
    v6: Option<Ipv6Addr>,
}

impl First {
    #[inline(always)]
    fn add(&mut self, address: IpAddr) {
        if !self.is_some() {
            match address {
                IpAddr::V4(v4) => self.v4 = Some(v4),
                IpAddr::V6(v6) => self.v6 = Some(v6),
            }
        }
    }

    #[inline(always)]
    const fn is_some(self) -> bool {
        self.v4.is_some() || self.v6.is_some()
    }
}

/// Calls `each` with the addresses in a value. Returns false for a string that is not empty and has none.
fn addresses_in(value: TypedData<'_>, each: &mut impl FnMut(IpAddr)) -> bool {
    if let Some(address) = value.as_ip() {
        each(address);
        return true;
    }
    let TypedData::String(text) = value else { return true };
    let mut has_address = false;
    // Split first: what a client has added must not hide what comes after it.
    let parts = text.split(|byte| matches!(byte, b',' | b';' | b' ' | b'\t'));
    for address in parts.filter_map(|part| text_address(candidate(str::from_utf8(part).ok()?)?)) {
        has_address = true;
        each(address);
    }
    has_address || text.trim_ascii().is_empty()
}

/// Returns the part of a parameter that may be an address: the value of `for=`, or a text without a name. Other parameters, such
/// as `by=`, are about proxies.
fn candidate(text: &str) -> Option<&str> {
    match text.split_once('=') {
        Some((name, value)) => name.trim().eq_ignore_ascii_case("for").then_some(value),
        None => Some(text),
    }
}

/// Reads an address with quotes, brackets, a port and a zone or without.
fn text_address(text: &str) -> Option<IpAddr> {
    let text = text.trim_matches(['"', '\'']);
    let is_port = |text: &str| text.bytes().all(|byte| byte.is_ascii_digit());
    let bare = match text.strip_prefix('[') {
        Some(text) => {
            let (bare, rest) = text.split_once(']')?;
            (rest.is_empty() || rest.strip_prefix(':').is_some_and(is_port)).then_some(bare)?
        }
        // An IPv6 address without brackets has no port.
        None => match text.split_once(':') {
            Some((bare, port)) if is_port(port) && bare.contains('.') => bare,
            _ => text,
        },
    };
    bare.split('%').next()?.parse().ok()
}

/// Returns the IPv4 address that an IPv4-mapped one (`::ffff:a.b.c.d`) stands for, else `address` itself. A client of a
/// `bind :::80 v4v6` listener has a mapped address, which must not change its score.
pub fn canonical(address: IpAddr) -> IpAddr {
    address.to_canonical()
}

#[cfg(test)]
mod tests {
    use super::*;
    use spoa_core::wire::{MessageEncoder, Messages};

    type Args<'a> = [(&'a str, TypedData<'a>)];

    /// The addresses between blanks; `-` if the message has no argument that the rule names.
    fn found(arguments: &[&str], args: &Args<'_>) -> String {
        let mut payload = Vec::new();
        let mut message = MessageEncoder::begin(&mut payload, "m");
        args.iter().for_each(|(name, value)| _ = message.arg(name, *value).unwrap());
        let arguments: Vec<_> = arguments.iter().map(|name| (*name).to_owned()).collect();
        let mut all = Vec::new();
        let message = Messages::decode(&payload).unwrap().next().unwrap();
        let has_argument = addresses(&message, &arguments, |address| all.push(address.to_string()), |_| {});
        if has_argument { all.join(" ") } else { "-".into() }
    }

    fn ip(text: &str) -> TypedData<'static> {
        text.parse::<IpAddr>().unwrap().into()
    }

    #[test]
    fn a_client_cannot_choose_the_address_it_is_judged_by() {
        let (client, src) = ("198.51.100.99".into(), ip("192.0.2.1"));
        let crowdsec = [("id", "7".into()), ("method", "GET".into()), ("path", client), ("query", client)];
        let crowdsec = [&crowdsec[..], &[("src-ip", src)]].concat();
        for args in [
            &[("host", client), ("src", src)][..],
            &[("src", src), ("host", client)],
            &crowdsec,
            &[("", client), ("", src)],
            &[("", client), ("src", src)],
            // A header that the client leaves out arrives as NULL.
            &[("", TypedData::Null), ("", src)],
            &[("", 7.into()), ("", src)],
            &[("x", ip("192.0.2.2")), ("", src)],
            &[("a", 7.into()), ("b", client), ("c", src), ("d", ip("192.0.2.2"))],
            &[("host", client), ("ip", src)],
        ] {
            assert_eq!(found(&[], args), "192.0.2.1", "{args:?}");
        }
        assert_eq!(found(&[], &[("host", client), ("path", client)]), "");
        assert_eq!(found(&[], &[("", client), ("", client)]), "");
    }

    #[test]
    fn the_rule_names_the_arguments() {
        let (xff, src) = ("192.0.2.2, 192.0.2.3".into(), ip("192.0.2.1"));
        let args = &[("ip", ip("192.0.2.9")), ("xff", xff), ("src", src), ("xff", "192.0.2.4".into())];
        for (arguments, wanted) in [
            (&[][..], "192.0.2.9"),
            (&["src"], "192.0.2.1"),
            (&["xff"], "192.0.2.2 192.0.2.3 192.0.2.4"),
            (&["src", "xff"], "192.0.2.2 192.0.2.3 192.0.2.1 192.0.2.4"),
            (&["src", "missing"], "192.0.2.1"),
            (&["missing"], "-"),
        ] {
            assert_eq!(found(arguments, args), wanted, "{arguments:?}");
        }
        assert_eq!(found(&["src"], &[("ip", src), ("src", TypedData::Null)]), "", "NULL is not replaced by another");
    }

    #[test]
    fn a_named_or_only_string_may_hold_several_addresses() {
        let list = "192.0.2.1, unknown,[2001:db8::1]:443 ,[2001:db8::2], 192.0.2.2:80,_x,".into();
        let wanted = "192.0.2.1 2001:db8::1 2001:db8::2 192.0.2.2";
        for name in ["ip", "", "any"] {
            assert_eq!(found(&[], &[(name, list)]), wanted);
        }
        assert_eq!(found(&[], &[("ip", list), ("ip", ip("192.0.2.7"))]), format!("{wanted} 192.0.2.7"));
        assert_eq!(found(&[], &[("", TypedData::String(b"\xff,192.0.2.1"))]), "192.0.2.1");
    }

    #[test]
    fn a_string_holds_addresses_as_headers_have_them() {
        for (text, wanted) in [
            ("\"192.0.2.1\"", "192.0.2.1"),
            ("[192.0.2.1]:80", "192.0.2.1"),
            ("192.0.2.1:", "192.0.2.1"),
            ("2001:db8::1%eth0", "2001:db8::1"),
            ("[2001:db8::1%25eth0]:80", "2001:db8::1"),
            ("for=192.0.2.1", "192.0.2.1"),
            ("For=\"[2001:db8::1]:4711\"", "2001:db8::1"),
            ("for=192.0.2.60;proto=http;by=203.0.113.43, for=198.51.100.17", "192.0.2.60 198.51.100.17"),
            ("by=203.0.113.43", ""),
            ("192.0.2.1 198.51.100.7", "192.0.2.1 198.51.100.7"),
            ("192.0.2.1:80x", ""),
            ("[192.0.2.1", ""),
            ("unknown, _hidden", ""),
        ] {
            assert_eq!(found(&[], &[("ip", text.into())]), wanted, "{text}");
        }
    }

    #[test]
    fn a_string_without_an_address_is_reported_with_its_argument() {
        let lost = |args: &Args<'_>, arguments: &[String]| {
            let mut payload = Vec::new();
            let mut message = MessageEncoder::begin(&mut payload, "m");
            args.iter().for_each(|(name, value)| _ = message.arg(name, *value).unwrap());
            let mut names = Vec::new();
            let message = Messages::decode(&payload).unwrap().next().unwrap();
            addresses(&message, arguments, |_| {}, |name| names.push(String::from_utf8_lossy(name).into_owned()));
            names
        };
        let xff = &["xff".to_owned()];
        assert_eq!(lost(&[("xff", "unknown".into()), ("src", ip("192.0.2.1"))], xff), ["xff"]);
        assert_eq!(lost(&[("ip", "host".into())], &[]), ["ip"]);
        assert_eq!(lost(&[("any", "host".into())], &[]), ["any"]);
        for value in ["192.0.2.1".into(), "".into(), " ".into(), TypedData::Null, 7.into()] {
            assert!(lost(&[("xff", value)], xff).is_empty(), "{value:?}");
        }
    }

    #[test]
    fn other_types_hold_no_address() {
        let bytes: &[u8] = &[192, 0, 2, 1];
        for value in [TypedData::Null, true.into(), 7.into(), "".into(), "host".into(), bytes.into()] {
            assert_eq!(found(&[], &[("ip", value)]), "", "{value:?}");
        }
        assert_eq!(found(&[], &[("ip", TypedData::Null), ("", ip("192.0.2.2"))]), "");
        assert_eq!(found(&[], &[]), "");
    }
}
