//! The verdict on an address and everything that led to it, for people and for programs.

use std::error::Error;
use std::fmt;
use std::net::IpAddr;

use serde::{Deserialize, Serialize};
use spoa_bans::{BanStore, Record, Timestamp};
use spoa_reputation::embedded;
use spoa_reputation::{Asked, AskedError, Edition, Judged, List, ListConfig};
use spoa_runtime::text::Escaped;

/// The verdict on an address, with all matches. In JSON it is the output of `spoa check --json` and of the page `/verdict`.
#[derive(Debug, Deserialize, Serialize)]
pub(crate) struct Explanation {
    address: IpAddr,
    /// The message and the policy that were asked for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    message: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    policy: Option<String>,
    /// The IPv4 address that is embedded in it.
    #[serde(skip_serializing_if = "Option::is_none")]
    looked_up_as: Option<IpAddr>,
    /// `allow`, `listed` or `unknown`.
    verdict: String,
    score: u32,
    /// The list that decided, its category and its prefix.
    list: Option<String>,
    category: Option<String>,
    prefix: Option<String>,
    /// The verdict if all lists in shadow mode were enforced, if it is another one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    would: Option<Would>,
    /// The generation of the lists.
    generation: u64,
    matches: Vec<ListMatch>,
}

/// The verdict if all lists in shadow mode were enforced.
#[derive(Debug, Deserialize, Serialize)]
struct Would {
    verdict: String,
    score: u32,
    /// The list that would decide, and its prefix.
    list: String,
    prefix: String,
}

/// A prefix of a list that contains the address.
#[derive(Debug, Deserialize, Serialize)]
struct ListMatch {
    list: String,
    prefix: String,
    score: u32,
    allow: bool,
    #[serde(default)]
    shadow: bool,
    /// The line of the file; the running agent does not know it.
    #[serde(skip_serializing_if = "Option::is_none")]
    line: Option<u64>,
    /// The file that has the prefix; `None` if it is a ban.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    path: Option<String>,
    /// The ban, if it is one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    ban: Option<BanNote>,
}

/// The details of a ban.
#[derive(Debug, Default, Deserialize, Serialize)]
struct BanNote {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    until: Option<Timestamp>,
    reason: String,
    origin: String,
}

impl BanNote {
    fn of(ban: Record<'_>) -> Self {
        let origin = ban.origin.unwrap_or_default().into_owned();
        Self { until: ban.until, reason: ban.reason.into_owned(), origin }
    }
}

impl ListMatch {
    /// Returns the match of a prefix that is neither in a file nor a ban.
    fn new(config: &ListConfig, prefix: String, score: u32, line: Option<u64>) -> Self {
        let ListConfig { name, allow, shadow, .. } = config;
        Self { list: name.clone(), prefix, score, allow: *allow, shadow: *shadow, line, path: None, ban: None }
    }
}

/// Writes the source of a match: `line 3 of lists/drop`, or `banned until 2026-11-28T08:00:00.000Z, by alice: scans`.
impl fmt::Display for ListMatch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Some(BanNote { until, reason, origin }) = &self.ban else {
            let path = self.path.as_deref().unwrap_or_default();
            return match self.line {
                Some(line) => write!(f, "line {line} of {path}"),
                None => write!(f, "in {path}"),
            };
        };
        f.write_str(if self.allow { "allowed" } else { "banned" })?;
        until.iter().try_for_each(|until| write!(f, " until {until}"))?;
        if !origin.is_empty() {
            write!(f, ", by {origin}")?;
        }
        if reason.is_empty() { Ok(()) } else { write!(f, ": {reason}") }
    }
}

/// A prefix, its score, and its line if that is known.
type Found = (String, u32, Option<u64>);

impl Explanation {
    /// Explains the verdict by the lists in memory and the bans.
    ///
    /// # Errors
    /// There is no such message or policy.
    pub(crate) fn of(
        edition: &Edition,
        bans: Option<&BanStore>,
        asked: &Asked,
        address: IpAddr,
    ) -> Result<Self, AskedError> {
        let prefixes = |list: &List| {
            let prefixes = list.prefixes_with(address).into_iter();
            prefixes.map(|(prefix, score)| (prefix.to_string(), score, None)).collect()
        };
        let mut explanation = Self::new(edition, asked, address, prefixes)?;
        for (list, prefix) in edition.lists.bans_on(address) {
            let config = list.config();
            let bans = bans.map(|bans| bans.on(prefix, &config.name)).unwrap_or_default();
            explanation.matches.extend(bans.into_iter().map(|ban| {
                let score = ban.score.map_or(config.score, u32::from);
                ListMatch { ban: Some(BanNote::of(ban)), ..ListMatch::new(config, prefix.to_string(), score, None) }
            }));
        }
        Ok(explanation)
    }

    /// Explains the verdict by the lists in memory and the lines of their files. A file is read again only if its list contains
    /// the address.
    ///
    /// # Errors
    /// There is no such message or policy, or a file cannot be read again.
    pub(crate) fn with_lines(edition: &Edition, asked: &Asked, address: IpAddr) -> Result<Self, Box<dyn Error>> {
        let mut failed = None;
        let explanation = Self::new(edition, asked, address, |list| {
            if list.prefixes_with(address).is_empty() {
                return Vec::new();
            }
            let lines = list.lines_with(address).unwrap_or_else(|error| {
                failed.get_or_insert(error);
                Vec::new()
            });
            lines.into_iter().map(|found| (found.prefix.to_string(), found.score, Some(found.line))).collect()
        })?;
        failed.map_or(Ok(explanation), |error| Err(error.into()))
    }

    fn new(
        edition: &Edition,
        asked: &Asked,
        address: IpAddr,
        mut found: impl FnMut(&List) -> Vec<Found>,
    ) -> Result<Self, AskedError> {
        let (Judged { verdict, score, .. }, with_shadow) = edition.judge(asked, address)?;
        let other = with_shadow.verdict.matched().filter(|_| !with_shadow.verdict.is_decided_as(verdict));
        let would = other.map(|matched| Would {
            verdict: with_shadow.verdict.name().to_owned(),
            score: with_shadow.score,
            list: matched.list().config().name.clone(),
            prefix: matched.prefix().to_string(),
        });
        let mut matches = Vec::new();
        for list in edition.lists.iter() {
            let config = list.config();
            let found = found(list).into_iter();
            matches.extend(found.map(|(prefix, score, line)| ListMatch {
                path: config.path.as_ref().map(|path| path.display().to_string()),
                ..ListMatch::new(config, prefix, score, line)
            }));
        }
        let config = verdict.matched().map(|matched| matched.list().config());
        Ok(Self {
            address,
            message: asked.message.clone(),
            policy: asked.policy.clone(),
            looked_up_as: Some(embedded(address)).filter(|other| *other != address),
            verdict: verdict.name().to_owned(),
            score,
            list: config.map(|config| config.name.clone()),
            category: config.map(|config| config.category.clone()),
            prefix: verdict.matched().map(|matched| matched.prefix().to_string()),
            would,
            generation: edition.generation,
            matches,
        })
    }

    /// True if the verdict is `allow`.
    pub(crate) fn is_allowed(&self) -> bool {
        self.verdict == "allow"
    }

    /// Returns the verdict and the list and prefix that decided, such as `192.0.2.7 is listed, by 192.0.2.0/24 in drop`.
    pub(crate) fn reason(&self) -> String {
        let by = match (&self.prefix, &self.list) {
            (Some(prefix), Some(list)) => format!(", by {prefix} in {list}"),
            _ => String::new(),
        };
        let verdict = if self.is_allowed() { "allowed" } else { &self.verdict };
        format!("{} is {verdict}{by}", self.address)
    }

    /// True if the verdict is `listed`.
    pub(crate) fn is_listed(&self) -> bool {
        self.verdict == "listed"
    }
}

/// Writes several lines, escaped because they have text of files:
///
/// ```text
/// 192.0.2.7: listed, score 10
///   decided by 192.0.2.0/24 in worse
///   worse: 192.0.2.0/24, score 10, line 12 of lists/worse.netset
///   bad: 192.0.0.0/16, score 30, line 3 of lists/bad.netset
/// ```
impl fmt::Display for Explanation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { address, verdict, score, .. } = self;
        writeln!(f, "{address}: {}, score {score}", Escaped(verdict))?;
        if let Some(other) = self.looked_up_as {
            writeln!(f, "  looked up as {other}")?;
        }
        if let (Some(prefix), Some(list)) = (&self.prefix, &self.list) {
            writeln!(f, "  decided by {} in {}", Escaped(prefix), Escaped(list))?;
        }
        if let Some(Would { verdict, score, list, prefix }) = &self.would {
            let by = format_args!("{verdict}, score {score}, decided by {prefix} in {list}");
            writeln!(f, "  if enforced: {}", Escaped(by))?;
        }
        for found in &self.matches {
            let ListMatch { list, prefix, score, allow, shadow, .. } = found;
            let allow = if *allow { ", allow" } else { "" };
            let shadow = if *shadow { ", in shadow mode" } else { "" };
            let text = format_args!("{list}: {prefix}, score {score}{allow}{shadow}, {found}");
            writeln!(f, "  {}", Escaped(text))?;
        }
        Ok(())
    }
}
