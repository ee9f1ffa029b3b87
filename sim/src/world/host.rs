//! The sockets and the host of a simulated endpoint: each call of the endpoint goes to the [`State`] that they share.

use std::cell::RefCell;
use std::rc::Rc;

use spoa_core::endpoint::{Handled, Host, Io, Key, Report, Socket};
use spoa_core::{Event, Notify};

use super::state::State;

/// The socket of a simulated connection.
pub(super) struct SimSocket {
    pub(super) at: usize,
    pub(super) state: Rc<RefCell<State>>,
}

impl Socket for SimSocket {
    fn read(&mut self, buf: &mut [u8]) -> Io {
        self.state.borrow_mut().read(self.at, buf)
    }

    fn write(&mut self, bytes: &[u8]) -> Io {
        self.state.borrow_mut().write(self.at, bytes)
    }

    fn shut_down(&mut self) {
        self.state.borrow_mut().shut_down(self.at);
    }
}

/// The host of a simulated endpoint.
pub(super) struct SimHost(pub(super) Rc<RefCell<State>>);

impl Host for SimHost {
    type Socket = SimSocket;
    type Error = ();
    type Work = u64;

    fn notify(&mut self, key: Key, socket: &mut SimSocket, notify: Notify<'_>) -> Handled<u64> {
        self.0.borrow_mut().notify(socket.at, key, notify)
    }

    fn cancel(&mut self, work: u64) {
        self.0.borrow_mut().work.retain(|other| other.id != work);
    }

    fn report(&mut self, socket: &mut SimSocket, report: Report<'_, ()>) {
        let mut state = self.0.borrow_mut();
        match report {
            Report::Ready { negotiated, engine_id } => {
                state.event(socket.at, &Event::Ready { negotiated, engine_id });
                state.peers[socket.at].was_ready = true;
            }
            Report::Closed { reason, was_ready, .. } => state.closed(socket.at, reason, was_ready),
            Report::Shed { .. } => state.shed(socket.at),
            Report::AckCut(cut) => state.peers[socket.at].dropped_actions += cut.dropped as usize,
            Report::Refused(_)
            | Report::Counted { .. }
            | Report::Answered(_)
            | Report::Failed(())
            | Report::HeldBack(_)
            | Report::Queued(_) => {}
        }
    }
}
