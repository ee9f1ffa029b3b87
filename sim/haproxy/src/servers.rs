//! The servers of the backend: which of them are up, as health checks and failed connections show, and which one is next.

use crate::settings::Settings;
use crate::time::Time;

/// A server of the backend, by its position in the configuration, from 0.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct ServerId(pub u32);

/// All servers of the backend, which take turns (`balance roundrobin`).
#[derive(Debug)]
pub(crate) struct Servers {
    list: Vec<Server>,
    /// The server that was chosen last.
    last: usize,
    /// The process is stopping and checks no more.
    stopped: bool,
}

#[derive(Debug)]
struct Server {
    /// As `check.health`: the server is up from `rise`, and at most `rise + fall - 1`.
    health: u32,
    /// The time of the next check, unless one is in progress.
    check_at: Option<Time>,
    /// The failed connections since the last one that succeeded (`observe layer4`).
    errors: u32,
}

impl Servers {
    /// Returns servers that are up, and go down with their first failed check (`srv_init`).
    pub(crate) fn new(settings: &Settings, now: Time) -> Self {
        let count = settings.servers.max(1);
        let server = |number: u32| Server {
            health: settings.rise.max(1),
            // The first checks are spread over the interval (`start_checks`).
            check_at: (settings.check_inter > 0)
                .then(|| now.saturating_add(settings.check_inter / u64::from(count) * u64::from(number))),
            errors: 0,
        };
        Self { list: (0..count).map(server).collect(), last: count as usize - 1, stopped: false }
    }

    /// Returns the next server that is up, if there is one.
    pub(crate) fn next(&mut self, settings: &Settings) -> Option<ServerId> {
        let count = self.list.len();
        let at = (1..=count).map(|step| (self.last + step) % count).find(|&at| self.is_up(settings, at))?;
        self.last = at;
        Some(ServerId(at as u32))
    }

    /// Returns the server for a further attempt after one on `last` has failed: with `option redispatch` the next one.
    pub(crate) fn after_failure(&mut self, settings: &Settings, last: ServerId) -> Option<ServerId> {
        if settings.redispatch { self.next(settings) } else { Some(last) }
    }

    fn is_up(&self, settings: &Settings, at: usize) -> bool {
        self.list[at].health >= settings.rise.max(1)
    }

    /// Returns the number of servers that are up.
    pub(crate) fn up_count(&self, settings: &Settings) -> usize {
        (0..self.list.len()).filter(|&at| self.is_up(settings, at)).count()
    }

    /// True if this server is up.
    pub(crate) fn is_server_up(&self, settings: &Settings, server: ServerId) -> bool {
        self.list.get(server.0 as usize).is_some() && self.is_up(settings, server.0 as usize)
    }

    /// Notes the result of a health check (`set_server_check_status`).
    pub(crate) fn checked(&mut self, settings: &Settings, now: Time, server: ServerId, passed: bool) {
        // A check on request, without `check` on the server line, decides nothing.
        if settings.check_inter == 0 {
            return;
        }
        let (rise, fall) = (settings.rise.max(1), settings.fall.max(1));
        let Some(server) = self.list.get_mut(server.0 as usize) else { return };
        server.check_at = (!self.stopped).then(|| now.saturating_add(settings.check_inter));
        let best = rise + fall - 1;
        server.health = match (passed, server.health) {
            (true, health) if health + 1 >= rise && health < rise => best,
            (true, health) => (health + 1).min(best),
            (false, health) if health > rise => health - 1,
            (false, _) => 0,
        };
    }

    /// Notes an attempt to connect (`health_adjust` with `observe layer4` and `on-error mark-down`).
    pub(crate) fn connected(&mut self, settings: &Settings, server: ServerId, succeeded: bool) {
        let Some(server) = self.list.get_mut(server.0 as usize) else { return };
        server.errors = if succeeded { 0 } else { server.errors + 1 };
        if settings.error_limit > 0 && server.errors >= settings.error_limit {
            (server.health, server.errors) = (0, 0);
        }
    }

    /// Returns a server whose check is due, which is in progress from now on.
    pub(crate) fn take_due(&mut self, now: Time) -> Option<ServerId> {
        let at = self.list.iter().position(|server| server.check_at.is_some_and(|due| due <= now))?;
        self.list[at].check_at = None;
        Some(ServerId(at as u32))
    }

    /// Ends the checks (`stop_proxy`).
    pub(crate) fn stop(&mut self) {
        self.stopped = true;
        self.list.iter_mut().for_each(|server| server.check_at = None);
    }

    pub(crate) fn poll_timeout(&self) -> Option<Time> {
        self.list.iter().filter_map(|server| server.check_at).min()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn three() -> (Settings, Servers) {
        let settings = Settings { servers: 3, check_inter: 100, fall: 2, rise: 2, redispatch: true, ..Settings::mux() };
        let servers = Servers::new(&settings, 0);
        (settings, servers)
    }

    #[test]
    fn servers_that_are_up_take_turns() {
        let (settings, mut servers) = three();
        let next = |servers: &mut Servers| servers.next(&settings).map(|server| server.0);
        assert_eq!([0; 4].map(|_| next(&mut servers)), [Some(0), Some(1), Some(2), Some(0)]);
        servers.checked(&settings, 0, ServerId(1), false);
        assert_eq!([0; 3].map(|_| next(&mut servers)), [Some(2), Some(0), Some(2)]);
        assert_eq!(servers.after_failure(&settings, ServerId(0)), Some(ServerId(0)));
        let sticky = Settings { redispatch: false, ..settings.clone() };
        assert_eq!(servers.after_failure(&sticky, ServerId(1)), Some(ServerId(1)));
    }

    #[test]
    fn a_server_falls_and_rises_after_some_checks() {
        let (settings, mut servers) = three();
        let mut states = Vec::new();
        for passed in [true, false, false, true, false, true, true] {
            servers.checked(&settings, 0, ServerId(0), passed);
            states.push(servers.is_server_up(&settings, ServerId(0)));
        }
        assert_eq!(states, [true, true, false, false, false, false, true]);
        // Two failures in a row, and a success between others.
        for passed in [false, true, false, false] {
            servers.checked(&settings, 0, ServerId(0), passed);
        }
        assert_eq!(servers.up_count(&settings), 2);
    }

    #[test]
    fn failed_connections_mark_a_server_down_if_they_are_observed() {
        let (settings, mut servers) = three();
        let observed = Settings { error_limit: 2, ..settings.clone() };
        (0..9).for_each(|_| servers.connected(&settings, ServerId(0), false));
        assert_eq!(servers.up_count(&settings), 3);
        servers.connected(&observed, ServerId(1), false);
        servers.connected(&observed, ServerId(1), true);
        servers.connected(&observed, ServerId(1), false);
        assert_eq!(servers.up_count(&settings), 3);
        servers.connected(&observed, ServerId(1), false);
        assert!(!servers.is_server_up(&settings, ServerId(1)));
    }

    #[test]
    fn checks_are_spread_and_repeated_until_the_process_stops() {
        let (settings, mut servers) = three();
        let mut due = |now| std::iter::from_fn(|| servers.take_due(now)).map(|server| server.0).collect::<Vec<_>>();
        assert_eq!((due(0), due(32), due(40), due(99)), (vec![0], vec![], vec![1], vec![2]));
        servers.checked(&settings, 50, ServerId(0), true);
        assert_eq!(servers.poll_timeout(), Some(150));
        servers.stop();
        servers.checked(&settings, 50, ServerId(1), true);
        assert_eq!(servers.poll_timeout(), None);
    }
}
