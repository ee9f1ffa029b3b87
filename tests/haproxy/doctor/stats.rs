//! HAProxy's `show stat`.

use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::{Duration, Instant};

use crate::log::WAIT_MAX;

/// A server of HAProxy.
#[derive(Debug)]
pub(super) struct Server {
    pub(super) name: String,
    /// `UP`, `DOWN`, `no check` and others.
    pub(super) status: String,
    check_status: String,
    /// The number of events in the server's queue and in the queue of its backend.
    pub(super) queued: u64,
}

impl Server {
    pub(super) fn is_down(&self) -> bool {
        self.status.starts_with("DOWN")
    }

    /// True if HAProxy checks the health of this server.
    pub(super) fn is_checked(&self) -> bool {
        self.status != "no check" && !self.status.starts_with("MAINT")
    }

    /// True if a health check has ended.
    pub(super) fn has_check_result(&self) -> bool {
        !["", "INI", "UNK"].contains(&self.last_check())
    }

    /// True if the agent has passed the last health check.
    pub(super) fn is_check_passed(&self) -> bool {
        self.last_check().ends_with("OK")
    }

    fn last_check(&self) -> &str {
        self.check_status.trim_start_matches("* ") // a star shows that the next check is in progress
    }
}

/// Returns the servers of all backends, from the stats socket at `path`. Waits until HAProxy has created the socket.
pub(super) fn servers(path: &Path) -> Vec<Server> {
    let until = Instant::now() + WAIT_MAX;
    let mut stream = loop {
        match UnixStream::connect(path) {
            Ok(stream) => break stream,
            Err(error) => assert!(Instant::now() < until, "HAProxy does not create {}: {error}", path.display()),
        }
        std::thread::sleep(Duration::from_millis(5)); // nothing notifies when the socket is there
    };
    let mut text = String::new();
    let read = stream.write_all(b"show stat\n").and_then(|()| stream.read_to_string(&mut text));
    assert!(read.is_ok(), "cannot read the statistics: {read:?}");
    parse(&text)
}

fn parse(text: &str) -> Vec<Server> {
    let mut lines = text.trim_start_matches("# ").lines().filter(|line| !line.is_empty());
    let names: Vec<_> = lines.next().expect("the first line has the names of the columns").split(',').collect();
    let rows: Vec<Vec<_>> = lines.map(|line| line.split(',').collect()).collect();
    let column = |row: &[&str], name: &str| {
        let n = names.iter().position(|known| *known == name).expect("HAProxy has this column");
        row[n].to_owned()
    };
    let queued = |row: &[&str]| column(row, "qcur").parse::<u64>().unwrap_or(0);
    let server = |row: &[&str]| {
        let of_backend = |other: &&Vec<&str>| other[0] == row[0] && other[1] == "BACKEND";
        Server {
            name: column(row, "svname"),
            status: column(row, "status"),
            check_status: column(row, "check_status"),
            queued: queued(row) + rows.iter().find(of_backend).map_or(0, |backend| queued(backend)),
        }
    };
    rows.iter().filter(|row| column(row, "type") == "2").map(|row| server(row)).collect()
}
