//! HAProxy and agents with one configuration of a case.

use std::net::{SocketAddr, TcpListener};
use std::path::PathBuf;
use std::time::{Duration, Instant};

use spoa_tests::folder::Folder;
use spoa_tests::symptom::{self, Frontend, Symptom};

use super::agents::Agent;
use super::site::Site;
use super::stats::{self, Server};
use crate::client::{Connection, Request, Response, is_timeout, loopback};
use crate::haproxy::{Install, Process};
use crate::log::{Log, WAIT_MAX};

/// The last byte of the address of the client that is in the list `bad`, 127.0.0.66.
pub(super) const LISTED: u8 = 66;
/// The last byte of the address of a client that is in no list.
pub(super) const UNLISTED: u8 = 1;

/// A running HAProxy with its agents. Everything is stopped when this value is dropped, HAProxy first.
pub(super) struct Scene<'c> {
    pub(super) symptom: &'c Symptom,
    /// True if the symptom has to show. It decides only how long to wait for an event.
    pub(super) expected: bool,
    /// The address of the frontend that gets the requests.
    pub(super) addr: SocketAddr,
    _haproxy: Process,
    pub(super) agent: Agent,
    _agent2: Option<Agent>,
    _site: Site,
    pub(super) log: Log,
    folder: Folder,
}

impl<'c> Scene<'c> {
    /// Starts HAProxy and agents with the files in `folder`.
    pub(super) fn start(install: &Install, folder: Folder, symptom: &'c Symptom, expected: bool) -> Self {
        let agent = Agent::start(symptom.agent, &folder);
        let agent2 = symptom.agent2.map(|kind| Agent::start(kind, &folder));
        let (log, site) = (Log::new(), Site::start());
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port is free");
        let addr = listener.local_addr().expect("the socket is bound");
        let mut command = install.command(listener);
        command.arg("-db").arg("-f").arg(folder.path("haproxy.cfg")).envs(variables(&folder));
        let unused = match symptom.frontend {
            Frontend::Frontend => "FRONTEND2",
            Frontend::Frontend2 => "FRONTEND",
        };
        command.env("FRONTEND", "fd@3").env("FRONTEND2", "fd@3");
        command.env(unused, format!("unix@{}", folder.path("unused").display()));
        command.env("AGENT", agent.addr.to_string()).env("AGENT_PORT", agent.addr.port().to_string());
        if let Some(agent2) = &agent2 {
            command.env("AGENT2", agent2.addr.to_string());
        }
        command.env("BACKEND", site.addr.to_string()).env("LOG", log.addr.to_string());
        let haproxy = Process::start(&mut command);
        let mut scene =
            Self { symptom, expected, addr, _haproxy: haproxy, agent, _agent2: agent2, _site: site, log, folder };
        if symptom.agent == symptom::Agent::Dead {
            // Events fail in another way before HAProxy has marked the server DOWN.
            scene.wait_for_checks();
        }
        scene.change_agent();
        scene
    }

    /// Makes the agent fail after its first health check and its first event, if the symptom needs that.
    fn change_agent(&mut self) {
        if self.agent.changes() {
            self.wait_for_checks();
            self.send(UNLISTED, &[]);
            self.agent.change();
        }
    }

    /// Returns the servers of HAProxy.
    pub(super) fn servers(&self) -> Vec<Server> {
        stats::servers(&self.folder.path("stats"))
    }

    /// Returns the server `agent`.
    pub(super) fn server(&self) -> Server {
        self.servers().into_iter().find(|server| server.name == "agent").expect("each case has a server `agent`")
    }

    /// Waits until each server with a health check has a result.
    pub(super) fn wait_for_checks(&self) {
        let has_result = |server: &Server| !server.is_checked() || server.has_check_result();
        self.wait("results of all health checks", || self.servers().iter().all(has_result));
    }

    /// Waits until `condition` is true.
    pub(super) fn wait(&self, what: &str, condition: impl FnMut() -> bool) {
        assert!(holds(WAIT_MAX, condition), "expected {what} within {WAIT_MAX:?}: {:#?}", self.servers());
    }

    /// Returns whether `condition` becomes true. If that `is_expected`, this waits for it, else only for `silence`.
    pub(super) fn happens(&self, is_expected: bool, silence: Duration, condition: impl FnMut() -> bool) -> bool {
        holds(if is_expected { WAIT_MAX } else { silence }, condition)
    }

    /// Returns the request of the symptom with these headers.
    pub(super) fn request<'r>(&'r self, headers: &'r [String]) -> Request<'r> {
        with_headers(Request::get(&self.symptom.path), headers)
    }

    /// Opens a connection from 127.0.0.`client`.
    pub(super) fn connect(&self, client: u8) -> Connection {
        Connection::open(loopback(client), self.addr).expect("HAProxy listens")
    }

    /// Sends the requests before the one of the symptom, and then that one with `headers`, on a new connection. Returns the
    /// last response, or `None` if the connection was closed without a response.
    pub(super) fn send(&self, client: u8, headers: &[String]) -> Option<Response> {
        let mut connection = self.connect(client);
        for step in &self.symptom.before {
            exchange(&mut connection, &with_headers(Request::get(&step.path), &step.headers))?;
        }
        let pad = format!("pad={}", "x".repeat(self.symptom.pad));
        let request = self.request(headers);
        exchange(&mut connection, &if self.symptom.pad > 0 { request.header("cookie", &pad) } else { request })
    }

    /// Sends the request of the listed client and returns the status, which is 0 if the connection was closed.
    pub(super) fn listed(&self) -> u16 {
        let client = match self.symptom.source {
            symptom::Source::Listed => LISTED,
            symptom::Source::Unlisted => UNLISTED,
        };
        self.send(client, &self.symptom.headers).map_or(0, |response| response.status)
    }

    /// Sends the request of the client that is not listed and returns the status, which is 0 if the connection was closed.
    pub(super) fn unlisted(&self) -> u16 {
        let headers = self.symptom.headers_unlisted.as_ref().unwrap_or(&self.symptom.headers);
        self.send(UNLISTED, headers).map_or(0, |response| response.status)
    }
}

/// Sends a request and waits for its response. Returns `None` if the connection is closed before it.
fn exchange(connection: &mut Connection, request: &Request<'_>) -> Option<Response> {
    let result = connection.exchange(request);
    assert!(!result.as_ref().is_err_and(is_timeout), "HAProxy does not respond");
    result.ok()
}

fn with_headers<'r>(request: Request<'r>, headers: &'r [String]) -> Request<'r> {
    headers.iter().fold(request, |request, line| {
        let (name, value) = line.split_once(": ").expect("a header has a name and a value");
        request.header(name, value)
    })
}

/// Waits until `condition` is true, and returns false if it is not within `limit`.
fn holds(limit: Duration, mut condition: impl FnMut() -> bool) -> bool {
    let until = Instant::now() + limit;
    loop {
        if condition() {
            return true;
        }
        if Instant::now() > until {
            return false;
        }
        std::thread::sleep(Duration::from_millis(10)); // neither HAProxy nor the agent notifies
    }
}

/// Returns the variables of a configuration in this folder, with addresses that HAProxy accepts and nobody uses.
pub(super) fn variables(folder: &Folder) -> Vec<(&'static str, PathBuf)> {
    let addrs = ["FRONTEND", "FRONTEND2", "AGENT", "AGENT2", "BACKEND", "LOG"].map(|name| (name, "127.0.0.1:9".into()));
    let paths = [("STATS", "stats"), ("SPOE", "spoe.conf"), ("DIR", "")];
    let paths = paths.map(|(name, file)| (name, folder.path(file)));
    [("AGENT_PORT", "9".into())].into_iter().chain(addrs).chain(paths).collect()
}
