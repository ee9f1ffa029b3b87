//! Recognizes requests that a website sends through the browser of an operator.

use std::net::IpAddr;

use hyper::HeaderMap;
use hyper::header::{HOST, HeaderName, HeaderValue, ORIGIN};
use hyper::http::uri::Authority;

/// The header in which browsers send where a request comes from.
const SEC_FETCH_SITE: HeaderName = HeaderName::from_static("sec-fetch-site");

/// Returns true if a browser sends the request for a page of another site. Other programs send neither header.
pub(super) fn is_cross_site(headers: &HeaderMap) -> bool {
    if let Some(site) = headers.get(SEC_FETCH_SITE) {
        // The browser has compared the sites. Behind a proxy only it can: the Host header may be another one there.
        return !matches!(site.as_bytes(), b"same-origin" | b"none");
    }
    // Over plain HTTP browsers send it to localhost only.
    let host = headers.get(HOST).map_or(&b""[..], HeaderValue::as_bytes);
    let is_of_host = |origin: &HeaderValue| {
        let origin = origin.as_bytes();
        let authority = origin.strip_prefix(b"http://").or_else(|| origin.strip_prefix(b"https://"));
        authority.is_some_and(|authority| authority == host)
    };
    headers.get_all(ORIGIN).iter().any(|origin| !is_of_host(origin))
}

/// Returns true if the Host header is missing, an IP address or a name without dots. Any other name may belong to an attacker who
/// resolves it to the agent's address, so that an operator's browser lets the attacker's site read the pages (DNS rebinding).
pub(super) fn is_host_allowed(headers: &HeaderMap) -> bool {
    let Some(host) = headers.get(HOST) else { return true };
    let Some(host) = host.to_str().ok().and_then(|host| host.parse::<Authority>().ok()) else { return false };
    let host = host.host().trim_start_matches('[').trim_end_matches(']');
    // Nobody can register a name without dots.
    host.parse::<IpAddr>().is_ok() || !host.contains(['.', ':'])
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(all: &[(&'static str, &'static str)]) -> HeaderMap {
        let each = all.iter().map(|(name, value)| (HeaderName::from_static(name), HeaderValue::from_static(value)));
        each.collect()
    }

    #[test]
    fn requests_of_other_sites_are_recognized() {
        for (all, is_cross) in [
            (&[("host", "10.0.0.1:9990")][..], false),
            (&[("host", "10.0.0.1:9990"), ("origin", "http://10.0.0.1:9990")], false),
            (&[("host", "10.0.0.1:9990"), ("origin", "http://evil.example")], true),
            (&[("host", "10.0.0.1:9990"), ("origin", "null")], true),
            (&[("origin", "http://evil.example"), ("sec-fetch-site", "cross-site")], true),
            (&[("sec-fetch-site", "same-site")], true),
            // Behind a TLS proxy that replaces the Host header.
            (&[("host", "agent"), ("origin", "https://agent.example"), ("sec-fetch-site", "same-origin")], false),
        ] {
            assert_eq!(is_cross_site(&headers(all)), is_cross, "{all:?}");
        }
    }

    #[test]
    fn names_that_an_attacker_can_resolve_are_refused() {
        for (host, is_allowed) in [
            ("127.0.0.1:9990", true),
            ("[::1]:9990", true),
            ("localhost:9990", true),
            ("agent", true),
            ("evil.example", false),
            ("evil.example:9990", false),
            ("", false),
        ] {
            assert_eq!(is_host_allowed(&headers(&[("host", host)])), is_allowed, "{host}");
        }
        assert!(is_host_allowed(&HeaderMap::new()), "no browser sends a request without a host");
    }
}
