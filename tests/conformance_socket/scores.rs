//! Random scores, with and without `--seed`.

use spoa_tests::agent::Agent;
use spoa_tests::bytes::{Action, Value};
use spoa_tests::client::Client;
use spoa_tests::frames::{check_client_ip, get_ip_reputation, notify};

/// Returns the scores of 10.0.0.0 to 10.0.0.99. NOTIFYs are sent over ten connections in turn, so that every worker
/// answers some.
fn scores(agent: &Agent, mapped: bool) -> Vec<u64> {
    let mut clients: Vec<_> = (0..10).map(|_| Client::ready(agent.addr())).collect();
    (0..100).map(|n| score(&mut clients[n as usize % 10], n, mapped)).collect()
}

fn score(client: &mut Client, n: u8, mapped: bool) -> u64 {
    let message = if mapped {
        get_ip_reputation(Value::Ipv6([0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff, 10, 0, 0, n]))
    } else {
        check_client_ip(Value::Ipv4([10, 0, 0, n]))
    };
    client.send(&notify(n.into(), 1, &[message]));
    let frame = client.frame();
    assert_eq!(frame.sid, u64::from(n));
    match &frame.actions()[..] {
        [Action::SetVar { scope: 1, name, value: Value::Uint32(score @ 0..=100) }] if name == "ip_score" => *score,
        other => panic!("expected one score, got {other:?}"),
    }
}

#[test]
fn seeded_scores_depend_on_seed_and_address_alone() {
    let one = Agent::spawn(&["--seed", "42", "-n", "1"]);
    let wanted = scores(&one, false);
    assert_eq!(scores(&one, false), wanted, "a second time");
    assert_eq!(scores(&one, true), wanted, "with IPv4-mapped addresses");
    drop(one);
    let many = Agent::spawn(&["--seed", "42", "-n", "4", "-t", "1ms"]);
    assert_eq!(scores(&many, false), wanted, "after a restart, by several workers, deferred");
    assert_eq!(scores(&many, true), wanted);
    let other = Agent::spawn(&["--seed", "43"]);
    assert_ne!(scores(&other, false), wanted, "expected other scores with another seed");
    assert!(wanted.iter().any(|score| *score != wanted[0]), "expected different scores for different addresses");
}

/// The chance that a hundred addresses get the same scores twice is 101^-100.
#[test]
fn unseeded_scores_differ_each_time() {
    let agent = Agent::spawn(&[]);
    assert_ne!(scores(&agent, false), scores(&agent, false));
}
