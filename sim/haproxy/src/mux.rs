//! The model of HAProxy 3.1 and later: a pool of connections, which the multiplexer (`src/mux_spop.c`) owns.
//!
//! Each event is a stream. It takes a connection when it starts, waits there for AGENT-HELLO if necessary, and sends
//! one NOTIFY. It ends with the ACK, with its processing timeout, or when the connection is closed. [`link`] models how
//! a connection handles its input; this file decides which event uses which connection, and for how long.

mod link;

use crate::codec::{EngineId, Hello, Messages, code, encode_hello, encode_notify, varint_len};
use crate::codec::{FRAME_LEN_MIN, HEADER_RESERVE};
use crate::output::{EventId, LinkId, Output};
use crate::servers::{ServerId, Servers};
use crate::settings::Settings;
use crate::time::Time;
use link::{Link, State};

/// The largest number of streams per connection with pipelining. It is not configurable.
const STREAMS_MAX: u32 = 20;

/// An event in progress.
#[derive(Debug)]
struct Stream {
    event: EventId,
    deadline: Time,
    /// The number of connections that were tried after the first.
    retries: u32,
    /// The time to try another connection, if the last one failed before it carried the NOTIFY.
    retry_at: Option<Time>,
    thread: u32,
    link: Option<LinkId>,
    /// The server of its last attempt.
    server: Option<ServerId>,
    /// Its stream-id, or 0 until the NOTIFY is sent.
    sid: i32,
    /// The number of its ACKs in the current read.
    acks: u32,
    /// The messages; after an ACK, the payload of the ACK.
    bytes: Vec<u8>,
}

/// All connections and events of one process.
#[derive(Debug)]
pub(crate) struct Mux {
    pub(crate) servers: Servers,
    engine_id: EngineId,
    links: Vec<Link>,
    streams: Vec<Stream>,
    stopping: bool,
    /// Unused buffers, kept to be used again.
    spare: Vec<Vec<u8>>,
    /// The streams whose ACK is in the current read.
    ready: Vec<EventId>,
}

impl Mux {
    pub(crate) fn new(settings: &Settings, now: Time) -> Self {
        let servers = Servers::new(settings, now);
        let engine_id = settings.engine_id(0);
        let (links, streams, spare, ready) = (Vec::new(), Vec::new(), Vec::new(), Vec::new());
        Self { servers, engine_id, links, streams, stopping: false, spare, ready }
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
        // Without messages, no NOTIFY is sent. Up to 3.3-dev6 it was sent all the same.
        if messages.is_empty() && !settings.defects.empty_notify {
            return out.done(event, 0, b"");
        }
        // The encoder counts the type byte of the frame too, so the messages have one byte less.
        if !messages.fits((settings.max_frame_size - HEADER_RESERVE - 1) as usize) {
            return out.done(event, 3, b"");
        }
        let mut bytes = self.spare.pop().unwrap_or_default();
        bytes.extend_from_slice(messages.bytes());
        let deadline = now.saturating_add(settings.processing_timeout);
        let (retries, retry_at, link, server, sid, acks) = (0, None, None, None, 0, 0);
        self.streams.push(Stream { event, deadline, retries, retry_at, thread, link, server, sid, acks, bytes });
        self.attach(settings, out, now, self.streams.len() - 1);
    }

    /// Assigns a server and a connection to a stream. The NOTIFY is sent immediately if the handshake of the connection is
    /// complete. The stream fails if no server is up.
    fn attach(&mut self, settings: &Settings, out: &mut Output, now: Time, stream: usize) {
        let Stream { thread, server: last, .. } = self.streams[stream];
        let server = match last {
            Some(last) => self.servers.after_failure(settings, last),
            None => self.servers.next(settings),
        };
        let Some(server) = server else {
            return self.finish(settings, out, now, stream, 256 + code::IO);
        };
        let picked = self.pick(settings, thread, server);
        let at = picked.unwrap_or_else(|| {
            let id = out.connect(server);
            let hello = Hello {
                max_frame_size: settings.max_frame_size,
                capabilities: settings.capabilities(),
                engine_id: Some(&self.engine_id),
            };
            out.send(id, |bytes| _ = encode_hello(bytes, &hello));
            let limit = if settings.pipelining { STREAMS_MAX } else { 1 };
            let input = self.spare.pop().unwrap_or_default();
            self.links.push(Link::new((id, server), thread, settings.max_frame_size, limit, input));
            self.links.len() - 1
        });
        let link = &mut self.links[at];
        link.thread = thread;
        link.streams += 1;
        link.idle_since = None;
        (self.streams[stream].link, self.streams[stream].server) = (Some(link.id), Some(server));
        if link.state == State::Running {
            self.send_notify(settings, out, now, stream);
        }
    }

    /// Returns a connection to the server: one of the thread that already carries events, or else an idle one, of the thread
    /// if possible, or else of another thread.
    ///
    /// A new connection is not shared until it has been idle once. A burst of 45 events without a connection opens 45
    /// connections. With one idle connection, 20 of the events share it and 25 open their own.
    fn pick(&self, settings: &Settings, thread: u32, server: ServerId) -> Option<usize> {
        if !settings.reuse {
            return None;
        }
        let free = |link: &Link| link.server == server && link.available() > 0;
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
        // The stream-id is used up even if the frame is too large for the negotiated size: the next NOTIFY skips it.
        let len = FRAME_LEN_MIN - 1 + (varint_len(sid as u64) + stream.bytes.len()) as u32;
        if len > link.max_frame_size && !settings.defects.ignores_negotiated_size {
            return self.finish(settings, out, now, at, 256 + code::TOO_BIG);
        }
        out.send(link.id, |bytes| _ = encode_notify(bytes, 1, sid as u64, 1, &stream.bytes));
    }

    /// Ends a stream and frees its slot on the connection.
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

    /// Removes a stream from a connection (`spop_detach`). After the last stream, the connection becomes idle if it can
    /// still be used. Otherwise it is closed.
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

    /// Closes a connection. HAProxy closes with linger 0, so the agent sees RST and no DISCONNECT. It sees FIN only if
    /// its own FIN has arrived before.
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
        self.servers.connected(settings, link.server, true);
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

    /// Handles a reset by the agent. The events fail with 260 if a frame is incomplete, otherwise with 257.
    pub(crate) fn handle_reset(&mut self, settings: &Settings, out: &mut Output, now: Time, link: LinkId) -> bool {
        let Some(at) = self.find(link) else { return false };
        let link = self.links.remove(at);
        let status = 256 + if link.is_inside_frame() { code::INVALID } else { code::IO };
        self.fail_streams(settings, out, now, link.id, status);
        self.recycle(link);
        true
    }

    /// Handles a connection that the server's host refused. Its streams try again: at once if on another server, otherwise
    /// after a pause (`back_handle_st_cer`).
    pub(crate) fn handle_refused(&mut self, settings: &Settings, out: &mut Output, now: Time, link: LinkId) -> bool {
        let Some(at) = self.find(link) else { return false };
        let link = self.links.remove(at);
        self.servers.connected(settings, link.server, false);
        let at_once = settings.redispatch && self.servers.up_count(settings) > 1;
        let mut at = 0;
        while at < self.streams.len() {
            let before = self.streams.len();
            let stream = &mut self.streams[at];
            if stream.link == Some(link.id) {
                stream.link = None;
                stream.retry_at = Some(now.saturating_add(settings.retry_delay));
                if at_once {
                    self.retry(settings, out, now, at);
                }
            }
            at += usize::from(self.streams.len() == before);
        }
        self.recycle(link);
        true
    }

    /// Reads the input, then updates the streams and the connection accordingly (`spop_process`).
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
            // AGENT-HELLO was bad, and DISCONNECT is sent. The streams stay here until they try another connection
            // after the retry delay.
            self.retry_later(settings, now, id);
        }
    }

    /// Ends the streams whose ACK is in the current read.
    fn deliver(&mut self, settings: &Settings, out: &mut Output, now: Time) {
        for at in 0..self.ready.len() {
            let event = self.ready[at];
            let Some(at) = self.streams.iter().position(|stream| stream.event == event) else { continue };
            let stream = &self.streams[at];
            // `spoe_handle_receiving_frame_appctx` compares the actions with HAProxy's own frame size, and reports the
            // code that is set, which is 0. Two ACKs in one read may exceed that size.
            let too_big = stream.bytes.len() > settings.max_frame_size as usize;
            let twice = stream.acks > 1 && settings.defects.duplicate_ack_fails;
            self.finish(settings, out, now, at, if too_big || twice { 256 } else { 0 });
        }
        self.ready.clear();
    }

    /// Sends the NOTIFYs that have waited for AGENT-HELLO.
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

    /// Ends a connection. If it ends in the handshake, its streams try another one after the retry delay, unless the
    /// agent has closed, which fails them immediately. After the handshake they fail with the code of the connection.
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

    /// Fails the streams of a closed connection, except those that have a retry ahead.
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

    /// Handles a soft stop: idle connections are closed immediately, busy ones right after their last ACK, without a
    /// DISCONNECT.
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
                // The slot becomes free, and the agent is not notified.
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
