//! First frames that the agent has to refuse (SPOE.txt 3.2.4 and 3.5).

use crate::bytes::{FIN, Frame, Value, hex};
use crate::conformance::case::Case;
use crate::conformance::case::Level::{Must, Should};
use crate::conformance::play::{Play, Played, Refusal, worst_of};
use crate::frames::{Hello, disconnect};

pub(super) const CASES: &[Case] = &[
    Case::new(
        Should,
        "3.2.4/no-versions",
        "A HELLO without `supported-versions` is refused with status 5.",
        "SPOE.txt 3.2.4: the key is mandatory; 3.5",
        |play| refuses(play, |hello| hello.without("supported-versions"), 5),
    ),
    Case::new(
        Should,
        "3.2.4/version-1-0",
        "A HELLO that supports only version 1.0 is refused with status 8.",
        "SPOE.txt 3.2.4 and 3.5",
        |play| refuses(play, |hello| hello.with("supported-versions", Value::text("1.0")), 8),
    ),
    Case::new(
        Should,
        "3.2.4/version-3-0",
        "A HELLO that supports only version 3.0 is refused with status 8.",
        "SPOE.txt 3.2.4 and 3.5",
        |play| refuses(play, |hello| hello.with("supported-versions", Value::text("3.0")), 8),
    ),
    Case::new(
        Should,
        "3.2.4/version-no-number",
        "A HELLO whose version is no number is refused with status 8.",
        "SPOE.txt 3.2.4 and 3.5",
        |play| refuses(play, |hello| hello.with("supported-versions", Value::text("abc")), 8),
    ),
    Case::new(
        Should,
        "3.2.4/version-empty",
        "A HELLO with an empty list of versions is refused with status 8.",
        "SPOE.txt 3.2.4 and 3.5",
        |play| refuses(play, |hello| hello.with("supported-versions", Value::text("")), 8),
    ),
    Case::new(
        Should,
        "3.2.4/no-frame-size",
        "A HELLO without `max-frame-size` is refused with status 6.",
        "SPOE.txt 3.2.4: the key is mandatory; 3.5",
        |play| refuses(play, |hello| hello.without("max-frame-size"), 6),
    ),
    Case::new(
        Should,
        "3.2.4/frame-size-255",
        "A HELLO with a frame size below 256 is refused with status 9.",
        "SPOE.txt 3.2.4 and 3.5; SPOP_MIN_FRAME_SIZE",
        |play| refuses(play, |hello| hello.with("max-frame-size", Value::Uint32(255)), 9),
    ),
    Case::new(
        Should,
        "3.2.4/frame-size-of-wrong-type",
        "A HELLO whose frame size is a string is refused with status 4.",
        "SPOE.txt 3.2.4: an integer; 3.5",
        |play| refuses(play, |hello| hello.with("max-frame-size", Value::text("16380")), 4),
    ),
    Case::new(
        Should,
        "3.2.4/no-capabilities",
        "A HELLO without `capabilities` is refused with status 7.",
        "SPOE.txt 3.2.4: the key is mandatory; 3.5",
        |play| refuses(play, |hello| hello.without("capabilities"), 7),
    ),
    Case::new(
        Should,
        "3.2.4/no-fin",
        "A HELLO without FIN is refused with status 10, because a HELLO is never fragmented.",
        "SPOE.txt 3.2.4 and 3.5",
        |play| refuses(play, |hello| hello.flags(0), 10),
    ),
    Case::new(
        Should,
        "3.2.4/stream-id",
        "A HELLO with a stream-id is refused with status 4.",
        "SPOE.txt 3.2.4: both ids are 0; 3.5",
        |play| refuses(play, |hello| hello.ids(1, 0), 4),
    ),
    Case::new(
        Should,
        "3.2.4/frame-id",
        "A HELLO with a frame-id is refused with status 4.",
        "SPOE.txt 3.2.4: both ids are 0; 3.5",
        |play| refuses(play, |hello| hello.ids(0, 1), 4),
    ),
    Case::new(Must, "3.2.4/empty-key", "A HELLO with an empty key is refused.", "spop_conn_handle_hello", |play| {
        refuses_malformed(play, "", Value::Null)
    }),
    Case::new(
        Must,
        "3.2.4/reserved-type",
        "A HELLO with a value of a reserved type is refused, because its length is unknown.",
        "SPOE.txt 3.1",
        |play| refuses_malformed(play, "x", Value::Raw(hex("0c"))),
    ),
    Case::new(
        Must,
        "3.2.4/value-missing",
        "A HELLO that ends after a key is refused.",
        "SPOE.txt 3.1: KV-LIST",
        |play| refuses_malformed(play, "x", Value::Raw(Vec::new())),
    ),
    Case::new(
        Must,
        "3.2.4/string-too-long",
        "A HELLO with a string that extends beyond the frame is refused.",
        "SPOE.txt 3.1; the length is compared with what is left of the frame",
        |play| refuses_malformed(play, "x", Value::Raw(hex("08 ff7f"))),
    ),
    Case::new(
        Must,
        "3.2.4/string-of-2-64",
        "A HELLO with a string of nearly 2^64 bytes is refused: position plus length must not overflow.",
        "SPOE.txt 3.1; HAProxy itself had this bug until 3.4",
        |play| refuses_malformed(play, "x", Value::Raw(hex("08 fff0fefefefefefefe0e"))),
    ),
    Case::new(
        Must,
        "3.2.3/notify-first",
        "A NOTIFY before the HELLO is refused.",
        "SPOE.txt 3.2.3: the HELLO is first",
        |play| play.refuses_first(&play.question.notify(1, 1), Refusal::End(&[4])),
    ),
    Case::new(
        Must,
        "3.2.3/disconnect-first",
        "A HAPROXY-DISCONNECT before the HELLO ends the connection, best with the same status.",
        "SPOE.txt 3.2.8",
        |play| play.refuses_first(&disconnect(2), Refusal::End(&[2])),
    ),
    Case::new(
        Must,
        "3.2.3/unknown-type-first",
        "A frame of an unknown type before the HELLO is refused.",
        "SPOE.txt 3.2.3: the HELLO is first",
        |play| play.refuses_first(&Frame::new(77, (0, 0), []).encode(), Refusal::End(&[4])),
    ),
    Case::new(
        Must,
        "3.2.3/fragment-first",
        "A fragment before the HELLO is refused.",
        "SPOE.txt 3.2.3: the HELLO is first",
        |play| play.refuses_first(&Frame::new(0, (0, 0), []).flags(FIN).encode(), Refusal::End(&[4])),
    ),
    Case::new(
        Must,
        "3.2/length-0-first",
        "A frame of length 0 before the HELLO is refused.",
        "SPOE.txt 3.2; the same frame made HAProxy spin (haproxy/haproxy#2490)",
        |play| play.refuses_first(&hex("00000000"), Refusal::End(&[4])),
    ),
    Case::new(
        Must,
        "3.2/length-6-first",
        "A frame that is too short for its ids is refused before the HELLO.",
        "SPOE.txt 3.2: type, flags and two ids are at least 7 bytes",
        |play| play.refuses_first(&hex("00000006 01 00000001 00"), Refusal::End(&[4])),
    ),
    Case::new(
        Must,
        "3.2/length-2g-first",
        "A frame that announces 2 GiB before the HELLO is refused at once, without waiting for its bytes.",
        "SPOE.txt 3.5, status 3; the C example overruns its buffer",
        |play| play.refuses_first(&hex("7fffffff"), Refusal::End(&[3])),
    ),
    Case::new(
        Must,
        "3.2/http-request",
        "An HTTP request on the port of the agent is refused; `GET ` is a length of more than 1 GiB.",
        "load balancers and people with curl send it",
        |play| play.refuses_first(b"GET / HTTP/1.1\r\nHost: agent\r\n\r\n", Refusal::End(&[3, 4])),
    ),
    Case::new(
        Must,
        "3.2/tls-hello",
        "A TLS ClientHello on the port of the agent is refused.",
        "`ssl` on the server line by mistake",
        |play| play.refuses_first(&hex("16030100 f8010000 f40303 00000000"), Refusal::End(&[3, 4])),
    ),
    Case::new(
        Must,
        "3.2/proxy-protocol",
        "A PROXY protocol header on the port of the agent is refused.",
        "`send-proxy` on the server line by mistake",
        |play| play.refuses_first(b"PROXY TCP4 192.0.2.1 192.0.2.2 1 2\r\n", Refusal::End(&[3, 4])),
    ),
    Case::new(
        Must,
        "3.2.3/end-before-hello",
        "The end of a connection before or inside the HELLO closes it on both sides, without a frame.",
        "HAProxy reads nothing after its FIN",
        |play| {
            let hello = play.hello.encode();
            worst_of([0, 3, 11, hello.len() - 1], |cut| {
                let mut peer = play.connect()?;
                peer.send(&hello[..cut]);
                peer.finish();
                Ok(play.silent_close(&mut peer))
            })
        },
    ),
    Case::new(
        Should,
        "3.2.3/no-hello",
        "A connection on which no HELLO arrives is closed after some time, best with status 2.",
        "SPOE.txt 3.5: a timeout occurred; otherwise idle connections fill the agent",
        |play| {
            let mut peer = play.connect()?;
            peer.set_timeout(play.patience);
            Ok(play.refusal(&mut peer, Refusal::End(&[2])))
        },
    ),
    Case::new(
        Should,
        "3.2.4/second-hello",
        "A second HELLO on a connection is refused.",
        "SPOE.txt 3.2.3: one handshake per connection",
        |play| play.refuses(&play.hello.encode(), Refusal::End(&[4])),
    ),
];

/// Checks that a changed HELLO is refused with this status.
fn refuses(play: &Play<'_>, change: impl Fn(Hello) -> Hello, code: u64) -> Played {
    play.refuses_first(&change(play.hello.clone()).encode(), Refusal::Code(&[code]))
}

/// Checks that a HELLO with one malformed item at its end is refused.
fn refuses_malformed(play: &Play<'_>, key: &str, value: Value) -> Played {
    play.refuses_first(&play.hello.clone().and(key, value).encode(), Refusal::End(&[4]))
}
