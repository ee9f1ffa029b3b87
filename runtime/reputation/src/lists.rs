//! Lists of addresses, and their verdict on an address.
//!
//! | the address is in | verdict | score | explained by |
//! |---|---|---|---|
//! | an `allow` list, whatever else | `allow` | that list's | its most specific prefix |
//! | one other list or more | `listed` | the lowest of theirs | the list with that score; of several the one with the most specific prefix, then the first |
//! | none | `unknown` | the default | nothing |
//!
//! A [ban](crate::BanIndex) counts as a prefix of its list. Lists in shadow mode do not count, but for
//! [`Selection::verdict_with_shadow`].

mod banned;
mod verdict;

use std::collections::BTreeSet;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::sync::Arc;

use crate::bans::BanIndex;
use crate::embedded::v4_in;
use crate::list::{List, ListConfig, LoadError, Room};
use crate::table::{Hit, LISTS_MAX, Table};

use banned::BanLists;
pub use verdict::{Match, Verdict};

/// Loaded lists, which do not change.
#[derive(Debug)]
pub struct Lists {
    lists: Vec<List>,
    /// All lists, then those that policies select.
    selections: Vec<Selected>,
    bans: Arc<BanIndex>,
}

/// The lookup tables of the lists that a policy selects, and the lists whose bans count.
#[derive(Debug)]
struct Selected {
    enforced: Tables,
    /// Only the lists in shadow mode; `None` if there are none.
    shadow: Option<Tables>,
    ban_lists: BanLists,
}

impl Selected {
    fn of(lists: &[List], bans: &BanIndex, is_in: impl Fn(&ListConfig) -> bool) -> Self {
        let has_shadow = lists.iter().any(|list| is_in(list.config()) && list.config().shadow);
        let shadow = has_shadow.then(|| Tables::of(lists, |config| is_in(config) && config.shadow));
        let enforced = Tables::of(lists, |config| is_in(config) && !config.shadow);
        Self { enforced, shadow, ban_lists: BanLists::of(lists, bans, is_in) }
    }
}

/// Some of the lists, and their verdict.
#[derive(Clone, Copy, Debug)]
pub struct Selection<'l> {
    lists: &'l [List],
    selected: &'l Selected,
    bans: &'l BanIndex,
}

/// The lookup tables of some of the lists.
#[derive(Debug, Default)]
struct Tables {
    v4: Table<u32>,
    v6: Table<u128>,
}

impl Tables {
    /// Builds the tables of the lists that `is_in` selects.
    fn of(lists: &[List], is_in: impl Fn(&ListConfig) -> bool) -> Self {
        let selected = || lists.iter().zip(0..).filter(|(list, _)| is_in(list.config()));
        let (count_v4, count_v6) =
            selected().map(|(list, _)| list.counts()).fold((0, 0), |(a, b), (c, d)| (a + c, b + d));
        let (mut v4, mut v6) = (Vec::with_capacity(count_v4), Vec::with_capacity(count_v6));
        selected().for_each(|(list, number)| list.entries(number, &mut v4, &mut v6));
        let rank = |hit: Hit| lists[usize::from(hit.list())].config().rank(hit.score().into());
        Self { v4: Table::new(v4, rank), v6: Table::new(v6, rank) }
    }

    fn memory(&self) -> usize {
        self.v4.memory() + self.v6.memory()
    }
}

/// No lists.
impl Default for Lists {
    fn default() -> Self {
        Self::of(Vec::new(), &[], Arc::default())
    }
}

impl Lists {
    /// Loads all lists. Bad lines are counted, and are an error only in strict lists.
    ///
    /// # Errors
    /// A list cannot be used.
    pub fn load(configs: &[ListConfig]) -> Result<Self, LoadError> {
        check(configs)?;
        let (mut lists, mut room) = (Vec::new(), Room::ALL);
        for config in configs {
            let list = match config.path {
                Some(_) => List::load_within(config.clone(), room)?,
                None => List::absent(config.clone()),
            };
            room.take(&list);
            lists.push(list);
        }
        Ok(Self::of(lists, &[], Arc::default()))
    }

    /// Builds the lookup tables of these lists, and of those that each of `selections` names.
    pub(crate) fn of(lists: Vec<List>, selections: &[BTreeSet<String>], bans: Arc<BanIndex>) -> Self {
        let mut all = vec![Selected::of(&lists, &bans, |_| true)];
        all.extend(selections.iter().map(|names| Selected::of(&lists, &bans, |config| names.contains(&config.name))));
        Self { lists, selections: all, bans }
    }

    /// Returns all lists.
    #[inline]
    pub fn all(&self) -> Selection<'_> {
        self.select(0)
    }

    /// Returns the lists of the selection with this index; 0 is all of them.
    #[inline]
    pub(crate) fn select(&self, index: usize) -> Selection<'_> {
        Selection { lists: &self.lists, selected: &self.selections[index], bans: &self.bans }
    }

    /// Returns the lists, in the order of their configuration.
    pub fn iter(&self) -> impl Iterator<Item = &List> {
        self.lists.iter()
    }

    /// Returns the list of this name, if there is one.
    pub(crate) fn called(&self, name: &str) -> Option<&List> {
        self.lists.iter().find(|list| list.config().name == name)
    }

    /// Returns the heap memory that lookups need, in bytes.
    pub fn memory(&self) -> usize {
        let of = |selected: &Selected| selected.enforced.memory() + selected.shadow.as_ref().map_or(0, Tables::memory);
        self.selections.iter().map(of).sum()
    }

    /// Returns the heap memory of the prefixes of each list, from which [`Library`](crate::Library) builds the next
    /// edition.
    pub fn memory_of_each(&self) -> usize {
        self.lists.iter().map(List::memory).sum()
    }
}

impl<'l> Selection<'l> {
    /// Returns the verdict on an address. An address with an IPv4 address [embedded](crate::embedded()) in it is looked up as that too,
    /// and the one that ranks first decides. Lists in shadow mode have no effect.
    #[inline]
    pub fn verdict(self, address: IpAddr) -> Verdict<'l> {
        Verdict::of(self.find(&self.selected.enforced, address, false))
    }

    /// True if a list is in shadow mode.
    #[inline]
    pub const fn has_shadow(self) -> bool {
        self.selected.shadow.is_some()
    }

    /// Returns the verdict on an address if all lists in shadow mode were enforced; `verdict` is the one without them.
    #[inline]
    pub fn verdict_with_shadow(self, address: IpAddr, verdict: Verdict<'l>) -> Verdict<'l> {
        match &self.selected.shadow {
            None => verdict,
            Some(tables) => {
                let found = verdict.matched().into_iter().chain(self.find(tables, address, true));
                Verdict::of(found.min_by_key(|matched| matched.order()))
            }
        }
    }

    /// Returns the match in these tables, and in the bans of lists that are in shadow mode or not.
    #[inline]
    fn find(self, tables: &Tables, address: IpAddr, shadow: bool) -> Option<Match<'l>> {
        match address {
            // Separate from IPv6, which would add a third more instructions: while one lookup waits for memory, the
            // processor already runs the next ones, as far as it can look ahead.
            IpAddr::V4(v4) => self.of_v4(tables, v4, shadow),
            IpAddr::V6(v6) => self.of_v6(tables, v6, shadow),
        }
    }

    #[inline]
    fn of_v4(self, tables: &Tables, address: Ipv4Addr, shadow: bool) -> Option<Match<'l>> {
        let matched = self.matched(tables.v4.get(address.to_bits()), address.into());
        self.or_banned(self.bans.v4(), address.to_bits(), shadow, matched)
    }

    #[inline]
    fn of_v6(self, tables: &Tables, address: Ipv6Addr, shadow: bool) -> Option<Match<'l>> {
        let written = || {
            let matched = self.matched(tables.v6.get(address.to_bits()), address.into());
            self.or_banned(self.bans.v6(), address.to_bits(), shadow, matched)
        };
        let Some(v4) = v4_in(address) else { return written() };
        let of_v4 = self.of_v4(tables, v4, shadow);
        if address.to_ipv4_mapped().is_some() {
            return of_v4;
        }
        of_v4.into_iter().chain(written()).min_by_key(|matched| matched.rank())
    }

    #[inline]
    fn matched(self, hit: Option<Hit>, address: IpAddr) -> Option<Match<'l>> {
        let list = |hit: Hit| &self.lists[usize::from(hit.list())];
        hit.map(|hit| Match { list: list(hit), address, len: hit.prefix_len(), score: hit.score(), number: hit.list() })
    }
}

/// Checks the lists against each other.
pub(crate) fn check(configs: &[ListConfig]) -> Result<(), LoadError> {
    if configs.len() > usize::from(LISTS_MAX) {
        return Err(LoadError::TooMany);
    }
    let mut names: Vec<_> = configs.iter().map(|config| config.name.as_str()).collect();
    names.sort_unstable();
    match names.windows(2).find(|pair| pair[0] == pair[1]) {
        Some(pair) => Err(LoadError::SameName(pair[0].into())),
        None => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::format::{Column, Format, Reading};
    use std::fs;
    use std::path::PathBuf;
    use std::process;
    use std::sync::atomic::{AtomicU32, Ordering};

    /// Files of a test, in a folder that is removed with them.
    struct Files(PathBuf);

    impl Files {
        fn new(files: &[(&str, &str)]) -> Self {
            static COUNT: AtomicU32 = AtomicU32::new(0);
            let number = COUNT.fetch_add(1, Ordering::Relaxed);
            let folder = std::env::temp_dir().join(format!("spoa-lists-{}-{number}", process::id()));
            fs::create_dir(&folder).unwrap();
            files.iter().for_each(|(name, text)| fs::write(folder.join(name), text).unwrap());
            Self(folder)
        }

        fn list(&self, name: &str, options: &str) -> ListConfig {
            format!("{name}={}{options}", self.0.join(name).display()).parse().unwrap()
        }
    }

    impl Drop for Files {
        fn drop(&mut self) {
            fs::remove_dir_all(&self.0).unwrap();
        }
    }

    fn verdict(lists: &Lists, address: &str) -> String {
        let verdict = lists.all().verdict(address.parse().unwrap());
        match verdict.matched() {
            Some(matched) => {
                let config = matched.list.config();
                format!("{verdict} {} {} {}", matched.score(), config.name, matched.prefix())
            }
            None => verdict.to_string(),
        }
    }

    #[test]
    fn no_lists_know_no_address() {
        assert_eq!(verdict(&Lists::default(), "192.0.2.1"), "unknown");
    }

    /// The table in the documentation, row by row.
    #[test]
    fn allow_wins_then_the_lowest_score_then_the_most_specific_prefix() {
        let files = Files::new(&[
            ("bad", "10.0.0.0/8\n2001:db8::/32"),
            ("worse", "10.1.0.0/16"),
            ("also", "10.2.3.0/24\n10.0.0.0/8"),
            ("ours", "10.1.1.0/24\n10.0.0.9"),
            ("tunnels", "2002:c000:204::/48"),
            ("nat64", "64:ff9b::/96"),
        ]);
        let configs = [
            files.list("bad", ",score=30"),
            files.list("worse", ",score=10,category=attacks"),
            files.list("also", ",score=30"),
            files.list("ours", ",allow"),
            files.list("tunnels", ",score=10"),
            files.list("nat64", ",allow"),
        ];
        let lists = Lists::load(&configs).unwrap();
        for (address, wanted) in [
            ("10.0.0.1", "listed 30 bad 10.0.0.0/8"),
            ("10.1.2.3", "listed 10 worse 10.1.0.0/16"),
            ("10.2.3.4", "listed 30 also 10.2.3.0/24"),
            ("10.1.1.1", "allow 100 ours 10.1.1.0/24"),
            ("10.0.0.9", "allow 100 ours 10.0.0.9"),
            ("2001:db8::1", "listed 30 bad 2001:db8::/32"),
            ("::ffff:10.0.0.1", "listed 30 bad 10.0.0.0/8"),
            ("2002:0a00:0001::1", "listed 30 bad 10.0.0.0/8"),
            ("64:ff9b::10.1.1.1", "allow 100 ours 10.1.1.0/24"),
            ("64:ff9b:1::10.1.1.1", "unknown"),
            ("2002:c000:0204::1", "listed 10 tunnels 2002:c000:204::/48"),
            ("2002:a00:1::1", "listed 30 bad 10.0.0.0/8"),
            ("64:ff9b::192.0.2.1", "allow 100 nat64 64:ff9b::/96"),
            ("192.0.2.1", "unknown"),
            ("2001:db9::1", "unknown"),
        ] {
            assert_eq!(verdict(&lists, address), wanted, "{address}");
        }
        let lines = lists.lists[2].lines_with("10.2.3.4".parse().unwrap()).unwrap();
        assert_eq!(
            lines.iter().map(|found| format!("{} {} {}", found.line, found.prefix, found.score)).collect::<Vec<_>>(),
            ["1 10.2.3.0/24 30", "2 10.0.0.0/8 30"]
        );
    }

    /// The verdict with lists in shadow mode is exactly that of the same lists if all are enforced, ties included.
    #[test]
    fn shadow_mode_predicts_the_verdict() {
        let files = Files::new(&[
            ("a", "10.0.0.0/8\n10.1.0.0/16\n10.2.2.0/24"),
            ("b", "10.0.0.0/8\n10.1.1.0/24\n10.2.0.0/16"),
            ("c", "10.1.1.1\n10.2.2.2"),
        ]);
        let addresses = ["10.0.0.1", "10.1.0.1", "10.1.1.1", "10.1.1.2", "10.2.2.2", "10.2.0.1", "192.0.2.1"];
        for options in [["", "", ""], ["", ",score=5", ",allow"], [",score=5", "", ",score=5"]] {
            let lists = |shadow: usize| {
                let list = |(at, (name, options)): (usize, (&str, &str))| {
                    let shadow = if shadow & 1 << at == 0 { "" } else { ",shadow" };
                    files.list(name, &format!("{options}{shadow}"))
                };
                Lists::load(&["a", "b", "c"].into_iter().zip(options).enumerate().map(list).collect::<Vec<_>>())
                    .unwrap()
            };
            let enforced = lists(0);
            for shadow in 1..8 {
                let lists = lists(shadow);
                for address in addresses.map(|address| address.parse().unwrap()) {
                    let decided = |verdict: Verdict<'_>| {
                        verdict.matched().map(|matched| (matched.list().config().name.clone(), matched.prefix()))
                    };
                    let predicted = lists.all().verdict_with_shadow(address, lists.all().verdict(address));
                    assert_eq!(
                        decided(predicted),
                        decided(enforced.all().verdict(address)),
                        "{options:?} {shadow:b} {address}"
                    );
                }
            }
        }
    }

    /// A score of a line counts in place of the list's, and changes with a new configuration only if the list has no own ones.
    #[test]
    fn addresses_may_have_scores_of_their_own() {
        let files = Files::new(&[
            ("feed", "10.0.0.0/8,10\n10.1.0.0/16,90\n10.2.0.0/16,5\n2001:db8::/32,20\n"),
            ("ours", "10.2.2.2,100\n"),
        ]);
        let configs = [files.list("feed", ",score=1,score-column=2"), files.list("ours", ",allow,score-column=2")];
        let lists = Lists::load(&configs).unwrap();
        for (address, wanted) in [
            ("10.0.0.1", "listed 10 feed 10.0.0.0/8"),
            ("10.1.0.1", "listed 10 feed 10.0.0.0/8"),
            ("10.2.0.1", "listed 5 feed 10.2.0.0/16"),
            ("10.2.2.2", "allow 100 ours 10.2.2.2"),
            ("2001:db8::1", "listed 20 feed 2001:db8::/32"),
        ] {
            assert_eq!(verdict(&lists, address), wanted, "{address}");
        }
        let inverted = Lists::load(&[files.list("feed", ",score-column=2,invert-score")]).unwrap();
        assert_eq!(verdict(&inverted, "10.1.0.1"), "listed 10 feed 10.1.0.0/16");
        let lines = inverted.lists[0].lines_with("10.1.0.1".parse().unwrap()).unwrap();
        assert_eq!(lines.iter().map(|found| found.score).collect::<Vec<_>>(), [90, 10]);
        let detected = inverted.lists[0].detected().to_string();
        let wanted =
            "comma-separated, address in column 1, score in column 2, 4 entries, 0 bad lines, scores from 10 to 95";
        assert_eq!(detected, wanted);
    }

    /// The lookup table cannot have more answers than its numbers allow, so such a list is refused.
    #[test]
    fn too_many_different_scores_are_refused() {
        let lens = (0_u32..=128).flat_map(|len| (0..=100).map(move |score| (len, score)));
        let text: String =
            lens.map(|(len, score)| format!("{}/{len},{score}\n", if len < 3 { "::" } else { "2000::" })).collect();
        let files = Files::new(&["a", "b", "c", "d", "e", "f"].map(|name| (name, text.as_str())));
        let lists = |names: &[&str]| {
            let options = ",score-column=2,max-cover=100";
            Lists::load(&names.iter().map(|name| files.list(name, options)).collect::<Vec<_>>())
        };
        assert!(lists(&["a", "b", "c", "d", "e"]).is_ok());
        let error = lists(&["a", "b", "c", "d", "e", "f"]).unwrap_err();
        assert!(matches!(&error, LoadError::TooManyScores { name, .. } if name == "f"), "{error}");
    }

    #[test]
    fn bad_lines_are_counted_and_the_first_kept() {
        let files = Files::new(&[("list", &format!("10.0.0.1\n{}10.0.0.2", "nonsense\n".repeat(9)))]);
        let lists = Lists::load(&[files.list("list", ",max-bad=90")]).unwrap();
        let list = lists.iter().next().unwrap();
        assert_eq!((list.prefixes(), list.bad_lines()), (2, 9));
        assert_eq!(list.bad().map(|(number, _)| number).collect::<Vec<_>>(), [2, 3, 4, 5, 6]);
    }

    #[test]
    fn a_file_that_is_no_list_is_an_error() {
        let files = Files::new(&[("empty", "# nothing\n"), ("html", "<html>\n<p>404, not found</p>\n")]);
        for (name, wanted) in [("empty", "there is no address in"), ("html", "no address in"), ("none", "cannot read")]
        {
            let error = Lists::load(&[files.list(name, "")]).unwrap_err().to_string();
            assert!(error.starts_with(&format!("list {name}: ")) && error.contains(wanted), "{error}");
        }
    }

    #[test]
    fn lists_on_the_command_line() {
        let config = "a=/x/y.netset,score=20,category=open proxies".parse::<ListConfig>().unwrap();
        assert_eq!((config.name.as_str(), config.score, config.category.as_str()), ("a", 20, "open proxies"));
        assert_eq!("a=/x,allow".parse::<ListConfig>().map(|config| (config.allow, config.score)), Ok((true, 100)));
        let reading = |text: &str| text.parse::<ListConfig>().map(|config| config.reading);
        let number = |number| Some(Column::Number(number));
        assert_eq!(reading("a=/x,column=2"), Ok(Reading { column: number(2), ..Reading::default() }));
        let named = Reading { format: Format::Csv, column: Some(Column::Name("dst_ip".into())), ..Reading::default() };
        assert_eq!(reading("a=/x,format=csv,column=dst_ip"), Ok(named));
        assert_eq!(reading("a=/x,format=json").map(|reading| reading.format), Ok(Format::Json));
        assert_eq!(reading("a=/x,min=2:5,ipv6-host=64").map(|reading| reading.ipv6_host), Ok(Some(64)));
        assert!(reading("a=/x,format=lines,key=ip").is_err() && reading("a=/x,min=x").is_err());
        assert_eq!("a=/x,strict".parse::<ListConfig>().map(|config| config.strict), Ok(true));
        assert_eq!("a=/x,allow,score=70".parse::<ListConfig>().map(|config| config.score), Ok(70));
        for text in [
            "",
            "a",
            "a=",
            "=x",
            "a=x,score=101",
            "a=x,score=",
            "a=x,deny",
            "a=x,",
            "a=x,format=xml",
            "a=x,column=0",
            "a=x,column=",
            "a=x,format=json,column=1",
        ] {
            assert!(text.parse::<ListConfig>().is_err(), "{text}");
        }
    }
}
