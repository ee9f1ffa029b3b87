//! Lists of addresses against a model that scans all entries.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::select;
use spoa_reputation::embedded;
use spoa_reputation::format::{self, Reading};
use spoa_reputation::lists::Lists;
use spoa_reputation::table::{Bits, Entry, Table};
use spoa_reputation::{Config, Item, Library, ListConfig, ListId, Prefix};
use spoa_tests::folder::Folder;

/// Addresses that are close to each other and to the ends of the range, so that prefixes overlap.
fn v4() -> impl Strategy<Value = u32> {
    prop_oneof![
        0_u32..64,
        (0_u32..64).prop_map(|n| u32::MAX - n),
        (0_u32..1024).prop_map(|n| 0x0a00_0000 + n),
        any::<u32>()
    ]
}

fn v6() -> impl Strategy<Value = u128> {
    let spread = |shift: u32| (0_u128..64).prop_map(move |n| (0x2001_0db8 << 96) + (n << shift));
    prop_oneof![(0_u128..64).prop_map(|n| u128::MAX - n), 0_u128..64, spread(0), spread(64), spread(109), any::<u128>()]
}

fn entries<A: Bits + 'static>(address: impl Strategy<Value = A>) -> impl Strategy<Value = Vec<Entry<A>>> {
    let len = prop_oneof![A::LEN - 8..=A::LEN, 0..=A::LEN];
    let entry = (address, len, 0_u8..3, 0_u16..5);
    vec(entry.prop_map(|(at, len, score, list)| Entry { start: at.network(len), len, score, list }), 0..60)
}

/// Hundreds of prefixes in few blocks of 16 bits, as in lists of IPv6 prefixes. Their table has buckets within blocks.
fn dense<A: Bits + 'static>(address: fn(u32) -> A) -> impl Strategy<Value = Vec<Entry<A>>> {
    let entry = (any::<u32>(), 17..=A::LEN.min(48), 0_u8..3, 0_u16..5);
    let entry =
        entry.prop_map(move |(at, len, score, list)| Entry { start: address(at).network(len), len, score, list });
    vec(entry, 200..500)
}

/// Returns an address in one of two blocks of 16 bits.
fn dense_v4(random: u32) -> u32 {
    0x0a00_0000 | (random & 0x1_ffff)
}

fn dense_v6(random: u32) -> u128 {
    (0x2a00_u128 << 112 | u128::from(random) << 80) ^ (u128::from(random & 1) << 112)
}

/// Returns the rank of an entry: a list of rank 0, which allows, has it for all of its scores.
fn rank(ranks: &[u16], list: u16, score: u8) -> u16 {
    match ranks[usize::from(list)] {
        0 => 0,
        rank => rank + u16::from(score),
    }
}

/// Scans all entries for the one that decides: by the lowest rank, then the longest prefix, then the first list, then the lowest
/// score.
fn model<A: Bits>(entries: &[Entry<A>], ranks: &[u16], address: A) -> Option<(u16, u8, u8)> {
    let around = entries.iter().filter(|entry| address.network(entry.len) == entry.start);
    let key = |entry: &&Entry<A>| (rank(ranks, entry.list, entry.score), u8::MAX - entry.len, entry.list, entry.score);
    around.min_by_key(key).map(|entry| (entry.list, entry.len, entry.score))
}

/// Checks that a table of these entries agrees with the model, at the given addresses and at the edges of all entries.
fn check_table<A: Bits>(entries: &[Entry<A>], ranks: &[u16], mut addresses: Vec<A>) -> Result<(), TestCaseError> {
    let table = Table::new(entries.to_vec(), |hit| rank(ranks, hit.list(), hit.score()));
    for entry in entries {
        let last = entry.start.broadcast(entry.len);
        addresses.extend([entry.start, last].into_iter().chain(last.next()));
    }
    for address in addresses {
        let found = table.get(address).map(|hit| (hit.list(), hit.prefix_len(), hit.score()));
        prop_assert_eq!(found, model(entries, ranks, address), "{:?}", address);
    }
    prop_assert!(table.ranges() <= 2 * entries.len() + 1);
    Ok(())
}

fn readings() -> impl Strategy<Value = Reading> {
    let options = [
        "",
        "format=lines",
        "format=json",
        "format=csv",
        "format=ranges",
        "column=2",
        "column=ip",
        "key=ip",
        "min=3",
        "min=ip:3",
        "score-column=2",
        "score-column=ip,invert-score",
    ];
    let more = ["", "host-bits=accept", "ipv6-host=64"];
    (select(options.to_vec()), select(more.to_vec())).prop_map(|(option, more)| {
        let text = ["list=/x", option, more].into_iter().filter(|part| !part.is_empty()).collect::<Vec<_>>().join(",");
        text.parse::<ListConfig>().expect("the options are valid").reading
    })
}

/// Writes addresses in one of the layouts that are detected.
fn written(addresses: &[u32], layout: usize) -> String {
    let (mut text, lines) = (String::new(), addresses.iter().map(|bits| Ipv4Addr::from_bits(*bits)));
    let each = |text: &mut String, line: &dyn Fn(Ipv4Addr) -> String| lines.for_each(|address| *text += &line(address));
    match layout {
        0 => each(&mut text, &|address| format!("{address} # note\n")),
        1 => each(&mut text, &|address| format!("{address}:8080\r\n")),
        2 => {
            text += "name,score,ip\n";
            each(&mut text, &|address| format!("\"a, b\",7,\"{address}\"\n"));
        }
        3 => each(&mut text, &|address| format!("x\t{address}\t12\n")),
        4 => each(&mut text, &|address| format!("2026-01-01;{address};bad\n")),
        5 => each(&mut text, &|address| format!("a name: with, colons:{address}-{address}\n")),
        6 => {
            text += "create bl hash:ip\n";
            each(&mut text, &|address| format!("add bl {address} timeout 5\n"));
        }
        7 => each(&mut text, &|address| format!("deny {address};\n")),
        8 => each(&mut text, &|address| format!("{{\"type\":\"ban\",\"value\":\"{address}\"}}\n")),
        9 => {
            text += "{\"meta\":{\"n\":1},\n\"data\":[";
            each(&mut text, &|address| format!("{{\"ip_prefix\":\"{address}/32\",\"tags\":[\"a\"]}},\n"));
            text += "{\"ip_prefix\":\"192.0.2.1\"}]}";
        }
        10 => each(&mut text, &|address| {
            let [a, b, c, d] = address.octets();
            format!("{a:03}.{b:03}.{c:03}.{d:03}\n")
        }),
        11 => each(&mut text, &|address| format!("socks5://{address}:1080\n")),
        _ => each(&mut text, &|address| format!("ExitNode 0A1B\nExitAddress {address} 2026-01-01 00:00:00\n")),
    }
    text
}

/// The number of layouts of [`written`].
const LAYOUTS: usize = 13;

/// A piece of a list file, valid or not.
fn piece() -> impl Strategy<Value = Vec<u8>> {
    prop_oneof![
        select(vec![
            "1.2.3.4",
            "10.0.0.0/8",
            "2001:db8::/32",
            "10.0.0.1-10.0.0.9",
            "\n",
            "\r\n",
            ",",
            "\"",
            "#",
            ";",
            " ",
            "/",
            "-",
            "{\"cidr\":\"1.2.3.0/24\"}",
            "{",
            "}",
            "ip",
            "::",
            "33",
            "\u{feff}",
            "0.0.0.1-255.255.255.254",
        ])
        .prop_map(|text| text.as_bytes().to_vec()),
        vec(any::<u8>(), 0..6),
        (0_usize..3).prop_map(|n| vec![b'x'; n * 4096]),
    ]
}

/// Nested items of both families, among them IPv6 prefixes that represent IPv4 prefixes.
fn item() -> impl Strategy<Value = String> {
    let near =
        (0_u32..64, 24_u8..=32).prop_map(|(n, len)| Prefix::of(Ipv4Addr::from_bits(0xc000_0200 | n).into(), len));
    let tunnel = (0_u16..64, 28_u8..=64)
        .prop_map(|(n, len)| Prefix::of(Ipv6Addr::new(0x2002, 0xc000, 0x0200 | n, 0, 0, 0, 0, 0).into(), len));
    let wide = select(vec!["0.0.0.0/0", "::/0", "2000::/3", "64:ff9b::/96", "192.0.2.7-192.0.2.40", "junk"]);
    prop_oneof![
        6 => near.prop_map(|prefix| prefix.to_string()),
        2 => tunnel.prop_map(|prefix| prefix.to_string()),
        1 => wide.prop_map(str::to_owned),
    ]
}

/// A list: its score, true if it is an allowlist, and its lines.
fn list() -> impl Strategy<Value = (u32, bool, Vec<String>)> {
    (select(vec![0_u32, 10, 100]), prop::bool::weighted(0.2), vec(item(), 0..8))
}

/// Addresses in and near the items, in each form in which an IPv6 address contains an IPv4 address.
fn address() -> impl Strategy<Value = IpAddr> {
    let near = (0_u32..80).prop_map(|n| Ipv4Addr::from_bits(0xc000_0200 | n));
    (near, 0_usize..5).prop_map(|(v4, form)| {
        let (high, low) = ((v4.to_bits() >> 16) as u16, v4.to_bits() as u16);
        match form {
            0 => v4.into(),
            1 => v4.to_ipv6_mapped().into(),
            2 => Ipv6Addr::new(0x2002, high, low, 0, 0, 0, 0, 1).into(),
            3 => Ipv6Addr::new(0x64, 0xff9b, 0, 0, 0, 0, high, low).into(),
            _ => Ipv6Addr::new(0x2001, 0xdb8, high, low, 0, 0, 0, 1).into(),
        }
    })
}

/// Options for lists of any content: the model reads it line by line.
const UNGUARDED: &str = ",format=lines,max-growth=100000,max-bad=100,max-cover=100";

/// Scans the lines of all lists, and returns the index of the list that decides and the prefix that matches.
fn scan(lists: &[(u32, bool, Vec<String>)], address: IpAddr) -> Option<(usize, Prefix)> {
    let rank = |at: usize| if lists[at].1 { 0 } else { 1 + lists[at].0 };
    let best = |address: IpAddr| {
        let mut found = Vec::new();
        for (at, (_, _, lines)) in lists.iter().enumerate() {
            for item in lines.iter().filter_map(|line| line.parse::<Item>().ok()) {
                item.prefixes(|prefix| {
                    if Prefix::of(address, prefix.bits()) == prefix {
                        found.push((at, prefix));
                    }
                });
            }
        }
        found.into_iter().min_by_key(|(at, prefix)| (rank(*at), u8::MAX - prefix.bits(), *at))
    };
    // The embedded IPv4 address takes precedence over the address itself if both have the same rank.
    let forms = [embedded(address), address.to_canonical()];
    forms.into_iter().filter_map(best).min_by_key(|(at, _)| rank(*at))
}

/// A change of the file of a list.
#[derive(Clone, Debug)]
enum Edit {
    Unchanged,
    Removed,
    Written(Vec<String>),
}

/// A step of a sequence: a change of each file, and whether all lists are reloaded or only those that changed.
fn step() -> impl Strategy<Value = (Vec<Edit>, bool)> {
    let edit = prop_oneof![
        2 => Just(Edit::Unchanged),
        1 => Just(Edit::Removed),
        4 => vec(item(), 0..8).prop_map(Edit::Written),
    ];
    (vec(edit, 3), any::<bool>())
}

/// Returns the number of prefixes in the lines.
fn prefixes(lines: &[String]) -> usize {
    let mut count = 0;
    lines.iter().filter_map(|line| line.parse::<Item>().ok()).for_each(|item| item.prefixes(|_| count += 1));
    count
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    /// Whatever happens to files, each list has the content of the last version of its file that could be used.
    #[test]
    fn each_list_is_reloaded_or_keeps_its_previous_version(
        scores in vec((select(vec![0_u32, 10]), prop::bool::weighted(0.2)), 3),
        steps in vec(step(), 1..6), addresses in vec(address(), 10)
    ) {
        const MAX_SHRINK: usize = 50;
        let folder = Folder::with(&[]);
        let mut model: Vec<_> =
            scores.iter().map(|(score, allow)| (*score, *allow, vec!["192.0.2.0/24".to_owned()])).collect();
        let lists = model.iter().enumerate().map(|(at, (score, allow, lines))| {
            folder.write(&at.to_string(), lines.join("\n").as_bytes());
            let allow = if *allow { ",allow" } else { "" };
            // The limit in the option of a list applies to a list of any size.
            let options = format!(",score={score},max-shrink={MAX_SHRINK}{allow}{UNGUARDED}");
            folder.list(&at.to_string(), &options).parse().expect("the option is valid")
        });
        let config = Config { lists: lists.collect(), ..Config::default() };
        let library = Library::open(config.clone()).expect("all lists can be loaded");
        let mut files: Vec<_> = model.iter().map(|(_, _, lines)| Some(lines.clone())).collect();
        let mut generation = 1;
        for (edits, reloads_all) in steps {
            let mut loaded = Vec::new();
            for (at, edit) in edits.iter().enumerate() {
                let is_edited = match edit {
                    Edit::Removed if files[at].is_some() => { folder.remove(&at.to_string()); files[at] = None; true }
                    Edit::Written(lines) => {
                        folder.write(&at.to_string(), lines.join("\n").as_bytes());
                        files[at] = Some(lines.clone());
                        true
                    }
                    Edit::Unchanged | Edit::Removed => false,
                };
                let least = (prefixes(&model[at].2) * (100 - MAX_SHRINK)).div_ceil(100).max(1);
                if let Some(lines) = files[at].as_ref().filter(|lines| prefixes(lines) >= least)
                    && (is_edited || reloads_all)
                {
                    model[at].2.clone_from(lines);
                    loaded.push(at.to_string());
                }
            }
            let change = if reloads_all { library.replace(config.clone()) } else { library.refresh() };
            let change = change.expect("all lists have a previous version");
            generation += u64::from(!loaded.is_empty());
            prop_assert_eq!((&change.loaded, change.generation), (&loaded, generation), "{:?}", change);
            let edition = library.edition();
            for address in &addresses {
                let found = edition.lists.all().verdict(*address).matched();
                let found = found.map(|matched| {
                    (matched.list().config().name.parse().expect("lists have numbers as names"), matched.prefix())
                });
                prop_assert_eq!(found, scan(&model, *address), "{}", address);
            }
        }
    }

    /// Verdicts from list files agree with a scan of their lines.
    #[test]
    fn verdicts_agree_with_a_scan_of_all_lines(lists in vec(list(), 1..5), addresses in vec(address(), 40)) {
        let usable = |(_, _, lines): &(u32, bool, Vec<String>)| lines.iter().any(|line| line.parse::<Item>().is_ok());
        let lists: Vec<_> = lists.into_iter().filter(usable).collect();
        let folder = Folder::with(&[]);
        let options = lists.iter().enumerate().map(|(at, (score, allow, lines))| {
            folder.write(&at.to_string(), lines.join("\n").as_bytes());
            let allow = if *allow { ",allow" } else { "" };
            folder.list(&at.to_string(), &format!(",score={score}{allow}{UNGUARDED}")).parse().expect("the option is valid")
        });
        let loaded = Lists::load(&options.collect::<Vec<ListConfig>>()).expect("each list has an address");
        for address in addresses {
            let verdict = loaded.all().verdict(address);
            let found = verdict.matched().map(|matched| {
                (matched.list().config().name.parse().expect("lists have numbers as names"), matched.prefix())
            });
            prop_assert_eq!(found, scan(&lists, address), "{}", address);
            let kind = match found {
                None => "unknown",
                Some((at, _)) if lists[at].1 => "allow",
                Some(_) => "listed",
            };
            prop_assert_eq!(verdict.name(), kind);
        }
    }

    /// A line of a list has the same effect in its file and as a ban, and a ban that is removed has none.
    #[test]
    fn bans_count_like_lines_of_files(
        lists in vec(list(), 1..5), banned in vec(any::<bool>(), 64), removed in vec(item(), 5), addresses in vec(address(), 40)
    ) {
        let folder = Folder::with(&[]);
        let (mut configs, mut bans, mut banned) = (Vec::new(), Vec::new(), banned.into_iter().cycle());
        for (at, (score, allow, lines)) in lists.iter().enumerate() {
            let items = lines.iter().filter(|line| line.parse::<Item>().is_ok());
            let (as_bans, in_file): (Vec<_>, Vec<_>) = items.partition(|_| banned.next() == Some(true));
            bans.extend(as_bans.into_iter().map(|line| (at.to_string(), line)));
            folder.write(&at.to_string(), in_file.iter().map(|line| format!("{line}\n")).collect::<String>().as_bytes());
            let allow = if *allow { ",allow" } else { "" };
            let text = folder.list(&at.to_string(), &format!(",score={score}{allow}{UNGUARDED}"));
            let config: ListConfig = text.parse().expect("the option is valid");
            configs.push(if in_file.is_empty() { ListConfig { path: None, ..config } } else { config });
        }
        let config = Config { lists: configs, message_rules: Vec::new(), ..Config::default() };
        let library = Library::open(config).expect("each list with a file has an address");
        let index = library.bans();
        let each = |list: &str, line: &str, change: &dyn Fn(Prefix, ListId)| {
            if let Ok(item) = line.parse::<Item>() {
                item.prefixes(|prefix| change(prefix, index.list(list)));
            }
        };
        removed.iter().for_each(|line| each("0", line, &|prefix, list| index.set(prefix, list, [Some(0)])));
        removed.iter().for_each(|line| each("0", line, &|prefix, list| index.set(prefix, list, [])));
        bans.iter().for_each(|(list, line)| each(list, line, &|prefix, list| index.set(prefix, list, [None])));
        for address in addresses {
            let edition = library.edition();
            let found = edition.lists.all().verdict(address).matched().map(|matched| {
                (matched.list().config().name.parse().expect("lists have numbers as names"), matched.prefix())
            });
            prop_assert_eq!(found, scan(&lists, address), "{}", address);
        }
    }

    #[test]
    fn the_table_of_ipv4_agrees_with_a_scan(
        entries in entries(v4()), ranks in vec(0_u16..4, 5), addresses in vec(v4(), 20)
    ) {
        check_table(&entries, &ranks, addresses)?;
    }

    #[test]
    fn the_table_of_ipv6_agrees_with_a_scan(
        entries in entries(v6()), ranks in vec(0_u16..4, 5), addresses in vec(v6(), 20)
    ) {
        check_table(&entries, &ranks, addresses)?;
    }

    #[test]
    fn tables_of_dense_prefixes_agree_with_a_scan(
        v4 in dense(dense_v4), v6 in dense(dense_v6), ranks in vec(0_u16..4, 5), random in vec(any::<u32>(), 20)
    ) {
        check_table(&v4, &ranks, random.iter().copied().map(dense_v4).collect())?;
        check_table(&v6, &ranks, random.iter().copied().map(dense_v6).collect())?;
    }

    /// The prefixes of a range cover its addresses exactly.
    #[test]
    fn the_prefixes_of_a_range_cover_it_exactly(a in v4(), b in v4()) {
        let (from, to) = (a.min(b), a.max(b));
        let range = format!("{}-{}", Ipv4Addr::from_bits(from), Ipv4Addr::from_bits(to));
        let item: Item = range.parse().expect("the range is valid");
        let mut next = Some(from);
        item.prefixes(|prefix| {
            let IpAddr::V4(start) = prefix.address() else { panic!("expected an IPv4 prefix, got {prefix}") };
            assert_eq!(next, Some(start.to_bits()));
            next = start.to_bits().broadcast(prefix.bits()).checked_add(1);
        });
        prop_assert_eq!(next, to.checked_add(1));
    }

    /// The text of a prefix is parsed as the same prefix.
    #[test]
    fn prefixes_survive_formatting_and_parsing(a in v4(), b in v6(), len in 0_u8..=128) {
        for prefix in [Prefix::of(Ipv4Addr::from_bits(a).into(), len), Prefix::of(Ipv6Addr::from_bits(b).into(), len)] {
            let mapped = prefix.address().is_ipv6() && prefix.address().to_canonical().is_ipv4();
            if !mapped {
                prop_assert_eq!(prefix.to_string().parse::<Item>(), Ok(Item::Prefix(prefix)));
            }
        }
    }

    /// Any bytes can be read as a list: entries and faults come in the order of their lines, and there are no more than bytes.
    #[test]
    fn any_bytes_are_read_to_the_end(pieces in vec(piece(), 0..40), reading in readings()) {
        let bytes = pieces.concat();
        let lines = bytes.split(|byte| *byte == b'\n').count() as u64;
        let (mut last, mut entries, mut prefixes) = (0, 0, 0);
        let _ = format::read(&bytes[..], &reading, |number, parsed| {
            assert!(last <= number && number <= lines, "expected a line from {last} to {lines}, got {number}");
            last = number;
            entries += 1;
            if let Ok(entry) = parsed {
                entry.item.prefixes(|_| prefixes += 1);
            }
        });
        prop_assert!(entries <= bytes.len() && prefixes <= 254 * entries);
    }

    /// Each layout is detected, and its addresses are read, whatever else its lines have.
    #[test]
    fn addresses_are_read_in_every_layout(addresses in vec(v4(), 1..40), layout in 0..LAYOUTS) {
        let text = written(&addresses, layout);
        let (mut read, mut bad) = (Vec::new(), Vec::new());
        let detected = format::read(text.as_bytes(), &Reading::default(), |line, parsed| match parsed {
            Ok(entry) => entry.item.prefixes(|prefix| read.push(prefix.to_string())),
            Err(error) => bad.push((line, error.to_string())),
        });
        let mut wanted: Vec<_> = addresses.iter().map(|bits| Ipv4Addr::from_bits(*bits).to_string()).collect();
        wanted.extend((layout == 9).then(|| "192.0.2.1".to_owned()));
        prop_assert_eq!((read, bad), (wanted, Vec::new()), "{:?}: {}", detected, text);
    }
}
