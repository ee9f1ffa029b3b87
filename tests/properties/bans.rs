//! Bans against a model: after a crash at any byte of the journal, after damage, and while clocks change.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use proptest::collection::vec;
use proptest::option;
use proptest::prelude::*;
use spoa_bans::{Action, Address, BanStore, Clock, Moment, Record, Settings, Timestamp};
use spoa_reputation::{Config, Library, ListConfig};
use spoa_tests::folder::Folder;

/// Clocks that the test sets, in milliseconds.
#[derive(Clone, Debug, Default)]
struct TestClock(Arc<Times>);

#[derive(Debug, Default)]
struct Times {
    boot: AtomicU64,
    wall: AtomicU64,
    boots: AtomicU64,
}

impl Clock for TestClock {
    fn now(&self) -> Moment {
        Moment { boot: self.0.boot.load(Ordering::Relaxed), wall: self.0.wall.load(Ordering::Relaxed) }
    }

    fn boot_id(&self) -> String {
        self.0.boots.load(Ordering::Relaxed).to_string()
    }
}

/// The start of the clock of the day.
const START: u64 = 1_700_000_000_000;

impl TestClock {
    fn new() -> Self {
        let clock = Self::default();
        clock.0.wall.store(START, Ordering::Relaxed);
        clock.0.boot.store(5_000, Ordering::Relaxed);
        clock
    }

    fn advance(&self, millis: u64) {
        self.0.boot.fetch_add(millis, Ordering::Relaxed);
        self.0.wall.fetch_add(millis, Ordering::Relaxed);
    }
}

fn library() -> Library {
    let list = |name: &str, allow| ListConfig { name: name.into(), allow, ..ListConfig::default() };
    let lists = vec![list("bans", false), list("allowed", true), list("ssh", false)];
    Library::open(Config { lists, ..Config::default() }).expect("lists without a file are valid")
}

fn open(path: &Path, clock: &TestClock) -> BanStore {
    let settings = Settings { path: path.to_owned(), max: 1000 };
    BanStore::open(&settings, library(), Box::new(clock.clone())).expect("the journal can be used")
}

/// Returns what identifies the ban of a change: its prefix, list and origin.
fn key(record: Record<'_>) -> [String; 3] {
    let list = record.list.expect("each has a list").into_owned();
    [record.address.0.to_string(), list, record.origin.unwrap_or_default().into_owned()]
}

/// Bans by prefix, list and origin: the score, the reason and the end of each.
type Content = BTreeMap<[String; 3], (Option<u8>, String, Option<u64>)>;

fn content(store: &BanStore) -> Content {
    let page = store.page(None, None, None, usize::MAX);
    let each = page.bans.into_iter().map(|ban| {
        let (list, origin) =
            (ban.list.expect("each has a list").into_owned(), ban.origin.unwrap_or_default().into_owned());
        let key = [ban.address.0.to_string(), list, origin];
        (key, (ban.score, ban.reason.into_owned(), ban.until.map(|until| until.0)))
    });
    each.collect()
}

/// A change of one of a few prefixes.
fn record() -> impl Strategy<Value = Record<'static>> {
    let address =
        prop::sample::select(vec!["192.0.2.1", "192.0.2.0/24", "198.51.100.7", "2001:db8::1", "2001:db8::/48"]);
    let action = prop_oneof![4 => Just(Action::Ban), 1 => Just(Action::Allow), 2 => Just(Action::Remove)];
    let (list, score) = (option::of(Just("ssh")), option::of(0_u8..=100));
    let origin = option::of(prop::sample::select(vec!["", "alice", "jail"]));
    let (seconds, reason) = (option::of(1_u32..100), prop::sample::select(vec!["", "scans", "\"\n\u{1b}[2J", "ä"]));
    (address, action, list, origin, score, seconds, reason).prop_map(
        |(address, action, list, origin, score, seconds, reason)| {
            let Address(prefix) = address.parse().expect("it is a prefix");
            let list = list
                .or((action == Action::Remove).then_some("bans"))
                .filter(|_| action != Action::Allow)
                .map(Into::into);
            let seconds = seconds.filter(|_| action != Action::Remove).map(f64::from);
            let origin = origin.map(Into::into);
            Record { list, origin, score, seconds, reason: reason.into(), ..Record::new(action, prefix) }
        },
    )
}

/// Applies changes one by one. Returns the content after each, with the size of the journal.
fn apply_each(path: &Path, clock: &TestClock, records: &[Record<'static>]) -> Vec<(u64, Content)> {
    let store = open(path, clock);
    let len = || fs::metadata(path).expect("the journal is there").len();
    let mut states = vec![(len(), content(&store))];
    for record in records {
        let report = store.apply([record.clone()]);
        assert!(report.refused.is_empty() && report.unsaved.is_none(), "{report:?}");
        states.push((len(), content(&store)));
        clock.advance(1);
    }
    states
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2))]

    /// A crash at any byte loses no change whose line was complete, and undoes no other.
    #[test]
    fn a_journal_that_ends_anywhere_has_every_complete_change(records in vec(record(), 3..7)) {
        let (folder, clock) = (Folder::with(&[]), TestClock::new());
        let states = apply_each(&folder.path("bans"), &clock, &records);
        let bytes = fs::read(folder.path("bans")).expect("the journal is there");
        for len in 0..=bytes.len() {
            // Without its line break a line is complete already.
            let after = states.iter().rev().find(|(size, _)| *size <= len as u64 + 1);
            let wanted = after.map(|(_, content)| content.clone()).unwrap_or_default();
            folder.write("cut", &bytes[..len]);
            let store = open(&folder.path("cut"), &clock);
            prop_assert_eq!(content(&store), wanted, "{} bytes", len);
            if len % 8 > 0 {
                continue;
            }
            // And it can be written to.
            let ban = Record { list: Some("ssh".into()), ..Record::new(Action::Ban, "203.0.113.9".parse::<Address>().expect("an address").0) };
            prop_assert_eq!(store.apply([ban]).added, 1);
            let before = content(&store);
            drop(store);
            prop_assert_eq!(content(&open(&folder.path("cut"), &clock)), before, "{} bytes, opened again", len);
            prop_assert!(!folder.path("cut.damaged").exists(), "{} bytes: the incomplete line is still there", len);
        }
    }

    /// A damaged byte costs the lines that it is in, and the damaged file is kept.
    #[test]
    fn a_damaged_byte_costs_one_change_or_two(
        records in vec(record(), 3..12), at in any::<prop::sample::Index>(), bit in 0_u8..8
    ) {
        let (folder, clock) = (Folder::with(&[]), TestClock::new());
        let mut distinct = BTreeMap::new();
        for (number, record) in records.into_iter().enumerate() {
            let address = format!("192.0.2.{number}").parse::<Address>().expect("an address");
            distinct.insert(number, Record { address, action: Action::Ban, list: None, ..record });
        }
        let records: Vec<_> = distinct.into_values().collect();
        let states = apply_each(&folder.path("bans"), &clock, &records);
        let mut bytes = fs::read(folder.path("bans")).expect("the journal is there");
        // Not the first line, without which the file is none of bans if nothing else is in it, nor the last byte.
        let at = 60 + at.index(bytes.len() - 61);
        bytes[at] ^= 1_u8 << bit;
        folder.write("bans", &bytes);
        let store = open(&folder.path("bans"), &clock);
        let (found, all) = (content(&store), &states.last().expect("there are states").1);
        prop_assert!(found.len() + 2 >= all.len(), "{} of {}", found.len(), all.len());
        prop_assert!(found.iter().all(|(key, ban)| all.get(key) == Some(ban)), "{:?}", found);
        drop(store);
        let kept = fs::read(folder.path("bans.damaged")).unwrap_or_default();
        prop_assert!(kept.starts_with(&bytes), "the damaged file is kept");
    }
}

/// A step of a sequence in which clocks change.
#[derive(Clone, Debug)]
enum Step {
    Change(Record<'static>),
    /// Time passes, in seconds.
    Wait(u64),
    /// The clock of the day is set to another time, in seconds later or earlier.
    Set(i64),
    /// The agent restarts.
    Restart,
    /// The system restarts.
    Reboot,
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        4 => record().prop_map(Step::Change),
        2 => (0_u64..40).prop_map(Step::Wait),
        1 => (-50_i64..50).prop_map(Step::Set),
        1 => Just(Step::Restart),
        1 => Just(Step::Reboot),
    ]
}

/// The ends of bans in the model, in milliseconds: since the start of the system, on the clock of the day, and the whole time.
type Ends = BTreeMap<[String; 3], (u64, u64, u64)>;

proptest! {
    #![proptest_config(ProptestConfig::with_cases(40))]

    /// A ban ends after its time, however the clock of the day is set; after a restart of the system, by that clock.
    #[test]
    fn bans_end_by_the_clock_that_nobody_sets(steps in vec(step(), 1..25)) {
        let (folder, clock) = (Folder::with(&[]), TestClock::new());
        let path = folder.path("bans");
        let mut store = Some(open(&path, &clock));
        // The end of each ban on both clocks, and those without an end.
        let (mut ends, mut endless) = (Ends::new(), BTreeMap::new());
        for step in steps {
            match step {
                Step::Change(record) => {
                    let now = clock.now();
                    let open = store.as_ref().expect("it is open");
                    let report = open.apply([record.clone()]);
                    prop_assert!(report.refused.is_empty(), "{:?}", report);
                    let address = record.address.0.to_string();
                    let list = record.list.as_deref().unwrap_or(if record.action == Action::Allow { "allowed" } else { "bans" });
                    let key = [address.clone(), list.to_owned(), record.origin.as_deref().unwrap_or_default().to_owned()];
                    if record.action == Action::Remove {
                        let is_removed = |[of, list, origin]: &[String; 3]| {
                            *of == address
                                && record.list.as_deref().map_or(list != "allowed", |wanted| wanted == list)
                                && record.origin.as_deref().is_none_or(|wanted| wanted == origin)
                        };
                        ends.retain(|key, _| !is_removed(key));
                        endless.retain(|key, ()| !is_removed(key));
                    } else {
                        ends.remove(&key);
                        endless.remove(&key);
                        match record.seconds {
                            Some(seconds) => {
                                let millis = seconds as u64 * 1000;
                                ends.insert(key, (now.boot + millis, now.wall + millis, millis));
                            }
                            None => _ = endless.insert(key, ()),
                        }
                    }
                }
                Step::Wait(seconds) => clock.advance(seconds * 1000),
                Step::Set(seconds) => {
                    let wall = clock.0.wall.load(Ordering::Relaxed);
                    clock.0.wall.store(wall.saturating_add_signed(seconds * 1000), Ordering::Relaxed);
                }
                Step::Restart => {}
                Step::Reboot => {
                    drop(store.take());
                    let now = clock.now();
                    clock.0.boots.fetch_add(1, Ordering::Relaxed);
                    clock.0.boot.store(3_000, Ordering::Relaxed);
                    let left = |wall: u64, whole: u64| wall.saturating_sub(now.wall).min(whole);
                    ends.values_mut().for_each(|(boot, wall, whole)| *boot = 3_000 + left(*wall, *whole));
                }
            }
            // A restart shows the present state without waiting for the thread that removes bans.
            drop(store.take());
            let reopened = open(&path, &clock);
            let boot = clock.now().boot;
            ends.retain(|_, (end, ..)| *end > boot);
            let wanted: Vec<_> = ends.keys().chain(endless.keys()).cloned().collect::<std::collections::BTreeSet<_>>().into_iter().collect();
            let found: Vec<_> = content(&reopened).into_keys().collect();
            prop_assert_eq!(found, wanted);
            store = Some(reopened);
        }
    }
}

/// A step of agents that follow each other.
#[derive(Clone, Debug)]
enum Exchange {
    /// One of them gets a change.
    Change(usize, Record<'static>),
    /// One of them gets some of the changes of another one.
    Follow(usize, usize, usize),
    /// Time passes for all, in milliseconds.
    Wait(u64),
    /// One of them restarts with its system, which compacts its journal.
    Restart(usize),
}

fn exchange() -> impl Strategy<Value = Exchange> {
    // Ends are so late that nothing ends.
    let record = record().prop_map(|record| Record { seconds: record.seconds.map(|seconds| seconds + 1e6), ..record });
    prop_oneof![
        4 => (0_usize..3, record).prop_map(|(to, record)| Exchange::Change(to, record)),
        4 => (0_usize..3, 1_usize..3, 1_usize..4).prop_map(|(to, other, max)| Exchange::Follow(to, (to + other) % 3, max)),
        1 => (0_u64..5000).prop_map(Exchange::Wait),
        1 => (0_usize..3).prop_map(Exchange::Restart),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(60))]

    /// Agents that follow each other in a circle, with clocks that differ, come to the same bans, and then exchange nothing more.
    #[test]
    fn agents_that_follow_each_other_agree(steps in vec(exchange(), 1..40), ahead in vec(0_u64..3000, 3)) {
        let folder = Folder::with(&[]);
        let clocks: Vec<_> = ahead.iter().map(|millis| {
            let clock = TestClock::new();
            clock.0.wall.fetch_add(*millis, Ordering::Relaxed);
            clock
        }).collect();
        let path = |number: usize| folder.path(&format!("bans{number}"));
        let mut stores: Vec<_> = (0..).zip(&clocks).map(|(number, clock)| Some(open(&path(number), clock))).collect();
        let mut positions = vec![vec![None; 3]; 3];
        // The latest change of each ban, whatever has reached whom, and whether it is there then.
        let mut latest = BTreeMap::<[String; 3], (Timestamp, bool)>::new();
        // Returns the number of changes.
        let follow = |stores: &[Option<BanStore>], positions: &mut Vec<Vec<Option<String>>>, to: usize, from: usize, max: usize| {
            let (source, sink) = (stores[from].as_ref().expect("it is open"), stores[to].as_ref().expect("it is open"));
            let known = positions[to][from].as_deref().and_then(|position| source.changes(Some(position), max));
            let is_known = known.is_some();
            let (changes, position) = known.or_else(|| source.changes(None, max)).expect("the present position is known");
            positions[to][from] = Some(position);
            let changes = changes.iter().map(|change| serde_json::from_str::<Record<'_>>(change).expect("it is a change"));
            let all = if is_known { Vec::new() } else { source.page(None, None, None, usize::MAX).bans };
            let changes: Vec<_> = changes.chain(all).collect();
            for change in &changes {
                let report = sink.apply([change.clone()]);
                assert!(report.refused.is_empty(), "{report:?}");
            }
            if is_known { changes.len() } else { usize::from(!changes.is_empty()) }
        };
        for step in steps {
            match step {
                Exchange::Change(to, record) => {
                    let store = stores[to].as_ref().expect("it is open");
                    let (_, before) = store.changes(None, 0).expect("the present position is known");
                    store.apply([record]);
                    for change in store.changes(Some(&before), 1000).expect("they are kept").0 {
                        let change: Record<'_> = serde_json::from_str(&change).expect("it is a change");
                        let time = change.changed.or(change.created).expect("each change has a time");
                        let is_there = change.action != Action::Remove;
                        // At the same time a removal counts.
                        let is_later = |(known, _): &(Timestamp, bool)| time > *known || time == *known && !is_there;
                        let key = key(change);
                        if latest.get(&key).is_none_or(is_later) {
                            latest.insert(key, (time, is_there));
                        }
                    }
                }
                Exchange::Follow(to, from, max) => _ = follow(&stores, &mut positions, to, from, max),
                Exchange::Wait(millis) => clocks.iter().for_each(|clock| clock.advance(millis)),
                Exchange::Restart(which) => {
                    drop(stores[which].take());
                    clocks[which].0.boots.fetch_add(1, Ordering::Relaxed);
                    // Its feed begins again at another time.
                    clocks.iter().for_each(|clock| clock.advance(1));
                    stores[which] = Some(open(&path(which), &clocks[which]));
                }
            }
        }
        let pairs: Vec<_> = (0..3).flat_map(|to| (1..3).map(move |other| (to, (to + other) % 3))).collect();
        let mut rounds = 0;
        while pairs.iter().map(|(to, from)| follow(&stores, &mut positions, *to, *from, 100)).sum::<usize>() > 0 {
            rounds += 1;
            prop_assert!(rounds < 20, "they exchange changes without an end");
        }
        let contents: Vec<_> = stores.iter().flatten().map(content).collect();
        prop_assert_eq!(&contents[0], &contents[1]);
        prop_assert_eq!(&contents[0], &contents[2]);
        let wanted: Vec<_> = latest.into_iter().filter_map(|(key, (_, is_there))| is_there.then_some(key)).collect();
        prop_assert_eq!(contents[0].keys().cloned().collect::<Vec<_>>(), wanted);
    }
}

/// The journal is compacted when it is much longer than necessary, and has the same bans then.
#[test]
fn a_long_journal_is_replaced() {
    let (folder, clock) = (Folder::with(&[]), TestClock::new());
    let path = folder.path("bans");
    let store = open(&path, &clock);
    let ban = |score: u8| {
        let Address(prefix) = "192.0.2.1".parse().expect("an address");
        Record { score: Some(score), ..Record::new(Action::Ban, prefix) }
    };
    let mut lines = 0;
    // Until it has become shorter.
    for round in 0_u64.. {
        assert!(round < 10_000, "the journal has {lines} lines");
        let before = fs::metadata(&path).expect("the journal is there").len();
        lines += store.apply((0..100).map(ban)).replaced;
        if fs::metadata(&path).expect("the journal is there").len() < before {
            break;
        }
    }
    let before = content(&store);
    drop(store);
    assert_eq!(content(&open(&path, &clock)), before);
}

/// A page has all bans of its last prefix, so that the next one can begin after that.
#[test]
fn pages_have_every_ban_once() {
    let (folder, clock) = (Folder::with(&[]), TestClock::new());
    let store = open(&folder.path("bans"), &clock);
    let prefix = |text: &str| text.parse::<Address>().expect("it is a prefix").0;
    let prefixes = ["8.0.0.0/16", "192.0.2.0/24", "192.0.2.1", "192.0.2.1", "192.0.2.1", "2001:db8::1"];
    for (number, text) in prefixes.iter().enumerate() {
        let list = Some(if number == 2 { "ssh" } else { "bans" }.into());
        let ban = Record { list, origin: Some(number.to_string().into()), ..Record::new(Action::Ban, prefix(text)) };
        store.apply([ban]);
    }
    for (list, address, wanted) in [
        (None, None, vec!["8.0.0.0/16", "192.0.2.0/24", "192.0.2.1", "192.0.2.1", "192.0.2.1", "2001:db8::1"]),
        (Some("bans"), None, vec!["8.0.0.0/16", "192.0.2.0/24", "192.0.2.1", "192.0.2.1", "2001:db8::1"]),
        (None, Some("192.0.2.1"), vec!["192.0.2.0/24", "192.0.2.1", "192.0.2.1", "192.0.2.1"]),
        (Some("ssh"), Some("192.0.2.1"), vec!["192.0.2.1"]),
        (Some("unknown"), None, vec![]),
    ] {
        for max in 1..7 {
            let address = address.map(|address: &str| address.parse().expect("it is an address"));
            let (mut found, mut after) = (Vec::new(), None);
            loop {
                let page = store.page(after, list, address, max);
                assert!(page.bans.len() <= max + 2, "{page:?}");
                found.extend(page.bans.iter().map(|ban| ban.address.0.to_string()));
                let Some(Address(last)) = page.next else { break };
                after = Some(last);
            }
            assert_eq!(found, wanted, "{list:?} {address:?} {max}");
        }
    }
}

/// A ban of another origin is not touched by changes of one.
#[test]
fn each_origin_has_its_own_bans() {
    let (folder, clock) = (Folder::with(&[]), TestClock::new());
    let store = open(&folder.path("bans"), &clock);
    let Address(prefix) = "192.0.2.1".parse().expect("it is an address");
    let change = |action, origin: &'static str, seconds, score| {
        let list = Some("bans".into());
        let report =
            store.apply([Record { list, origin: Some(origin.into()), seconds, score, ..Record::new(action, prefix) }]);
        assert!(report.refused.is_empty(), "{report:?}");
    };
    let origins = || store.on(prefix, "bans").into_iter().map(|ban| ban.origin.unwrap_or_default().into_owned());
    change(Action::Ban, "alice", None, Some(5));
    change(Action::Ban, "jail", Some(10.0), None);
    change(Action::Ban, "jail", Some(5.0), None);
    assert_eq!(origins().collect::<Vec<_>>(), ["alice", "jail"]);
    change(Action::Remove, "jail", None, None);
    assert_eq!(origins().collect::<Vec<_>>(), ["alice"]);
}

/// A ban has its whole time, even if the clock was set back since the last change of the address, or another agent's is ahead.
#[test]
fn a_ban_lasts_its_time_after_the_clock_was_set_back() {
    let (folder, clock) = (Folder::with(&[]), TestClock::new());
    let store = open(&folder.path("bans"), &clock);
    let Address(prefix) = "192.0.2.1".parse().expect("it is an address");
    let ban = |seconds| Record { seconds, ..Record::new(Action::Ban, prefix) };
    store.apply([ban(None)]);
    clock.0.wall.fetch_sub(3_600_000, Ordering::Relaxed);
    assert_eq!(store.apply([ban(Some(60.0))]).replaced, 1);
    clock.advance(59_000);
    assert_eq!(content(&store).len(), 1);
    drop(store);
    clock.0.boots.fetch_add(1, Ordering::Relaxed);
    let store = open(&folder.path("bans"), &clock);
    assert_eq!(content(&store).len(), 1, "it has a second left after a restart of the system");
    clock.advance(1_000);
    drop(store);
    assert_eq!(content(&open(&folder.path("bans"), &clock)).len(), 0);
}

/// A removal is known after a restart that compacts the journal: a copy of the ban from another agent does not undo it.
#[test]
fn a_removal_is_known_after_a_restart() {
    let (folder, clock) = (Folder::with(&[]), TestClock::new());
    let path = folder.path("bans");
    let store = open(&path, &clock);
    let Address(prefix) = "192.0.2.1".parse().expect("it is an address");
    store.apply([Record { seconds: Some(1000.0), ..Record::new(Action::Ban, prefix) }]);
    let copy = store.page(None, None, None, 1).bans;
    assert_eq!(store.apply([Record::new(Action::Remove, prefix)]).removed, 1);
    drop(store);
    for _ in 0..2 {
        clock.0.boots.fetch_add(1, Ordering::Relaxed);
        let store = open(&path, &clock);
        assert_eq!(store.apply(copy.clone()).unchanged, 1);
        assert_eq!(store.changes(None, 0).expect("the present position is known").0.len(), 1);
    }
    assert!(!fs::read_to_string(&path).expect("the journal is there").contains("\"ban\""), "it was compacted");
}

/// A copy of a ban that arrives after its end ends the ban that it has replaced, and hides older changes.
#[test]
fn a_late_copy_of_a_ban_ends_the_one_before() {
    let (folder, clock) = (Folder::with(&[]), TestClock::new());
    let store = open(&folder.path("bans"), &clock);
    let Address(prefix) = "192.0.2.1".parse().expect("it is an address");
    let now = clock.now().wall;
    let ban = |created, until: Option<u64>| Record {
        created: Some(Timestamp(created)),
        until: until.map(Timestamp),
        ..Record::new(Action::Ban, prefix)
    };
    assert_eq!(store.apply([ban(now - 9000, None)]).added, 1);
    assert_eq!(store.apply([ban(now - 8000, Some(now - 1000))]).removed, 1);
    assert_eq!(store.apply([ban(now - 9000, None)]).unchanged, 1);
    assert_eq!(store.apply([ban(now - 7000, None)]).added, 1);
    // A time in the far future would hide all later changes.
    let report = store.apply([ban(now + 7_200_000, None)]);
    assert!(report.refused[0].1.contains("compare the clocks"), "{report:?}");
}

/// Files that have something else in them stay what they are.
#[test]
fn other_files_are_refused() {
    let others =
        ["192.0.2.1\n198.51.100.0/24\n", "a secret token", "deadbeef cafe", "\n", "0123456789abcdef0123456789abcdef"];
    for (number, text) in others.into_iter().enumerate() {
        let name = number.to_string();
        let folder = Folder::with(&[(&name, text.as_bytes())]);
        let settings = Settings { path: folder.path(&name), max: 10 };
        let error = BanStore::open(&settings, library(), Box::new(TestClock::new())).expect_err(text).to_string();
        assert!(error.contains("has something else than bans in it"), "{error}");
        assert_eq!(fs::read(folder.path(&name)).expect("it is there"), text.as_bytes());
    }
    let folder = Folder::with(&[]);
    let open = open(&folder.path("bans"), &TestClock::new());
    let settings = Settings { path: folder.path("bans"), max: 10 };
    let error = BanStore::open(&settings, library(), Box::new(TestClock::new())).expect_err("it is in use").to_string();
    assert!(error.contains("used by another agent"), "{error}");
    drop(open);
}
