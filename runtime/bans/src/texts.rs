//! Texts that many bans have in common, which are kept once.

use std::collections::{BTreeMap, HashSet};
use std::sync::Arc;

/// Stands for the name of an origin in [`Origins`]; it never changes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct OriginId(u16);

impl OriginId {
    pub(crate) const FIRST: Self = Self(0);
    pub(crate) const LAST: Self = Self(u16::MAX);

    /// Returns the label in metrics, which distinguish the first origins only; all others have [`OriginId::LAST`].
    pub(crate) fn label(self) -> Self {
        if self.0 < LABELS_MAX { self } else { Self::LAST }
    }
}

/// The number of origins that metrics distinguish; further ones are counted together.
const LABELS_MAX: u16 = 30;

/// The number of origins that are possible between two starts of the agent, so that a program that invents new ones does not
/// take memory without a limit.
pub(crate) const ORIGINS_MAX: u16 = 10_000;

/// The name of origins that have no id of their own.
const MORE: &str = "(more)";

/// The programs and persons that add bans.
#[derive(Debug, Default)]
pub(crate) struct Origins {
    names: Vec<Arc<str>>,
    ids: BTreeMap<Arc<str>, OriginId>,
}

impl Origins {
    /// Returns the id of an origin, which is assigned if it has none; `None` if there are [`ORIGINS_MAX`] others.
    pub(crate) fn id(&mut self, name: &str) -> Option<OriginId> {
        if name == MORE {
            return Some(OriginId::LAST);
        }
        if let Some(id) = self.find(name) {
            return Some(id);
        }
        let id = u16::try_from(self.names.len()).ok().filter(|id| *id < ORIGINS_MAX).map(OriginId)?;
        let name = Arc::<str>::from(name);
        self.names.push(Arc::clone(&name));
        self.ids.insert(name, id);
        Some(id)
    }

    /// Returns the id of an origin, if it has one.
    pub(crate) fn find(&self, name: &str) -> Option<OriginId> {
        self.ids.get(name).copied()
    }

    pub(crate) fn name(&self, id: OriginId) -> &str {
        self.names.get(usize::from(id.0)).map_or(MORE, |name| name)
    }
}

/// The reasons of bans.
#[derive(Debug, Default)]
pub(crate) struct Reasons {
    all: HashSet<Arc<str>>,
    /// The reason that was shared last: most bans of a program have the same one.
    last: Arc<str>,
    /// The number of reasons from which on unused ones are removed.
    purge_at: usize,
}

impl Reasons {
    /// Returns the shared text that is equal to this one.
    pub(crate) fn share(&mut self, reason: &str) -> Arc<str> {
        if *self.last != *reason {
            self.last = self.find(reason);
        }
        Arc::clone(&self.last)
    }

    fn find(&mut self, reason: &str) -> Arc<str> {
        if let Some(known) = self.all.get(reason) {
            return Arc::clone(known);
        }
        if self.all.len() >= self.purge_at {
            self.all.retain(|reason| Arc::strong_count(reason) > 1);
            self.purge_at = (2 * self.all.len()).max(1000);
        }
        let shared = Arc::<str>::from(reason);
        self.all.insert(Arc::clone(&shared));
        shared
    }
}
