//! Scripts with whole NOTIFYs exchanged for fragmented ones, and fragmented NOTIFYs for whole ones.

use super::cuts::positions;
use crate::outcome::Outcome;
use crate::script::{Damage, FrameKind, FrameSpec, Link, Script, Step};

/// The frame type of NOTIFY.
const NOTIFY: u8 = 3;
/// The frame type of UNSET.
const UNSET: u8 = 0;
/// The flag FIN.
const FIN: u32 = 1;

/// Returns the steps of `script` with every NOTIFY exchanged that may be; `None` if there is none.
pub(super) fn exchanged(script: &Script, outcome: &Outcome) -> Option<Vec<Step>> {
    if !script.agent.connection.fragmentation {
        return None;
    }
    let mut out = Vec::with_capacity(2 * script.steps.len());
    let (mut rest, mut changed) = (&script.steps[..], false);
    while let [step, following @ ..] = rest {
        rest = following;
        let other = match step {
            Step::Send(link, frame) if has_frames_only(script, *link) => {
                let max = Max {
                    frame: frame_max(script, outcome, *link),
                    payload: script.agent.connection.reassembly_max as usize,
                };
                in_fragments(*link, frame, max).or_else(|| {
                    let (whole, used) = reassembled(*link, frame, following, max)?;
                    rest = &following[used..];
                    Some(vec![whole])
                })
            }
            _ => None,
        };
        changed |= other.is_some();
        match other {
            Some(steps) => out.extend(steps),
            None => out.push(step.clone()),
        }
    }
    changed.then_some(out)
}

/// The limits for a NOTIFY, in bytes.
#[derive(Clone, Copy)]
struct Max {
    /// The largest frame, without its length.
    frame: usize,
    /// The largest payload in fragments.
    payload: usize,
}

impl Max {
    fn allows(self, header: usize, payload: usize) -> bool {
        header + payload <= self.frame && payload <= self.payload
    }
}

/// Returns a whole NOTIFY as three fragments, some of which may be empty.
fn in_fragments(link: Link, frame: &FrameSpec, max: Max) -> Option<Vec<Step>> {
    let FrameSpec { kind: FrameKind::Notify(_), flags: FIN, slice: None, .. } = frame else { return None };
    let (header, payload) = parts(frame)?;
    if !max.allows(header, payload.len()) {
        return None;
    }
    let [first, second] = positions(&payload, payload.len());
    let piece = |kind, flags, bytes: &[u8]| {
        let kind = FrameKind::Other(kind, bytes.to_vec());
        Step::Send(link, FrameSpec { kind, flags, damage: Damage::None, ..frame.clone() })
    };
    Some(vec![
        piece(NOTIFY, 0, &payload[..first]),
        piece(UNSET, 0, &payload[first..second]),
        piece(UNSET, FIN, &payload[second..]),
    ])
}

/// Returns the whole NOTIFY of the fragment `first` and the first steps of `following`, and the number of those steps.
fn reassembled(link: Link, first: &FrameSpec, following: &[Step], max: Max) -> Option<(Step, usize)> {
    let FrameSpec { kind: FrameKind::Notify(_), flags: 0, .. } = first else { return None };
    let (header, mut payload) = parts(first)?;
    for (at, step) in following.iter().enumerate() {
        let Step::Send(same_link, next) = step else { return None };
        let FrameSpec { kind: FrameKind::Unset(_), flags: flags @ (0 | FIN), .. } = next else { return None };
        let same = *same_link == link && (next.stream_id, next.frame_id) == (first.stream_id, first.frame_id);
        payload.extend(parts(next)?.1);
        if !same || !max.allows(header, payload.len()) {
            return None;
        }
        if *flags == FIN {
            let kind = FrameKind::Other(NOTIFY, payload);
            let FrameSpec { stream_id, frame_id, .. } = *first;
            let whole = FrameSpec { kind, flags: FIN, stream_id, frame_id, slice: None, damage: Damage::None };
            return Some((Step::Send(link, whole), at + 1));
        }
    }
    None
}

/// Returns the size of the header of a frame, without its length, and its payload, with its damage. Returns `None` if a
/// part of the header is missing because of the damage.
fn parts(frame: &FrameSpec) -> Option<(usize, Vec<u8>)> {
    let header = 5 + crate::encode::ids_len(frame.stream_id, frame.frame_id) as usize;
    let mut bytes = frame.to_bytes();
    (bytes.len() >= 4 + header).then(|| (header, bytes.split_off(4 + header)))
}

/// True if nothing is sent on `link` but frames with their real lengths.
fn has_frames_only(script: &Script, link: Link) -> bool {
    !script.steps.iter().any(|step| match step {
        Step::Raw(other, _) => *other == link,
        Step::Send(other, frame) => *other == link && matches!(frame.damage, Damage::Length(_)),
        _ => false,
    })
}

/// Returns the size of the largest frame that all connections of `link` accept.
fn frame_max(script: &Script, outcome: &Outcome, link: Link) -> usize {
    let of_link = outcome.conversations.iter().filter(|conversation| conversation.link == link);
    let negotiated = of_link.filter_map(|conversation| conversation.ready).map(|ready| ready.max_frame_size);
    negotiated.chain([script.agent.connection.max_frame_size.max(256)]).min().unwrap_or(256) as usize
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::run::run;
    use crate::text::parse;

    const HELLO: &str = "connect c1\nsend c1 hello supported-versions=\"2.0\" max-frame-size=u32:300 capabilities=\"\"";

    /// Returns the types and payloads of all frames after the HELLO in the script with exchanged NOTIFYs.
    fn other(lines: &str) -> Option<Vec<(u8, Vec<u8>)>> {
        let script = parse(&format!("spop-script 1\n{HELLO}\n{lines}\n")).expect("the script is valid");
        let steps = exchanged(&script, &run(&script, false))?;
        let frames = steps[2..].iter().filter_map(|step| match step {
            Step::Send(_, frame) => Some((frame.to_bytes()[4], parts(frame).expect("the header is whole").1)),
            _ => None,
        });
        Some(frames.collect())
    }

    #[test]
    fn a_whole_notify_becomes_three_fragments_and_back() {
        let fragments = other("send c1 notify sid=1 fid=1 m(=\"text\")").expect("the NOTIFY can be exchanged");
        assert_eq!(fragments.iter().map(|(kind, _)| *kind).collect::<Vec<_>>(), [NOTIFY, UNSET, UNSET]);
        let payload: Vec<u8> = fragments.into_iter().flat_map(|(_, payload)| payload).collect();
        assert_eq!(payload, b"\x01m\x01\0\x08\x04text");
        let whole = other(
            "send c1 notify sid=1 fid=1 flags=0x0 slice=0..3 m(=\"text\")\n\
             send c1 unset sid=1 fid=1 flags=0x0 slice=3..4 m(=\"text\")\n\
             send c1 unset sid=1 fid=1 slice=4..99 m(=\"text\")",
        );
        assert_eq!(whole, Some(vec![(NOTIFY, payload)]));
    }

    #[test]
    fn a_notify_is_not_exchanged_if_the_result_would_differ() {
        for lines in [
            // A byte above the negotiated size.
            "send c1 notify sid=1 fid=1 m(=text:287)",
            // A byte above the reassembly limit.
            "agent reassembly-max=9\nsend c1 notify sid=1 fid=1 m(=\"text\")",
            // An agent that does not offer fragmentation.
            "agent capabilities=pipelining\nsend c1 notify sid=1 fid=1 m()",
            // Bytes that are not frames.
            "send c1 notify sid=1 fid=1 length=9 m()",
            "send c1 raw 00\nsend c1 notify sid=1 fid=1 m()",
            // A header that is not whole.
            "send c1 notify sid=1 fid=1 trim=4 m()",
            // Fragments that are aborted, have different ids, or do not follow each other.
            "send c1 notify sid=1 fid=1 flags=0x0 m()\nsend c1 unset sid=1 fid=1 flags=0x3",
            "send c1 notify sid=1 fid=1 flags=0x0 m()\nsend c1 unset sid=1 fid=2",
            "send c1 notify sid=1 fid=1 flags=0x0 m()\nwait 1ms\nsend c1 unset sid=1 fid=1",
        ] {
            assert_eq!(other(lines), None, "{lines}");
        }
        for lines in [
            "send c1 notify sid=1 fid=1 m(=text:286)",
            "agent reassembly-max=10\nsend c1 notify sid=1 fid=1 m(=\"text\")",
            "send c1 notify sid=1 fid=1 trim=3 m()",
        ] {
            assert!(other(lines).is_some(), "{lines}");
        }
    }
}
