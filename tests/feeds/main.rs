//! Lists as operators find them: the smallest inputs of public reports, with the entries that other tools read from them.

use std::net::IpAddr;
use std::path::{Path, PathBuf};

use spoa_reputation::format::{self, Reading};
use spoa_reputation::lists::Lists;
use spoa_reputation::{ListConfig, LoadError};

/// A list with its options, and its expected reading: prefixes, numbers of bad lines, layout.
struct Feed {
    file: &'static str,
    options: &'static str,
    prefixes: &'static [&'static str],
    bad: &'static [u64],
    layout: &'static str,
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

const ONE: &str = "one address per line";

const FEEDS: &[Feed] = &[
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

/// Lists of the same kinds as those above, as text.
const KINDS: &[(&str, &str, &[&str], &str)] = &[
    (
        "################\n# Feodo Tracker\n#\n\"first_seen_utc\",\"dst_ip\",\"dst_port\",\"malware\"\n\
         \"2021-01-17 07:44:46\",\"192.0.2.1\",\"443\",\"Emotet, or so\"\n# END 1 entries\n",
        "",
        &["192.0.2.1"],
        "comma-separated, address in column 2",
    ),
    (
        "192.0.2.0 255.255.255.0\n198.51.100.4 255.255.255.252\n",
        "",
        &["192.0.2.0/24", "198.51.100.4/30"],
        "separated by blanks, network and netmask in columns 1 and 2",
    ),
    ("001.002.003.000 - 001.002.003.255 , 000 , A name\n", "", &["1.2.3.0/24"], "comma-separated, address in column 1"),
    ("192.0.2.0 - 192.0.2.255\n", "", &["192.0.2.0/24"], ONE),
    ("192.0.2.0/24,192.0.2.0,192.0.2.255,US\n", "", &["192.0.2.0/24"], "comma-separated, address in column 1"),
    (
        "network|name\n192.0.2.0/24|a\n2001:db8::/32|b\n",
        ",column=Network",
        &["192.0.2.0/24", "2001:db8::/32"],
        "separated by |, address in column 1",
    ),
    (
        "-A INPUT -s 192.0.2.1/32 -j DROP\n-A INPUT -s 198.51.100.0/24 -j DROP\n",
        "",
        &["192.0.2.1", "198.51.100.0/24"],
        "separated by blanks, address in column 4",
    ),
    (
        "{\"values\":[{\"properties\":{\"region\":\"\",\"addressPrefixes\":[\"192.0.2.0/24\",\"2001:db8::/32\"]}}]}",
        "",
        &["192.0.2.0/24", "2001:db8::/32"],
        "a JSON document, address under addressPrefixes",
    ),
    (
        "{\"domains\":{\"a\":[\"*.example.com\"]},\"hooks\":[\"192.0.2.0/24\"]}",
        "",
        &["192.0.2.0/24"],
        "a JSON document, address under hooks",
    ),
    ("[\"192.0.2.1\",\"198.51.100.7\"]", "", &["192.0.2.1", "198.51.100.7"], "a JSON document"),
    (
        "ExitNode 63BF\nPublished 2026-11-25 10:00:00\nExitAddress 192.0.2.1 2026-11-25 11:00:00\nExitNode 0A1B\n\
         Published 2026-11-25 12:00:00\nExitAddress 192.0.2.7 2026-11-25 13:00:00\nExitAddress 192.0.2.9 2026-11-25 14:00:00\n",
        "",
        &["192.0.2.1", "192.0.2.7", "192.0.2.9"],
        "records",
    ),
    (
        "% a registry\nroute:   192.0.2.0/24\ndescr:   A network\n         in two lines\n\nroute6:  2001:db8::/32\nremarks: x\n\n\
         inetnum: 198.51.100.0 - 198.51.100.255\nsource:  X\n",
        "",
        &["192.0.2.0/24", "2001:db8::/32", "198.51.100.0/24"],
        "records",
    ),
    (
        "\"3221225984\",\"3221226239\",\"US\"\n\"3325256704\",\"3325256704\",\"-\"\n\"3325256706\",\"3325256707\",\"DE\"\n\
         \"3405803776\",\"3405804031\",\"FR\"\n\"281473902969344\",\"281473902969599\",\"FR\"\n",
        "",
        &["192.0.2.0/24", "198.51.100.0", "198.51.100.2/31", "203.0.113.0/24", "192.0.2.0/24"],
        "comma-separated, range of integers in columns 1 and 2",
    ),
    (
        "2001:db8::,2001:db8:ffff:ffff:ffff:ffff:ffff:ffff,??\n2001:dba::,2001:dba:2:ffff:ffff:ffff:ffff:ffff,JP\n",
        "",
        &["2001:db8::/32", "2001:dba::/47", "2001:dba:2::/48"],
        "comma-separated, range in columns 1 and 2",
    ),
    (
        "{\"data\":[{\"network\":\"192.0.2.0\",\"netmask\":\"255.255.255.0\"},{\"ip\":\"2001:db8::\",\"prefix_len\":32},\
         {\"start\":\"198.51.100.0\",\"end\":\"198.51.100.255\"},{\"cidr\":\"203.0.113.0/24\",\"mask\":24}]}",
        "",
        &["192.0.2.0/24", "2001:db8::/32", "198.51.100.0/24", "203.0.113.0/24"],
        "a JSON document, address under network and ip and start and cidr",
    ),
    (
        "{\"net\":\"192.0.2.0\",\"netmask\":\"255.255.255.0\"}\n",
        "",
        &["192.0.2.0/24"],
        "a JSON document, address under net",
    ),
    (
        "{\"network\":\"16.0.0.0\",\"netmask\":\"254.0.0.0\"}\n{\"network\":\"192.0.2.9\",\"mask\":\"\"}\n",
        ",key=network",
        &["16.0.0.0/7", "192.0.2.9"],
        "JSON lines, address under network",
    ),
    (
        "[{\"start_ip\":\"2001:db8::\",\"end_ip\":\"2001:db8:0:ffff:ffff:ffff:ffff:ffff\"}]",
        ",ipv6-host=64",
        &["2001:db8::/48"],
        "a JSON document, address under start_ip",
    ),
    (
        "network,len,score\n192.0.2.0,24,50\n198.51.100.0,25,60\n",
        ",score-column=score",
        &["192.0.2.0/24", "198.51.100.0/25"],
        "comma-separated, network and netmask in columns 1 and 2, score in column 3",
    ),
    ("socks5://192.0.2.1:1080\nhttp://[2001:db8::1]:80/\n", "", &["192.0.2.1", "2001:db8::1"], ONE),
    (
        "{\"cidr\":\"192.0.2.0/24\",\"sblid\":\"SBL1\"}\n{\"type\":\"metadata\",\"size\":2}\n",
        "",
        &["192.0.2.0/24"],
        "JSON lines, address under cidr",
    ),
    (
        "// a comment\n192.0.2.1 // not a comment mark\n",
        ",max-bad=100",
        &["192.0.2.1"],
        "separated by blanks, address in column 1",
    ),
];

#[test]
fn other_lists_of_these_kinds_are_read_too() {
    for (text, options, prefixes, layout) in KINDS {
        let reading = format!("list=/x{options}").parse::<ListConfig>().expect("the options are valid").reading;
        let (mut read, mut bad) = (Vec::new(), Vec::new());
        let detected = format::read(text.as_bytes(), &reading, |line, parsed| match parsed {
            Ok(entry) => entry.item.prefixes(|prefix| read.push(prefix.to_string())),
            Err(error) => bad.push((line, error.to_string())),
        });
        let layout_read = detected.map_or_else(|error| error.to_string(), |detected| detected.layout);
        assert_eq!(
            (read, bad, layout_read.as_str()),
            (prefixes.iter().map(|prefix| (*prefix).to_owned()).collect(), Vec::new(), *layout),
            "{text}"
        );
    }
}

/// A line of JSON that has something else than one address is a bad line, and a file with addresses in several columns is refused.
#[test]
fn nothing_is_lost_silently() {
    let read = |text: &str| {
        let mut bad = Vec::new();
        let detected = format::read(text.as_bytes(), &Reading::default(), |line, parsed| {
            if let Err(error) = parsed {
                bad.push(format!("{line}: {error}"));
            }
        });
        (bad, detected.map(|detected| detected.entries).map_err(|error| error.to_string()))
    };
    let (bad, entries) = read(
        "{\"ip\":\"192.0.2.1\"}\n{\"scope\":\"Country\",\"value\":\"FR\"}\n{\"x\":1}\n{\"src_ip\":\"192.0.2.1\",\"dst_ip\":\"192.0.2.2\"}\n",
    );
    assert_eq!(entries, Ok(1));
    assert_eq!(bad.len(), 3, "{bad:?}");
    let (_, entries) = read("192.0.2.1,x,198.51.100.9\n192.0.2.7,y,203.0.113.2\n192.0.2.9,z,192.0.2.4\n");
    assert_eq!(entries, Err("addresses are in columns 1 and 3: choose one with column=N".into()));
    let mut networks = Vec::new();
    format::read("192.0.2.0,24,US\n2001:db8::,32,FR\n".as_bytes(), &Reading::default(), |_, parsed| {
        parsed.into_iter().for_each(|entry| entry.item.prefixes(|prefix| networks.push(prefix.to_string())));
    })
    .expect("the list can be read");
    assert_eq!(networks, ["192.0.2.0/24", "2001:db8::/32"]);
    let (bad, entries) = read("add bl 192.0.2.0/24\nadd bl 192.0.2.7 nomatch\n");
    assert_eq!((bad, entries), (vec!["2: an exception: put it into a list with allow".into()], Ok(1)));
    for (text, entries, bad) in [
        // Several addresses per line are no range, whatever their order.
        ("192.0.2.10,198.51.100.7,203.0.113.1\n", Ok(3), 0),
        ("192.0.2.10,198.51.100.7\n", Ok(2), 0),
        ("192.0.2.1,192.0.2.254\n", Ok(1), 0),
        ("192.0.2.0 255.255.255.0\n".repeat(20).as_str(), Ok(20), 0),
        ("192.0.2.0,24,US\n198.51.100.0,25,DE\n2001:db8::,32,FR\n", Ok(3), 0),
        ("192.0.2.0\t24\n192.0.2.7\t9\n198.51.100.4\t3\n", Ok(3), 0),
        ("deny 192.0.2.1;\ndeny 192.0.2.2;\nallow 198.51.100.7;\n", Ok(2), 1),
        (
            "-A INPUT -s 192.0.2.1 -j DROP\n-A INPUT -s 192.0.2.2 -j DROP\n-A INPUT -s 198.51.100.7 -j ACCEPT\n",
            Ok(2),
            1,
        ),
        ("deny 192.0.2.1; deny 198.51.100.7;\n", Ok(0), 1),
        ("192.0.2.1;198.51.100.2\n", Ok(2), 0),
        ("192.0.2.1\n192.0.2.3 ; SBL1\n192.0.2.1;192.0.2.2\n", Ok(2), 1),
        ("a,192.0.2.1\nb,192.0.2.2\nc,192.0.2.3\nd,192.0.2.4\n198.51.100.9,192.0.2.5\n", Ok(4), 1),
        ("x\t192.0.2.1\t5\n\t198.51.100.7\t5\ny\t192.0.2.3\t\n", Ok(3), 0),
        ("192.0.2.1,5\r192.0.2.2,7\r\n192.0.2.3,9\r\n", Ok(1), 1),
        ("1,abuse\n192.0.2.1,x\n192.0.2.2,y\n", Ok(2), 1),
        ("Rate limit exceeded for 203.0.113.5\n", Ok(0), 1),
        ("{\"start\":\"192.0.2.10\",\"end\":\"192.0.2.1\"}\n{\"src\":\"192.0.2.1\",\"netmask\":\"no\"}\n", Ok(0), 2),
        ("{\"start\":\"192.0.2.0\",\"end\":\"192.0.2.300\"}\n{\"start\":\"192.0.2.0\",\"end\":null}\n", Ok(0), 2),
        ("{\"from\":\"10.1.1.2\",\"to\":\"10.200.3.9\"}\n{\"start\":\"10.1.1.1\",\"end\":\"10.200.3.9\"}\n", Ok(0), 2),
        ("{\"ip\":\"2001:db8::\",\"netmask\":\"ffff:ffff::\"}\n", Ok(0), 1),
        // Numbers that are no addresses: sizes, ids, counts, and equal times.
        ("4\t4\t./a\n8\t8\t./b\n12\t12\t./c\n16\t16\t./d\n20\t20\t./e\n", Ok(0), 5),
        ("chr1\t100\t199\na\t200\t299\nb\t300\t399\nc\t400\t499\nd\t500\t599\n", Ok(0), 5),
        (
            "http://evil/a,1700000001,1700000001\nhttp://evil/b,1700000002,1700000002\nhttp://evil/c,1700000003,1700000003\n\
             http://evil/d,1700000004,1700000004\nhttp://evil/e,1700000005,1700000005\n",
            Ok(0),
            5,
        ),
        // Error pages and logs are no records.
        ("Sorry, blocked\nSorry, try later\nIP: 203.0.113.5\nPlease contact\nPlease wait\n", Ok(0), 5),
        ("Forbidden\nForbidden\nClient: 203.0.113.5\n", Ok(0), 3),
        ("route: 192.0.2.0/24\nholes: 192.0.2.128/25\nroute: 198.51.100.300\n", Ok(1), 2),
        ("http://192.0.2.0/24\nhttp://192.0.2.1-9\n://192.0.2.1\n192.0.2.7\n", Ok(1), 3),
        // Times are no addresses, and a line that begins with an unknown word is no part of a record.
        (
            "1700000000,1700003600,a\n1700000007,1700003601,b\n1700000100,1700003700,c\n1700000201,1700003802,d\n1700000303,1700003900,e\n",
            Ok(0),
            5,
        ),
        ("Node a\nAddress 192.0.2.1\nNode b\nAddress 192.0.2.2\nNode c 192.0.2.3\n", Ok(2), 2),
        ("http://192.0.2.1/a.exe\n192.0.2.2\n", Ok(1), 1),
        ("{\"prefixes\":[{\"ipv4Prefix\":\"34.80.0.0/15\",\"scope\":\"asia-east1\"}]}", Ok(1), 0),
        ("{\"prefixes\":[{\"ip_prefix\":\"192.0.2.77/24\"},{\"ip_prefix\":\"198.51.100.0/24\"}]}", Ok(1), 1),
        ("{\"hooks\":[\"192.0.2.77/24\",\"198.51.100.0/24\"]}", Ok(1), 1),
        (
            "[{\"decisions\":[{\"scope\":\"Ip\",\"value\":\"192.0.2.1\"}],\"events\":[{\"value\":\"10.0.0.0/8\"}],\
             \"source\":{\"ip\":\"192.0.2.1\",\"range\":\"192.0.2.0/24\",\"scope\":\"Ip\"}}]",
            Ok(1),
            1,
        ),
    ] {
        let (bad_read, entries_read) = read(text);
        assert_eq!((entries_read, bad_read.len()), (entries, bad), "{text}: {bad_read:?}");
    }
    let long = "x".repeat(5000);
    let (bad, entries) = read(&format!("192.0.2.1\n#{long}\n{long}\n"));
    assert_eq!((bad, entries), (vec!["3: a line of more than 4096 bytes".into()], Ok(1)));
}

/// A file cannot make the reader hold or compare a string of any length.
#[test]
fn strings_of_json_are_bounded() {
    let read =
        |text: &str| format::read(text.as_bytes(), &Reading::default(), |_, _| {}).map(|detected| detected.layout);
    let long = "a".repeat(100_000);
    for text in [format!("{{\"{long}\":[\"192.0.2.1\"]}}"), format!("{{\"a\":\"{long}\"}}"), format!("[\"{long}\"]")] {
        let error = read(&text).expect_err("the string is too long").to_string();
        assert!(error.contains("it has a string of more than 65536 bytes"), "{error}");
    }
    let key = "_".repeat(60_000);
    let text = format!("{{\"{key}\":[{}\"192.0.2.1\"]}}", "[],".repeat(20_000));
    let layout = read(&text).expect("the string is short enough");
    assert!(layout.len() < 200, "{layout}");
    assert!(read(&format!("{{\"a\":\"{}\\\"\"}}", "\\\\".repeat(10))).is_ok());
}

/// A threshold applies or is refused, never ignored.
#[test]
fn a_threshold_is_never_ignored() {
    for options in ["format=lines,min=5", "format=ranges,min=5", "format=json,min=5", "format=json,min=2:5"] {
        assert!(format!("list=/x,{options}").parse::<ListConfig>().is_err(), "{options}");
    }
    let read = |text: &str, options: &str| {
        let reading = format!("list=/x,{options}").parse::<ListConfig>().expect("the options are valid").reading;
        format::read(text.as_bytes(), &reading, |_, _| {}).map(|read| (read.entries, read.bad_lines, read.below_min))
    };
    let ipsum = "# IP\tnumber\n192.0.2.1\t10\n198.51.100.7\t3\n";
    for options in ["min=5", "min=2:5", "column=1,min=5", "column=1,min=2:5", "column=ip,min=number:5"] {
        assert_eq!(read(ipsum, options).expect("the list can be read"), (1, 0, 1), "{options}");
    }
    let json = "{\"ip\":\"192.0.2.1\",\"score\":9}\n{\"ip\":\"192.0.2.2\",\"score\":\"1\"}\n{\"ip\":\"192.0.2.3\"}\n";
    assert_eq!(read(json, "min=score:5").expect("the list can be read"), (1, 1, 1));
}

/// The number for a threshold or a score stands beside the address, or its line is bad: it is never ignored.
#[test]
fn scores_come_from_a_column_or_a_key() {
    for options in ["format=lines,score-column=2", "format=json,score-column=2", "invert-score", "score-column=0"] {
        assert!(format!("list=/x,{options}").parse::<ListConfig>().is_err(), "{options}");
    }
    let read = |text: &str, options: &str| {
        let reading = format!("list=/x,{options}").parse::<ListConfig>().expect("the options are valid").reading;
        let (mut scores, mut bad) = (Vec::new(), Vec::new());
        let detected = format::read(text.as_bytes(), &reading, |line, parsed| match parsed {
            Ok(entry) => scores.extend(entry.score),
            Err(error) => bad.push(format!("{line}:{}: {error}", error.column)),
        });
        (scores, bad, detected.map(|detected| detected.layout).map_err(|error| error.to_string()))
    };
    let csv = "ip,confidence\n192.0.2.1,100\n192.0.2.2,12.5\n192.0.2.3,101\n192.0.2.4,x\n192.0.2.5\n";
    let bad =
        ["4:11: 101 is not a score from 0 to 100", "5:11: \"x\" is not a number", "6:10: the line has no column 2"];
    for options in ["score-column=2", "score-column=Confidence", "column=ip,score-column=confidence"] {
        let (scores, bad_read, layout) = read(csv, options);
        let wanted = "comma-separated, address in column 1, score in column 2".to_owned();
        assert_eq!((scores, layout), (vec![100, 13], Ok(wanted)), "{options}");
        assert_eq!(bad_read, bad, "{options}");
    }
    assert_eq!(read(csv, "score-column=2,invert-score").0, [0, 87]);
    let named = "ip.address,confidence\n192.0.2.1,7\n";
    assert_eq!(
        (read(named, "score-column=confidence").0, read(named, "score-column=confidence").1.len()),
        (vec![7], 0)
    );
    let json = "{\"ip\":\"192.0.2.1\",\"score\":9}\n{\"score\":\"90\",\"addr\":\"192.0.2.2\"}\n{\"ip\":\"192.0.2.3\"}\n\
                {\"ip\":\"192.0.2.4\",\"score\":-1}\n";
    let (scores, bad, _) = read(json, "score-column=score");
    assert_eq!(scores, [9, 90]);
    assert_eq!(
        bad,
        ["3:1: there is no number under the key \"score\" beside the address", "4:1: -1 is not a score from 0 to 100"]
    );
    for options in ["score-column=score", "min=score:5"] {
        let (scores, bad, _) = read("{\"score\":7,\"ips\":[\"192.0.2.1\",\"192.0.2.2\"]}", options);
        assert_eq!((scores.len(), bad.len()), (0, 2), "an array has no number for each address: {bad:?}");
    }
    let (scores, bad, layout) = read("192.0.2.1\n192.0.2.2\n", "score-column=2");
    assert_eq!((scores.len(), bad.len()), (0, 2), "{layout:?}");
    let missing = read("ip,x\n192.0.2.1,5\n", "score-column=score").2;
    assert_eq!(missing, Err("there is no column \"score\": the columns are ip, x".into()));
}

fn path(file: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("feeds/inputs").join(file)
}

fn config(file: &str, options: &str) -> ListConfig {
    format!("list={}{options}", path(file).display()).parse().expect("the options are valid")
}

/// Returns the prefixes of a list, the numbers of its bad lines, and its layout.
fn read(file: &str, reading: &Reading) -> (Vec<String>, Vec<u64>, String) {
    let (input, _) = format::open(&path(file)).expect("the file exists");
    let (mut prefixes, mut bad) = (Vec::new(), Vec::new());
    let detected = format::read(input, reading, |line, parsed| match parsed {
        Ok(entry) => entry.item.prefixes(|prefix| prefixes.push(prefix.to_string())),
        Err(_) => bad.push(line),
    });
    (prefixes, bad, detected.expect("the file can be read").layout)
}

#[test]
fn every_feed_is_read_as_its_users_expect() {
    for Feed { file, options, prefixes, bad, layout } in FEEDS {
        let read = read(file, &config(file, options).reading);
        let wanted = (prefixes.iter().map(|prefix| (*prefix).to_owned()).collect(), bad.to_vec(), (*layout).to_owned());
        assert_eq!(read, wanted, "{file}{options}");
    }
}

#[test]
fn every_feed_loads_as_a_list() {
    for Feed { file, options, prefixes, .. } in FEEDS {
        let lists = Lists::load(&[config(file, options)]).unwrap_or_else(|error| panic!("{error}"));
        for prefix in *prefixes {
            let address: IpAddr =
                prefix.split('/').next().and_then(|text| text.parse().ok()).expect("a prefix has an address");
            assert_eq!(lists.verdict(address).name(), "listed", "{file}{options}: {prefix}");
        }
    }
}

#[test]
fn prefixes_that_cover_the_internet_are_refused_unless_they_are_meant() {
    for (file, percent) in [("default-route.txt", "100 %"), ("half-of-ipv4.txt", "43 %")] {
        let error = Lists::load(&[config(file, "")]).expect_err("the list is refused");
        assert!(matches!(error, LoadError::TooWide { .. }), "{error}");
        assert!(error.to_string().contains(percent), "{error}");
        let lists = Lists::load(&[config(file, ",max-cover=100")]).expect("it is meant");
        assert_eq!(lists.verdict("198.51.100.1".parse().expect("an address")).name(), "listed");
    }
}

#[test]
fn a_file_without_an_address_shows_what_it_has() {
    for (file, options, wanted) in [
        ("half-of-it-bad.txt", ",max-bad=40", "5 of 10 lines of"),
        ("half-of-it-bad.txt", ",strict", "5 bad lines in "),
        (
            "commented-header.csv",
            ",column=nothing",
            "there is no column \"nothing\": the columns are Firstseen, DstIP, DstPort",
        ),
        (
            "semicolon.csv",
            ",format=lines",
            "the first is line 1, column 1: \"2026-01-01\" is not an address (read as one address per line)",
        ),
        ("comments-only.txt", "", "there is no address in"),
        ("warninglist.json", ",format=lines", "read as one address per line"),
    ] {
        let error = Lists::load(&[config(file, options)]).expect_err("the list is refused").to_string();
        assert!(error.contains(wanted), "{file}{options}: {error}");
        assert!(!error.contains(char::is_control), "{error:?}");
    }
    let (_, _, layout) = read("terminal-escapes.txt", &Reading::default());
    assert_eq!(layout, ONE);
}
