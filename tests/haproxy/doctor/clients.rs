//! Symptoms that clients or the site notice.

use std::time::Duration;

use super::Seen;
use super::scene::{LISTED, Scene, UNLISTED};
use crate::client::Request;

/// A listed client gets the page.
pub(super) fn listed_client_passes(scene: &Scene<'_>) -> Seen {
    let symptom = scene.symptom;
    if symptom.check_unlisted {
        assert_eq!(scene.unlisted(), 200, "the client that is not listed");
    }
    let mut seen = Vec::new();
    for _ in 0..symptom.attempts {
        let status = scene.listed();
        seen.push(status);
        if status == 200 {
            break;
        }
        assert_eq!(status, symptom.refused, "the listed client is refused in another way");
    }
    Seen { has_symptom: seen.contains(&200), what: format!("the listed client gets {seen:?}") }
}

/// A client that is not listed does not get the page.
pub(super) fn unlisted_client_refused(scene: &Scene<'_>) -> Seen {
    if let Some(path) = &scene.symptom.listed_first {
        scene.connect(LISTED).exchange(&Request::get(path)).expect("HAProxy responds");
    }
    is_refused(scene.unlisted())
}

/// A listed client gets the page because there is no agent.
pub(super) fn outage_passes(scene: &Scene<'_>) -> Seen {
    let status = scene.listed();
    Seen { has_symptom: status == 200, what: format!("the listed client gets {status}") }
}

/// A client that is not listed does not get the page because there is no agent.
pub(super) fn outage_refuses(scene: &Scene<'_>) -> Seen {
    is_refused(scene.unlisted())
}

fn is_refused(status: u16) -> Seen {
    Seen { has_symptom: status != 200, what: format!("the client that is not listed gets {status}") }
}

/// A request gets no response.
pub(super) fn request_waits(scene: &Scene<'_>) -> Seen {
    // More than `timeout processing` of the cured configuration.
    const SILENCE: Duration = Duration::from_secs(1);
    // The longest time in which a cured configuration has to respond. It is below `timeout client`.
    const LIMIT: Duration = Duration::from_secs(20);
    let mut connection = scene.connect(UNLISTED);
    connection.send(&scene.request(&[])).expect("HAProxy reads the request");
    let response = connection.receive_within(if scene.expected { SILENCE } else { LIMIT });
    let response = response.expect("HAProxy does not close the connection");
    Seen { has_symptom: response.is_none(), what: format!("the response is {response:?}") }
}

/// The site gets a header that the client has forged.
pub(super) fn header_reaches_site(scene: &Scene<'_>) -> Seen {
    let headers = [format!("{}: forged", scene.symptom.header)];
    let response = scene.send(UNLISTED, &headers).expect("HAProxy responds");
    assert_eq!(response.status, 200, "{response:?}");
    Seen { has_symptom: response.body.contains("forged"), what: format!("the site gets {:?}", response.body) }
}
