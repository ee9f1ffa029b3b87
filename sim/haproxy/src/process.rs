//! One HAProxy process with one of the two engines, and its health checks.

use crate::applet::Applet;
use crate::check::Checks;
use crate::codec::Messages;
use crate::mux::Mux;
use crate::output::{Action, EventId, LinkId, Output};
use crate::servers::{ServerId, Servers};
use crate::settings::{Engine, Settings};
use crate::time::Time;

/// One HAProxy process with one SPOE filter, without I/O: the driver reports events, and executes the actions.
///
/// After each call the driver has to take all actions with [`poll_action`](Self::poll_action) and then ask for
/// [`poll_timeout`](Self::poll_timeout). The behaviour depends only on the settings and the calls.
#[derive(Debug)]
pub struct Process {
    settings: Settings,
    machine: Machine,
    checks: Checks,
    out: Output,
}

#[derive(Debug)]
enum Machine {
    Mux(Mux),
    Applet(Applet),
}

impl Process {
    /// Returns a process that has just started.
    pub fn new(settings: Settings, now: Time) -> Self {
        let machine = match settings.engine {
            Engine::Mux => Machine::Mux(Mux::new(&settings, now)),
            Engine::Applet => Machine::Applet(Applet::new(&settings, now)),
        };
        let out = Output::new(settings.prefix_len);
        Self { settings, machine, checks: Checks::default(), out }
    }

    /// Returns the settings of the process.
    pub const fn settings(&self) -> &Settings {
        &self.settings
    }

    /// Starts an event of a client's transaction. `stream` is HAProxy's counter of streams (from 0), which the applet
    /// engine uses as stream-id; `thread` is the thread that handles it. Each event ends with exactly one
    /// [`Action::Done`].
    pub fn event(&mut self, now: Time, id: EventId, thread: u32, stream: u32, messages: &Messages) {
        let thread = thread % self.settings.threads.max(1);
        match &mut self.machine {
            Machine::Mux(mux) => mux.event(&self.settings, &mut self.out, now, id, thread, messages),
            Machine::Applet(applet) => applet.event(&self.settings, &mut self.out, now, (id, stream), thread, messages),
        }
    }

    /// Starts a health check (`option spop-check`) of the first server. It ends with [`Action::CheckDone`]. The process itself
    /// starts checks if it has a `check_inter`, and only these decide whether a server is up.
    pub fn healthcheck(&mut self, now: Time) {
        self.checks.start(&self.settings, &mut self.out, now, ServerId(0));
    }

    /// True if this server is up, so that it takes events.
    pub fn is_up(&self, server: ServerId) -> bool {
        let servers = match &self.machine {
            Machine::Mux(mux) => &mux.servers,
            Machine::Applet(applet) => &applet.servers,
        };
        servers.is_server_up(&self.settings, server)
    }

    /// Ends the checks that the process itself starts.
    pub fn stop_checks(&mut self) {
        Self::servers(&mut self.machine).stop();
    }

    const fn servers(machine: &mut Machine) -> &mut Servers {
        match machine {
            Machine::Mux(mux) => &mut mux.servers,
            Machine::Applet(applet) => &mut applet.servers,
        }
    }

    /// Takes the results of checks that have ended.
    fn note_checks(&mut self, now: Time) {
        let Self { settings, machine, checks, .. } = self;
        while let Some((server, passed)) = checks.take_result() {
            Self::servers(machine).checked(settings, now, server, passed);
        }
    }

    /// Starts a soft stop. On a reload, the old process gets one while a new one serves new clients.
    pub fn soft_stop(&mut self, now: Time) {
        Self::servers(&mut self.machine).stop();
        match &mut self.machine {
            Machine::Mux(mux) => mux.soft_stop(&mut self.out),
            Machine::Applet(applet) => applet.soft_stop(&self.settings, &mut self.out, now),
        }
    }

    /// Handles bytes from the agent, in any pieces. Bytes for a closed link are ignored.
    pub fn handle_bytes(&mut self, now: Time, link: LinkId, bytes: &[u8]) {
        let Self { settings, machine, checks, out } = self;
        let known = match machine {
            Machine::Mux(mux) => mux.handle_bytes(settings, out, now, link, bytes),
            Machine::Applet(applet) => applet.handle_bytes(settings, out, now, link, bytes),
        };
        if !known {
            checks.handle_bytes(settings, out, link, bytes);
            self.note_checks(now);
        }
    }

    /// Handles a FIN of the agent.
    pub fn handle_eof(&mut self, now: Time, link: LinkId) {
        let Self { settings, machine, checks, out } = self;
        let known = match machine {
            Machine::Mux(mux) => mux.handle_eof(settings, out, now, link),
            Machine::Applet(applet) => applet.handle_eof(settings, out, now, link),
        };
        if !known {
            checks.handle_end(settings, out, link, true);
            self.note_checks(now);
        }
    }

    /// Handles a reset by the agent.
    pub fn handle_reset(&mut self, now: Time, link: LinkId) {
        let Self { settings, machine, checks, out } = self;
        let known = match machine {
            Machine::Mux(mux) => mux.handle_reset(settings, out, now, link),
            Machine::Applet(applet) => applet.handle_reset(settings, out, now, link),
        };
        if !known {
            checks.handle_end(settings, out, link, false);
            self.note_checks(now);
        }
    }

    /// Handles a connection that was refused, because no agent listens there.
    pub fn handle_refused(&mut self, now: Time, link: LinkId) {
        let Self { settings, machine, checks, out } = self;
        let known = match machine {
            Machine::Mux(mux) => mux.handle_refused(settings, out, now, link),
            Machine::Applet(applet) => applet.handle_refused(settings, out, now, link),
        };
        if !known {
            checks.handle_refused(out, link);
            self.note_checks(now);
        }
    }

    /// Handles the deadlines that have passed.
    pub fn handle_timeout(&mut self, now: Time) {
        match &mut self.machine {
            Machine::Mux(mux) => mux.handle_timeout(&self.settings, &mut self.out, now),
            Machine::Applet(applet) => applet.handle_timeout(&self.settings, &mut self.out, now),
        }
        self.checks.handle_timeout(&mut self.out, now);
        while let Some(server) = Self::servers(&mut self.machine).take_due(now) {
            self.checks.start(&self.settings, &mut self.out, now, server);
        }
        self.note_checks(now);
    }

    /// Returns the next action. The bytes in it are valid until the next call.
    pub fn poll_action(&mut self) -> Option<Action<'_>> {
        self.out.poll()
    }

    /// Returns the time to call [`handle_timeout`](Self::handle_timeout), or `None` if there is no deadline.
    pub fn poll_timeout(&self) -> Option<Time> {
        let (machine, servers) = match &self.machine {
            Machine::Mux(mux) => (mux.poll_timeout(&self.settings), mux.servers.poll_timeout()),
            Machine::Applet(applet) => (applet.poll_timeout(), applet.servers.poll_timeout()),
        };
        [machine, servers, self.checks.poll_timeout()].into_iter().flatten().min()
    }
}
