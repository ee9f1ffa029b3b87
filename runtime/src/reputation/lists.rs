//! Lists of addresses, and what they say of one.
//!
//! | the address is in | verdict | score | explained by |
//! |---|---|---|---|
//! | an `allow` list, whatever else | `allow` | that list's | its most specific prefix |
//! | one other list or more | `listed` | the lowest of theirs | the list with that score; of several the one with the most specific prefix, then the first |
//! | none | `unknown` | the default | nothing |

use std::fmt;
use std::io;
use std::net::{IpAddr, Ipv4Addr};
use std::path::{Path, PathBuf};
use std::str::FromStr;

use super::format::{self, Format, FormatError, LineError};
use super::prefix::{Item, Prefix};
use super::scores::SCORE_MAX;
use super::table::{Entry, LISTS_MAX, Table};

/// A list, as it is configured.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ListConfig {
    /// What it is called, in answers and logs.
    pub name: String,
    /// The file, compressed with gzip or not.
    pub path: PathBuf,
    /// How it is written.
    pub format: Format,
    /// The score of its addresses, 0 to [`SCORE_MAX`].
    pub score: u32,
    /// What kind of addresses it has, in answers; may be empty.
    pub category: String,
    /// Its addresses are let in whatever other lists say.
    pub allow: bool,
}

/// `NAME=PATH[,score=N][,category=TEXT][,allow][,format=F][,column=C]`. The score is 0 unless said, 100 with `allow`; the
/// format `lines`, `json` or `csv`, or told by the file; the column of CSV a number from 1, or a name in its first line.
impl FromStr for ListConfig {
    type Err = ListConfigError;

    fn from_str(text: &str) -> Result<Self, ListConfigError> {
        let (name, rest) = text.split_once('=').ok_or(ListConfigError::NoName)?;
        let mut parts = rest.split(',');
        let path = parts.next().unwrap_or_default();
        if name.is_empty() || path.is_empty() {
            return Err(ListConfigError::NoName);
        }
        let (mut score, mut category, mut allow, mut format) = (None, String::new(), false, Format::Auto);
        for part in parts {
            match part.split_once('=') {
                Some(("score", value)) => {
                    let value = value.parse().ok().filter(|score| *score <= SCORE_MAX);
                    score = Some(value.ok_or(ListConfigError::Score)?);
                }
                Some(("category", value)) => category = value.into(),
                // A column that was named before stays.
                Some(("format", "csv")) if matches!(format, Format::Csv(_)) => {}
                Some(("format", value)) => format = value.parse()?,
                Some(("column", value)) => format = Format::Csv(value.parse()?),
                None if part == "allow" => allow = true,
                _ => return Err(ListConfigError::Unknown(part.into())),
            }
        }
        let score = score.unwrap_or(if allow { SCORE_MAX } else { 0 });
        Ok(Self { name: name.into(), path: path.into(), format, score, category, allow })
    }
}

/// Why a text describes no list.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ListConfigError {
    /// It does not begin with `NAME=PATH`.
    #[error("it takes NAME=PATH and then, each behind a comma, score=N, category=TEXT, allow, format=F or column=C")]
    NoName,
    /// The score is no number or above 100.
    #[error("a score is a number from 0 to {SCORE_MAX}")]
    Score,
    /// The format or column is none.
    #[error(transparent)]
    Format(#[from] FormatError),
    /// Something else behind a comma.
    #[error("\"{0}\" is none of score=N, category=TEXT, allow, format=F and column=C")]
    Unknown(String),
}

/// A list that was loaded.
#[derive(Debug)]
pub struct List {
    config: ListConfig,
    prefixes: u64,
    bad_lines: u64,
    /// The first of them, with their numbers.
    bad: Vec<(u64, LineError)>,
}

/// How many bad lines are kept to be told.
const BAD_KEPT: usize = 5;

impl List {
    /// How it is configured.
    pub const fn config(&self) -> &ListConfig {
        &self.config
    }

    /// How many prefixes it has: a range counts as those it was cut into.
    pub const fn prefixes(&self) -> u64 {
        self.prefixes
    }

    /// How many lines said nothing of an address.
    pub const fn bad_lines(&self) -> u64 {
        self.bad_lines
    }

    /// The first of these, with their numbers.
    pub fn bad(&self) -> impl Iterator<Item = (u64, &LineError)> {
        self.bad.iter().map(|(number, error)| (*number, error))
    }

    /// Whether it counts before another: the lower the more.
    fn rank(&self) -> u16 {
        if self.config.allow { 0 } else { 1 + self.config.score.min(SCORE_MAX) as u16 }
    }
}

/// Why lists cannot be loaded.
#[derive(Debug, thiserror::Error)]
pub enum LoadError {
    /// A file cannot be opened or read.
    #[error("list {name}: cannot read {}: {error}", path.display())]
    Io {
        /// The list.
        name: String,
        /// Its file.
        path: PathBuf,
        /// Why not.
        error: io::Error,
    },
    /// Nothing in a file is an address: that is no list, or one that was cut off.
    #[error("list {name}: there is no address in {}", path.display())]
    Empty {
        /// The list.
        name: String,
        /// Its file.
        path: PathBuf,
    },
    /// Two lists with one name: answers could not tell them apart.
    #[error("two lists are called {0}")]
    SameName(String),
    /// All lists together have too many prefixes: something is not what it should be.
    #[error("list {name}: with {} there are more than {PREFIXES_MAX} prefixes in all", path.display())]
    TooManyPrefixes {
        /// The list that passed the limit.
        name: String,
        /// Its file.
        path: PathBuf,
    },
    /// More lists than there are numbers for.
    #[error("more than {LISTS_MAX} lists")]
    TooMany,
}

/// How many prefixes all lists may have. It bounds the memory that loading takes, to about 36 bytes for each of IPv4 and 140
/// for each of IPv6, whatever a file unpacks to or its ranges are cut into.
pub const PREFIXES_MAX: usize = 16_000_000;

/// All lists, loaded once and then only asked.
#[derive(Debug, Default)]
pub struct Lists {
    lists: Vec<List>,
    v4: Table<u32>,
    v6: Table<u128>,
}

/// What lists say of an address.
#[derive(Clone, Copy, Debug)]
pub enum Verdict<'l> {
    /// In an `allow` list: let it in.
    Allow(&'l List, Prefix),
    /// In a list.
    Listed(&'l List, Prefix),
    /// In none.
    Unknown,
}

impl<'l> Verdict<'l> {
    /// The list and the prefix that explain it, if there are any.
    pub const fn because(self) -> Option<(&'l List, Prefix)> {
        match self {
            Self::Allow(list, prefix) | Self::Listed(list, prefix) => Some((list, prefix)),
            Self::Unknown => None,
        }
    }

    /// `allow`, `listed` or `unknown`.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Allow(..) => "allow",
            Self::Listed(..) => "listed",
            Self::Unknown => "unknown",
        }
    }

    /// Its score, if a list has one for it.
    pub fn score(self) -> Option<u32> {
        self.because().map(|(list, _)| list.config.score)
    }
}

/// Its [name](Verdict::name).
impl fmt::Display for Verdict<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl Lists {
    /// Loads all lists. Bad lines are counted, not fatal.
    ///
    /// # Errors
    /// The first file that cannot be read or has no address in it.
    pub fn load(configs: &[ListConfig]) -> Result<Self, LoadError> {
        if configs.len() > usize::from(LISTS_MAX) {
            return Err(LoadError::TooMany);
        }
        let mut names: Vec<_> = configs.iter().map(|config| config.name.as_str()).collect();
        names.sort_unstable();
        if let Some(pair) = names.windows(2).find(|pair| pair[0] == pair[1]) {
            return Err(LoadError::SameName(pair[0].into()));
        }
        let (mut lists, mut v4, mut v6) = (Vec::new(), Vec::new(), Vec::new());
        for (config, number) in configs.iter().zip(0..) {
            lists.push(load(config, number, &mut v4, &mut v6)?);
        }
        let rank = |list: u16| lists[usize::from(list)].rank();
        let (v4, v6) = (Table::new(v4, rank), Table::new(v6, rank));
        Ok(Self { lists, v4, v6 })
    }

    /// What they say of an address. One with an IPv4 address [in it](embedded) is looked up as that too, and what counts
    /// more counts.
    #[inline]
    pub fn verdict(&self, address: IpAddr) -> Verdict<'_> {
        let (written, embedded) = (address.to_canonical(), embedded(address));
        let mut found = self.get(embedded);
        if written != embedded {
            let counts = |(list, _): &(&List, Prefix)| list.rank();
            found = found.into_iter().chain(self.get(written)).min_by_key(counts);
        }
        let Some((list, prefix)) = found else { return Verdict::Unknown };
        if list.config.allow { Verdict::Allow(list, prefix) } else { Verdict::Listed(list, prefix) }
    }

    #[inline]
    fn get(&self, address: IpAddr) -> Option<(&List, Prefix)> {
        let hit = match address {
            IpAddr::V4(v4) => self.v4.get(v4.to_bits()),
            IpAddr::V6(v6) => self.v6.get(v6.to_bits()),
        }?;
        Some((&self.lists[usize::from(hit.list())], Prefix::of(address, hit.prefix_len())))
    }

    /// The lists, in the order of their configuration.
    pub fn iter(&self) -> impl Iterator<Item = &List> {
        self.lists.iter()
    }

    /// Heap memory that look-ups need, in bytes.
    pub fn memory(&self) -> usize {
        self.v4.memory() + self.v6.memory()
    }
}

fn load(
    config: &ListConfig,
    number: u16,
    v4: &mut Vec<Entry<u32>>,
    v6: &mut Vec<Entry<u128>>,
) -> Result<List, LoadError> {
    let mut is_too_much = false;
    let mut list = List { config: config.clone(), prefixes: 0, bad_lines: 0, bad: Vec::new() };
    let done = each_line(&config.path, &config.format, |line, said| match said {
        Ok(item) => item.prefixes(|prefix| {
            list.prefixes += 1;
            if v4.len() + v6.len() >= PREFIXES_MAX {
                is_too_much = true;
                return;
            }
            let len = prefix.bits();
            match prefix.address() {
                IpAddr::V4(start) => v4.push(Entry { start: start.to_bits(), len, list: number }),
                IpAddr::V6(start) => v6.push(Entry { start: start.to_bits(), len, list: number }),
            }
        }),
        Err(error) => {
            list.bad_lines += 1;
            if list.bad.len() < BAD_KEPT {
                list.bad.push((line, error));
            }
        }
    });
    let (name, path) = (config.name.clone(), config.path.clone());
    done.map_err(|error| LoadError::Io { name, path, error })?;
    if is_too_much {
        return Err(LoadError::TooManyPrefixes { name: config.name.clone(), path: config.path.clone() });
    }
    if list.prefixes == 0 {
        return Err(LoadError::Empty { name: config.name.clone(), path: config.path.clone() });
    }
    Ok(list)
}

/// Tells of each line of a file.
fn each_line(path: &Path, format: &Format, tell: impl FnMut(u64, Result<Item, LineError>)) -> io::Result<()> {
    format::read(format::open(path)?, format, tell)
}

impl List {
    /// The lines of its file that an address is in, with what is there, as the file is now.
    ///
    /// # Errors
    /// The file cannot be read.
    pub fn lines_with(&self, address: IpAddr) -> io::Result<Vec<(u64, Prefix)>> {
        let (ways, mut lines) = ([address.to_canonical(), embedded(address)], Vec::new());
        each_line(&self.config.path, &self.config.format, |line, said| {
            let Ok(item) = said else { return };
            item.prefixes(|prefix| {
                if ways.iter().any(|way| Prefix::of(*way, prefix.bits()) == prefix) {
                    lines.push((line, prefix));
                }
            });
        })?;
        Ok(lines)
    }
}

/// The IPv4 address that an IPv6 address stands for, else itself: of IPv4-mapped (`::ffff:0:0/96`), 6to4 (`2002::/16`) and
/// NAT64 (`64:ff9b::/96`) addresses. Whoever is behind one of these comes from that IPv4 address.
#[inline]
pub fn embedded(address: IpAddr) -> IpAddr {
    let IpAddr::V6(v6) = address.to_canonical() else { return address.to_canonical() };
    let v4 = match v6.segments() {
        [0x2002, high, low, ..] | [0x64, 0xff9b, 0, 0, 0, 0, high, low] => u32::from(high) << 16 | u32::from(low),
        _ => return address,
    };
    Ipv4Addr::from_bits(v4).into()
}

#[cfg(test)]
mod tests {
    use super::super::format::Column;
    use super::*;
    use std::fs;
    use std::process;
    use std::sync::atomic::{AtomicU32, Ordering};

    /// Files of a test, in a folder that goes with them.
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

    fn told(lists: &Lists, address: &str) -> String {
        let verdict = lists.verdict(address.parse().unwrap());
        match verdict.because() {
            Some((list, prefix)) => format!("{verdict} {} {} {prefix}", list.config.score, list.config.name),
            None => verdict.to_string(),
        }
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
            assert_eq!(told(&lists, address), wanted, "{address}");
        }
        let lines = lists.lists[2].lines_with("10.2.3.4".parse().unwrap()).unwrap();
        assert_eq!(
            lines.iter().map(|(line, prefix)| format!("{line} {prefix}")).collect::<Vec<_>>(),
            ["1 10.2.3.0/24", "2 10.0.0.0/8"]
        );
    }

    #[test]
    fn bad_lines_are_counted_and_the_first_kept() {
        let files = Files::new(&[("list", &format!("10.0.0.1\n{}10.0.0.2", "nonsense\n".repeat(9)))]);
        let lists = Lists::load(&[files.list("list", "")]).unwrap();
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
        let format = |text: &str| text.parse::<ListConfig>().map(|config| config.format);
        assert_eq!(format("a=/x,column=2"), Ok(Format::Csv(Column::Number(2))));
        assert_eq!(format("a=/x,format=csv,column=dst_ip"), Ok(Format::Csv(Column::Name("dst_ip".into()))));
        assert_eq!(format("a=/x,column=3,format=csv"), Ok(Format::Csv(Column::Number(3))));
        assert_eq!(format("a=/x,format=csv"), Ok(Format::Csv(Column::Number(1))));
        assert_eq!(format("a=/x,format=json"), Ok(Format::JsonLines));
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
        ] {
            assert!(text.parse::<ListConfig>().is_err(), "{text}");
        }
    }
}
