//! The arguments that our agent takes the address of the client from.

use crate::catalogue::{ADDRESS_ARGUMENT_MISSING, Kind, NO_ADDRESS_ARGUMENT};
use crate::spoe::{Argument, Message};
use spoa_reputation::MessageRule;

/// Fetches whose sample is an address.
const ADDRESSES: [&str; 10] =
    ["src", "dst", "fc_src", "fc_dst", "bc_src", "bc_dst", "req.hdr_ip", "hdr_ip", "req.fhdr_ip", "fhdr_ip"];

/// Fetches whose sample is neither an address nor a text in which the agent looks for one.
const NO_ADDRESSES: [&str; 22] = [
    "src_port",
    "dst_port",
    "method",
    "path",
    "pathq",
    "url",
    "uri",
    "query",
    "req.ver",
    "req.body",
    "req.hdrs",
    "req.hdrs_bin",
    "str",
    "int",
    "bool",
    "status",
    "rand",
    "date",
    "unique-id",
    "fe_name",
    "ssl_fc",
    "ssl_fc_sni",
];

/// Headers whose value is no address.
const TEXT_HEADERS: [&str; 7] = ["accept", "authorization", "content-type", "cookie", "host", "referer", "user-agent"];

/// True if an argument is neither an address nor a text in which the agent looks for one.
pub(super) fn is_no_address(argument: &Argument) -> bool {
    let is_text =
        || header(argument).is_some_and(|(name, _)| TEXT_HEADERS.contains(&name.to_ascii_lowercase().as_str()));
    NO_ADDRESSES.contains(&argument.fetch()) || is_text()
}

/// Returns the name and the number of the header in an argument that is an address or a line of a header.
pub(super) fn header(argument: &Argument) -> Option<(&str, Option<i64>)> {
    if !matches!(argument.fetch(), "req.hdr_ip" | "hdr_ip" | "req.fhdr" | "fhdr" | "req.hdr" | "hdr") {
        return None;
    }
    let (_, inner) = argument.expression.split_once('(')?;
    let inner = inner.split(')').next()?;
    let (name, number) =
        inner.split_once(',').map_or((inner, None), |(name, number)| (name, number.trim().parse().ok()));
    Some((name, number))
}

/// Returns the arguments that the agent takes the address from, or the reason why there is none.
pub(super) fn judged<'m>(
    message: &'m Message,
    rule: &MessageRule,
) -> Result<Vec<&'m Argument>, Option<(&'static Kind, String)>> {
    let arguments = &message.arguments;
    if !rule.arguments().is_empty() {
        let named: Vec<_> = arguments.iter().filter(|argument| rule.arguments().contains(&argument.name)).collect();
        return if named.is_empty() {
            Err(Some((&ADDRESS_ARGUMENT_MISSING, rule.arguments()[0].clone())))
        } else {
            Ok(named)
        };
    }
    let named: Vec<_> = arguments.iter().filter(|argument| argument.name == "ip").collect();
    if !named.is_empty() {
        return Ok(named);
    }
    // One whose type is not known may be an address.
    match arguments.iter().find(|argument| !is_no_address(argument)) {
        Some(first) if ADDRESSES.contains(&first.fetch()) => Ok(vec![first]),
        Some(_) => Err(None),
        None => Err(Some((&NO_ADDRESS_ARGUMENT, String::new()))),
    }
}
