//! Chooses a TCP port for an agent that binds it itself, a moment later.
//!
//! A port that the kernel chooses (port 0) is free only while it is bound: between its release and the bind of a slow agent, the
//! kernel may give it to any other socket, and then the kit would judge another program. So the ports here are below the range
//! from which the kernel chooses, and each is returned once per process.

use std::net::{Ipv4Addr, TcpListener};
use std::sync::atomic::{AtomicU16, Ordering};
use std::{fs, io, process};

/// The number of ports below the kernel's range that are used.
const COUNT: u16 = 12_000;
/// The start of the kernel's range if it cannot be read: the default of Linux.
const DEFAULT_START: u16 = 32_768;

/// Returns a port on 127.0.0.1 on which nothing listens, and which no other call of this process has returned.
///
/// # Errors
/// If there is none.
pub(crate) fn choose() -> io::Result<u16> {
    static CALLS: AtomicU16 = AtomicU16::new(0);
    let first = kernel_start().saturating_sub(COUNT).max(1024);
    // Processes that run beside each other start at different ports.
    let own = process::id().wrapping_mul(7919);
    for _ in 0..COUNT {
        let call = CALLS.fetch_add(1, Ordering::Relaxed);
        let port = first + (own.wrapping_add(call.into()) % u32::from(COUNT)) as u16;
        match TcpListener::bind((Ipv4Addr::LOCALHOST, port)) {
            Ok(_) => return Ok(port),
            Err(error) if error.kind() == io::ErrorKind::AddrInUse => {}
            Err(error) => return Err(error),
        }
    }
    Err(io::Error::new(io::ErrorKind::AddrInUse, "no port is free"))
}

/// Returns the first port that the kernel chooses by itself.
fn kernel_start() -> u16 {
    let range = fs::read_to_string("/proc/sys/net/ipv4/ip_local_port_range").unwrap_or_default();
    range.split_whitespace().next().and_then(|start| start.parse().ok()).unwrap_or(DEFAULT_START)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_port_is_returned_once_and_never_chosen_by_the_kernel() {
        let ports: Vec<u16> = (0..3).map(|_| choose().expect("a port is free")).collect();
        assert!(ports[0] != ports[1] && ports[1] != ports[2] && ports[0] != ports[2], "{ports:?}");
        assert!(ports.iter().all(|port| *port < kernel_start()), "{ports:?}");
    }

    #[test]
    fn a_port_on_which_a_program_listens_is_skipped() {
        let ports: Vec<u16> = (0..2).map(|_| choose().expect("a port is free")).collect();
        let _listener = TcpListener::bind((Ipv4Addr::LOCALHOST, ports[1])).expect("the port is free");
        let range = 0..COUNT;
        assert!(range.map(|_| choose().expect("a port is free")).all(|port| port != ports[1]));
    }
}
