//! An HTTP client for an agent's metrics and health.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::os::unix::net::UnixStream;
use std::time::Instant;

use crate::agent::{Agent, LIMIT};

/// The address at which an agent serves metrics and health.
#[derive(Clone, Debug)]
pub struct Admin(String);

impl Admin {
    /// Returns the admin address of an agent with one `--admin`.
    ///
    /// # Panics
    /// If the agent does not log one.
    pub fn of(agent: &Agent) -> Self {
        const LINE: &str = "metrics and health on ";
        agent.wait_for_line(LINE);
        let log = agent.log();
        let line = log.lines().find_map(|line| line.split_once(LINE)).expect("the line was waited for");
        Self::at(line.1.split('"').next().unwrap_or_default())
    }

    /// Returns the admin at an address in the notation of the agent's log.
    pub fn at(addr: &str) -> Self {
        Self(addr.to_owned())
    }

    /// Returns the address in the notation of the agent's log.
    pub fn addr(&self) -> &str {
        &self.0
    }

    /// Sends a `GET` of this path and returns the status and the whole response.
    pub fn get(&self, path: &str) -> (u16, String) {
        self.request(&format!("GET {path}"))
    }

    /// Sends a request, given as `METHOD PATH`, and returns the status and the whole response.
    ///
    /// # Panics
    /// If there is no response, or it is not HTTP.
    pub fn request(&self, request: &str) -> (u16, String) {
        let text = self.exchange(&format!("{request} HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n"));
        let status = text.split(' ').nth(1).and_then(|status| status.parse().ok()).expect("the response has a status");
        (status, text)
    }

    /// Sends the bytes of a whole request and returns everything that arrives until the agent closes the connection.
    ///
    /// # Panics
    /// If the agent does not listen, or does not close the connection in time.
    pub fn exchange(&self, request: &str) -> String {
        match self.0.strip_prefix("unix:") {
            Some(path) => exchange(UnixStream::connect(path).expect("the agent listens"), request),
            None => {
                let stream = TcpStream::connect(&self.0).expect("the agent listens");
                stream.set_read_timeout(Some(LIMIT)).expect("the timeout is above zero");
                exchange(stream, request)
            }
        }
    }

    /// Sends the bytes of a whole request. Returns everything that arrives, or `None` if the agent ends first.
    pub fn try_exchange(&self, request: &str) -> Option<String> {
        let mut stream = UnixStream::connect(self.0.strip_prefix("unix:")?).ok()?;
        stream.write_all(request.as_bytes()).ok()?;
        let mut text = String::new();
        stream.read_to_string(&mut text).ok()?;
        Some(text)
    }

    /// Waits until a sample of the metrics has the value `wanted`. `name` includes the labels.
    ///
    /// # Panics
    /// If the sample has another value after [`LIMIT`], or does not exist.
    pub fn wait_for(&self, name: &str, wanted: f64) {
        let deadline = Instant::now() + LIMIT;
        loop {
            let value = self.sample(name);
            if (value - wanted).abs() < 0.001 {
                return;
            }
            assert!(Instant::now() < deadline, "expected {wanted} for {name}, got {value}");
        }
    }

    /// Returns a sample of the metrics. `name` includes the labels.
    ///
    /// # Panics
    /// If there is no such sample.
    pub fn sample(&self, name: &str) -> f64 {
        sample(&self.get("/metrics").1, name)
    }

    /// Returns the sum of a metric over all of its labels, or the sample with the labels in `name`. It is 0 if there is
    /// no sample.
    pub fn total(&self, name: &str) -> f64 {
        total(&self.get("/metrics").1, name)
    }
}

/// Returns the sum of the samples of a metric, which is 0 if there is none. `name` may include all labels of one sample.
fn total(text: &str, name: &str) -> f64 {
    let value = |line: &str| {
        let rest = line.strip_prefix(name).filter(|rest| rest.starts_with([' ', '{']))?;
        Some(rest.rsplit(' ').next()?.parse::<f64>().expect("a sample is a number"))
    };
    text.lines().filter_map(value).sum()
}

/// Returns a sample from a response of `/metrics`. `name` includes the labels.
///
/// # Panics
/// If there is no such sample.
pub fn sample(text: &str, name: &str) -> f64 {
    let line = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
    line.unwrap_or_else(|| panic!("expected a sample {name}, got {text}")).parse().expect("a sample is a number")
}

fn exchange(mut stream: impl Read + Write, request: &str) -> String {
    stream.write_all(request.as_bytes()).expect("the agent reads the request");
    let mut text = String::new();
    stream.read_to_string(&mut text).expect("the agent responds and closes the connection");
    text
}
