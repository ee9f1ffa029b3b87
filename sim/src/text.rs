//! Scripts as text, with one step per line.
//!
//! ```text
//! spop-script 4
//! # An answer after HAProxy's DISCONNECT.
//! agent ack-timeout=50ms
//! connect c1
//! send c1 hello supported-versions="2.0" max-frame-size=u32:16380 capabilities="pipelining"
//! send c1 notify sid=1 fid=1 check-client-ip(plan=score@3ms, =192.0.2.1)
//! cut c1 3,1,*
//! send c1 disconnect status-code=u32:2 message="a timeout occurred"
//! wait 40ms
//! haproxy h1 engine=mux timeout-processing=50ms
//! ask h1 check-client-ip(=192.0.2.1)
//! reset h1.0
//! ```
//!
//! `c1` is a connection on which the script itself says what HAProxy sends. `h1` is a process that a model of HAProxy
//! plays, and `h1.0` is its first connection. `a1` is an agent.

mod forms;
mod parts;
mod read;
mod settings;
pub(crate) mod steps;
mod words;
mod write;

pub use read::{ScriptError, parse, parse_duration, parse_message};
pub use write::Time;

/// The version of the language that this program writes. It reads this version and all earlier ones.
///
/// Version 2 added HAProxy's processes and `connections-max`, version 3 added `shed` and `total-in-flight-max`, version 4
/// added agents, servers and `lose`. Scripts of earlier versions keep their meaning.
pub const VERSION: u32 = 4;

/// The first word of a script.
const MAGIC: &str = "spop-script";

#[cfg(test)]
mod tests {
    use spoa_sim_checker::Limits;
    use spoa_sim_haproxy::{Defects, Settings};

    use super::*;
    use crate::plan::{Answer, Plan};
    use crate::script::*;

    fn unusual_steps() -> Script {
        let (h1, h2) = (Haproxy(1), Haproxy(2));
        let odd = Settings {
            pipelining: false,
            maxconn: 3,
            idle_timeout: 7 * MS,
            defects: Defects { normal_exit_releases: true, ..Defects::V3_1_0 },
            ..Settings::applet()
        };
        let messages = vec![MessageSpec { name: b"m"[..].into(), args: vec![(b""[..].into(), Value::Null)] }];
        let mut agent = AgentSetup { endpoint: true, late: 3, ..AgentSetup::default() };
        agent.connection = Limits { max_frame_size: 256, asynchronous: true, idle_timeout: 1500, ..agent.connection };
        let link = Link::Scripted(1);
        let notify = |kind: fn(Vec<MessageSpec>) -> FrameKind, slice| FrameSpec {
            kind: kind(vec![
                MessageSpec {
                    name: b"check-client-ip".into(),
                    args: vec![
                        (b"plan".into(), Value::Plan(Plan { answer: Answer::Half, delay: 3 * MS })),
                        (b"".into(), Value::Ipv4([192, 0, 2, 1])),
                        (b"a b".into(), Value::Ipv6([0; 16])),
                        (b"x".into(), Value::Text(b"a\"\n\\\xff".into())),
                        (b"true".into(), Value::Bool(true)),
                        (b"n".into(), Value::Null),
                        (b"l".into(), Value::LongText(500)),
                        (b"b".into(), Value::Binary(vec![0, 255])),
                        (b"r".into(), Value::Bytes(vec![0x31, 7].into())),
                        (b"i".into(), Value::Int64(-5)),
                        (b"i".into(), Value::Int32(-5)),
                        (b"u".into(), Value::Uint32(1 << 32)),
                        (b"u".into(), Value::Uint64(u64::MAX)),
                    ],
                },
                MessageSpec { name: b"".into(), args: vec![] },
            ]),
            flags: 1,
            stream_id: u64::MAX,
            frame_id: 1,
            slice,
            damage: Damage::Length(7),
        };
        let control =
            |kind| FrameSpec { kind, flags: 0, stream_id: 0, frame_id: 3, slice: None, damage: Damage::Flip(9) };
        Script {
            story: vec!["A line.".into(), "Another.".into()],
            agent,
            steps: vec![
                Step::Connect(link),
                Step::Send(link, control(FrameKind::Hello(vec![(b"sid".into(), Value::Text(b"2.0".into()))]))),
                Step::Send(link, notify(FrameKind::Notify, None)),
                Step::Send(link, notify(FrameKind::Unset, Some((3, 99)))),
                Step::Send(link, control(FrameKind::Disconnect(vec![]))),
                Step::Send(link, FrameSpec { damage: Damage::Trim(1), ..control(FrameKind::Other(77, vec![1, 2])) }),
                Step::Send(link, FrameSpec { damage: Damage::Pad(2), ..control(FrameKind::Other(3, vec![])) }),
                Step::Raw(link, vec![0, 1, 0xfe]),
                Step::Cut(link, Cuts { sizes: vec![3, 1], repeat: false }),
                Step::Cut(link, Cuts { sizes: vec![1], repeat: true }),
                Step::Cut(link, Cuts::default()),
                Step::Hold(link),
                Step::Release(link),
                Step::Room(link, Some(5)),
                Step::Room(link, None),
                Step::Take(link, Some(1)),
                Step::Take(link, None),
                Step::Fin(link),
                Step::Reset(link),
                Step::Shed(link),
                Step::Wait(1),
                Step::Wait(1_000_000),
                Step::Wait(1_001_000),
                Step::Wait(5_000_000_000),
                Step::Lose(link),
                Step::LameDuck(AgentId(1)),
                Step::Drain(AgentId(2), 5 * MS),
                Step::Kill(AgentId(3)),
                Step::Hang(AgentId(1)),
                Step::Resume(AgentId(1)),
                Step::Launch(AgentId(3)),
                Step::Stop(0),
                Step::Start(h1, Box::new(Settings::mux())),
                Step::Start(h2, Box::new(odd)),
                Step::Ask(h1, EventSpec { thread: 0, stream: None, messages: vec![] }),
                Step::Ask(h2, EventSpec { thread: 3, stream: Some(7), messages }),
                Step::Check(h1),
                Step::SoftStop(h1),
                Step::Reset(Link::All(h1)),
                Step::Hold(Link::Of(h2, 12)),
            ],
        }
    }

    #[test]
    fn steps_and_values_equal_those_parsed_from_their_text() {
        let script = unusual_steps();
        let text = script.to_string();
        assert_eq!(parse(&text).as_ref(), Ok(&script), "{text}");
    }

    #[test]
    fn the_readme_explains_every_step() {
        let table = include_str!("../README.md").split_once("| `agent KEY=VALUE...`").expect("the table exists").1;
        let table = table.split_once("\n\n").expect("a blank line ends the table").0;
        let is_explained = |name: &str| match name.split_once(' ') {
            Some((word, second)) => table.contains(&format!("`{word} c1 {second} ")),
            None => table.contains(&format!("`{name} ")),
        };
        let missing: Vec<_> = Step::NAMES.iter().filter(|name| !is_explained(name)).collect();
        assert_eq!(missing, [&""; 0], "steps that sim/README.md does not explain");
    }

    #[test]
    fn scripts_of_every_version_can_be_read() {
        let lines = "connect c1\ncut c1 3,1,*\nsend c1 notify sid=1 fid=1 m(plan=score@3ms, =192.0.2.1)\nwait 40ms\n";
        let all: Vec<_> = (1..=VERSION).map(|version| parse(&format!("{MAGIC} {version}\n{lines}"))).collect();
        assert!(all.iter().all(|script| script == &all[0] && script.is_ok()), "{all:?}");
        assert_eq!(all[0].as_ref().unwrap().to_string(), format!("{MAGIC} {VERSION}\n{lines}"));
    }

    #[test]
    fn the_example_is_a_script() {
        let example: String = include_str!("text.rs")
            .lines()
            .skip_while(|line| *line != "//! ```text")
            .skip(1)
            .take_while(|line| *line != "//! ```")
            .map(|line| format!("{}\n", line.trim_start_matches("//!").trim_start()))
            .collect();
        let script = parse(&example).unwrap();
        assert_eq!(script.steps.len(), 9);
        assert_eq!(script.to_string(), example);
    }

    #[test]
    fn an_error_names_its_line_and_cause() {
        for (text, line, what) in [
            ("", 1, "spop-script"),
            ("spop-script 5", 1, "version"),
            ("spop-script 1\nconnect", 2, "link"),
            ("spop-script 1\n\n# x\njump c1", 4, "jump"),
            ("spop-script 1\nsend c1 notify sid=x", 2, "sid"),
            ("spop-script 1\nsend c1 notify m(", 2, "end of the line"),
            ("spop-script 1\nsend c1 raw 0", 2, "hex"),
            ("spop-script 1\nwait 5", 2, "time"),
            ("spop-script 1\ncut c1 0", 2, "size"),
            ("spop-script 1\nagent speed=9", 2, "speed"),
            ("spop-script 1\nconnect c1 c2", 2, "more"),
            ("spop-script 1\nconnect h1", 2, "c1"),
            ("spop-script 1\nhaproxy h1 engine=nginx", 2, "nginx"),
            ("spop-script 1\nhaproxy h1 engine=mux speed=9", 2, "speed"),
            ("spop-script 1\nhaproxy h1 engine=mux defects=all", 2, "all"),
            ("spop-script 1\nask h1 thread=x m()", 2, "thread"),
            ("spop-script 1\nkill a0", 2, "a1"),
            ("spop-script 1\ndrain a1", 2, "grace"),
        ] {
            let error = parse(text).unwrap_err();
            assert_eq!(error.line, line, "{text:?}: {error}");
            assert!(error.to_string().contains(what), "{text:?}: {error}");
        }
    }
}
