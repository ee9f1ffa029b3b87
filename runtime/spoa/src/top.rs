//! `spoa top`: the status of a running agent in a terminal.

mod layout;
mod screen;
mod text;

use std::io::{self, IsTerminal};
use std::sync::mpsc::{self, Receiver, Sender};
use std::thread;
use std::time::Duration;

use async_signal::{Signal, Signals};
use futures_lite::StreamExt;
use ratatui::DefaultTerminal;
use ratatui::crossterm::event::{self, Event};
use spoa_runtime::ListenAddr;

use crate::status::{self, Status};
use crate::{Failure, http, print};
use screen::{Next, Screen};

/// The least time between two updates, over which the agent computes rates.
const INTERVAL_MIN: Duration = Duration::from_secs(1);

/// How often the screen looks for updates while no key is pressed.
const POLL: Duration = Duration::from_millis(100);

/// Something that changes the screen, other than a key.
enum Update {
    /// A status, or the reason why there is none.
    Status(Result<Status, String>),
    /// A signal ends the program.
    Stop,
}

/// Shows the status of the agent with this admin address until the user quits. With `once`, or if standard output is no
/// terminal, prints it as text.
///
/// # Errors
/// The interval is too short, the agent has no status, or the terminal cannot be used.
pub(crate) fn run(agent: &ListenAddr, interval: Duration, once: bool) -> Result<(), Failure> {
    if interval < INTERVAL_MIN {
        return Err(Failure::Usage("--interval has to be 1s or more".into()));
    }
    let first = fetch(agent)?;
    if once || !io::stdout().is_terminal() {
        // Rates need two readings.
        thread::sleep(interval);
        return print(text::of(&fetch(agent)?));
    }
    let (sender, updates) = mpsc::channel();
    watch_signals(sender.clone())?;
    let watched = agent.clone();
    thread::Builder::new().spawn(move || watch(&watched, interval, &sender))?;
    let mut terminal = ratatui::try_init()?;
    let shown = show(&mut terminal, Screen::new(agent.to_string(), first), &updates);
    ratatui::try_restore()?;
    Ok(shown?)
}

fn fetch(agent: &ListenAddr) -> Result<Status, String> {
    let missing = "no status: it is another program, or an older version of this one";
    http::get_json::<Status>(agent, status::DATA_PATH, missing).map(Status::escaped)
}

/// Sends the status after each interval, until nobody receives it any more.
fn watch(agent: &ListenAddr, interval: Duration, updates: &Sender<Update>) {
    loop {
        thread::sleep(interval);
        if updates.send(Update::Status(fetch(agent))).is_err() {
            return;
        }
    }
}

/// Ends the program in order at a signal, so that the terminal is usable afterwards. Ctrl-C is a key here.
fn watch_signals(updates: Sender<Update>) -> io::Result<()> {
    let mut signals = Signals::new([Signal::Term, Signal::Hup, Signal::Int])?;
    let wait = move || {
        let _ = smol::block_on(signals.next());
        let _ = updates.send(Update::Stop);
    };
    thread::Builder::new().spawn(wait)?;
    Ok(())
}

/// Draws the screen after each key and each update.
fn show(terminal: &mut DefaultTerminal, mut screen: Screen, updates: &Receiver<Update>) -> io::Result<()> {
    let mut is_old = true;
    loop {
        if is_old {
            terminal.draw(|frame| screen.draw(frame))?;
            is_old = false;
        }
        if event::poll(POLL)? {
            match event::read()? {
                Event::Key(key) => match screen.press(key) {
                    Next::Go => is_old = true,
                    Next::Quit => return Ok(()),
                },
                Event::Resize(..) => is_old = true,
                _ => {}
            }
        }
        for update in updates.try_iter() {
            match update {
                Update::Status(status) => screen.update(status),
                Update::Stop => return Ok(()),
            }
            is_old = true;
        }
    }
}
