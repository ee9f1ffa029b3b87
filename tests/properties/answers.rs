//! Each NOTIFY gets exactly one ACK, whatever its handler does and in whatever order answers are given.

use std::cell::RefCell;
use std::rc::Rc;
use std::time::Duration;

use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::{Index, select};
use spoa_core::wire::{Actions, Scope, SetVars};
use spoa_core::{Ack, Config, Ticket, TicketError};
use spoa_tests::bytes::{ACK, Frame, Value};
use spoa_tests::frames::{Hello, check_client_ip, notify, set_var};
use spoa_tests::peer::Peer;

/// A way in which the handler treats a NOTIFY.
#[derive(Clone, Copy, Debug)]
enum Treatment {
    /// Answered immediately.
    Immediate,
    /// Dropped unanswered.
    Dropped,
    /// Its ACK is dropped half-written.
    HalfWritten,
    /// Deferred, answered in any order.
    Deferred,
    /// Deferred, and its ticket dropped.
    TicketLost,
    /// Deferred, and answered after its deadline.
    DeferredTooLong,
}

const TREATMENTS: [Treatment; 6] = [
    Treatment::Immediate,
    Treatment::Dropped,
    Treatment::HalfWritten,
    Treatment::Deferred,
    Treatment::TicketLost,
    Treatment::DeferredTooLong,
];

/// Returns a handler that treats NOTIFYs in turn according to `treatments`. It stores the tickets of those that are to
/// be answered after their deadline in `too_late`.
fn handler(
    treatments: Vec<Treatment>,
    too_late: Rc<RefCell<Vec<Ticket>>>,
) -> impl FnMut(spoa_core::Notify<'_>) -> Option<Ticket> {
    let mut treatments = treatments.into_iter();
    move |notify| match treatments.next().expect("there is one treatment per NOTIFY") {
        Treatment::Deferred => Some(notify.defer()),
        Treatment::Dropped => None,
        Treatment::TicketLost => {
            let _lost = notify.defer();
            None
        }
        Treatment::DeferredTooLong => {
            too_late.borrow_mut().push(notify.defer());
            None
        }
        treatment => {
            let mut ack = notify.ack();
            ack.set_var(Scope::Session, "x", "some text").expect("name and value are valid");
            if let Treatment::Immediate = treatment {
                ack.finish().expect("the ACK fits in a frame");
            }
            None
        }
    }
}

proptest! {
    #[test]
    fn each_notify_gets_exactly_one_ack(
        treatments in vec(select(&TREATMENTS[..]), 1..60),
        order in vec((any::<Index>(), 0u64..3000), 60),
        pipelining: bool,
        in_flight_max in 1usize..9,
        unsent_max in 1usize..200,
    ) {
        let hello = Hello::mux().with("capabilities", Value::text(if pipelining { "pipelining" } else { "" }));
        let config = Config { in_flight_max, unsent_max, ..Config::default() };
        let too_late = Rc::new(RefCell::new(Vec::new()));
        let mut peer = Peer::with_hello(config, &hello).handling(handler(treatments.clone(), Rc::clone(&too_late)));
        let count = treatments.len() as u64;
        peer.send(&(0..count).flat_map(|n| notify(n, n + 1, &[check_client_ip(Value::Null)])).collect::<Vec<_>>());

        for (pick, millis) in order {
            let deferred = peer.deferred();
            if !deferred.is_empty() {
                let ids = deferred[pick.index(deferred.len())];
                let outcome = peer.answer(ids, 7);
                prop_assert!(matches!(outcome, Ok(()) | Err(TicketError::Expired)));
            }
            peer.advance(Duration::from_millis(millis));
            let bound = if pipelining { in_flight_max } else { 1 };
            prop_assert!(peer.connection.usage().in_flight <= bound);
        }
        for _ in 0..count {
            peer.advance(config.ack_timeout);
        }
        prop_assert_eq!(peer.unread(), 0);
        for ticket in too_late.take() {
            prop_assert!(!peer.connection.is_live(ticket.id()));
            prop_assert_eq!(peer.connection.ack(peer.now(), ticket).unwrap_err(), TicketError::Expired);
        }
        peer.pump();

        let frames = peer.take_frames();
        prop_assert!(frames.iter().all(|frame| frame.kind == ACK && frame.flags == 1));
        let mut acked: Vec<_> = frames.iter().map(|frame| (frame.sid, frame.fid)).collect();
        if !pipelining {
            prop_assert!(acked.is_sorted(), "expected ACKs in order without pipelining");
        }
        acked.sort_unstable();
        prop_assert_eq!(acked, (0..count).map(|n| (n, n + 1)).collect::<Vec<_>>());
        for frame in frames {
            let empty = match treatments[frame.sid as usize] {
                Treatment::Immediate => Some(false),
                Treatment::Deferred => None, // empty if its deadline has passed
                _ => Some(true),
            };
            prop_assert!(empty.is_none_or(|empty| empty == frame.actions().is_empty()));
        }
        let stats = peer.connection.stats();
        prop_assert_eq!((stats.notifies, stats.acks), (count, count));
        prop_assert_eq!(peer.connection.usage().in_flight, 0);
    }
}

proptest! {
    /// HAProxy fails the event, or stalls the connection, at an ACK above the maximum frame size. Actions that do not
    /// fit are therefore left out, from the first of them on, because HAProxy applies actions in order.
    #[test]
    fn an_ack_has_all_actions_up_to_the_first_that_does_not_fit(
        lens in vec(prop_oneof![0usize..40, 200usize..260], 0..12),
        frame_max in 256u32..280,
        built_elsewhere: bool,
        deferred: bool,
    ) {
        let config = Config { max_frame_size: frame_max, ..Config::default() };
        let values: Vec<_> = lens.iter().map(|len| "x".repeat(*len)).collect();
        let mut room = frame_max as usize - 7;
        let fitting = lens.iter().map(|len| set_var(1, "v", &Value::text(&"x".repeat(*len)))).take_while(|action| {
            let fits = action.len() <= room;
            room = room.saturating_sub(action.len());
            fits
        });
        let wanted = Frame::new(ACK, (1, 1), fitting.collect::<Vec<_>>().concat());

        let write = move |mut ack: Ack<'_>| {
            let mut actions = Actions::new();
            for value in &values {
                if built_elsewhere {
                    actions.set_var(Scope::Session, "v", value.as_str()).expect("name and value are valid");
                } else {
                    ack.set_var(Scope::Session, "v", value.as_str()).expect("name and value are valid");
                }
            }
            ack.actions(&actions);
            ack.finish()
        };
        let write_immediately = write.clone();
        let mut peer = Peer::ready_with(config).handling(move |notify| {
            if deferred {
                return Some(notify.defer());
            }
            let _ = write_immediately(notify.ack());
            None
        });
        peer.send(&notify(1, 1, &[]));
        if deferred {
            let (now, ticket) = (peer.now(), peer.take_ticket((1, 1)));
            let written = write(peer.connection.ack(now, ticket).unwrap());
            prop_assert_eq!(written.is_ok(), wanted.actions().len() == lens.len());
            peer.pump();
        }
        prop_assert_eq!(peer.take_frames(), [wanted]);
    }
}
