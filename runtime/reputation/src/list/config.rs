//! The configuration of a list.

use std::path::{Path, PathBuf};
use std::str::FromStr;

use crate::format::{FormatError, Reading};
use crate::scores::SCORE_MAX;

/// The configuration of a list.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ListConfig {
    /// Its name in answers, logs and metrics.
    pub name: String,
    /// The file, compressed with gzip or not; `None` if the list has only [bans](crate::BanIndex).
    pub path: Option<PathBuf>,
    /// The way in which the file is read.
    pub reading: Reading,
    /// The score of its addresses, 0 to [`SCORE_MAX`], unless they have scores of their own in [`Reading::score`].
    pub score: u32,
    /// The kind of addresses in it, for answers; may be empty.
    pub category: String,
    /// True if its addresses are allowed, whatever other lists say.
    pub allow: bool,
    /// True to try the list: it has no effect on verdicts, but what it would change is counted, logged and in variables of its own.
    pub shadow: bool,
    /// True if a bad line makes the whole file unusable.
    pub strict: bool,
    /// True if the agent may start while its file cannot be used; it is loaded once it can.
    pub optional: bool,
    /// The percentage of its prefixes that it may lose in one reload; 100 allows an empty list too. If this is `None`,
    /// [`Config::max_shrink`](crate::Config::max_shrink) applies to a list that had at least [`SHRINK_GUARD_MIN`](crate::SHRINK_GUARD_MIN) prefixes.
    pub max_shrink: Option<u8>,
    /// The percentage of its prefixes by which it may grow in one reload. If this is `None`, [`GROWTH_MAX`] applies to a list that
    /// had at least [`SHRINK_GUARD_MIN`](crate::SHRINK_GUARD_MIN) prefixes.
    pub max_growth: Option<u32>,
    /// The percentage of its lines that may be bad, by default [`BAD_MAX`].
    pub max_bad: Option<u8>,
    /// The percentage of the globally routable addresses of a family that it may cover, by default [`COVER_MAX`], of which a
    /// single prefix may cover [`PREFIX_COVER_MAX`]. If it is set, it applies to single prefixes too.
    pub max_cover: Option<u8>,
}

/// The percentage by which a list may grow in one reload: ten times its size.
pub const GROWTH_MAX: u32 = 900;

/// The percentage of the lines of a list that may be bad.
pub const BAD_MAX: u8 = 50;

/// The percentage of the globally routable addresses of a family that a list may cover.
pub const COVER_MAX: u8 = 10;

/// The percentage of the globally routable addresses of a family that a single prefix may cover: a /8 of IPv4 is 0.45 %.
pub const PREFIX_COVER_MAX: f64 = 2.0;

impl ListConfig {
    /// Returns the rank of a prefix of this list, with this score, among those that contain the same address: the lowest
    /// decides.
    pub(crate) fn rank(&self, score: u32) -> u16 {
        if self.allow { 0 } else { 1 + score.min(SCORE_MAX) as u16 }
    }

    /// Returns the path for errors of a list that has a file.
    pub(super) fn file(&self) -> &Path {
        self.path.as_deref().unwrap_or_else(|| Path::new(""))
    }

    /// Returns the highest percentage of the globally routable addresses that one of its prefixes may cover.
    pub fn prefix_cover_max(&self) -> f64 {
        self.max_cover.map_or(PREFIX_COVER_MAX, f64::from)
    }

    /// True if it reads the same file in the same way.
    pub(super) fn reads_as(&self, other: &Self) -> bool {
        self.path == other.path && self.reading == other.reading
    }
}

/// `NAME=PATH` and then, each after a comma, `score=N`, `category=TEXT`, `allow`, `shadow`, `strict`, `optional`, `max-shrink=N`,
/// `max-growth=N`, `max-bad=N`, `max-cover=N`, `format=F`, `column=C`, `key=K`, `min=M`, `score-column=C`, `invert-score`,
/// `host-bits=accept`, `ipv6-host=N`. The default score is 0, or 100 with `allow`. The format is `lines`, `json`, `csv` or `ranges`; by default it is detected. A column
/// is a number from 1, or a name in the header.
impl FromStr for ListConfig {
    type Err = ListConfigError;

    fn from_str(text: &str) -> Result<Self, ListConfigError> {
        let (name, rest) = text.split_once('=').ok_or(ListConfigError::NoName)?;
        let mut parts = rest.split(',');
        let path = parts.next().unwrap_or_default();
        if name.is_empty() || path.is_empty() {
            return Err(ListConfigError::NoName);
        }
        let mut list = Self { name: name.into(), path: Some(path.into()), ..Self::default() };
        let mut score = None;
        for part in parts {
            match part.split_once('=') {
                Some(("score", value)) => score = Some(value.parse().map_err(|_| ListConfigError::Score)?),
                Some(("category", value)) => list.category = value.into(),
                Some(("max-shrink", value)) => list.max_shrink = Some(percent("max-shrink", value)?),
                Some(("max-bad", value)) => list.max_bad = Some(percent("max-bad", value)?),
                Some(("max-cover", value)) => list.max_cover = Some(percent("max-cover", value)?),
                Some(("max-growth", value)) => {
                    list.max_growth = Some(value.parse().map_err(|_| ListConfigError::MaxGrowth)?);
                }
                Some(("format", value)) => list.reading.format = value.parse()?,
                Some(("column", value)) => list.reading.column = Some(value.parse()?),
                Some(("key", value)) => list.reading.key = Some(value.into()),
                Some(("min", value)) => list.reading.min = Some(value.parse()?),
                Some(("score-column", value)) => list.reading.score = Some(value.parse()?),
                Some(("host-bits", value)) => list.reading.host_bits = value.parse()?,
                Some(("ipv6-host", value)) => {
                    list.reading.ipv6_host = Some(value.parse().map_err(|_| FormatError::Ipv6Host)?);
                }
                None if part == "invert-score" => list.reading.invert_score = true,
                None if part == "allow" => list.allow = true,
                None if part == "shadow" => list.shadow = true,
                None if part == "strict" => list.strict = true,
                None if part == "optional" => list.optional = true,
                _ => return Err(ListConfigError::Unknown(part.into())),
            }
        }
        list.score = Self::score_of(score, list.allow)?;
        list.reading.check()?;
        Ok(list)
    }
}

fn percent(key: &'static str, text: &str) -> Result<u8, ListConfigError> {
    text.parse().ok().filter(|percent| *percent <= 100).ok_or(ListConfigError::Percentage(key))
}

impl ListConfig {
    /// Returns the score of a list that may have been given one: by default 0, or 100 with `allow`.
    ///
    /// # Errors
    /// It is above [`SCORE_MAX`].
    pub const fn score_of(given: Option<u32>, allow: bool) -> Result<u32, ListConfigError> {
        match given {
            Some(score) if score > SCORE_MAX => Err(ListConfigError::Score),
            Some(score) => Ok(score),
            None if allow => Ok(SCORE_MAX),
            None => Ok(0),
        }
    }
}

/// The reason why a text does not describe a list.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ListConfigError {
    /// It does not begin with `NAME=PATH`.
    #[error("a list begins with NAME=PATH, which may be followed by {KEYS}, each after a comma")]
    NoName,
    /// The score is not a number, or above 100.
    #[error("a score is a number from 0 to {SCORE_MAX}")]
    Score,
    /// A limit is not a percentage.
    #[error("{0} is a percentage from 0 to 100")]
    Percentage(&'static str),
    /// The limit on growth is not a number.
    #[error("max-growth is a percentage from 0")]
    MaxGrowth,
    /// The format or column is not valid.
    #[error(transparent)]
    Format(#[from] FormatError),
    /// Something else after a comma.
    #[error("unknown part \"{0}\" of a list; known are {KEYS}")]
    Unknown(String),
}

/// The parts that may follow a list's path, for errors.
const KEYS: &str = "score=N, category=TEXT, allow, shadow, strict, optional, max-shrink=N, max-growth=N, max-bad=N, max-cover=N, format=F, \
                    column=C, key=K, min=M, score-column=C, invert-score, host-bits=accept and ipv6-host=N";
