//! `spoa top`: what it draws in a terminal, and its keys.

use std::io::{Read, Write};
use std::net::TcpListener;
use std::num::NonZero;
use std::sync::mpsc::{Receiver, channel};
use std::thread;
use std::time::{Duration, Instant};

use portable_pty::{Child, CommandBuilder, MasterPty, PtySize, native_pty_system};
use spoa_tests::admin::Admin;
use spoa_tests::agent::{Agent, binary, run};
use spoa_tests::folder::Folder;
use vt100::Parser;

/// The longest wait for the screen.
const LIMIT: Duration = Duration::from_secs(30);

/// `spoa top` in a terminal.
struct Top {
    child: Box<dyn Child + Send + Sync>,
    terminal: Box<dyn MasterPty + Send>,
    keys: Box<dyn Write + Send>,
    output: Receiver<Vec<u8>>,
    screen: Parser,
}

impl Top {
    fn start(admin: &str, rows: u16, columns: u16) -> Self {
        let size = PtySize { rows, cols: columns, ..PtySize::default() };
        let pair = native_pty_system().openpty(size).expect("a terminal can be made");
        let mut command = CommandBuilder::new(binary());
        command.args(["top", admin, "--interval", "1s"]);
        command.env("TERM", "xterm-256color");
        let child = pair.slave.spawn_command(command).expect("the program starts");
        let keys = pair.master.take_writer().expect("the terminal can be written to");
        let mut reader = pair.master.try_clone_reader().expect("the terminal can be read");
        let (sender, output) = channel();
        thread::spawn(move || {
            let mut buffer = [0; 4096];
            while let Ok(len @ 1..) = reader.read(&mut buffer) {
                if sender.send(buffer[..len].to_vec()).is_err() {
                    return;
                }
            }
        });
        let nonzero = |number| NonZero::new(number).expect("a terminal has rows and columns");
        Self { child, terminal: pair.master, keys, output, screen: Parser::new(nonzero(rows), nonzero(columns), 0) }
    }

    /// Waits until the screen has all of these texts, and returns it.
    fn wait_for(&mut self, wanted: &[&str]) -> String {
        let deadline = Instant::now() + LIMIT;
        loop {
            let shown = self.screen.screen().contents();
            if wanted.iter().all(|text| shown.contains(text)) {
                return shown;
            }
            let bytes = self.output.recv_timeout(deadline.saturating_duration_since(Instant::now()));
            let bytes = bytes.unwrap_or_else(|_| panic!("expected {wanted:?} on the screen:\n{shown}"));
            self.screen.process(&bytes);
        }
    }

    fn press(&mut self, keys: &str) {
        self.keys.write_all(keys.as_bytes()).expect("the terminal is open");
    }

    /// Waits for the end of the program, which must restore the terminal.
    fn expect_end(mut self) {
        let status = self.child.wait().expect("the program is ours");
        assert!(status.success(), "{status:?}");
        drop(self.terminal);
        self.output.iter().for_each(|bytes| self.screen.process(&bytes));
        let screen = self.screen.screen();
        assert!(!screen.alternate_screen() && !screen.hide_cursor(), "the terminal is not restored");
    }
}

fn folder() -> Folder {
    Folder::with(&[("bad", b"192.0.2.0/24\n"), ("ours", b"198.51.100.0/24\n")])
}

#[test]
fn it_shows_the_status_and_obeys_keys() {
    let folder = folder();
    let options =
        ["--admin", "127.0.0.1:0", "--list", &folder.list("bad", ",score=10"), "--list", &folder.list("ours", "")];
    let agent = Agent::spawn(&options);
    let admin = Admin::of(&agent);
    run(&["probe", agent.addr(), "--notify", "192.0.2.7"]);
    let mut top = Top::start(admin.addr(), 24, 80);
    let screen = top.wait_for(&["serving", "NOTIFYs since the start", "check-client-ip", "q quit", "rate"]);
    let row = screen.lines().find(|line| line.starts_with("check-client-ip")).expect("the message has a row");
    let cells: Vec<_> = row.split_whitespace().collect();
    assert_eq!((cells[2], cells[3]), ("1", "1"), "{screen}");
    // Another NOTIFY shows without a key.
    run(&["probe", agent.addr(), "--notify", "8.8.8.8"]);
    top.wait_for(&["NOTIFYs since the start    2"]);
    top.press("\t");
    top.wait_for(&["last load", "bad", "ours", "matches"]);
    // The address is the first column, which stays; the others move to the left.
    top.press("4");
    top.wait_for(&["192.0.2.7  listed      10  bad   192.0.2.0/24"]);
    top.press("\x1b[C\x1b[C");
    top.wait_for(&["192.0.2.7  bad   192.0.2.0/24"]);
    top.press("\x1b[Z");
    top.wait_for(&["HAProxy    version  rate  NOTIFYs", "127.0.0.1  unknown"]);
    top.press("q");
    top.expect_end();
}

#[test]
fn it_says_when_the_agent_is_gone_and_ends_at_a_signal() {
    let folder = folder();
    let mut agent = Agent::spawn(&["--admin", "127.0.0.1:0", "--list", &folder.list("bad", "")]);
    let admin = Admin::of(&agent).addr().to_owned();
    let mut top = Top::start(&admin, 30, 200);
    top.wait_for(&["serving"]);
    agent.terminate();
    agent.wait();
    top.wait_for(&["no numbers, those below are old", "cannot be reached", "NOTIFYs since the start"]);
    let pid = top.child.process_id().and_then(|pid| rustix::process::Pid::from_raw(pid as i32)).expect("it runs");
    rustix::process::kill_process(pid, rustix::process::Signal::TERM).expect("it runs");
    top.expect_end();
}

/// A terminal of one row is no reason to panic.
#[test]
fn it_runs_in_a_tiny_terminal() {
    let folder = folder();
    let agent = Agent::spawn(&["--admin", "127.0.0.1:0", "--list", &folder.list("bad", "")]);
    let mut top = Top::start(Admin::of(&agent).addr(), 2, 7);
    top.wait_for(&["s"]);
    top.press("\x1b[B\x1b[6~\x1b[F\x1b[C9\t\x03");
    top.expect_end();
}

#[test]
fn it_prints_text_to_a_pipe() {
    let folder = folder();
    let agent = Agent::spawn(&["--admin", "127.0.0.1:0", "--list", &folder.list("bad", "")]);
    run(&["probe", agent.addr(), "--notify", "192.0.2.7"]);
    let output = run(&["top", Admin::of(&agent).addr(), "--interval", "1s"]);
    let text = String::from_utf8(output.stdout).expect("it is UTF-8");
    assert!(output.status.success() && text.starts_with("serving, 0."), "{text}");
    for line in ["NOTIFYs since the start    1", "Messages", "check-client-ip     0/s      1       1        0      0"] {
        assert!(text.lines().any(|shown| shown.starts_with(line)), "expected {line} in {text}");
    }
    assert!(!text.contains('\x1b'), "{text}");
}

/// Another program at this address cannot control the terminal.
#[test]
fn what_a_program_sends_is_escaped() {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port is free");
    let addr = listener.local_addr().expect("it has an address").to_string();
    thread::spawn(move || {
        let body = r#"{"state":"\u001b[2J","tone":"good","about":"\u202e","span":"1 s","has_lists":false,"warnings":["\u001b"],
            "numbers":[["\u001b","\u001b"]],"tables":[]}"#;
        for mut stream in listener.incoming().map_while(Result::ok) {
            let _ = stream.read(&mut [0; 1024]);
            let answer = format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n{body}", body.len());
            let _ = stream.write_all(answer.as_bytes());
        }
    });
    let text = String::from_utf8(run(&["top", &addr, "--once", "--interval", "1s"]).stdout).expect("it is UTF-8");
    assert!(text.starts_with("\\u{1b}[2J, \\u{202e}; ") && !text.contains(['\u{1b}', '\u{202e}']), "{text}");
}

#[test]
fn it_explains_what_is_wrong() {
    let free = TcpListener::bind("127.0.0.1:0").expect("a port is free").local_addr().expect("it has an address");
    let free = free.to_string();
    for (options, error) in [
        (vec!["top"], "required"),
        (vec!["top", &free], "cannot be reached"),
        (vec!["top", &free, "--interval", "100ms"], "--interval has to be 1s or more"),
    ] {
        let output = run(&options);
        let text = String::from_utf8_lossy(&output.stderr);
        assert!(!output.status.success() && text.contains(error) && text.lines().count() == 1, "{options:?}: {text}");
    }
}
