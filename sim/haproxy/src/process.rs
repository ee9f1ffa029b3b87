//! One HAProxy process: either engine, and its health checks, behind one surface.

use crate::applet::Applet;
use crate::check::Checks;
use crate::codec::Messages;
use crate::mux::Mux;
use crate::output::{Action, EventId, LinkId, Output};
use crate::settings::{Engine, Settings};
use crate::time::Time;

/// One HAProxy process with one SPOE filter, as a machine without I/O: hand it what happens, take what it does.
///
/// After each call take all of [`poll_action`](Self::poll_action), then ask for [`poll_timeout`](Self::poll_timeout).
/// It is a function of its settings and its calls alone.
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
    /// A process that has just started.
    pub fn new(settings: Settings, _now: Time) -> Self {
        let machine = match settings.engine {
            Engine::Mux => Machine::Mux(Mux::new(&settings)),
            Engine::Applet => Machine::Applet(Applet::new(&settings)),
        };
        let out = Output::new(settings.prefix_len);
        Self { settings, machine, checks: Checks::default(), out }
    }

    /// The settings that it was created with.
    pub const fn settings(&self) -> &Settings {
        &self.settings
    }

    /// A client's transaction reached an event: `stream` is HAProxy's counter of streams (from 0), which the applet
    /// engine uses on the wire; `thread` the one that handles it. Ends with [`Action::Done`], exactly once.
    pub fn event(&mut self, now: Time, id: EventId, thread: u32, stream: u32, messages: &Messages) {
        let thread = thread % self.settings.threads.max(1);
        match &mut self.machine {
            Machine::Mux(mux) => mux.event(&self.settings, &mut self.out, now, id, thread, messages),
            Machine::Applet(applet) => applet.event(&self.settings, &mut self.out, now, (id, stream), thread, messages),
        }
    }

    /// `option spop-check` is due. Ends with [`Action::CheckDone`].
    pub fn healthcheck(&mut self, now: Time) {
        self.checks.start(&self.settings, &mut self.out, now);
    }

    /// The process is to go: on a reload the old one, while a new one serves new clients.
    pub fn soft_stop(&mut self, now: Time) {
        match &mut self.machine {
            Machine::Mux(mux) => mux.soft_stop(&mut self.out),
            Machine::Applet(applet) => applet.soft_stop(&self.settings, &mut self.out, now),
        }
    }

    /// Bytes from the agent, cut in any way. Those for a link that is closed are ignored.
    pub fn handle_bytes(&mut self, now: Time, link: LinkId, bytes: &[u8]) {
        let Self { settings, machine, checks, out } = self;
        let known = match machine {
            Machine::Mux(mux) => mux.handle_bytes(settings, out, now, link, bytes),
            Machine::Applet(applet) => applet.handle_bytes(settings, out, now, link, bytes),
        };
        if !known {
            checks.handle_bytes(settings, out, link, bytes);
        }
    }

    /// The agent closed its side.
    pub fn handle_eof(&mut self, now: Time, link: LinkId) {
        let Self { settings, machine, checks, out } = self;
        let known = match machine {
            Machine::Mux(mux) => mux.handle_eof(settings, out, now, link),
            Machine::Applet(applet) => applet.handle_eof(settings, out, now, link),
        };
        if !known {
            checks.handle_end(settings, out, link, true);
        }
    }

    /// The agent reset the connection, or refused it.
    pub fn handle_reset(&mut self, now: Time, link: LinkId) {
        let Self { settings, machine, checks, out } = self;
        let known = match machine {
            Machine::Mux(mux) => mux.handle_reset(settings, out, now, link),
            Machine::Applet(applet) => applet.handle_reset(settings, out, now, link),
        };
        if !known {
            checks.handle_end(settings, out, link, false);
        }
    }

    /// A deadline has passed.
    pub fn handle_timeout(&mut self, now: Time) {
        match &mut self.machine {
            Machine::Mux(mux) => mux.handle_timeout(&self.settings, &mut self.out, now),
            Machine::Applet(applet) => applet.handle_timeout(&self.settings, &mut self.out, now),
        }
        self.checks.handle_timeout(&mut self.out, now);
    }

    /// The next thing to do, in order; what it lends is good until the next call.
    pub fn poll_action(&mut self) -> Option<Action<'_>> {
        self.out.poll()
    }

    /// When to call [`handle_timeout`](Self::handle_timeout); `None` is never.
    pub fn poll_timeout(&self) -> Option<Time> {
        let machine = match &self.machine {
            Machine::Mux(mux) => mux.poll_timeout(&self.settings),
            Machine::Applet(applet) => applet.poll_timeout(),
        };
        [machine, self.checks.poll_timeout()].into_iter().flatten().min()
    }
}
