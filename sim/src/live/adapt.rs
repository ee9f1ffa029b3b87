//! Adapts the script of a seed to any agent and to real time.

use spoa_sim_haproxy::Settings;

use crate::encode::encoded_len;
use crate::script::{AgentSetup, EventSpec, MS, MessageSpec, Nanos, Script, Step};

/// The longest time that a script waits. A longer wait tests only timeouts of the agent.
const WAIT_MAX: Nanos = 60 * MS;
/// The shortest timeout of HAProxy. A shorter one ends events before a busy machine runs the agent.
const TIMEOUT_MIN: Nanos = 200 * MS;
/// The largest number of messages in a NOTIFY.
const MESSAGES_MAX: u32 = 1000;
/// The length of the messages of an event up to which their number is kept, in bytes.
const SMALL: u32 = 200;

/// Returns the script for an agent that knows the message `question`: without the steps of the simulated agent, with the question
/// as every message, and with times that suit real sockets. A large event remains large, because it has the question several times.
pub fn adapt(script: &Script, question: &MessageSpec) -> Script {
    let question_len = encoded_len(std::slice::from_ref(question)).max(1);
    let steps = script.steps.iter().filter_map(|step| match step {
        // An agent does not notice the sizes of HAProxy's reads.
        Step::Take(..) => None,
        Step::Shed(_) | Step::Lose(_) | Step::Stop(_) => None,
        step if step.agent().is_some() => None,
        Step::Start(name, settings) => Some(Step::Start(*name, Box::new(unhurried(settings)))),
        Step::Wait(time) => Some(Step::Wait(*time.min(&WAIT_MAX))),
        Step::Ask(name, event) => {
            let (count, len) = (event.messages.len() as u32, encoded_len(&event.messages));
            let count = if len > SMALL { count.max(len / question_len).min(MESSAGES_MAX) } else { count };
            let messages = vec![question.clone(); count as usize];
            Some(Step::Ask(*name, EventSpec { messages, ..event.clone() }))
        }
        step => Some(step.clone()),
    });
    Script { story: script.story.clone(), agent: AgentSetup::default(), steps: steps.collect() }
}

/// True if every event of the script has the question alone, so that the agent knows all messages.
pub fn asks_only(script: &Script, question: &MessageSpec) -> bool {
    script.steps.iter().all(|step| match step {
        Step::Ask(_, event) => event.messages.iter().all(|message| message == question),
        _ => true,
    })
}

fn unhurried(settings: &Settings) -> Settings {
    Settings {
        hello_timeout: settings.hello_timeout.max(TIMEOUT_MIN),
        processing_timeout: settings.processing_timeout.max(TIMEOUT_MIN),
        idle_timeout: settings.idle_timeout.max(TIMEOUT_MIN),
        check_timeout: settings.check_timeout.max(TIMEOUT_MIN),
        latency: 0,
        ..settings.clone()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::text::{parse, parse_message};

    fn adapted(lines: &str) -> String {
        let script = parse(&format!("spop-script 4\n{lines}")).expect("a script");
        let question = parse_message("q(=192.0.2.1)").expect("a message");
        let adapted = adapt(&script, &question);
        assert!(asks_only(&adapted, &question));
        adapted.to_string().lines().skip(1).collect::<Vec<_>>().join("\n")
    }

    #[test]
    fn steps_of_the_agent_are_removed_and_the_question_is_asked() {
        let lines = "agent ack-timeout=50ms\nhaproxy h1 engine=mux timeout-hello=2ms latency=1ms\nask h1 m(=i64:1) m(=i64:2)\nstop grace=1ms\n\
                     wait 3s\nshed h1\nkill a1\nreset h1.0";
        let expected =
            "haproxy h1 engine=mux timeout-hello=200ms\nask h1 q(=192.0.2.1) q(=192.0.2.1)\nwait 60ms\nreset h1.0";
        assert_eq!(adapted(lines), expected);
    }

    #[test]
    fn a_large_event_remains_large() {
        let text = adapted("haproxy h1 engine=mux\nask h1 m(=text:900)");
        assert_eq!(text.matches("q(").count(), 907 / 9, "{text}");
    }
}
