//! HAProxy 1.8 to 3.0: each thread keeps its own connections, and the filter itself (`src/flt_spoe.c`) owns them.
//!
//! Events queue up on their thread; any connection of the thread that has a slot takes the first of the queue. This file
//! is about events and queues (`spoe_queue_context`, `spoe_stop_processing`, `spoe_release_appctx`), [`link`] and `frames.rs`
//! about what a connection does, [`rate`] about the counter that decides when a thread opens one more.

mod frames;
mod link;
mod rate;

use crate::codec::{EngineId, HEADER_RESERVE, Hello, Messages, code, encode_disconnect, encode_hello};
use crate::output::{EventId, LinkId, Output};
use crate::settings::Settings;
use crate::time::Time;
use link::{Link, State};
use rate::Rate;

/// Where an event is on its way.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Place {
    /// In its thread's sending queue.
    Queued,
    /// Some fragments are out on this connection; `true`: the next one is encoded and may leave.
    Sending(LinkId, bool),
    /// All is out. In async mode the queue is the thread's and the connection only counts it, if it still exists.
    Waiting { queue: Option<LinkId>, counted: Option<LinkId> },
}

/// An event under way (`struct spoe_context`).
#[derive(Debug)]
struct Context {
    event: EventId,
    thread: u32,
    sid: u32,
    fid: u32,
    deadline: Time,
    place: Place,
    messages: Messages,
    /// The encoded part that is to leave next.
    from: usize,
    to: usize,
    /// When the stream gets to encode the next fragment.
    encode_at: Option<Time>,
}

impl Context {
    fn is_last(&self) -> bool {
        self.to == self.messages.bytes().len()
    }
}

/// `agent->rt[tid]`.
#[derive(Debug)]
struct Thread {
    engine_id: EngineId,
    /// The smallest size negotiated among its connections: events are encoded for it, whichever takes them.
    frame_size: u32,
    processing: u32,
    rate: Rate,
}

/// The applet side of one process.
#[derive(Debug)]
pub(crate) struct Applet {
    threads: Vec<Thread>,
    links: Vec<Link>,
    contexts: Vec<Context>,
    /// The next frame-id of streams that had an event answered; 1 for all others. Ordered by stream.
    frame_ids: Vec<(u32, u32)>,
    stopping: bool,
    spare: Vec<Messages>,
    idle_count: u64,
}

impl Applet {
    pub(crate) fn new(settings: &Settings) -> Self {
        let thread = |tid| Thread {
            engine_id: settings.engine_id(tid),
            frame_size: settings.max_frame_size,
            processing: 0,
            rate: Rate::default(),
        };
        Self {
            threads: (0..settings.threads.max(1)).map(thread).collect(),
            links: Vec::new(),
            contexts: Vec::new(),
            frame_ids: Vec::new(),
            stopping: false,
            spare: Vec::new(),
            idle_count: 0,
        }
    }

    pub(crate) fn event(
        &mut self,
        settings: &Settings,
        out: &mut Output,
        now: Time,
        (event, sid): (EventId, u32),
        thread: u32,
        messages: &Messages,
    ) {
        if messages.is_empty() {
            return out.done(event, 0, b"");
        }
        let room = (self.threads[thread as usize].frame_size - HEADER_RESERVE) as usize;
        let to = messages.cut(0, room).unwrap_or(0);
        if to == 0 || (to < messages.bytes().len() && !settings.fragmentation) {
            return out.done(event, 3, b"");
        }
        let mut copy = self.spare.pop().unwrap_or_default();
        copy.copy_from(messages);
        self.threads[thread as usize].processing += 1;
        self.contexts.push(Context {
            event,
            thread,
            sid,
            fid: self.next_frame_id(sid),
            deadline: now.saturating_add(settings.processing_timeout),
            place: Place::Queued,
            messages: copy,
            from: 0,
            to,
            encode_at: None,
        });
        self.maybe_connect(settings, out, now, thread);
        self.wake_idle(settings, out, now, thread);
    }

    /// Frame-ids count a stream's *answered* events: one that failed leaves its id to the next.
    fn next_frame_id(&self, sid: u32) -> u32 {
        self.frame_ids.binary_search_by_key(&sid, |&(sid, _)| sid).map_or(1, |at| self.frame_ids[at].1)
    }

    fn use_frame_id(&mut self, sid: u32) {
        match self.frame_ids.binary_search_by_key(&sid, |&(sid, _)| sid) {
            Ok(at) => self.frame_ids[at].1 = self.frame_ids[at].1.wrapping_add(1),
            Err(at) => self.frame_ids.insert(at, (sid, 2)),
        }
    }

    /// `spoe_queue_context`: one more connection unless enough are idle, or the thread is fast with those it has. It has
    /// to have one (#2478).
    fn maybe_connect(&mut self, settings: &Settings, out: &mut Output, now: Time, thread: u32) {
        let state = &self.threads[thread as usize];
        let has_any = self.links.iter().any(|link| link.thread == thread) || settings.defects.waits_for_nobody;
        let idles = self.links.iter().filter(|link| link.thread == thread && link.state == State::Idle).count() as u32;
        if has_any && (state.processing < idles || state.processing < state.rate.read(now)) {
            return;
        }
        self.connect(settings, out, now, thread, None);
    }

    fn connect(&mut self, settings: &Settings, out: &mut Output, now: Time, thread: u32, delay: Option<Time>) {
        let id = out.reserve();
        self.links.push(Link::new(id, thread, settings.max_frame_size));
        let at = self.links.len() - 1;
        match delay {
            Some(delay) => self.links[at].expire = Some(now.saturating_add(delay)),
            None => self.open(settings, out, now, at),
        }
    }

    /// Opens a connection and says HELLO, unless the server has all it may have (`maxconn`): then it queues.
    fn open(&mut self, settings: &Settings, out: &mut Output, now: Time, at: usize) {
        if settings.maxconn > 0 && self.served() >= settings.maxconn {
            self.links[at].state = State::Queued;
            self.links[at].expire = None;
            return;
        }
        let link = &mut self.links[at];
        let hello = Hello {
            max_frame_size: settings.max_frame_size,
            capabilities: settings.capabilities(),
            engine_id: Some(&self.threads[link.thread as usize].engine_id),
        };
        out.open(link.id);
        out.send(link.id, |bytes| _ = encode_hello(bytes, &hello));
        link.state = State::Connecting;
        link.expire = Some(now.saturating_add(settings.hello_timeout));
    }

    fn served(&self) -> u32 {
        self.links.iter().filter(|link| !matches!(link.state, State::Delayed | State::Queued)).count() as u32
    }

    /// `close_asap`: somebody waits for the place of this connection. Only looked at with several threads (#1340).
    fn is_crowded(&self, settings: &Settings) -> bool {
        settings.threads > 1 && settings.maxconn > 0 && self.served() >= settings.maxconn
    }

    /// Wakes the idle connection that was woken least.
    fn wake_idle(&mut self, settings: &Settings, out: &mut Output, now: Time, thread: u32) {
        let idle = self.links.iter_mut().filter(|link| link.thread == thread && link.state == State::Idle);
        if let Some(link) = idle.min_by_key(|link| (link.weight, link.idle_seq)) {
            link.weight += 1;
            let id = link.id;
            self.run(settings, out, now, id, false);
        }
    }

    fn find(&self, link: LinkId) -> Option<usize> {
        self.links.binary_search_by_key(&link, |link| link.id).ok()
    }

    fn context_at(&self, event: EventId) -> Option<usize> {
        self.contexts.iter().position(|context| context.event == event)
    }

    /// An event is over (`spoe_stop_processing`). A slot it still holds is free again, and nobody is woken for it.
    fn finish(&mut self, out: &mut Output, at: usize, status: u32, actions: &[u8]) {
        let context = self.contexts.remove(at);
        out.done(context.event, status, actions);
        self.threads[context.thread as usize].processing -= 1;
        if status == 0 {
            self.use_frame_id(context.sid);
        }
        match context.place {
            Place::Waiting { counted: Some(link), .. } => {
                if let Some(at) = self.find(link) {
                    self.links[at].in_flight = self.links[at].in_flight.wrapping_sub(1);
                }
            }
            Place::Sending(link, _) => {
                if let Some(at) = self.find(link) {
                    self.links[at].fragment = link::Fragment::Orphan(context.sid, context.fid);
                }
            }
            Place::Queued | Place::Waiting { counted: None, .. } => {}
        }
        self.spare.push(context.messages);
    }

    /// A connection is gone (`spoe_release_appctx`): its events fail with `status`, and if it was the thread's last
    /// while others wait, a new one is opened: over and over, as long as the agent refuses.
    fn release(&mut self, settings: &Settings, out: &mut Output, now: Time, at: usize, status: u32) {
        let link = self.links.remove(at);
        let (id, thread) = (link.id, link.thread);
        let failed = 256u32.wrapping_add(status);
        self.fail(out, failed, |context| match context.place {
            Place::Sending(link, _) => link == id,
            Place::Waiting { queue, .. } => queue == Some(id),
            Place::Queued => false,
        });
        for context in &mut self.contexts {
            if let Place::Waiting { counted, .. } = &mut context.place
                && *counted == Some(id)
            {
                *counted = None;
            }
        }
        let is_last = !self.links.iter().any(|link| link.thread == thread);
        if is_last {
            let others = self.contexts.iter().any(|context| context.thread == thread);
            if others && !self.stopping {
                self.connect(settings, out, now, thread, Some(settings.reconnect_gap));
            } else {
                self.fail(out, failed, |context| context.thread == thread);
            }
        }
        let sizes = self.links.iter().filter(|link| link.thread == thread).map(|link| link.max_frame_size);
        self.threads[thread as usize].frame_size = sizes.min().unwrap_or(settings.max_frame_size);
        if let Some(queued) = self.links.iter().position(|link| link.state == State::Queued) {
            self.open(settings, out, now, queued);
        }
    }

    fn fail(&mut self, out: &mut Output, status: u32, mut whose: impl FnMut(&Context) -> bool) {
        while let Some(at) = self.contexts.iter().position(&mut whose) {
            self.finish(out, at, status, b"");
        }
    }

    pub(crate) fn handle_bytes(
        &mut self,
        settings: &Settings,
        out: &mut Output,
        now: Time,
        link: LinkId,
        bytes: &[u8],
    ) -> bool {
        let Some(at) = self.find(link) else { return false };
        self.links[at].input.extend_from_slice(bytes);
        self.run(settings, out, now, link, false);
        self.settle(settings, out, now);
        true
    }

    pub(crate) fn handle_eof(&mut self, settings: &Settings, out: &mut Output, now: Time, link: LinkId) -> bool {
        let Some(at) = self.find(link) else { return false };
        // After our own FIN nothing more is to be sent. Before it FIN answers FIN, and a DISCONNECT that nobody expects
        // any more comes first unless there was one.
        let said_fin = self.links[at].state == State::End;
        if !matches!(self.links[at].state, State::Disconnect | State::Disconnecting | State::End) {
            out.send(link, |bytes| _ = encode_disconnect(bytes, code::IO));
        }
        if !said_fin {
            out.fin(link);
        }
        self.release(settings, out, now, at, if said_fin { 0 } else { 1 });
        true
    }

    pub(crate) fn handle_reset(&mut self, settings: &Settings, out: &mut Output, now: Time, link: LinkId) -> bool {
        let Some(at) = self.find(link) else { return false };
        let said_fin = self.links[at].state == State::End;
        self.release(settings, out, now, at, if said_fin { 0 } else { 1 });
        true
    }

    pub(crate) fn soft_stop(&mut self, settings: &Settings, out: &mut Output, now: Time) {
        self.stopping = true;
        self.settle(settings, out, now);
    }

    /// A stopping process looks at each idle connection until it can be closed: nothing to send, nothing waiting *on
    /// it*. In async mode what waits does so on the thread, so a connection goes with answers unread (#1340).
    fn settle(&mut self, settings: &Settings, out: &mut Output, now: Time) {
        if !self.stopping {
            return;
        }
        let mut at = 0;
        while at < self.links.len() {
            let link = &self.links[at];
            let id = link.id;
            if link.state == State::Idle && self.may_stop(link) {
                self.run(settings, out, now, id, false);
            }
            at += usize::from(self.links.get(at).is_some_and(|link| link.id == id));
        }
    }

    fn may_stop(&self, link: &Link) -> bool {
        self.stopping
            && !self.contexts.iter().any(|context| match context.place {
                Place::Queued => context.thread == link.thread,
                Place::Waiting { queue, .. } => queue == Some(link.id),
                Place::Sending(..) => false,
            })
    }

    pub(crate) fn handle_timeout(&mut self, settings: &Settings, out: &mut Output, now: Time) {
        while let Some(at) = self.contexts.iter().position(|context| context.deadline <= now) {
            let place = self.contexts[at].place;
            self.finish(out, at, 1, b"");
            if let Place::Sending(link, _) = place {
                self.run(settings, out, now, link, false); // takes the fragments back
            }
        }
        let mut at = 0;
        while at < self.contexts.len() {
            let event = self.contexts[at].event;
            if self.contexts[at].encode_at.is_some_and(|due| due <= now) {
                self.encode_next(settings, out, now, at); // one fragment a turn, so that the agent can speak up
            }
            at += usize::from(self.contexts.get(at).is_some_and(|context| context.event == event));
        }
        let mut at = 0;
        while at < self.links.len() {
            let (id, state) = (self.links[at].id, self.links[at].state);
            if self.links[at].expire.is_some_and(|due| due <= now) {
                self.links[at].expire = None;
                if state == State::Delayed {
                    self.open(settings, out, now, at);
                } else {
                    self.run(settings, out, now, id, true);
                }
            }
            at += usize::from(self.links.get(at).is_some_and(|link| link.id == id));
        }
        self.settle(settings, out, now);
    }

    /// The stream is scheduled and encodes the next fragment, as large as the thread's frame size lets it.
    fn encode_next(&mut self, settings: &Settings, out: &mut Output, now: Time, at: usize) {
        let context = &mut self.contexts[at];
        context.encode_at = None;
        let Place::Sending(link, _) = context.place else { return };
        let thread = context.thread;
        let room = (self.threads[thread as usize].frame_size - HEADER_RESERVE) as usize;
        context.from = context.to;
        match context.messages.cut(context.from, room) {
            None => self.finish(out, at, 3, b""),
            Some(to) => {
                context.to = to;
                context.place = Place::Sending(link, true);
                self.maybe_connect(settings, out, now, thread);
            }
        }
        self.run(settings, out, now, link, false);
    }

    pub(crate) fn poll_timeout(&self) -> Option<Time> {
        let contexts = self
            .contexts
            .iter()
            .map(|context| context.encode_at.map_or(context.deadline, |at| at.min(context.deadline)));
        contexts.chain(self.links.iter().filter_map(|link| link.expire)).min()
    }
}

#[cfg(test)]
mod tests;
