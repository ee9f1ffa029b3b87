//! Scenes that are recorded with real HAProxy, to check the models of HAProxy. The model has to accept each recording.
//! With `SPOA_RECORD=1` recordings are also written to `sim/recordings`, for the tests without HAProxy.

mod ends;
mod greetings;
mod loads;
mod odd_acks;
mod settings;

use spoa_sim_haproxy::recording::Recording;

use crate::Needs;
use crate::haproxy::{Engine, Install};

type Scene = (&'static str, Needs, fn(&Install) -> Recording);

pub(crate) const SCENES: &[Scene] = &[
    ("scores", Needs::Any, loads::scores),
    ("burst_cold", Needs::Any, loads::burst_cold),
    ("burst_warm", Needs::Any, loads::burst_warm),
    ("out_of_order", Needs::Any, loads::out_of_order),
    ("too_late", Needs::Any, loads::too_late),
    ("never", Needs::Any, loads::never),
    ("client_gone", Needs::Any, loads::client_gone),
    ("pipelining_off", Needs::Any, settings::pipelining_off),
    ("pipelining_refused", Needs::Any, settings::pipelining_refused),
    ("nothing_offered", Needs::Engine(Engine::Applet), settings::nothing_offered),
    ("async_agreed", Needs::Engine(Engine::Applet), settings::async_agreed),
    ("crowded", Needs::Engine(Engine::Applet), settings::crowded),
    ("reuse_off", Needs::Engine(Engine::Mux), settings::reuse_off),
    ("threads", Needs::Any, settings::threads),
    ("small_frames", Needs::Any, settings::small_frames),
    ("small_agent", Needs::Any, settings::small_agent),
    ("fragments_unwanted", Needs::Engine(Engine::Applet), settings::fragments_unwanted),
    ("fragments_off", Needs::Engine(Engine::Applet), settings::fragments_off),
    ("fragments_aborted", Needs::Engine(Engine::Applet), settings::fragments_aborted),
    ("small_buffers", Needs::Any, settings::small_buffers),
    ("value_types", Needs::Any, settings::value_types),
    ("several_events", Needs::Any, settings::several_events),
    ("health_checks", Needs::Any, greetings::health_checks),
    ("health_checks_odd", Needs::Any, greetings::health_checks_odd),
    ("hello_bad", Needs::Any, greetings::bad),
    ("hello_unusual", Needs::Any, greetings::unusual),
    ("hello_in_pieces", Needs::Any, greetings::in_pieces),
    ("hello_disconnects", Needs::Any, greetings::disconnects),
    ("hello_never", Needs::Any, greetings::never),
    ("acks_empty", Needs::Any, odd_acks::empty),
    ("acks_big", Needs::Any, odd_acks::big),
    ("acks_in_pieces", Needs::Any, odd_acks::in_pieces),
    ("acks_bad", Needs::Any, odd_acks::bad),
    ("acks_stuck", Needs::Any, odd_acks::stuck),
    ("acks_stuck_together", Needs::Any, odd_acks::stuck_together),
    ("disconnect_waiting", Needs::Any, odd_acks::disconnects),
    ("agent_ends", Needs::Any, ends::of_the_agent),
    ("agent_stops", Needs::Any, ends::stops),
    ("agent_has_enough", Needs::Any, ends::notify_max),
    ("idle", Needs::Any, ends::idle),
    ("soft_stop_idle", Needs::Any, ends::soft_stop_idle),
    ("soft_stop_busy", Needs::Any, ends::soft_stop_busy),
    ("hard_stop", Needs::Any, ends::hard_stop),
    ("reload", Needs::Any, ends::reload),
];
