//! One connection of the applet engine: the handler that HAProxy calls whenever something happened (`spoe_handle_appctx`).
//! What it does with an ACK and how NOTIFYs leave is in `frames.rs`.

use super::Applet;
use super::frames::Sent;
use crate::codec::{
    Capabilities, FRAME_LEN_MIN, HelloRules, Kind, code, decode_agent_disconnect, decode_agent_hello, encode_disconnect,
};
use crate::output::{EventId, LinkId, Output};
use crate::settings::Settings;
use crate::time::Time;

/// `enum spoe_appctx_state`, with the two states before there is a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum State {
    /// To be opened in a moment.
    Delayed,
    /// To be opened when the server has a place (`maxconn`).
    Queued,
    /// HELLO sent.
    Connecting,
    /// Has a free slot, even if some NOTIFYs are unanswered.
    Idle,
    Processing,
    SendingFragments,
    /// Without pipelining: one NOTIFY is out.
    WaitingSync,
    /// A DISCONNECT is to be sent with the call's status code.
    Disconnect,
    /// Only AGENT-DISCONNECT counts now.
    Disconnecting,
    /// FIN is sent, the agent's awaited.
    End,
}

/// The fragmented NOTIFY that a connection is busy with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Fragment {
    None,
    Of(EventId, u32, u32),
    /// Its event is over: the agent is to forget it.
    Orphan(u32, u32),
}

#[derive(Debug)]
pub(super) struct Link {
    pub(super) id: LinkId,
    pub(super) thread: u32,
    pub(super) state: State,
    /// `timeout hello`, then `timeout idle`, counted from the last frame either way.
    pub(super) expire: Option<Time>,
    pub(super) max_frame_size: u32,
    /// The negotiated values.
    pub(super) capabilities: Capabilities,
    /// NOTIFYs it holds slots for. Wraps below zero as HAProxy's does, see [`Applet::take_ack`].
    pub(super) in_flight: u32,
    pub(super) weight: u32,
    pub(super) idle_seq: u64,
    pub(super) fragment: Fragment,
    pub(super) input: Vec<u8>,
}

impl Link {
    pub(super) const fn new(id: LinkId, thread: u32, max_frame_size: u32) -> Self {
        let capabilities = Capabilities { pipelining: false, asynchronous: false, fragmentation: false };
        Self {
            id,
            thread,
            state: State::Delayed,
            expire: None,
            max_frame_size,
            capabilities,
            in_flight: 0,
            weight: 0,
            idle_seq: 0,
            fragment: Fragment::None,
            input: Vec::new(),
        }
    }

    /// `spoe_recv_frame`: a length is judged as soon as its four bytes are there, and a bad one stays in the buffer.
    fn receive(&self) -> Receive {
        let Some((len, rest)) = self.input.split_first_chunk() else { return Receive::Later };
        let len = u32::from_be_bytes(*len);
        if len < FRAME_LEN_MIN {
            Receive::Bad(code::INVALID)
        } else if len > self.max_frame_size {
            Receive::Bad(code::TOO_BIG)
        } else if rest.len() < len as usize {
            Receive::Later
        } else {
            Receive::Frame(4 + len as usize)
        }
    }

    pub(super) fn kind(&self) -> Kind {
        Kind(self.input[4])
    }

    /// Frames that go without ids: FIN set, both ids zero.
    fn check_bare(&self) -> Result<(), u32> {
        if self.input[8] & 1 == 0 {
            Err(code::FRAGMENTED)
        } else if self.input[9] != 0 || self.input[10] != 0 {
            Err(code::INVALID)
        } else {
            Ok(())
        }
    }
}

enum Receive {
    Later,
    Bad(u32),
    /// A whole frame of so many bytes, its length included, is at the front.
    Frame(usize),
}

/// The result of a handler, for `spoe_handle_appctx`.
#[derive(PartialEq, Eq)]
enum Turn {
    Wait,
    /// The state has changed: look again.
    Again,
    /// Close; the call's status decides how.
    Exit,
}

impl Applet {
    /// Runs a connection's handler; `expired` if its timer has. The status code lives for one call only.
    pub(super) fn run(&mut self, settings: &Settings, out: &mut Output, now: Time, id: LinkId, mut expired: bool) {
        let mut status = code::NORMAL;
        loop {
            let Some(at) = self.find(id) else { return };
            let turn = match self.links[at].state {
                State::Delayed | State::Queued => Turn::Wait,
                State::Connecting if expired => {
                    status = code::TIMEOUT;
                    Turn::Exit
                }
                State::Connecting => self.connecting(settings, now, at, &mut status),
                State::Idle if self.may_stop(&self.links[at]) => {
                    self.links[at].state = State::Disconnect;
                    Turn::Again
                }
                State::Idle => {
                    self.links[at].state = State::Processing;
                    Turn::Again
                }
                State::Processing | State::SendingFragments | State::WaitingSync if expired => {
                    expired = false;
                    status = code::TIMEOUT;
                    self.links[at].state = State::Disconnect;
                    Turn::Again
                }
                State::Processing | State::SendingFragments | State::WaitingSync => {
                    self.processing(settings, out, now, at, &mut status)
                }
                State::Disconnect => {
                    out.send(id, |bytes| _ = encode_disconnect(bytes, status));
                    self.links[at].expire = Some(now.saturating_add(settings.idle_timeout));
                    self.links[at].state = State::Disconnecting;
                    Turn::Again
                }
                State::Disconnecting if expired => {
                    status = code::TIMEOUT;
                    Turn::Exit
                }
                State::Disconnecting => self.disconnecting(at, &mut status),
                State::End => {
                    self.links[at].input.clear();
                    Turn::Wait
                }
            };
            match turn {
                Turn::Wait => return,
                Turn::Again => {}
                Turn::Exit => return self.exit(settings, out, now, id, status),
            }
        }
    }

    /// With an error the connection is torn down: RST. Without one it ends in order: FIN, and events of its stay until
    /// the agent has closed too (2.6 did not wait for that).
    fn exit(&mut self, settings: &Settings, out: &mut Output, now: Time, id: LinkId, status: u32) {
        let Some(at) = self.find(id) else { return };
        if status != code::NORMAL {
            out.reset(id);
            return self.release(settings, out, now, at, status);
        }
        out.fin(id);
        if settings.defects.normal_exit_releases {
            return self.release(settings, out, now, at, status);
        }
        let link = &mut self.links[at];
        link.state = State::End;
        link.expire = None;
        link.input.clear();
    }

    fn connecting(&mut self, settings: &Settings, now: Time, at: usize, status: &mut u32) -> Turn {
        let link = &mut self.links[at];
        let len = match link.receive() {
            Receive::Later => return Turn::Wait,
            Receive::Bad(code) => {
                *status = code;
                link.state = State::Disconnect;
                return Turn::Again;
            }
            Receive::Frame(_) if link.kind() == Kind::AGENT_DISCONNECT => {
                link.state = State::Disconnecting;
                link.expire = Some(now.saturating_add(settings.idle_timeout));
                return Turn::Again;
            }
            Receive::Frame(len) => len,
        };
        let is_hello = if link.kind() == Kind::AGENT_HELLO { Ok(()) } else { Err(code::INVALID) };
        let hello = is_hello
            .and_then(|()| link.check_bare())
            .and_then(|()| decode_agent_hello(&link.input[11..len], &HelloRules::applet(link.max_frame_size)));
        link.input.drain(..len);
        link.expire = Some(now.saturating_add(settings.idle_timeout));
        match hello {
            Err(code) => {
                *status = code;
                link.state = State::Disconnect;
            }
            Ok(hello) => {
                link.max_frame_size = hello.max_frame_size;
                link.capabilities = Capabilities {
                    pipelining: hello.capabilities.pipelining && settings.pipelining,
                    asynchronous: hello.capabilities.asynchronous && settings.asynchronous,
                    fragmentation: hello.capabilities.fragmentation,
                };
                self.become_idle(at);
                let link = &self.links[at];
                let thread = &mut self.threads[link.thread as usize];
                thread.frame_size = thread.frame_size.min(link.max_frame_size);
            }
        }
        Turn::Again
    }

    fn become_idle(&mut self, at: usize) {
        self.idle_count += 1;
        self.links[at].idle_seq = self.idle_count;
        self.links[at].state = State::Idle;
    }

    /// `spoe_handle_processing_appctx`: read all that is there, then send while there are events and slots.
    fn processing(&mut self, settings: &Settings, out: &mut Output, now: Time, at: usize, status: &mut u32) -> Turn {
        let crowded = self.is_crowded(settings);
        let idle_at = Some(now.saturating_add(settings.idle_timeout));
        let mut active = false;
        loop {
            let link = &mut self.links[at];
            let len = match link.receive() {
                Receive::Later => break,
                Receive::Bad(code) => {
                    *status = code;
                    link.state = State::Disconnect;
                    link.expire = idle_at;
                    return Turn::Again;
                }
                Receive::Frame(_) if link.kind() == Kind::AGENT_DISCONNECT => {
                    link.state = State::Disconnecting;
                    link.expire = idle_at;
                    return Turn::Again;
                }
                Receive::Frame(len) => len,
            };
            active = true;
            if let Err(code) = self.take_ack(out, at, len) {
                *status = code;
                let link = &mut self.links[at];
                link.state = State::Disconnect;
                link.expire = idle_at;
                return Turn::Again;
            }
        }
        let mut sent = 0;
        let link = &self.links[at];
        let mut send = link.state != State::WaitingSync && !(crowded && link.in_flight > 0);
        while send && self.links[at].in_flight < settings.max_waiting_frames {
            match self.send_next(settings, out, now, at) {
                Sent::Nothing => send = false,
                Sent::More => sent += 1,
                Sent::Last => {
                    sent += 1;
                    send = false;
                }
                Sent::Refused(code) => {
                    *status = code;
                    let link = &mut self.links[at];
                    link.state = State::Disconnect;
                    link.expire = idle_at;
                    return Turn::Again;
                }
            }
            if crowded {
                send = false;
            }
        }
        let link = &mut self.links[at];
        if active || sent > 0 {
            link.expire = idle_at;
            self.threads[link.thread as usize].rate.add(now, sent);
        }
        if link.state == State::Processing && link.in_flight < settings.max_waiting_frames {
            if !crowded {
                self.become_idle(at);
            } else if link.in_flight == 0 {
                // Others wait for this place. May well be right after AGENT-HELLO.
                *status = code::NORMAL;
                link.state = State::Disconnect;
                link.expire = idle_at;
                return Turn::Again;
            }
        }
        Turn::Wait
    }

    /// After a DISCONNECT of either side: AGENT-DISCONNECT ends it, and its code is what events are failed with.
    fn disconnecting(&mut self, at: usize, status: &mut u32) -> Turn {
        let link = &mut self.links[at];
        let len = match link.receive() {
            Receive::Later => return Turn::Wait,
            Receive::Bad(code) => {
                *status = code;
                return Turn::Exit;
            }
            Receive::Frame(len) => len,
        };
        let answer = if link.kind() == Kind::AGENT_DISCONNECT {
            link.check_bare().map(|()| decode_agent_disconnect(&link.input[11..len], Some(255)))
        } else {
            Ok(None)
        };
        link.input.drain(..len);
        match answer {
            Ok(Some(code)) => {
                *status = code;
                Turn::Exit
            }
            Err(code::FRAGMENTED) => {
                *status = code::FRAGMENTED;
                Turn::Exit
            }
            Ok(None) | Err(_) => Turn::Again,
        }
    }
}
