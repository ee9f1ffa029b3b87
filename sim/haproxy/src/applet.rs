//! The model of HAProxy 1.8 to 3.0: each thread has its own connections, which the filter itself (`src/flt_spoe.c`)
//! owns.
//!
//! Events are queued per thread. Any connection of the thread with a free slot takes the first event of the queue. This
//! file models the events and queues (`spoe_queue_context`, `spoe_stop_processing`, `spoe_release_appctx`), [`link`],
//! `connections.rs` and `frames.rs` model the connections, and [`rate`] models the counter that decides when a thread opens another
//! connection.

mod connections;
mod frames;
mod link;
mod rate;

use crate::codec::{EngineId, HEADER_RESERVE, Messages, code, encode_disconnect};
use crate::output::{EventId, LinkId, Output};
use crate::servers::Servers;
use crate::settings::Settings;
use crate::time::Time;
use link::{Link, State};
use rate::Rate;

/// The progress of an event.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Progress {
    /// The event is in the sending queue of its thread.
    Queued,
    /// Some fragments are sent on this connection. `true`: the next one is encoded and can be sent.
    Sending(LinkId, bool),
    /// Everything is sent, and the event waits for its ACK: in the queue of a connection, or in async mode in the queue
    /// of the thread (`None`). `counted` is the connection that counts the NOTIFY as in flight, if it still exists.
    Waiting { queue: Option<LinkId>, counted: Option<LinkId> },
}

/// An event in progress (`struct spoe_context`).
#[derive(Debug)]
struct Context {
    event: EventId,
    thread: u32,
    sid: u32,
    fid: u32,
    deadline: Time,
    progress: Progress,
    messages: Messages,
    /// The range of `messages` that is encoded and is sent next.
    from: usize,
    to: usize,
    /// The time at which the stream encodes the next fragment.
    encode_at: Option<Time>,
}

impl Context {
    fn is_last(&self) -> bool {
        self.to == self.messages.bytes().len()
    }
}

/// The state of one thread (`agent->rt[tid]`).
#[derive(Debug)]
struct Thread {
    engine_id: EngineId,
    /// The smallest size that its connections negotiated. Events are encoded for this size, whichever connection takes
    /// them.
    frame_size: u32,
    processing: u32,
    rate: Rate,
}

/// All threads of one process.
#[derive(Debug)]
pub(crate) struct Applet {
    pub(crate) servers: Servers,
    threads: Vec<Thread>,
    links: Vec<Link>,
    contexts: Vec<Context>,
    /// The next frame-id of each stream of which an event was answered, ordered by stream. It is 1 for all other
    /// streams.
    frame_ids: Vec<(u32, u32)>,
    stopping: bool,
    /// Unused buffers, kept to be used again.
    spare: Vec<Messages>,
    idle_count: u64,
}

impl Applet {
    pub(crate) fn new(settings: &Settings, now: Time) -> Self {
        let thread = |tid| Thread {
            engine_id: settings.engine_id(tid),
            frame_size: settings.max_frame_size,
            processing: 0,
            rate: Rate::default(),
        };
        Self {
            servers: Servers::new(settings, now),
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
            progress: Progress::Queued,
            messages: copy,
            from: 0,
            to,
            encode_at: None,
        });
        self.maybe_connect(settings, out, now, thread);
        self.wake_idle(settings, out, now, thread);
    }

    /// Returns the frame-id of the next event of a stream. Frame-ids count the *answered* events: a failed event leaves
    /// its id to the next one.
    fn next_frame_id(&self, sid: u32) -> u32 {
        self.frame_ids.binary_search_by_key(&sid, |&(sid, _)| sid).map_or(1, |at| self.frame_ids[at].1)
    }

    fn use_frame_id(&mut self, sid: u32) {
        match self.frame_ids.binary_search_by_key(&sid, |&(sid, _)| sid) {
            Ok(at) => self.frame_ids[at].1 = self.frame_ids[at].1.wrapping_add(1),
            Err(at) => self.frame_ids.insert(at, (sid, 2)),
        }
    }

    fn find(&self, link: LinkId) -> Option<usize> {
        self.links.binary_search_by_key(&link, |link| link.id).ok()
    }

    fn context_at(&self, event: EventId) -> Option<usize> {
        self.contexts.iter().position(|context| context.event == event)
    }

    /// Ends an event (`spoe_stop_processing`). The slot that it holds becomes free, but no connection is woken to use
    /// it.
    fn finish(&mut self, out: &mut Output, at: usize, status: u32, actions: &[u8]) {
        let context = self.contexts.remove(at);
        out.done(context.event, status, actions);
        self.threads[context.thread as usize].processing -= 1;
        if status == 0 {
            self.use_frame_id(context.sid);
        }
        match context.progress {
            Progress::Waiting { counted: Some(link), .. } => {
                if let Some(at) = self.find(link) {
                    self.links[at].in_flight = self.links[at].in_flight.wrapping_sub(1);
                }
            }
            Progress::Sending(link, _) => {
                if let Some(at) = self.find(link) {
                    self.links[at].fragment = link::Fragment::Orphan(context.sid, context.fid);
                }
            }
            Progress::Queued | Progress::Waiting { counted: None, .. } => {}
        }
        self.spare.push(context.messages);
    }

    /// Removes a closed connection (`spoe_release_appctx`). Its events fail with `status`. If it was the last
    /// connection of its thread and events are waiting, the thread opens a new one. This repeats for as long as the
    /// agent refuses connections.
    fn release(&mut self, settings: &Settings, out: &mut Output, now: Time, at: usize, status: u32) {
        let link = self.links.remove(at);
        let (id, thread) = (link.id, link.thread);
        let failed = 256u32.wrapping_add(status);
        self.fail(out, failed, |context| match context.progress {
            Progress::Sending(link, _) => link == id,
            Progress::Waiting { queue, .. } => queue == Some(id),
            Progress::Queued => false,
        });
        for context in &mut self.contexts {
            if let Progress::Waiting { counted, .. } = &mut context.progress
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

    fn fail(&mut self, out: &mut Output, status: u32, mut fails: impl FnMut(&Context) -> bool) {
        while let Some(at) = self.contexts.iter().position(&mut fails) {
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
        if let Some(server) = self.links[at].server {
            self.servers.connected(settings, server, true);
        }
        self.links[at].input.extend_from_slice(bytes);
        self.run(settings, out, now, link, false);
        self.close_idle(settings, out, now);
        true
    }

    pub(crate) fn handle_eof(&mut self, settings: &Settings, out: &mut Output, now: Time, link: LinkId) -> bool {
        let Some(at) = self.find(link) else { return false };
        // After its own FIN, HAProxy sends nothing more. Otherwise it answers FIN with FIN. It first sends a DISCONNECT
        // if it has not sent one, although the agent expects none any more.
        let is_fin_sent = self.links[at].state == State::End;
        if !matches!(self.links[at].state, State::Disconnect | State::Disconnecting | State::End) {
            out.send(link, |bytes| _ = encode_disconnect(bytes, code::IO));
        }
        if !is_fin_sent {
            out.fin(link);
        }
        self.release(settings, out, now, at, if is_fin_sent { 0 } else { 1 });
        true
    }

    pub(crate) fn handle_reset(&mut self, settings: &Settings, out: &mut Output, now: Time, link: LinkId) -> bool {
        let Some(at) = self.find(link) else { return false };
        let is_fin_sent = self.links[at].state == State::End;
        self.release(settings, out, now, at, if is_fin_sent { 0 } else { 1 });
        true
    }

    /// Handles a connection that the server's host refused. The stream of the applet tries again: at once if on another
    /// server, otherwise after a pause (`back_handle_st_cer`). The handshake has its full time again, unlike in HAProxy.
    pub(crate) fn handle_refused(&mut self, settings: &Settings, out: &mut Output, now: Time, link: LinkId) -> bool {
        let Some(at) = self.find(link) else { return false };
        let Link { server: Some(server), retries, thread, .. } = self.links[at] else { return false };
        self.servers.connected(settings, server, false);
        if retries >= settings.retries {
            self.release(settings, out, now, at, code::IO);
            return true;
        }
        // A connection of the model is one attempt, so the next attempt has another number.
        self.links.remove(at);
        let again = Link::new(out.reserve(), thread, settings.max_frame_size);
        self.links.push(Link { refused_by: Some(server), retries: retries + 1, ..again });
        let at = self.links.len() - 1;
        if settings.redispatch && self.servers.up_count(settings) > 1 {
            self.open(settings, out, now, at);
        } else {
            self.links[at].expire = Some(now.saturating_add(settings.retry_delay));
        }
        true
    }

    pub(crate) fn soft_stop(&mut self, settings: &Settings, out: &mut Output, now: Time) {
        self.stopping = true;
        self.close_idle(settings, out, now);
    }

    pub(crate) fn handle_timeout(&mut self, settings: &Settings, out: &mut Output, now: Time) {
        while let Some(at) = self.contexts.iter().position(|context| context.deadline <= now) {
            let progress = self.contexts[at].progress;
            self.finish(out, at, 1, b"");
            if let Progress::Sending(link, _) = progress {
                self.run(settings, out, now, link, false); // sends ABORT for the fragments
            }
        }
        let mut at = 0;
        while at < self.contexts.len() {
            let event = self.contexts[at].event;
            if self.contexts[at].encode_at.is_some_and(|due| due <= now) {
                self.encode_next(settings, out, now, at); // one fragment per call, so that the agent can reply
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
        self.close_idle(settings, out, now);
    }

    /// Encodes the next fragment when the stream is scheduled, as large as the frame size of the thread allows.
    fn encode_next(&mut self, settings: &Settings, out: &mut Output, now: Time, at: usize) {
        let context = &mut self.contexts[at];
        context.encode_at = None;
        let Progress::Sending(link, _) = context.progress else { return };
        let thread = context.thread;
        let room = (self.threads[thread as usize].frame_size - HEADER_RESERVE) as usize;
        context.from = context.to;
        match context.messages.cut(context.from, room) {
            None => self.finish(out, at, 3, b""),
            Some(to) => {
                context.to = to;
                context.progress = Progress::Sending(link, true);
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
