//! HAProxy 3.1 and later: a pool of connections that its multiplexer (`src/mux_spop.c`) owns.
//!
//! An event is a stream. It takes a connection when it starts, waits there for AGENT-HELLO if need be, sends one NOTIFY
//! and leaves with the ACK, with its processing timeout, or with the connection's end. What a connection makes of the
//! bytes it gets is [`link`]'s business; who uses which connection, and for how long, is decided here.

mod link;

use crate::codec::{EngineId, Hello, Messages, code, encode_hello, encode_notify, varint_len};
use crate::codec::{FRAME_LEN_MIN, HEADER_RESERVE};
use crate::output::{EventId, LinkId, Output};
use crate::settings::Settings;
use crate::time::Time;
use link::{Link, State};

/// Streams a connection carries with pipelining; not configurable.
const STREAMS_MAX: u32 = 20;

/// An event under way.
#[derive(Debug)]
struct Stream {
    event: EventId,
    deadline: Time,
    /// Connections tried so far, beyond the first.
    retries: u32,
    /// When to try another connection, if the last one failed before it could carry the NOTIFY.
    retry_at: Option<Time>,
    thread: u32,
    link: Option<LinkId>,
    /// Its id on the wire, 0 until the NOTIFY has left.
    sid: i32,
    /// How often it was acknowledged in the read that is being handled.
    acks: u32,
    /// The messages, and after the ACK its payload.
    bytes: Vec<u8>,
}

/// The mux side of one process.
#[derive(Debug)]
pub(crate) struct Mux {
    engine_id: EngineId,
    links: Vec<Link>,
    streams: Vec<Stream>,
    stopping: bool,
    /// Buffers of streams and connections that are gone.
    spare: Vec<Vec<u8>>,
    /// Streams that are through after the read being handled.
    ready: Vec<EventId>,
}

impl Mux {
    pub(crate) fn new(settings: &Settings) -> Self {
        let engine_id = settings.engine_id(0);
        let (links, streams, spare, ready) = (Vec::new(), Vec::new(), Vec::new(), Vec::new());
        Self { engine_id, links, streams, stopping: false, spare, ready }
    }

    pub(crate) fn event(
        &mut self,
        settings: &Settings,
        out: &mut Output,
        now: Time,
        event: EventId,
        thread: u32,
        messages: &Messages,
    ) {
        // Nothing to say, nothing sent. Up to 3.3-dev6 the NOTIFY left all the same.
        if messages.is_empty() && !settings.defects.empty_notify {
            return out.done(event, 0, b"");
        }
        // The encoder's room has the frame's type byte in it, so one byte less for the messages.
        if !messages.fits((settings.max_frame_size - HEADER_RESERVE - 1) as usize) {
            return out.done(event, 3, b"");
        }
        let mut bytes = self.spare.pop().unwrap_or_default();
        bytes.extend_from_slice(messages.bytes());
        let deadline = now.saturating_add(settings.processing_timeout);
        let (retries, retry_at, sid, acks) = (0, None, 0, 0);
        self.streams.push(Stream { event, deadline, retries, retry_at, thread, link: None, sid, acks, bytes });
        self.attach(settings, out, now, self.streams.len() - 1);
    }

    /// Gives a stream a connection; the NOTIFY leaves at once if that one is past its handshake.
    fn attach(&mut self, settings: &Settings, out: &mut Output, now: Time, stream: usize) {
        let thread = self.streams[stream].thread;
        let picked = self.pick(settings, thread);
        let at = picked.unwrap_or_else(|| {
            let id = out.connect();
            let hello = Hello {
                max_frame_size: settings.max_frame_size,
                capabilities: settings.capabilities(),
                engine_id: Some(&self.engine_id),
            };
            out.send(id, |bytes| _ = encode_hello(bytes, &hello));
            let limit = if settings.pipelining { STREAMS_MAX } else { 1 };
            let input = self.spare.pop().unwrap_or_default();
            self.links.push(Link::new(id, thread, settings.max_frame_size, limit, input));
            self.links.len() - 1
        });
        let link = &mut self.links[at];
        link.thread = thread;
        link.streams += 1;
        link.idle_since = None;
        self.streams[stream].link = Some(link.id);
        if link.state == State::Running {
            self.send_notify(settings, out, now, stream);
        }
    }

    /// A connection that carries others' events already, else an idle one; the thread's own before those of others.
    ///
    /// A fresh connection is not shared until it was idle once: 45 events that arrive cold open 45 connections, and on
    /// one warm connection 20 of them meet and 25 open their own.
    fn pick(&self, settings: &Settings, thread: u32) -> Option<usize> {
        if !settings.reuse {
            return None;
        }
        let free = |link: &Link| link.available() > 0;
        let own = |link: &Link| link.thread == thread;
        let busy = self.links.iter().position(|link| link.streams > 0 && link.shared && own(link) && free(link));
        let idle = |link: &Link| link.streams == 0 && free(link);
        busy.or_else(|| self.links.iter().position(|link| idle(link) && own(link)))
            .or_else(|| self.links.iter().position(idle))
    }

    fn send_notify(&mut self, settings: &Settings, out: &mut Output, now: Time, at: usize) {
        let stream = &mut self.streams[at];
        let Some(link) = self.links.iter_mut().find(|link| Some(link.id) == stream.link) else { return };
        let sid = link.next_sid();
        stream.sid = sid;
        // The id is spent even when the frame turns out too large for what was negotiated: the next one skips it.
        let len = FRAME_LEN_MIN - 1 + (varint_len(sid as u64) + stream.bytes.len()) as u32;
        if len > link.max_frame_size && !settings.defects.ignores_negotiated_size {
            return self.finish(settings, out, now, at, 256 + code::TOO_BIG);
        }
        out.send(link.id, |bytes| _ = encode_notify(bytes, 1, sid as u64, 1, &stream.bytes));
    }

    /// Ends a stream and gives its place on the connection back.
    fn finish(&mut self, settings: &Settings, out: &mut Output, now: Time, at: usize, status: u32) {
        let mut stream = self.streams.remove(at);
        let actions = if status == 0 { &stream.bytes[..] } else { b"" };
        out.done(stream.event, status, actions);
        stream.bytes.clear();
        self.spare.push(stream.bytes);
        if let Some(link) = stream.link {
            self.detach(settings, out, now, link);
        }
    }

    /// A stream leaves a connection (`spop_detach`). The last one leaves it idle if it can still be used, else it goes.
    fn detach(&mut self, settings: &Settings, out: &mut Output, now: Time, link: LinkId) {
        let Some(at) = self.find(link) else { return };
        let link = &mut self.links[at];
        link.streams -= 1;
        if link.streams > 0 {
            return;
        }
        if settings.reuse && !self.stopping && link.available() > 0 {
            link.idle_since = Some(now);
            link.shared = true;
        } else {
            self.close(out, at);
        }
    }

    /// HAProxy closes with linger 0, so the agent sees RST and no DISCONNECT; FIN only if the agent's was there first.
    fn close(&mut self, out: &mut Output, at: usize) {
        let link = self.links.remove(at);
        if link.eof {
            out.fin(link.id);
        } else {
            out.reset(link.id);
        }
        self.recycle(link);
    }

    fn recycle(&mut self, mut link: Link) {
        link.input.clear();
        self.spare.push(link.input);
    }

    fn find(&self, link: LinkId) -> Option<usize> {
        self.links.binary_search_by_key(&link, |link| link.id).ok()
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
        let link = &mut self.links[at];
        let full = link.input.len() + bytes.len() >= settings.bufsize as usize;
        link.stuck |= full && settings.defects.full_read_sticks;
        if !link.stuck {
            link.input.extend_from_slice(bytes);
            self.process(settings, out, now, at);
        }
        true
    }

    pub(crate) fn handle_eof(&mut self, settings: &Settings, out: &mut Output, now: Time, link: LinkId) -> bool {
        let Some(at) = self.find(link) else { return false };
        if !self.links[at].stuck {
            self.links[at].eof = true;
            self.process(settings, out, now, at);
        }
        true
    }

    /// The agent reset the connection. Bytes of an unfinished frame make the difference between 260 and 257.
    pub(crate) fn handle_reset(&mut self, settings: &Settings, out: &mut Output, now: Time, link: LinkId) -> bool {
        let Some(at) = self.find(link) else { return false };
        let link = self.links.remove(at);
        let status = 256 + if link.is_inside_frame() { code::INVALID } else { code::IO };
        self.fail_streams(settings, out, now, link.id, status);
        self.recycle(link);
        true
    }

    /// `spop_process`: read what is there, then settle what it meant for the streams and the connection.
    fn process(&mut self, settings: &Settings, out: &mut Output, now: Time, at: usize) {
        let id = self.links[at].id;
        let was = self.links[at].state;
        let ended = link::demux(&mut self.links[at], &mut self.streams, &mut self.ready, settings, out);
        self.deliver(settings, out, now);
        let Some(at) = self.find(id) else { return };
        let state = self.links[at].state;
        if state == State::Closed || ended {
            self.end(settings, out, now, id, was == State::Hello && !ended);
        } else if was == State::Hello && state == State::Running {
            self.send_waiting(settings, out, now, id);
        } else if was == State::Hello && state == State::Closing {
            // A bad AGENT-HELLO: the DISCONNECT is out. The stream turns away for a second and holds on meanwhile.
            self.retry_later(settings, now, id);
        }
    }

    /// Streams whose ACK came in this read go on with its actions.
    fn deliver(&mut self, settings: &Settings, out: &mut Output, now: Time) {
        for at in 0..self.ready.len() {
            let event = self.ready[at];
            let Some(at) = self.streams.iter().position(|stream| stream.event == event) else { continue };
            let stream = &self.streams[at];
            // `spoe_handle_receiving_frame_appctx` holds the actions against HAProxy's own frame size, and reports the
            // code it has so far, none: two ACKs read together may exceed it.
            let too_big = stream.bytes.len() > settings.max_frame_size as usize;
            let twice = stream.acks > 1 && settings.defects.duplicate_ack_fails;
            self.finish(settings, out, now, at, if too_big || twice { 256 } else { 0 });
        }
        self.ready.clear();
    }

    fn send_waiting(&mut self, settings: &Settings, out: &mut Output, now: Time, link: LinkId) {
        let mut at = 0;
        while at < self.streams.len() {
            let before = self.streams.len();
            if self.streams[at].link == Some(link) && self.streams[at].sid == 0 {
                self.send_notify(settings, out, now, at);
            }
            at += usize::from(self.streams.len() == before);
        }
    }

    /// The connection is over. In the handshake its streams try another one a second later, unless it was the agent who
    /// closed: that fails them at once. Past the handshake they fail with what the connection ended on.
    fn end(&mut self, settings: &Settings, out: &mut Output, now: Time, id: LinkId, retry: bool) {
        let Some(at) = self.find(id) else { return };
        let link = &self.links[at];
        let code = if link.state == State::Closed && link.code != code::NORMAL { link.code } else { code::IO };
        if retry {
            self.retry_later(settings, now, id);
        }
        self.close(out, at);
        self.fail_streams(settings, out, now, id, 256u32.wrapping_add(code));
    }

    fn retry_later(&mut self, settings: &Settings, now: Time, link: LinkId) {
        for stream in self.streams.iter_mut().filter(|stream| stream.link == Some(link)) {
            stream.retry_at = Some(now.saturating_add(settings.retry_delay));
        }
    }

    /// The streams of a connection that is gone: those with a retry ahead wait for it, the others are over.
    fn fail_streams(&mut self, settings: &Settings, out: &mut Output, now: Time, link: LinkId, status: u32) {
        let mut at = 0;
        while at < self.streams.len() {
            if self.streams[at].link != Some(link) {
                at += 1;
            } else if self.streams[at].retry_at.is_some() {
                self.streams[at].link = None;
                at += 1;
            } else {
                self.finish(settings, out, now, at, status);
            }
        }
    }

    /// Soft stop: idle connections go at once, busy ones right after their last ACK, without a word.
    pub(crate) fn soft_stop(&mut self, out: &mut Output) {
        self.stopping = true;
        while let Some(at) = self.links.iter().position(|link| link.streams == 0) {
            self.close(out, at);
        }
    }

    pub(crate) fn handle_timeout(&mut self, settings: &Settings, out: &mut Output, now: Time) {
        let mut at = 0;
        while at < self.streams.len() {
            let before = self.streams.len();
            if self.streams[at].deadline <= now {
                // The slot is free again and the agent is told nothing.
                self.finish(settings, out, now, at, 1);
            } else if self.streams[at].retry_at.is_some_and(|due| due <= now) {
                self.retry(settings, out, now, at);
            }
            at += usize::from(self.streams.len() == before);
        }
        while let Some(at) = self.links.iter().position(|link| link.purge_at(settings).is_some_and(|due| due <= now)) {
            self.close(out, at);
        }
    }

    fn retry(&mut self, settings: &Settings, out: &mut Output, now: Time, at: usize) {
        let stream = &mut self.streams[at];
        stream.retry_at = None;
        stream.retries += 1;
        if stream.retries > settings.retries {
            return self.finish(settings, out, now, at, 256 + code::IO);
        }
        if let Some(link) = stream.link.take() {
            self.detach(settings, out, now, link);
        }
        self.attach(settings, out, now, at);
    }

    pub(crate) fn poll_timeout(&self, settings: &Settings) -> Option<Time> {
        let streams =
            self.streams.iter().map(|stream| stream.retry_at.map_or(stream.deadline, |at| at.min(stream.deadline)));
        streams.chain(self.links.iter().filter_map(|link| link.purge_at(settings))).min()
    }
}

#[cfg(test)]
mod tests;
