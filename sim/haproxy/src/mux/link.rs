//! Models one connection of the mux: how it handles the agent's bytes (`spop_process_demux`).
//!
//! The steps have the same order as in HAProxy, because the order determines the effect of a defective frame. One such
//! effect is the *stall*: after a bad ACK header the connection stops reading, but no frame is sent and no event is
//! notified. If more bytes arrive, they are read as the payload of the bad frame, and only then a DISCONNECT is sent.

use super::Stream;
use crate::codec::{Header, HelloRules, Kind, code, decode_agent_disconnect, decode_agent_hello, encode_disconnect};
use crate::output::{EventId, LinkId, Output};
use crate::servers::ServerId;
use crate::settings::{Defects, Settings};
use crate::time::Time;

/// The state of a connection, in the order of `enum spop_conn_st`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum State {
    /// HELLO is sent, and AGENT-HELLO is awaited.
    Hello,
    Running,
    /// Failed, and no DISCONNECT is sent yet: the stall.
    Error,
    /// HAPROXY-DISCONNECT is sent.
    Closing,
    Closed,
}

/// A frame whose header was read and whose payload was not.
#[derive(Clone, Copy, Debug)]
struct Pending {
    /// HAProxy stores ids in signed 32 bits; larger ids lose their upper half.
    sid: i32,
    fid: i32,
    kind: Kind,
    /// The bytes of the payload that are still to be read.
    left: usize,
}

#[derive(Debug)]
pub(super) struct Link {
    pub(super) id: LinkId,
    pub(super) server: ServerId,
    pub(super) thread: u32,
    pub(super) state: State,
    /// True if the connection has been idle once. Only then may several events share it.
    pub(super) shared: bool,
    pub(super) idle_since: Option<Time>,
    pub(super) max_frame_size: u32,
    /// The largest number of streams.
    limit: u32,
    pub(super) streams: u32,
    id_max: i32,
    pending: Option<Pending>,
    pub(super) input: Vec<u8>,
    /// True if the connection does not read any more, see [`Defects::full_read_sticks`].
    pub(super) stuck: bool,
    /// True if the agent has sent FIN.
    pub(super) eof: bool,
    /// The code of the error (`errcode`).
    pub(super) code: u32,
}

impl Link {
    pub(super) const fn new(
        (id, server): (LinkId, ServerId),
        thread: u32,
        max_frame_size: u32,
        limit: u32,
        input: Vec<u8>,
    ) -> Self {
        Self {
            id,
            server,
            thread,
            state: State::Hello,
            shared: false,
            idle_since: None,
            max_frame_size,
            limit,
            streams: 0,
            id_max: -1,
            pending: None,
            input,
            stuck: false,
            eof: false,
            code: code::NORMAL,
        }
    }

    /// Returns the number of streams that can be added (`spop_avail_streams`).
    pub(super) fn available(&self) -> u32 {
        if self.state >= State::Error || self.eof || self.id_max >= i32::MAX - 1 {
            return 0;
        }
        self.limit.saturating_sub(self.streams)
    }

    /// Returns the next stream-id: 1, 3, 5, … Each connection counts on its own, so two connections use the same ids.
    pub(super) fn next_sid(&mut self) -> i32 {
        self.id_max = (self.id_max + 1) | 1;
        self.id_max
    }

    /// Returns the time at which the pool closes the connection, if it is idle.
    pub(super) fn purge_at(&self, settings: &Settings) -> Option<Time> {
        self.idle_since.filter(|_| self.streams == 0).map(|since| since.saturating_add(settings.pool_purge))
    }

    pub(super) fn is_inside_frame(&self) -> bool {
        !self.input.is_empty()
    }

    fn fail(&mut self, code: u32) {
        self.code = code;
        self.state = State::Error;
    }

    fn close(&mut self, code: u32) {
        self.code = code;
        self.state = State::Closed;
    }
}

/// The result of handling one frame.
#[derive(PartialEq, Eq)]
enum Step {
    /// The frame was handled or skipped, and the next one follows.
    Done,
    /// The payload is incomplete.
    Short,
    /// The frame was not handled, and reading ends here.
    Stop,
}

/// Reads the input. Returns true if the agent's FIN ends the connection.
pub(super) fn demux(
    link: &mut Link,
    streams: &mut [Stream],
    ready: &mut Vec<EventId>,
    settings: &Settings,
    out: &mut Output,
) -> bool {
    let input = std::mem::take(&mut link.input);
    let mut at = 0;
    let mut short = true;
    let handshake = matches!(link.state, State::Hello | State::Closing);
    let resumed = link.pending.is_some() && !settings.defects.split_hello_resets;
    if !handshake || resumed || first_header(link, &input, &mut at) {
        let mut reader = Reader { link, streams, ready, settings, input: &input, at };
        short = reader.run(out, handshake && !resumed);
        at = reader.at;
    }
    // HAProxy marks "no frame" with the id 2^32-1, so the rest of a frame with that id is read as the next header.
    if link.pending.is_some_and(|pending| pending.sid == -1) {
        link.pending = None;
    }
    let ended = link.eof && (short || link.state >= State::Error);
    if ended && short && at < input.len() && link.state < State::Error {
        link.close(code::INVALID); // truncated data
    }
    link.input = input;
    if link.state >= State::Error {
        link.input.clear();
    } else {
        link.input.drain(..at);
    }
    ended
}

/// Reads a header while HAProxy expects AGENT-HELLO, or AGENT-DISCONNECT after its own DISCONNECT. Most errors close
/// the connection immediately. Returns true if the rest of the frame can be read.
///
/// With bug #3478, a second header is read here if the payload of the first frame arrives later than its header.
fn first_header(link: &mut Link, input: &[u8], at: &mut usize) -> bool {
    let Some(header) = Header::peek(input) else { return false };
    *at = header.size;
    let is_hello = header.kind == Kind::AGENT_HELLO;
    if link.state == State::Hello && !is_hello {
        link.close(code::INVALID);
        return false;
    }
    let is_last = header.kind == Kind::AGENT_DISCONNECT;
    if (is_hello || is_last) && (header.sid != 0 || header.fid != 0 || !header.is_fin()) {
        link.close(code::INVALID);
        return false;
    }
    let len = header.payload_len();
    if len < 0 || len as u32 > link.max_frame_size {
        link.close(code::BAD_FRAME_SIZE);
        return false;
    }
    let frame = pending(&header);
    link.pending = Some(frame);
    check_common(link, &frame, header.is_fin())
}

/// Checks the parts of a header that have the same meaning in all frames. An error fails the connection.
fn check_common(link: &mut Link, frame: &Pending, fin: bool) -> bool {
    if !fin {
        link.fail(code::FRAGMENTED);
        return false;
    }
    if (frame.sid == 0 && frame.kind == Kind::ACK) || (frame.sid != 0 && frame.fid == 0) {
        link.fail(code::INVALID);
        return false;
    }
    true
}

/// Returns the frame of a header, without any of its payload.
const fn pending(header: &Header) -> Pending {
    Pending { sid: header.sid as i32, fid: header.fid as i32, kind: header.kind, left: header.payload_len() as usize }
}

struct Reader<'a> {
    link: &'a mut Link,
    streams: &'a mut [Stream],
    ready: &'a mut Vec<EventId>,
    settings: &'a Settings,
    input: &'a [u8],
    at: usize,
}

impl Reader<'_> {
    /// Reads frame by frame. Returns true if it ended because bytes are missing. `has_header` is true if the handshake
    /// has read the header of the first frame already.
    fn run(&mut self, out: &mut Output, mut has_header: bool) -> bool {
        loop {
            if !has_header && self.at == self.input.len() {
                return true;
            }
            if self.link.state == State::Closed {
                return false;
            }
            if self.link.pending.is_none() {
                match Header::peek(&self.input[self.at..]) {
                    None => return true,
                    Some(header) if !self.take_header(&header) => return false,
                    Some(_) => {}
                }
            }
            has_header = false;
            let Some(frame) = self.link.pending else { return false };
            let mut step = match self.check(&frame) {
                Check::Bad(code) => {
                    self.link.fail(code);
                    return false;
                }
                Check::Ignore => self.skip(),
                Check::Take(stream) => self.take(&frame, stream),
            };
            if self.link.state == State::Error {
                if frame.kind == Kind::AGENT_HELLO && self.settings.defects.bad_hello_resets {
                    let code = self.link.code;
                    self.link.close(code);
                    return false;
                }
                let code = self.link.code;
                out.send(self.link.id, |bytes| _ = encode_disconnect(bytes, code));
                self.link.state = State::Closing;
                step = Step::Done;
            }
            match step {
                Step::Done => {}
                Step::Short => return true,
                Step::Stop => return false,
            }
            if self.link.pending.is_some() {
                self.skip();
            }
        }
    }

    /// Reads and checks a header. A bad header is consumed as well.
    fn take_header(&mut self, header: &Header) -> bool {
        self.at += header.size;
        let len = header.payload_len();
        if len < 0 || len as u32 > self.link.max_frame_size {
            self.link.fail(code::BAD_FRAME_SIZE);
            return false;
        }
        let frame = pending(header);
        self.link.pending = Some(frame);
        check_common(self.link, &frame, header.is_fin())
    }

    /// Determines the stream of a frame. This is repeated for each read with a part of its payload.
    fn check(&self, frame: &Pending) -> Check {
        if frame.sid == 0 {
            let known = matches!(frame.kind, Kind::AGENT_HELLO | Kind::AGENT_DISCONNECT);
            return if known { Check::Take(None) } else { Check::Bad(code::INVALID) };
        }
        let of_link = |stream: &Stream| stream.link == Some(self.link.id) && stream.sid == frame.sid;
        match self.streams.iter().position(of_link) {
            // The frame-id of a stream's only NOTIFY is 1.
            Some(_) if frame.fid > 1 => Check::Bad(code::UNKNOWN_FRAME_ID),
            Some(_) if frame.fid < 1 => Check::Ignore,
            Some(stream) => Check::Take(Some(stream)),
            None if frame.sid > self.link.id_max => Check::Bad(code::UNKNOWN_FRAME_ID),
            None => Check::Ignore, // late: its event has ended
        }
    }

    fn take(&mut self, frame: &Pending, stream: Option<usize>) -> Step {
        match (frame.kind, stream) {
            (Kind::AGENT_HELLO, None) => self.hello(frame),
            (Kind::AGENT_DISCONNECT, None) => self.disconnect(frame),
            // AGENT-HELLO or AGENT-DISCONNECT with a stream-id is neither handled nor skipped, and blocks the
            // connection for good.
            (Kind::AGENT_HELLO | Kind::AGENT_DISCONNECT, Some(_)) => Step::Stop,
            (Kind::ACK, Some(stream)) => self.ack(frame, stream),
            _ => self.skip(),
        }
    }

    /// Returns the payload of a frame, or `None` if it is incomplete.
    fn payload(&self, frame: &Pending) -> Option<&[u8]> {
        self.input[self.at..].get(..frame.left)
    }

    /// Skips the part of the pending frame that has arrived.
    fn skip(&mut self) -> Step {
        let Some(frame) = &mut self.link.pending else { return Step::Done };
        let len = frame.left.min(self.input.len() - self.at);
        self.at += len;
        frame.left -= len;
        if frame.left > 0 {
            return Step::Short;
        }
        self.link.pending = None;
        Step::Done
    }

    /// Handles AGENT-HELLO, also in the middle of a conversation: a second one is compared with the values negotiated
    /// so far.
    fn hello(&mut self, frame: &Pending) -> Step {
        let Some(payload) = self.payload(frame) else { return Step::Short };
        match decode_agent_hello(payload, &HelloRules::mux(self.link.max_frame_size)) {
            Err(code) => {
                self.link.fail(code);
                Step::Stop
            }
            Ok(hello) => {
                if !hello.capabilities.pipelining {
                    self.link.limit = 1;
                }
                self.link.max_frame_size = hello.max_frame_size;
                self.link.state = State::Running;
                self.skip()
            }
        }
    }

    fn disconnect(&mut self, frame: &Pending) -> Step {
        let Some(payload) = self.payload(frame) else { return Step::Short };
        let code = decode_agent_disconnect(payload, None);
        self.link.close(code.unwrap_or(code::INVALID));
        self.skip();
        Step::Stop
    }

    fn ack(&mut self, frame: &Pending, stream: usize) -> Step {
        let Some(payload) = self.input[self.at..].get(..frame.left) else { return Step::Short };
        let Defects { empty_ack_hangs, .. } = self.settings.defects;
        let stream = &mut self.streams[stream];
        if payload.is_empty() && empty_ack_hangs {
            return self.skip();
        }
        if stream.acks == 0 {
            self.ready.push(stream.event);
            stream.bytes.clear();
        }
        stream.acks += 1;
        // The actions of two ACKs in one read are applied one after the other. An empty ACK is stored as an unknown
        // action, which stops HAProxy there, so the actions of a second ACK are lost.
        if payload.is_empty() {
            stream.bytes.push(0);
        } else {
            stream.bytes.extend_from_slice(payload);
        }
        self.skip()
    }
}

/// The result of [`Reader::check`].
enum Check {
    /// It fails the connection with this code.
    Bad(u32),
    /// It is skipped.
    Ignore,
    /// It is for a stream, by its index, or for the connection.
    Take(Option<usize>),
}
