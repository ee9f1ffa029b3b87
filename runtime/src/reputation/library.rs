//! The lists in use, and how they are replaced while they are.

use std::sync::{Arc, Mutex, PoisonError};

use arc_swap::{ArcSwap, Guard};

use super::lists::{ListConfig, Lists, LoadError};

/// The lists in use. Clones are the same: each worker has one.
#[derive(Clone, Debug)]
pub struct Library {
    edition: Arc<ArcSwap<Edition>>,
    configs: Arc<[ListConfig]>,
    max_shrink: u8,
    /// One reload at a time.
    reloading: Arc<Mutex<()>>,
}

/// All lists as they were loaded at one time.
#[derive(Debug)]
pub struct Edition {
    /// The lists.
    pub lists: Lists,
    /// Which it is: 1 is that of the start.
    pub generation: u64,
}

/// Why the lists in use stay.
#[derive(Debug, thiserror::Error)]
pub enum ReloadError {
    /// They cannot be loaded.
    #[error(transparent)]
    Load(#[from] LoadError),
    /// A list lost more than is taken for a change: it may have been cut off.
    #[error("list {name} has {now} prefixes, of {before}: that is more than {max} % fewer")]
    Shrunk {
        /// The list.
        name: String,
        /// How many prefixes it had.
        before: u64,
        /// How many it would have.
        now: u64,
        /// How many of a hundred it may lose.
        max: u8,
    },
}

impl Library {
    /// Loads the lists. Later editions may lose up to `max_shrink` of a hundred prefixes in each list.
    ///
    /// # Errors
    /// One of them cannot be loaded.
    pub fn open(configs: Vec<ListConfig>, max_shrink: u8) -> Result<Self, LoadError> {
        let edition = Edition { lists: Lists::load(&configs)?, generation: 1 };
        Ok(Self {
            edition: Arc::new(ArcSwap::from_pointee(edition)),
            configs: configs.into(),
            max_shrink,
            reloading: Arc::default(),
        })
    }

    /// The edition in use. It stays as it is for whoever holds it.
    #[inline]
    pub fn edition(&self) -> Guard<Arc<Edition>> {
        self.edition.load()
    }

    /// Loads the lists anew, beside those in use, and puts them in their place; no look-up waits. Gives their generation.
    ///
    /// # Errors
    /// The lists in use stay, all of them: one of the new ones cannot be loaded, or lost too much.
    pub fn reload(&self) -> Result<u64, ReloadError> {
        let _one = self.reloading.lock().unwrap_or_else(PoisonError::into_inner);
        let lists = Lists::load(&self.configs)?;
        let before = self.edition.load_full();
        for (old, new) in before.lists.iter().zip(lists.iter()) {
            let least = u128::from(old.prefixes()) * u128::from(100 - self.max_shrink.min(100));
            if u128::from(new.prefixes()) * 100 < least {
                let (name, max) = (new.config().name.clone(), self.max_shrink);
                return Err(ReloadError::Shrunk { name, before: old.prefixes(), now: new.prefixes(), max });
            }
        }
        let generation = before.generation + 1;
        self.edition.store(Arc::new(Edition { lists, generation }));
        Ok(generation)
    }
}
