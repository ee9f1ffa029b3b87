//! Metrics and health of an agent, over HTTP.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::os::unix::net::UnixStream;
use std::time::Instant;

use crate::agent::{Agent, LIMIT};

/// Where an agent tells of itself.
#[derive(Clone, Debug)]
pub struct Admin(String);

impl Admin {
    /// That of an agent with one `--admin`.
    ///
    /// # Panics
    /// If it has none.
    pub fn of(agent: &Agent) -> Self {
        const LINE: &str = "metrics and health on ";
        agent.wait_for_line(LINE);
        let log = agent.log();
        let line = log.lines().find_map(|line| line.split_once(LINE)).expect("it was waited for");
        Self::at(line.1.split('"').next().unwrap_or_default())
    }

    /// Returns the admin at an address, as the log names it.
    pub fn at(addr: &str) -> Self {
        Self(addr.to_owned())
    }

    /// The address, as the log names it.
    pub fn addr(&self) -> &str {
        &self.0
    }

    /// What is answered to a `GET` of this path.
    pub fn get(&self, path: &str) -> (u16, String) {
        self.ask(&format!("GET {path}"))
    }

    /// What is answered to a request, `METHOD PATH`: the status, and all of it.
    ///
    /// # Panics
    /// If it is no answer.
    pub fn ask(&self, request: &str) -> (u16, String) {
        let text = self.exchange(&format!("{request} HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n"));
        let status = text.split(' ').nth(1).and_then(|status| status.parse().ok()).expect("a status");
        (status, text)
    }

    /// Returns everything that is answered to a whole request.
    ///
    /// # Panics
    /// If it is no answer.
    pub fn exchange(&self, request: &str) -> String {
        match self.0.strip_prefix("unix:") {
            Some(path) => exchange(UnixStream::connect(path).expect("it listens"), request),
            None => {
                let stream = TcpStream::connect(&self.0).expect("it listens");
                stream.set_read_timeout(Some(LIMIT)).expect("a socket");
                exchange(stream, request)
            }
        }
    }

    /// Waits until a sample of the metrics is `wanted`.
    ///
    /// # Panics
    /// If it never is, or there is none of this name and these labels.
    pub fn wait_for(&self, name: &str, wanted: f64) {
        let deadline = Instant::now() + LIMIT;
        loop {
            let value = self.sample(name);
            if (value - wanted).abs() < 0.001 {
                return;
            }
            assert!(Instant::now() < deadline, "{name} stays {value}");
        }
    }

    /// A sample of the metrics.
    ///
    /// # Panics
    /// If there is none of this name and these labels.
    pub fn sample(&self, name: &str) -> f64 {
        sample(&self.get("/metrics").1, name)
    }
}

/// A sample in the text of metrics.
///
/// # Panics
/// If there is none of this name and these labels.
pub fn sample(text: &str, name: &str) -> f64 {
    let line = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
    line.unwrap_or_else(|| panic!("no {name} in {text}")).parse().expect("a number")
}

fn exchange(mut stream: impl Read + Write, request: &str) -> String {
    stream.write_all(request.as_bytes()).expect("it is there");
    let mut text = String::new();
    stream.read_to_string(&mut text).expect("it answers and closes");
    text
}
