//! The SPOE filters of HAProxy that have connected, counted separately by the engine-ids of their HELLOs.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use spoa_core::wire::Capabilities;

use crate::counter::{Counter, Gauge};
use crate::name::Name;

/// An SPOE filter of HAProxy that has connected. HAProxy generates a new engine-id whenever it starts: one for each filter since 3.1,
/// and one for each filter and thread up to 3.0.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Engine {
    /// The engine-id of the HELLO, escaped and at most 64 bytes long before that; `None` if there was none.
    pub id: Option<String>,
    /// The IP address of HAProxy, or the unix socket that it has connected to.
    pub peer: String,
    /// The versions of HAProxy that send such a HELLO.
    pub versions: Versions,
    /// The number of open connections.
    pub connections: u64,
    /// The number of NOTIFYs received so far.
    pub notifies: u64,
    /// The time of its first HELLO.
    pub first_seen: SystemTime,
    /// The time when one of its connections was last opened or closed.
    pub last_change: SystemTime,
}

/// Versions of HAProxy, as far as their HELLOs differ.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Versions {
    /// 1.8 to 2.0: the engine-id is in upper case.
    UpTo2_0,
    /// 2.1 to 3.0: async is listed.
    UpTo3_0,
    /// 3.1 or later. A filter with `no option async` of an older version looks the same.
    Since3_1,
    /// Unknown, because there is no engine-id.
    Unknown,
}

impl fmt::Display for Versions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::UpTo2_0 => "1.8 to 2.0",
            Self::UpTo3_0 => "2.1 to 3.0",
            Self::Since3_1 => "3.1 or later",
            Self::Unknown => "unknown",
        })
    }
}

impl Versions {
    fn of(id: Option<&str>, offered: Capabilities) -> Self {
        match id {
            None => Self::Unknown,
            Some(id) if id.contains(|c: char| c.is_ascii_uppercase()) => Self::UpTo2_0,
            Some(_) if offered.contains(Capabilities::ASYNC) => Self::UpTo3_0,
            Some(_) => Self::Since3_1,
        }
    }
}

/// The largest number of engines that a worker counts separately. Beyond it, those without connections are forgotten, the one with the
/// oldest change first; if all are connected, further engines are counted together as [`MORE`].
const KEPT: usize = 256;

/// The engine-id of the engines that are counted together.
const MORE: &str = "(more)";

/// The time after which an engine without connections is not returned any more.
const FORGOTTEN_AFTER: Duration = Duration::from_secs(3600);

/// The engines that have connected to one worker, which alone adds them.
#[derive(Debug, Default)]
pub(crate) struct WorkerEngines(Mutex<Arc<Kept>>);

type Kept = BTreeMap<Identity, Arc<Counts>>;

/// The identity of an engine. Two machines could send the same engine-id.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Identity {
    id: Option<String>,
    peer: String,
}

/// The counts of an engine on one worker, which alone writes them.
#[derive(Debug)]
struct Counts {
    versions: Versions,
    connections: Gauge,
    notifies: Counter,
    /// Milliseconds since 1970, as the next one.
    first_seen: u64,
    last_change: Gauge,
}

impl Counts {
    fn engine(&self, identity: &Identity) -> Engine {
        Engine {
            id: identity.id.clone(),
            peer: identity.peer.clone(),
            versions: self.versions,
            connections: self.connections.get(),
            notifies: self.notifies.get(),
            first_seen: time_of(self.first_seen),
            last_change: time_of(self.last_change.get()),
        }
    }
}

impl Engine {
    /// Adds the counts of another worker.
    fn add(&mut self, counts: &Counts) {
        self.connections += counts.connections.get();
        self.notifies += counts.notifies.get();
        self.first_seen = self.first_seen.min(time_of(counts.first_seen));
        self.last_change = self.last_change.max(time_of(counts.last_change.get()));
    }
}

/// Returns the number of milliseconds since 1970.
fn milliseconds() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_millis() as u64
}

/// Returns the time that is this number of milliseconds after the start of 1970.
fn time_of(milliseconds: u64) -> SystemTime {
    UNIX_EPOCH + Duration::from_millis(milliseconds)
}

/// A connection of an engine, which is open until this is dropped.
#[derive(Debug)]
pub(crate) struct EngineConnection(Arc<Counts>);

impl EngineConnection {
    /// Counts NOTIFYs.
    pub(crate) fn add_notifies(&self, count: u64) {
        self.0.notifies.add(count);
    }
}

impl Drop for EngineConnection {
    fn drop(&mut self) {
        self.0.connections.set(self.0.connections.get() - 1);
        self.0.last_change.set(milliseconds());
    }
}

impl WorkerEngines {
    /// Adds a connection whose HELLO listed these capabilities. Only one thread may.
    pub(crate) fn connected(&self, name: &Name, offered: Capabilities) -> EngineConnection {
        let identity = Identity { id: name.engine().map(str::to_owned), peer: name.host() };
        let mut kept = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let counts = match kept.get(&identity) {
            Some(counts) => Arc::clone(counts),
            None => add(Arc::make_mut(&mut kept), identity, offered),
        };
        drop(kept);
        counts.connections.set(counts.connections.get() + 1);
        counts.last_change.set(milliseconds());
        EngineConnection(counts)
    }

    /// Returns all engines. The worker waits for no longer than it takes to increment a counter.
    fn kept(&self) -> Arc<Kept> {
        Arc::clone(&self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

/// Adds an engine that is not kept yet.
fn add(kept: &mut Kept, mut identity: Identity, offered: Capabilities) -> Arc<Counts> {
    let mut versions = Versions::of(identity.id.as_deref(), offered);
    if kept.len() >= KEPT {
        let unused = kept.iter().filter(|(_, counts)| counts.connections.get() == 0);
        let oldest = unused.min_by_key(|(_, counts)| counts.last_change.get()).map(|(identity, _)| identity.clone());
        match oldest {
            Some(oldest) => drop(kept.remove(&oldest)),
            None => (identity, versions) = (Identity { id: Some(MORE.into()), peer: String::new() }, Versions::Unknown),
        }
    }
    let new = || {
        let (connections, notifies, last_change) = (Gauge::default(), Counter::default(), Gauge::default());
        Arc::new(Counts { versions, connections, notifies, first_seen: milliseconds(), last_change })
    };
    Arc::clone(kept.entry(identity).or_insert_with(new))
}

/// Returns the engines of all workers that are connected or were within the hour before `now`: those with most NOTIFYs first.
pub(crate) fn merged<'w>(workers: impl Iterator<Item = &'w WorkerEngines>, now: SystemTime) -> Vec<Engine> {
    let mut all = BTreeMap::<Identity, Engine>::new();
    for worker in workers {
        for (identity, counts) in &*worker.kept() {
            match all.entry(identity.clone()) {
                Entry::Vacant(vacant) => _ = vacant.insert(counts.engine(identity)),
                Entry::Occupied(mut other) => other.get_mut().add(counts),
            }
        }
    }
    let is_recent = |engine: &Engine| {
        // A clock that was set back makes none of them old.
        let age = now.duration_since(engine.last_change).unwrap_or_default();
        engine.connections > 0 || age < FORGOTTEN_AFTER
    };
    let mut engines: Vec<_> = all.into_values().filter(is_recent).collect();
    engines.sort_by(|a, b| b.notifies.cmp(&a.notifies).then_with(|| (&a.peer, &a.id).cmp(&(&b.peer, &b.id))));
    engines
}

#[cfg(test)]
mod tests {
    use super::*;

    fn name(peer: &str, id: Option<&str>) -> Name {
        let name = Name::new(1, peer.into());
        if let Some(id) = id {
            name.set_engine(id.as_bytes());
        }
        name
    }

    /// The capabilities that HAProxy lists since 3.1.
    const MUX: Capabilities = Capabilities::PIPELINING;

    fn now(workers: &[WorkerEngines]) -> Vec<Engine> {
        merged(workers.iter(), SystemTime::now())
    }

    #[test]
    fn versions_are_guessed_from_the_hello() {
        let applet = MUX | Capabilities::ASYNC;
        for (id, offered, expected) in [
            (Some("7f8e2d10-1111-2222-3333-444455556666"), MUX, "3.1 or later"),
            (Some("7f8e2d10-1111-2222-3333-444455556666"), applet, "2.1 to 3.0"),
            (Some("7F8E2D10-1111-2222-3333-444455556666"), applet, "1.8 to 2.0"),
            (None, applet, "unknown"),
        ] {
            assert_eq!(Versions::of(id, offered).to_string(), expected, "{id:?} {offered}");
        }
    }

    #[test]
    fn engines_are_counted_by_id_and_host_and_summed_over_workers() {
        let workers = [WorkerEngines::default(), WorkerEngines::default()];
        let first = workers[0].connected(&name("192.0.2.1:1000", Some("a")), MUX);
        let second = workers[1].connected(&name("192.0.2.1:1001", Some("a")), MUX);
        let other = workers[1].connected(&name("[2001:db8::1]:1", Some("a")), MUX);
        let unix = workers[0].connected(&name("unix:/run/spoa.sock#7", None), MUX);
        first.add_notifies(3);
        second.add_notifies(4);
        other.add_notifies(1);
        drop((second, unix));
        let engines = now(&workers);
        let seen: Vec<_> = engines.iter().map(|e| (e.id.as_deref(), &*e.peer, e.connections, e.notifies)).collect();
        let expected =
            [(Some("a"), "192.0.2.1", 1, 7), (Some("a"), "2001:db8::1", 1, 1), (None, "unix:/run/spoa.sock", 0, 0)];
        assert_eq!(seen, expected);
        assert!(engines.iter().all(|engine| engine.first_seen <= engine.last_change));
        // An hour later, engines without a connection are forgotten.
        drop(other);
        let later = merged(workers.iter(), SystemTime::now() + FORGOTTEN_AFTER);
        assert_eq!(later.iter().map(|engine| engine.notifies).collect::<Vec<_>>(), [7]);
        let earlier = merged(workers.iter(), UNIX_EPOCH);
        assert_eq!(earlier.len(), 3, "a clock that was set back makes none of them old");
        drop(first);
    }

    #[test]
    fn the_number_of_engines_is_bounded_and_no_notify_is_lost() {
        let worker = WorkerEngines::default();
        let connect = |number: usize| worker.connected(&name("192.0.2.1:1", Some(&number.to_string())), MUX);
        let mut open: Vec<_> = (0..KEPT + 5).map(connect).collect();
        open.iter().for_each(|connection| connection.add_notifies(1));
        let engines = now(std::slice::from_ref(&worker));
        assert_eq!((engines.len(), engines[0].id.as_deref(), engines[0].notifies), (KEPT + 1, Some(MORE), 5));
        // An engine that is not connected makes room for a new one.
        open.remove(7);
        open.push(connect(1000));
        let ids: Vec<_> = now(std::slice::from_ref(&worker)).into_iter().filter_map(|engine| engine.id).collect();
        assert!(ids.len() == KEPT + 1 && ids.contains(&"1000".into()) && !ids.contains(&"7".into()), "{ids:?}");
    }
}
