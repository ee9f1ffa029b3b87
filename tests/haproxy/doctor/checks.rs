//! Symptoms in the health of the server `agent`.

use std::time::Duration;

use spoa_tests::symptom::Agent;

use super::Seen;
use super::scene::Scene;

/// The server stays in use although its agent does not answer.
pub(super) fn agent_stays_up(scene: &Scene<'_>) -> Seen {
    // More than a health check with `inter 500ms fall 2` takes to notice a dead agent.
    const SILENCE: Duration = Duration::from_secs(2);
    let is_over = || {
        let server = scene.server();
        // A check that an agent passes without an answer cannot notice that it hangs.
        let is_passed = scene.symptom.agent == Agent::Hung && server.is_check_passed();
        server.is_down() || !server.is_checked() || is_passed
    };
    scene.happens(!scene.expected, SILENCE, is_over);
    let server = scene.server();
    Seen { has_symptom: !server.is_down(), what: format!("{server:?}") }
}

/// The server of a healthy agent is out of use.
pub(super) fn agent_is_down(scene: &Scene<'_>) -> Seen {
    let is_over = || {
        let server = scene.server();
        server.is_down() || server.is_check_passed()
    };
    scene.wait("a result of the health check", is_over);
    let server = scene.server();
    Seen { has_symptom: server.is_down(), what: format!("{server:?}") }
}
