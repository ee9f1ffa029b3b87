//! Lists as operators find them: the smallest inputs of public reports, with the entries that other tools read from them.

mod inputs;
mod kinds;

use std::net::IpAddr;
use std::path::{Path, PathBuf};

use spoa_reputation::format::{self, Reading};
use spoa_reputation::lists::Lists;
use spoa_reputation::{ListConfig, LoadError};

use inputs::{FEEDS, Feed, ONE};
use kinds::KINDS;

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
        ("100\t199\ta\n200\t299\tb\n300\t399\tc\n400\t499\td\n500\t599\te\n", Ok(0), 5),
        (
            "http://evil/a,1700000001,1700000001\nhttp://evil/b,1700000002,1700000002\nhttp://evil/c,1700000003,1700000003\n\
             http://evil/d,1700000004,1700000004\nhttp://evil/e,1700000005,1700000005\n",
            Ok(0),
            5,
        ),
        // Sessions that overlap, and a log that names addresses.
        (
            "1700000000,1700003601,a\n1700000010,1700003603,b\n1700000020,1700003605,c\n1700000030,1700003607,d\n\
             1700000040,1700003609,e\n",
            Ok(0),
            5,
        ),
        (
            "1700000000,1700000001,src=192.0.2.1\n1700000002,1700000003,x\n1700000004,1700000005,x\n\
             1700000006,1700000007,x\n1700000008,1700000009,x\n",
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
            assert_eq!(lists.all().verdict(address).name(), "listed", "{file}{options}: {prefix}");
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
        assert_eq!(lists.all().verdict("198.51.100.1".parse().expect("an address")).name(), "listed");
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
