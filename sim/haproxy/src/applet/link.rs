//! Models one connection of the applet engine: the handler that HAProxy calls after each event on the connection
//! (`spoe_handle_appctx`). `frames.rs` handles the ACKs and sends the NOTIFYs.

use super::Applet;
use crate::codec::{
    Capabilities, FRAME_LEN_MIN, HelloRules, Kind, code, decode_agent_disconnect, decode_agent_hello, encode_disconnect,
};
use crate::output::{EventId, LinkId, Output};
use crate::servers::ServerId;
use crate::settings::Settings;
use crate::time::Time;

/// The state of a connection (`enum spoe_appctx_state`), with two more states before it is opened.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum State {
    /// It is opened after a delay.
    Delayed,
    /// It is opened when the server has fewer connections than `maxconn`.
    Queued,
    /// HELLO is sent.
    Connecting,
    /// It has a free slot, although some NOTIFYs may be unanswered.
    Idle,
    Processing,
    SendingFragments,
    /// Without pipelining: one NOTIFY is sent, and its ACK is awaited.
    WaitingSync,
    /// A DISCONNECT with the status code of the current call is sent next.
    Disconnect,
    /// Either side has sent a DISCONNECT. Only AGENT-DISCONNECT has an effect now.
    Disconnecting,
    /// FIN is sent, and the agent's FIN is awaited.
    End,
}

/// The fragmented NOTIFY that a connection is sending.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Fragment {
    None,
    /// Its event, stream-id and frame-id.
    Of(EventId, u32, u32),
    /// Its event has ended, so ABORT is sent for this stream-id and frame-id.
    Orphan(u32, u32),
}

#[derive(Debug)]
pub(super) struct Link {
    pub(super) id: LinkId,
    /// The server, once it is opened.
    pub(super) server: Option<ServerId>,
    /// The server that refused the last attempt.
    pub(super) refused_by: Option<ServerId>,
    /// The number of attempts before this one.
    pub(super) retries: u32,
    pub(super) thread: u32,
    pub(super) state: State,
    /// The end of `timeout hello`, or of `timeout idle`, which starts again with each frame in either direction.
    pub(super) expire: Option<Time>,
    pub(super) max_frame_size: u32,
    /// The negotiated capabilities.
    pub(super) capabilities: Capabilities,
    /// The number of NOTIFYs that hold a slot. It wraps below zero as in HAProxy, see [`Applet::stray_ack`].
    pub(super) in_flight: u32,
    pub(super) weight: u32,
    pub(super) idle_seq: u64,
    pub(super) fragment: Fragment,
    pub(super) input: Vec<u8>,
}

/// The result of an attempt to send.
pub(super) enum Sent {
    /// There was nothing to send.
    Nothing,
    /// Sent, and more may be sent in this call.
    More,
    /// Sent or dropped, and nothing more may be sent in this call.
    Last,
    /// Not sent: HAProxy disconnects with this code.
    Refused(u32),
}

impl Link {
    pub(super) const fn new(id: LinkId, thread: u32, max_frame_size: u32) -> Self {
        let capabilities = Capabilities { pipelining: false, asynchronous: false, fragmentation: false };
        Self {
            id,
            server: None,
            refused_by: None,
            retries: 0,
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

    /// Looks for a frame at the front of the input (`spoe_recv_frame`). A length is checked as soon as its four bytes
    /// have arrived. A bad length stays in the buffer.
    fn receive(&self) -> Receive {
        let Some((len, rest)) = self.input.split_first_chunk() else { return Receive::Incomplete };
        let len = u32::from_be_bytes(*len);
        if len < FRAME_LEN_MIN {
            Receive::Bad(code::INVALID)
        } else if len > self.max_frame_size {
            Receive::Bad(code::TOO_BIG)
        } else if rest.len() < len as usize {
            Receive::Incomplete
        } else {
            Receive::Frame(4 + len as usize)
        }
    }

    pub(super) fn kind(&self) -> Kind {
        Kind(self.input[4])
    }

    /// Checks the header of a frame without ids: FIN is set, and both ids are zero.
    fn check_control_frame(&self) -> Result<(), u32> {
        if self.input[8] & 1 == 0 {
            Err(code::FRAGMENTED)
        } else if self.input[9] != 0 || self.input[10] != 0 {
            Err(code::INVALID)
        } else {
            Ok(())
        }
    }
}

/// The state of the input.
enum Receive {
    /// The next frame is incomplete.
    Incomplete,
    /// The next length is bad: HAProxy disconnects with this code.
    Bad(u32),
    /// A complete frame is at the front. It has this many bytes, including its length field.
    Frame(usize),
}

/// The result of one step of a handler.
#[derive(PartialEq, Eq)]
enum Turn {
    /// There is nothing to do until the next event on the connection.
    Wait,
    /// The state has changed: run the step of the new state.
    Again,
    /// Close the connection. The status of the call determines how.
    Exit,
}

impl Applet {
    /// Runs the handler of a connection. `expired` is true if its timer has expired. The status code lasts for one call
    /// only.
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
                State::Idle if self.can_stop(&self.links[at]) => {
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

    /// Closes a connection: with RST after an error, otherwise with FIN. After FIN its events wait until the agent has
    /// closed too; 2.6 does not wait for that.
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
            Receive::Incomplete => return Turn::Wait,
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
            .and_then(|()| link.check_control_frame())
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

    /// Reads all frames that have arrived, then sends while there are events and free slots
    /// (`spoe_handle_processing_appctx`).
    fn processing(&mut self, settings: &Settings, out: &mut Output, now: Time, at: usize, status: &mut u32) -> Turn {
        let idle_deadline = Some(now.saturating_add(settings.idle_timeout));
        self.exchange(settings, out, now, at, idle_deadline).unwrap_or_else(|code| {
            *status = code;
            let link = &mut self.links[at];
            link.state = State::Disconnect;
            link.expire = idle_deadline;
            Turn::Again
        })
    }

    /// Receives ACKs, and sends events. Returns the status to disconnect with as an error.
    fn exchange(
        &mut self,
        settings: &Settings,
        out: &mut Output,
        now: Time,
        at: usize,
        idle_deadline: Option<Time>,
    ) -> Result<Turn, u32> {
        let is_crowded = self.is_crowded(settings);
        let mut has_read = false;
        loop {
            let link = &mut self.links[at];
            match link.receive() {
                Receive::Incomplete => break,
                Receive::Bad(code) => return Err(code),
                Receive::Frame(_) if link.kind() == Kind::AGENT_DISCONNECT => {
                    link.state = State::Disconnecting;
                    link.expire = idle_deadline;
                    return Ok(Turn::Again);
                }
                Receive::Frame(len) => self.take_ack(out, at, len)?,
            }
            has_read = true;
        }
        let sent = self.send_events(settings, out, now, at, is_crowded)?;
        let link = &mut self.links[at];
        if has_read || sent > 0 {
            link.expire = idle_deadline;
            self.threads[link.thread as usize].rate.add(now, sent);
        }
        if link.state == State::Processing && link.in_flight < settings.max_waiting_frames {
            if !is_crowded {
                self.become_idle(at);
            } else if link.in_flight == 0 {
                // Queued connections wait for this one to close. It may have received AGENT-HELLO just now.
                return Err(code::NORMAL);
            }
        }
        Ok(Turn::Wait)
    }

    /// Sends events while the connection accepts them. Returns their number, or the status to disconnect with as an error.
    fn send_events(
        &mut self,
        settings: &Settings,
        out: &mut Output,
        now: Time,
        at: usize,
        is_crowded: bool,
    ) -> Result<u64, u32> {
        let (link, mut sent) = (&self.links[at], 0);
        let mut send = link.state != State::WaitingSync && !(is_crowded && link.in_flight > 0);
        while send && self.links[at].in_flight < settings.max_waiting_frames {
            match self.send_next(settings, out, now, at) {
                Sent::Nothing => send = false,
                Sent::More => sent += 1,
                Sent::Last => {
                    sent += 1;
                    send = false;
                }
                Sent::Refused(code) => return Err(code),
            }
            send &= !is_crowded;
        }
        Ok(sent)
    }

    /// Waits for AGENT-DISCONNECT after a DISCONNECT of either side. Its code becomes the status of the events that
    /// fail.
    fn disconnecting(&mut self, at: usize, status: &mut u32) -> Turn {
        let link = &mut self.links[at];
        let len = match link.receive() {
            Receive::Incomplete => return Turn::Wait,
            Receive::Bad(code) => {
                *status = code;
                return Turn::Exit;
            }
            Receive::Frame(len) => len,
        };
        let answer = if link.kind() == Kind::AGENT_DISCONNECT {
            link.check_control_frame().map(|()| decode_agent_disconnect(&link.input[11..len], Some(255)))
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
