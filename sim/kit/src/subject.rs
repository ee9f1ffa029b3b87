//! The agent under test: one that runs already, or a command that the kit starts.

use std::collections::BTreeSet;
use std::process::{Child, Command, Stdio};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};
use std::{fs, io, thread};

use rustix::process::{Pid, Signal, kill_process_group};

use crate::socket::{Address, Stream};
use crate::{port, process};

/// The time that a command has until its agent accepts connections.
const START_MAX: Duration = Duration::from_secs(20);
/// The time between two attempts to connect to an agent that starts.
const PAUSE: Duration = Duration::from_millis(10);

/// The process groups of the agents that were started and not stopped.
static GROUPS: Mutex<BTreeSet<i32>> = Mutex::new(BTreeSet::new());

/// Ends all agents that were started and not stopped. An agent has a process group of its own, so Ctrl-C does not reach it: call
/// this when the program is interrupted.
pub fn end_all() {
    for group in &*groups() {
        // It fails if every process of the group has ended.
        let _ = Pid::from_raw(*group).map(|group| kill_process_group(group, Signal::KILL));
    }
}

fn groups() -> MutexGuard<'static, BTreeSet<i32>> {
    GROUPS.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The agent under test.
#[derive(Debug)]
pub struct Subject {
    address: Address,
    process: Option<Process>,
}

/// An agent that the kit has started.
#[derive(Debug)]
struct Process {
    command: String,
    child: Child,
    shows_output: bool,
}

impl Subject {
    /// Returns an agent that runs already.
    pub const fn at(address: Address) -> Self {
        Self { address, process: None }
    }

    /// Starts an agent with a shell command, in which `{port}` stands for the port to listen on. Without it, the agent has to
    /// listen on `address`. Its output is dropped unless `shows_output`.
    ///
    /// # Errors
    /// If the command cannot be run, ends, or accepts no connection within 20 s.
    pub fn start(command: &str, address: Option<Address>, shows_output: bool) -> io::Result<Self> {
        let address = match address {
            Some(address) if Stream::connect(&address).is_ok() => {
                return Err(io::Error::new(io::ErrorKind::AddrInUse, format!("another program listens on {address}")));
            }
            Some(address) => address,
            None => Address::Tcp(format!("127.0.0.1:{}", port::choose()?)),
        };
        let child = spawn(command, &address, shows_output)?;
        let mut subject = Self { address, process: Some(Process { command: command.to_owned(), child, shows_output }) };
        subject.wait_until_it_listens()?;
        Ok(subject)
    }

    /// Returns the address of the agent.
    pub const fn address(&self) -> &Address {
        &self.address
    }

    /// True if the kit has started the agent, so that it can be restarted and its memory be read.
    pub const fn is_started(&self) -> bool {
        self.process.is_some()
    }

    /// Returns a description of the end of the agent's process, if it has ended.
    pub fn death(&mut self) -> Option<String> {
        let status = self.process.as_mut()?.child.try_wait().ok()??;
        Some(format!("the agent's process ended: {status}"))
    }

    /// Starts the agent again. Does nothing to an agent that the kit has not started. An agent that cannot bind its port yet, because
    /// connections of its predecessor are not forgotten, is started again and again for 20 s.
    ///
    /// # Errors
    /// As [`start`](Self::start).
    pub fn restart(&mut self) -> io::Result<()> {
        let deadline = Instant::now() + START_MAX;
        loop {
            let Some(process) = &mut self.process else { return Ok(()) };
            process.stop();
            process.child = spawn(&process.command, &self.address, process.shows_output)?;
            match self.wait_until_it_listens() {
                Err(_) if Instant::now() < deadline => thread::sleep(10 * PAUSE),
                done => return done,
            }
        }
    }

    /// Asks the agent to stop, by SIGTERM. Does nothing to an agent that the kit has not started.
    pub fn terminate(&self) {
        if let Some(process) = &self.process {
            process.signal(Signal::TERM);
        }
    }

    /// Returns the resident memory of the agent in bytes, if the kit has started it.
    pub fn memory(&self) -> Option<u64> {
        process::memory(self.pid()?)
    }

    /// Returns the processor time that the agent has used, in steps of ten milliseconds, if the kit has started it.
    pub fn cpu_time(&self) -> Option<Duration> {
        process::cpu_time(self.pid()?)
    }

    /// Returns the id of the agent's process, if the kit has started it: the child of the shell, or the shell itself if it has
    /// become the agent by `exec`.
    pub fn pid(&self) -> Option<u32> {
        let shell = self.process.as_ref()?.child.id();
        let children = fs::read_to_string(format!("/proc/{shell}/task/{shell}/children")).unwrap_or_default();
        Some(children.split_whitespace().next().and_then(|pid| pid.parse().ok()).unwrap_or(shell))
    }

    fn wait_until_it_listens(&mut self) -> io::Result<()> {
        let deadline = Instant::now() + START_MAX;
        loop {
            match Stream::connect(&self.address) {
                Ok(_) => return Ok(()),
                Err(error) if Instant::now() > deadline => {
                    return Err(io::Error::other(format!("the agent does not listen on {}: {error}", self.address)));
                }
                Err(_) => {}
            }
            if let Some(death) = self.death() {
                return Err(io::Error::other(death));
            }
            thread::sleep(PAUSE);
        }
    }
}

impl Process {
    /// Ends the agent and everything that it has started.
    fn stop(&mut self) {
        self.signal(Signal::KILL);
        let _ = self.child.wait();
        groups().remove(&(self.child.id() as i32));
    }

    /// Sends a signal to the process group of the agent: the shell and everything that it has started.
    fn signal(&self, signal: Signal) {
        // It fails if every process of the group has ended.
        let _ = kill_process_group(Pid::from_child(&self.child), signal);
    }
}

impl Drop for Subject {
    fn drop(&mut self) {
        if let Some(process) = &mut self.process {
            process.stop();
        }
    }
}

fn spawn(command: &str, address: &Address, shows_output: bool) -> io::Result<Child> {
    use std::os::unix::process::CommandExt as _;

    let port = match address {
        Address::Tcp(addr) => addr.rsplit_once(':').map_or("", |(_, port)| port),
        Address::Unix(_) => "",
    };
    let output = || if shows_output { Stdio::inherit() } else { Stdio::null() };
    let mut shell = Command::new("sh");
    shell.arg("-c").arg(command.replace("{port}", port)).process_group(0);
    // The lock is held, so that an interruption does not come between the start and the note of it.
    let mut groups = groups();
    let child = shell.stdin(Stdio::null()).stdout(output()).stderr(output()).spawn()?;
    groups.insert(child.id() as i32);
    Ok(child)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_command_that_ends_is_reported() {
        let error = Subject::start("exit 3", None, false).expect_err("nothing listens").to_string();
        assert!(error.contains("the agent's process ended: exit status: 3"), "{error}");
    }

    #[test]
    fn an_agent_that_runs_already_has_no_figures() {
        let mut subject = Subject::at(Address::Unix("/nonexistent".into()));
        assert_eq!((subject.memory(), subject.cpu_time(), subject.death()), (None, None, None));
    }
}
