//! The connections of the applets: when one is opened, woken and closed.

use super::link::{Link, State};
use super::{Applet, Progress};
use crate::codec::{Hello, code, encode_hello};
use crate::output::Output;
use crate::settings::Settings;
use crate::time::Time;

impl Applet {
    /// Opens another connection (`spoe_queue_context`), unless the thread has more idle connections than events, or
    /// sent more frames in the last second than it has events. A thread without connections always opens one (#2478).
    pub(super) fn maybe_connect(&mut self, settings: &Settings, out: &mut Output, now: Time, thread: u32) {
        let state = &self.threads[thread as usize];
        let has_connection = self.links.iter().any(|link| link.thread == thread) || settings.defects.waits_for_nobody;
        let idle = self.links.iter().filter(|link| link.thread == thread && link.state == State::Idle).count() as u32;
        if has_connection && (state.processing < idle || state.processing < state.rate.read(now)) {
            return;
        }
        self.connect(settings, out, now, thread, None);
    }

    pub(super) fn connect(
        &mut self,
        settings: &Settings,
        out: &mut Output,
        now: Time,
        thread: u32,
        delay: Option<Time>,
    ) {
        let id = out.reserve();
        self.links.push(Link::new(id, thread, settings.max_frame_size));
        let at = self.links.len() - 1;
        match delay {
            Some(delay) => self.links[at].expire = Some(now.saturating_add(delay)),
            None => self.open(settings, out, now, at),
        }
    }

    /// Opens a connection to the next server and sends HELLO. If the server has reached its `maxconn`, the connection is
    /// queued. If no server is up, it fails.
    pub(super) fn open(&mut self, settings: &Settings, out: &mut Output, now: Time, at: usize) {
        if settings.maxconn > 0 && self.served() >= settings.maxconn {
            self.links[at].state = State::Queued;
            self.links[at].expire = None;
            return;
        }
        let server = match self.links[at].refused_by {
            Some(last) => self.servers.after_failure(settings, last),
            None => self.servers.next(settings),
        };
        let Some(server) = server else {
            return self.release(settings, out, now, at, code::IO);
        };
        let link = &mut self.links[at];
        link.server = Some(server);
        let hello = Hello {
            max_frame_size: settings.max_frame_size,
            capabilities: settings.capabilities(),
            engine_id: Some(&self.threads[link.thread as usize].engine_id),
        };
        out.open(link.id, server);
        out.send(link.id, |bytes| _ = encode_hello(bytes, &hello));
        link.state = State::Connecting;
        link.expire = Some(now.saturating_add(settings.hello_timeout));
    }

    pub(super) fn served(&self) -> u32 {
        self.links.iter().filter(|link| !matches!(link.state, State::Delayed | State::Queued)).count() as u32
    }

    /// True if the server has reached its `maxconn`, so that connections with nothing in flight are closed in favour of
    /// queued ones (`close_asap`). HAProxy considers this only with several threads (#1340).
    pub(super) fn is_crowded(&self, settings: &Settings) -> bool {
        settings.threads > 1 && settings.maxconn > 0 && self.served() >= settings.maxconn
    }

    /// Wakes the idle connection with the lowest weight, and of several the one that has been idle for longest.
    pub(super) fn wake_idle(&mut self, settings: &Settings, out: &mut Output, now: Time, thread: u32) {
        let idle = self.links.iter_mut().filter(|link| link.thread == thread && link.state == State::Idle);
        if let Some(link) = idle.min_by_key(|link| (link.weight, link.idle_seq)) {
            link.weight += 1;
            let id = link.id;
            self.run(settings, out, now, id, false);
        }
    }

    /// Closes the idle connections of a stopping process when no event is queued and none waits *on the connection*. In
    /// async mode events wait on the thread, so a connection may be closed with answers unread (#1340).
    pub(super) fn close_idle(&mut self, settings: &Settings, out: &mut Output, now: Time) {
        if !self.stopping {
            return;
        }
        let mut at = 0;
        while at < self.links.len() {
            let link = &self.links[at];
            let id = link.id;
            if link.state == State::Idle && self.can_stop(link) {
                self.run(settings, out, now, id, false);
            }
            at += usize::from(self.links.get(at).is_some_and(|link| link.id == id));
        }
    }

    pub(super) fn can_stop(&self, link: &Link) -> bool {
        self.stopping
            && !self.contexts.iter().any(|context| match context.progress {
                Progress::Queued => context.thread == link.thread,
                Progress::Waiting { queue, .. } => queue == Some(link.id),
                Progress::Sending(..) => false,
            })
    }
}
