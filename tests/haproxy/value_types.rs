//! Values of every type, as arguments and as variables.

use std::net::{Ipv4Addr, Ipv6Addr};
use std::sync::mpsc;

use spoa_core::Config;
use spoa_runtime::{Headers, Scope, SetVars, TypedData, quick};

use crate::agent::TestAgent;
use crate::client::{Request, loopback};
use crate::haproxy::{Install, Setup};

/// Arguments: the expression in HAProxy, the value that the agent receives, and the text of the variable that the agent
/// sets to this value.
const ARGUMENTS: &[(&str, TypedData<'_>, &str)] = &[
    ("bool(true)", TypedData::Bool(true), "1"),
    ("bool(false)", TypedData::Bool(false), "0"),
    ("int(0)", TypedData::Int64(0), "0"),
    ("int(239)", TypedData::Int64(239), "239"),
    ("int(240)", TypedData::Int64(240), "240"),
    ("int(2288)", TypedData::Int64(2288), "2288"),
    ("int(-1)", TypedData::Int64(-1), "-1"),
    ("int(4294967296)", TypedData::Int64(4_294_967_296), "4294967296"),
    ("int(9223372036854775807)", TypedData::Int64(i64::MAX), "9223372036854775807"),
    ("int(-9223372036854775808)", TypedData::Int64(i64::MIN), "-9223372036854775808"),
    ("src", TypedData::Ipv4(Ipv4Addr::new(127, 0, 0, 7)), "127.0.0.7"),
    ("ipv4(192.0.2.1)", TypedData::Ipv4(Ipv4Addr::new(192, 0, 2, 1)), "192.0.2.1"),
    ("ipv6(2001:db8::1)", TypedData::Ipv6(Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 1)), "2001:db8::1"),
    ("str(abc)", TypedData::String(b"abc"), "abc"),
    ("req.hdr(x-utf8)", TypedData::String("\u{fc}".as_bytes()), "\u{fc}"),
    ("req.hdr(x-empty)", TypedData::String(b""), ""),
    ("bin(00ff10)", TypedData::Binary(&[0, 0xff, 0x10]), "00FF10"),
    ("req.body", TypedData::Binary(b""), ""),
    ("method", TypedData::String(b"GET"), "GET"),
    ("req.hdr(x-absent)", TypedData::Null, ""),
    ("var(txn.never_set)", TypedData::Null, ""),
];

/// The maximum number of arguments of a message.
const COUNT: usize = 255;

/// HAProxy sends a message with [`COUNT`] arguments of all types, and the agent returns each of them as a variable.
pub(crate) fn of_arguments(install: &Install) {
    let (sender, receiver) = mpsc::channel();
    let handler = quick(move |request, ack| {
        for (n, (name, value)) in request.messages().flat_map(|message| message.args()).enumerate() {
            sender.send((String::from_utf8_lossy(name).into_owned(), format!("{value:?}")))?;
            match value {
                TypedData::Null => ack.unset_var(Scope::Transaction, &format!("v{n}"))?,
                value => ack.set_var(Scope::Transaction, &format!("v{n}"), value)?,
            };
        }
        Ok(())
    });
    let agent = TestAgent::start(Config::default(), handler);

    let arguments = || ARGUMENTS.iter().cycle().take(COUNT).enumerate();
    // Every third argument has no name.
    let name = |n: usize| if n.is_multiple_of(3) { String::new() } else { format!("n{n}") };
    let argument = |(n, (expression, ..)): (usize, &(&str, _, _))| match &*name(n) {
        "" => format!("{expression} "),
        name => format!("{name}={expression} "),
    };
    let variable = |(n, (_, value, _)): (usize, &(&str, TypedData<'_>, &str))| {
        let hex = if matches!(value, TypedData::Binary(_)) { ",hex" } else { "" };
        format!("%[var(txn.t.v{n}){hex}]|")
    };
    // A line of the configuration can have 64 words, so the arguments are on several lines.
    let args: Vec<_> = arguments().map(argument).collect();
    let args: Vec<_> = args.chunks(32).map(<[_]>::concat).collect();
    let mut setup = Setup::with_message(&agent.addr, "on-frontend-http-request", &args.join("\n    args "));
    setup.body = arguments().map(variable).collect();
    let haproxy = setup.start(install);

    let request = Request::get("/").from(loopback(7)).header("x-utf8", "\u{fc}").header("x-empty", "");
    let response = request.send(haproxy.addr);
    assert_eq!(haproxy.log.status(response.sid()), 0);
    let received: Vec<_> = receiver.try_iter().collect();
    assert_eq!(received.len(), COUNT);
    let returned: Vec<_> = response.body.split_terminator('|').collect();
    assert_eq!(returned.len(), COUNT, "{returned:?}");
    for (n, (expression, value, text)) in arguments() {
        assert_eq!(received[n], (name(n), format!("{value:?}")), "{n}: {expression}");
        assert_eq!(returned[n], *text, "{n}: {expression}");
    }
}

/// Variables that the agent sets: name, value, a converter of HAProxy, and the result of the converter if the variable
/// has the right type.
const VARIABLES: &[(&str, TypedData<'_>, &str, &str)] = &[
    ("true", TypedData::Bool(true), "", "1"),
    ("false", TypedData::Bool(false), "", "0"),
    ("int32_min", TypedData::Int32(i32::MIN), ",neg", "2147483648"),
    ("uint32_max", TypedData::Uint32(u32::MAX), ",add(1)", "4294967296"),
    ("int64_min", TypedData::Int64(i64::MIN), ",add(1)", "-9223372036854775807"),
    ("uint64", TypedData::Uint64(i64::MAX as u64), ",add(-1)", "9223372036854775806"),
    ("ipv4", TypedData::Ipv4(Ipv4Addr::new(192, 0, 2, 7)), ",ipmask(24)", "192.0.2.0"),
    ("ipv6", TypedData::Ipv6(Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 7)), ",ipmask(24,32)", "2001:db8::"),
    ("string", TypedData::String(b"abc"), ",upper", "ABC"),
    ("empty", TypedData::String(b""), ",length", "0"),
    ("binary", TypedData::Binary(&[0, 0xff]), ",hex", "00FF"),
];

/// The agent sets a variable of each type.
pub(crate) fn of_variables(install: &Install) {
    let handler = quick(|_, ack| {
        for (name, value, ..) in VARIABLES {
            ack.set_var(Scope::Transaction, name, *value)?;
        }
        Ok(())
    });
    let agent = TestAgent::start(Config::default(), handler);
    let mut setup = Setup::with_message(&agent.addr, "on-frontend-http-request", "path");
    for (name, _, converter, _) in VARIABLES {
        setup = setup.header(&format!("x-{name}"), &format!("%[var(txn.t.{name}){converter}]"));
    }
    let haproxy = setup.start(install);
    let response = Request::get("/").send(haproxy.addr);
    assert_eq!(haproxy.log.status(response.sid()), 0);
    for (name, value, _, result) in VARIABLES {
        assert_eq!(response.header(&format!("x-{name}")), *result, "{value:?}");
    }
}

/// The headers of a request arrive in the binary form that `Headers` reads.
pub(crate) fn headers(install: &Install) {
    let handler = quick(|request, ack| {
        for message in request {
            let headers = Headers::decode(message.get("headers")?)?;
            let names: Vec<_> = headers.clone().map(|(name, _)| String::from_utf8_lossy(name).into_owned()).collect();
            ack.set_var(Scope::Transaction, "names", names.join(",").as_str())?;
            ack.set_var(Scope::Transaction, "long", headers.get("X-Long").map_or(0, <[u8]>::len) as u32)?;
            ack.set_var(Scope::Transaction, "empty", headers.get("x-empty") == Some(b""))?;
        }
        Ok(())
    });
    let agent = TestAgent::start(Config::default(), handler);
    let setup = Setup::with_message(&agent.addr, "on-frontend-http-request", "headers=req.hdrs_bin");
    let setup = setup.header("x-names", "%[var(txn.t.names)]").header("x-len", "%[var(txn.t.long)]");
    let haproxy = setup.header("x-no-value", "%[var(txn.t.empty)]").start(install);
    let long = "x".repeat(300);
    let request = Request::get("/").header("X-Long", &long).header("X-Empty", "");
    let response = request.send(haproxy.addr);
    let names = response.header("x-names");
    assert!(names.starts_with("host") && names.ends_with("x-long,x-empty"), "{names}");
    assert_eq!((response.header("x-len"), response.header("x-no-value")), ("300", "1"));
}

/// Messages for three events of a request. HAProxy can read the variables between the events.
const MESSAGES: &str = "
spoe-message set
    args int(1)
    event on-frontend-http-request if { path /set }
spoe-message unset
    args int(1)
    event on-backend-http-request if { path /set }
spoe-message respond
    args int(1)
    event on-http-response if { var(txn.set_txn) -m found }
";

/// The agent sets a variable in each scope and unsets it again at the next event.
pub(crate) fn scopes(install: &Install) {
    const SCOPES: [(Scope, &str); 4] =
        [(Scope::Process, "proc"), (Scope::Session, "sess"), (Scope::Transaction, "txn"), (Scope::Request, "req")];
    let handler = quick(|request, ack| {
        for message in request {
            for (scope, name) in SCOPES {
                match message.name() {
                    b"set" => ack.set_var(scope, "kept", name)?.set_var(scope, "gone", name)?,
                    b"unset" => ack.unset_var(scope, "gone")?,
                    _ => ack,
                };
            }
            if message.name() == b"respond" {
                ack.set_var(Scope::Response, "kept", "res")?;
                ack.set_var(Scope::Response, "gone", "res")?.unset_var(Scope::Response, "gone")?;
            }
        }
        Ok(())
    });
    let agent = TestAgent::start(Config::default(), handler);

    let (mut frontend, mut site) = (String::new(), String::new());
    let mut setup = Setup {
        servers: vec![agent.addr.to_string()],
        agent: "messages set unset respond".into(),
        messages: MESSAGES.into(),
        // An agent can change a variable of the scope `proc`, but not create one.
        global: "    set-var proc.t.kept str(none)\n    set-var proc.t.gone str(none)\n".into(),
        ..Setup::default()
    };
    for (_, scope) in SCOPES {
        frontend += &format!("    http-request set-var(txn.set_{scope}) var({scope}.t.gone)\n");
        site += &format!("    http-request set-var(txn.kept_{scope}) var({scope}.t.kept)\n");
        site += &format!("    http-request set-var(txn.unset_{scope}) var({scope}.t.gone)\n");
        for when in ["set", "kept", "unset"] {
            setup = setup.header(&format!("x-{when}-{scope}"), &format!("%[var(txn.{when}_{scope})]"));
        }
        setup = setup.header(&format!("x-later-{scope}"), &format!("%[var({scope}.t.kept)]"));
    }
    setup = setup.header("x-kept-res", "%[var(res.t.kept)]").header("x-unset-res", "%[var(res.t.gone)]");
    (setup.frontend, setup.site) = (frontend, Some(site));
    let haproxy = setup.start(install);

    let response = Request::get("/set").send(haproxy.addr);
    for (_, scope) in SCOPES {
        let header = |when| response.header(&format!("x-{when}-{scope}"));
        assert_eq!(["set", "kept", "unset"].map(header), [scope, scope, ""], "{scope} during the request");
        // Variables of the scope `req` do not exist any more when the response is processed.
        assert_eq!(header("later"), if scope == "req" { "" } else { scope }, "{scope} in the response");
    }
    assert_eq!((response.header("x-kept-res"), response.header("x-unset-res")), ("res", ""));
    assert_eq!(haproxy.log.failed(), [""; 0]);

    let other = Request::get("/other").send(haproxy.addr);
    let later = |scope| other.header(&format!("x-later-{scope}")).to_owned();
    assert_eq!(
        SCOPES.map(|(_, scope)| later(scope)),
        ["proc", "", "", ""],
        "another client gets only the variables of the process"
    );
}
