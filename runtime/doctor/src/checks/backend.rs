//! Checks of the backend with the agents.

use std::net::IpAddr;
use std::rc::Rc;

use crate::catalogue::{
    AGENT_DISABLED, AGENTS_BACKEND_BEFORE_FRONTEND, CHECK_MISSING, CHECK_TOO_SLOW, CONNECT_TIMEOUT_ABOVE_PROCESSING,
    FRAME_SIZE_ABOVE_BUFFER, HTTPCHK_ON_AGENT, NAME_NEVER_RESOLVED, NO_REDISPATCH, PIPELINING_OFF, POOL_DISABLED,
    PROCESSING_TIMEOUT_ABOVE_CLIENT, PROCESSING_TIMEOUT_WITHOUT_UNIT, SEND_PROXY_ON_AGENT, SERVER_MAXCONN_ONE,
    SERVER_TIMEOUT_BELOW_IDLE, SERVER_TIMEOUT_BELOW_PROCESSING, SPOP_CHECK_MISSING, SSL_ON_AGENT, TCP_CHECK_ON_AGENT,
};
use crate::config::{Proxy, Server, milliseconds};
use crate::finding::Finding;
use crate::limits::COMPARED_MAX;
use crate::setup::{Deployed, Setup};
use crate::source::Line;
use crate::version::Version;
use crate::words::is_known;

/// The version whose engine is a multiplexer.
const MUX: Version = Version(3, 1);

/// The time in milliseconds for which a dead agent may stay in use.
const NOTICED_WITHIN: u64 = 60_000;

/// The number of milliseconds below which `timeout processing` without a unit was meant as seconds.
const UNIT_FORGOTTEN: u64 = 20;

/// `is_closed` is true if requests are refused when events fail.
pub(super) fn check(setup: &Setup<'_>, deployed: &Deployed<'_>, is_closed: bool, findings: &mut Vec<Finding>) {
    section(setup, deployed, findings);
    let Some(backend_at) = deployed.backend else { return };
    let backend = setup.proxy(backend_at);
    let servers: Vec<_> = backend.servers().collect();
    if servers.iter().all(|server| server.keyword("disabled").is_some()) && backend.last("server-template").is_none() {
        let place = servers.first().map_or(&backend.place, |first| &first.line.place);
        findings.push(Finding::new(&AGENT_DISABLED, place, &[("backend", &backend.name)]));
    }
    servers.iter().for_each(|server| of_server(setup, server, findings));
    protocol(backend, &servers, findings);
    if !is_closed {
        servers.iter().for_each(|server| notices_failure(server, findings));
        is_handshake(backend, &servers, findings);
    }
    timeouts(setup, deployed, backend, servers.len(), findings);
    if setup.version >= MUX {
        reuse(deployed, backend_at, backend, findings);
        if servers.len() > 1
            && backend.option("redispatch").is_none()
            && !servers.iter().any(|s| s.keyword("backup").is_some())
        {
            findings.push(Finding::new(&NO_REDISPATCH, &backend.place, &[]));
        }
    }
}

/// Checks the `spoe-agent` section alone.
fn section(setup: &Setup<'_>, deployed: &Deployed<'_>, findings: &mut Vec<Finding>) {
    let agent = &deployed.engine.agent;
    if let Some((time, line)) = agent.timeout("processing") {
        let value = line.word(2);
        if time < UNIT_FORGOTTEN && value.bytes().all(|byte| byte.is_ascii_digit()) {
            findings.push(Finding::new(&PROCESSING_TIMEOUT_WITHOUT_UNIT, &line.place, &[("value", value)]));
        }
        let clients =
            deployed.uses.iter().take(COMPARED_MAX).filter_map(|of| Some(setup.proxy(of.proxy).timeout("client")?.0));
        if clients.min().is_some_and(|client| time > client) {
            findings.push(Finding::new(&PROCESSING_TIMEOUT_ABOVE_CLIENT, &line.place, &[("value", value)]));
        }
    }
    let is_off = |line: &&Rc<Line>| line.word(0) == "no" && line.word(1) == "option" && line.word(2) == "pipelining";
    if let Some(line) = agent.lines.iter().find(is_off).filter(|_| setup.version >= MUX) {
        findings.push(Finding::new(&PIPELINING_OFF, &line.place, &[]));
    }
    if let Some(ours) = setup.agent.filter(|_| deployed.is_ours && setup.version >= MUX) {
        for line in setup.config.global.iter().filter(|line| line.word(0) == "tune.bufsize") {
            let room = line.word(1).parse::<u32>().ok().and_then(|size| size.checked_sub(4));
            if let Some(room) = room.filter(|room| *room < ours.connection.max_frame_size.min(16380)) {
                findings.push(Finding::new(&FRAME_SIZE_ABOVE_BUFFER, &line.place, &[("size", &room.to_string())]));
            }
        }
    }
}

fn of_server(setup: &Setup<'_>, server: &Server<'_>, findings: &mut Vec<Finding>) {
    let mut found = |kind, line: Option<&Line>, values: &[(&str, &str)]| {
        findings.extend(line.map(|line| Finding::new(kind, &line.place, values)));
    };
    for keyword in ["send-proxy", "send-proxy-v2"] {
        found(&SEND_PROXY_ON_AGENT, server.keyword(keyword), &[("keyword", keyword)]);
    }
    found(&SSL_ON_AGENT, server.keyword("ssl"), &[]);
    let is_none = server.value("init-addr").is_some_and(|(value, _)| value == "none");
    if is_none && server.keyword("resolvers").is_none() && is_name(server.line.word(2)) {
        found(&NAME_NEVER_RESOLVED, Some(server.line), &[]);
    }
    if server.value("maxconn").is_some_and(|(value, _)| value == "1") {
        found(&SERVER_MAXCONN_ONE, server.keyword("maxconn"), &[]);
    }
    if server.value("pool-max-conn").is_some_and(|(value, _)| value == "0") && setup.version >= MUX {
        found(&POOL_DISABLED, server.keyword("pool-max-conn"), &[]);
    }
}

/// Checks that HAProxy notices soon that a server is dead.
fn notices_failure(server: &Server<'_>, findings: &mut Vec<Finding>) {
    let mut found = |kind, values: &[(&str, &str)]| findings.push(Finding::new(kind, &server.line.place, values));
    if server.keyword("disabled").is_some() {
        return;
    }
    if server.keyword("check").is_none() && server.keyword("track").is_none() {
        return found(&CHECK_MISSING, &[("server", server.name())]);
    }
    let inter = server.value("inter").map_or("2s", |(value, _)| value);
    let fall = server.value("fall").map_or("3", |(value, _)| value);
    // After the first failure `fastinter` counts.
    let fast = server.value("fastinter").map_or(inter, |(value, _)| value);
    let times = milliseconds(inter).zip(milliseconds(fast)).zip(fall.parse::<u64>().ok());
    let time = times.and_then(|((inter, fast), fall)| fast.checked_mul(fall.saturating_sub(1))?.checked_add(inter));
    if let Some(time) = time.filter(|time| *time > NOTICED_WITHIN) {
        let seconds = (time / 1000).to_string();
        let values = [("inter", inter), ("fall", fall), ("seconds", &*seconds)];
        found(&CHECK_TOO_SLOW, &values);
    }
}

/// True if the address of a server is a name that has to be looked up.
fn is_name(address: &str) -> bool {
    let host = address.rsplit_once(':').map_or(address, |(host, _)| host);
    let is_ip = host.trim_matches(['[', ']']).parse::<IpAddr>().is_ok();
    is_known(address) && !is_ip && !address.contains(['@', '/'])
}

/// Returns the line that sets the protocol of health checks; the last one counts. `None` if nothing is checked, or another port, which
/// may have another protocol.
fn check_option<'p>(backend: &'p Proxy, servers: &[Server<'p>]) -> Option<Option<&'p Line>> {
    const CHECKS: [&str; 10] = [
        "external-check",
        "httpchk",
        "ldap-check",
        "mysql-check",
        "pgsql-check",
        "redis-check",
        "smtpchk",
        "spop-check",
        "ssl-hello-chk",
        "tcp-check",
    ];
    let has = |keyword| servers.iter().any(|server| server.keyword(keyword).is_some());
    let is_option = |line: &&Rc<Line>| line.word(0) == "option" && CHECKS.contains(&line.word(1));
    let last = || backend.lines.iter().rev().find(is_option).map(|line| &**line);
    (has("check") && !has("port") && !has("addr")).then(last)
}

/// Checks that health checks do not speak HTTP.
fn protocol(backend: &Proxy, servers: &[Server<'_>], findings: &mut Vec<Finding>) {
    if let Some(Some(line)) = check_option(backend, servers)
        && line.word(1) == "httpchk"
    {
        findings.push(Finding::new(&HTTPCHK_ON_AGENT, &line.place, &[]));
    }
}

/// Checks that a health check is more than an open connection.
fn is_handshake(backend: &Proxy, servers: &[Server<'_>], findings: &mut Vec<Finding>) {
    let checked = servers.iter().find(|server| server.keyword("check").is_some());
    let has_rules = backend.lines.iter().any(|line| line.word(0) == "tcp-check");
    match check_option(backend, servers) {
        Some(Some(line)) if line.word(1) == "tcp-check" && !has_rules => {
            findings.push(Finding::new(&TCP_CHECK_ON_AGENT, &line.place, &[]));
        }
        Some(None) => {
            findings.extend(checked.map(|checked| Finding::new(&SPOP_CHECK_MISSING, &checked.line.place, &[])));
        }
        _ => {}
    }
}

fn timeouts(setup: &Setup<'_>, deployed: &Deployed<'_>, backend: &Proxy, servers: usize, findings: &mut Vec<Finding>) {
    let agent = &deployed.engine.agent;
    let server = backend.timeout("server");
    if let Some(((processing, _), (time, line))) = agent.timeout("processing").zip(server)
        && time < processing
    {
        findings.push(Finding::new(&SERVER_TIMEOUT_BELOW_PROCESSING, &line.place, &[]));
    }
    if let Some(((idle, _), (time, line))) = agent.timeout("idle").zip(server)
        && time < idle
        && setup.version < MUX
    {
        findings.push(Finding::new(&SERVER_TIMEOUT_BELOW_IDLE, &line.place, &[]));
    }
    if let Some(((processing, _), (time, line))) = agent.timeout("processing").zip(backend.timeout("connect"))
        && time >= processing
        && servers > 1
    {
        findings.push(Finding::new(&CONNECT_TIMEOUT_ABOVE_PROCESSING, &line.place, &[]));
    }
}

/// A backend in TCP mode that is read before a frontend with its filter does not reuse connections.
fn reuse(deployed: &Deployed<'_>, at: usize, backend: &Proxy, findings: &mut Vec<Finding>) {
    let mode = backend.last("mode");
    if mode.is_some_and(|line| line.word(1) != "tcp" || !is_known(line.word(1))) {
        return;
    }
    if deployed.uses.iter().all(|of| at < of.proxy) {
        let place = mode.map_or(&backend.place, |line| &line.place);
        findings.push(Finding::new(&AGENTS_BACKEND_BEFORE_FRONTEND, place, &[]));
    }
}
