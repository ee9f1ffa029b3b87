//! The inputs of public reports, and how each is to be read.

/// The layout of a list without columns.
pub(crate) const ONE: &str = "one address per line";

/// A list with its options, and its expected reading: prefixes, numbers of bad lines, layout.
pub(crate) struct Feed {
    pub(crate) file: &'static str,
    pub(crate) options: &'static str,
    pub(crate) prefixes: &'static [&'static str],
    pub(crate) bad: &'static [u64],
    pub(crate) layout: &'static str,
}

const fn feed(
    file: &'static str,
    options: &'static str,
    prefixes: &'static [&'static str],
    bad: &'static [u64],
    layout: &'static str,
) -> Feed {
    Feed { file, options, prefixes, bad, layout }
}

pub(crate) const FEEDS: &[Feed] = &[
    feed(
        "range-in-two-columns.csv",
        "",
        &["192.0.2.0/24", "198.51.100.0/24"],
        &[],
        "comma-separated, range in columns 1 and 2",
    ),
    feed("dshield.txt", "", &["192.0.2.0/24"], &[], "tab-separated, range in columns 1 and 2"),
    feed("tab-and-count.txt", "", &["192.0.2.1", "198.51.100.7"], &[], "tab-separated, address in column 1"),
    feed(
        "tab-and-count.txt",
        ",min=5",
        &["192.0.2.1"],
        &[],
        "tab-separated, address in column 1, threshold on column 2",
    ),
    feed(
        "tab-and-count.txt",
        ",min=2:5",
        &["192.0.2.1"],
        &[],
        "tab-separated, address in column 1, threshold on column 2",
    ),
    feed("haproxy.map", "", &["192.0.2.0/24", "203.0.113.7"], &[], "separated by blanks, address in column 1"),
    feed("semicolon.csv", "", &["192.0.2.1"], &[], "semicolon-separated, address in column 2"),
    feed("semicolon.csv", ",column=2", &["192.0.2.1"], &[], "semicolon-separated, address in column 2"),
    feed("host-bits.txt", "", &["203.0.113.1"], &[1], ONE),
    feed("host-bits.txt", ",host-bits=accept", &["192.0.2.0/24", "203.0.113.1"], &[], ONE),
    feed("netmask.acl", "", &["192.0.2.0/24", "203.0.113.1"], &[], ONE),
    feed("latin1-comment.txt", "", &["192.0.2.1", "198.51.100.7"], &[], ONE),
    feed("latin1-comment-line.txt", ",strict", &["192.0.2.1"], &[], ONE),
    feed("commented-header.csv", "", &["192.0.2.1"], &[], "comma-separated, address in column 2"),
    feed("commented-header.csv", ",column=dstip", &["192.0.2.1"], &[], "comma-separated, address in column 2"),
    feed(
        "lines-type-and-value.json",
        ",strict",
        &["203.0.113.1", "192.0.2.1"],
        &[],
        "JSON lines, address under ip and value",
    ),
    feed(
        "several-on-one-line.txt",
        "",
        &["192.0.2.1", "198.51.100.7", "203.0.113.1"],
        &[],
        "comma-separated, an address in every column",
    ),
    feed("api-document.json", "", &["192.0.2.1", "198.51.100.7"], &[], "a JSON document, address under ipAddress"),
    feed(
        "api-document.json",
        ",min=abuseConfidenceScore:95",
        &["192.0.2.1"],
        &[],
        "a JSON document, address under ipAddress",
    ),
    feed("array-of-objects.json", "", &["192.0.2.1"], &[], "a JSON document, address under ip_address"),
    feed(
        "cloud-ranges.json",
        "",
        &["192.0.2.0/24", "2001:db8::/32"],
        &[],
        "a JSON document, address under ip_prefix and ipv6_prefix",
    ),
    feed(
        "cloud-ranges.json",
        ",key=ipv6_prefix",
        &["2001:db8::/32"],
        &[],
        "a JSON document, address under ipv6_prefix",
    ),
    feed("warninglist.json", "", &["192.0.2.0/24", "198.51.100.0/24"], &[], "a JSON document, address under list"),
    feed("p2p.txt", "", &["192.0.2.0/24", "198.51.100.4/30"], &[], "names with ranges"),
    feed("zero-padded.txt", "", &["192.0.2.1", "198.51.100.7", "203.0.113.10"], &[], ONE),
    feed("address-and-port.txt", "", &["192.0.2.1", "2001:db8::1"], &[], ONE),
    feed(
        "ipset-save.txt",
        ",strict",
        &["192.0.2.1", "198.51.100.0/24"],
        &[],
        "separated by blanks, address in column 3",
    ),
    feed(
        "wildcards.txt",
        "",
        &["192.0.2.0/24", "198.51.100.10/31", "198.51.100.12/30", "198.51.100.16/30", "198.51.100.20", "203.0.113.1"],
        &[],
        ONE,
    ),
    feed("terminal-escapes.txt", "", &["192.0.2.1"], &[1], ONE),
    feed(
        "half-of-it-bad.txt",
        "",
        &["192.0.2.1", "192.0.2.2", "192.0.2.3", "192.0.2.4", "192.0.2.5"],
        &[6, 7, 8, 9, 10],
        ONE,
    ),
    feed("ipv6-host.txt", "", &["2001:db8:0:1::5"], &[], ONE),
    feed("ipv6-host.txt", ",ipv6-host=64", &["2001:db8:0:1::/64"], &[], ONE),
    feed("utf16.txt", "", &["192.0.2.1", "198.51.100.7"], &[], ONE),
    feed("comments-only.txt", ",max-shrink=100", &[], &[], ONE),
    feed("no-bytes.txt", ",max-shrink=100", &[], &[], ONE),
];
