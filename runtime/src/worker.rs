//! The worker threads and the connections they own.

use std::panic::AssertUnwindSafe;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::Duration;

use futures_lite::FutureExt;
use smol::LocalExecutor;
use smol::channel::{Receiver, Sender, bounded, unbounded};
use socket2::Socket;

use crate::driver::Driver;
use crate::error::Error;
use crate::handler::Handler;
use crate::settings::Settings;
use crate::shared::Shared;

/// All workers, as the accepting thread sees them.
#[derive(Debug)]
pub(crate) struct Pool {
    workers: Vec<Mailbox>,
    connections_max: usize,
}

/// How many connections above the limit are told that there is no room.
const TURNED_AWAY_MAX: usize = 1024;

/// The way to one worker.
#[derive(Debug)]
struct Mailbox {
    commands: Sender<Command>,
    connections: Arc<AtomicUsize>,
}

#[derive(Debug)]
enum Command {
    /// Serve this connection, or only turn it away.
    Serve { socket: Socket, peer: String, welcome: bool },
    /// Answer what is in flight for so long, then end.
    Drain(Duration),
    /// End now.
    Abort,
}

impl Pool {
    /// Gives a connection to the worker that has the fewest. Above the limit some are taken to be told so; beyond that
    /// they are just closed, or a flood of them would take what the others need.
    pub(crate) fn assign(&self, socket: Socket, peer: String) {
        let open = self.connections();
        if open >= self.connections_max.saturating_add(TURNED_AWAY_MAX) {
            return;
        }
        let welcome = open < self.connections_max;
        let load = |worker: &&Mailbox| worker.connections.load(Ordering::Relaxed);
        let worker = self.workers.iter().min_by_key(load).expect("there is at least one worker");
        worker.connections.fetch_add(1, Ordering::Relaxed);
        // A worker that is gone takes nothing more: the agent is on its way down, and the socket closes.
        let _ = worker.commands.try_send(Command::Serve { socket, peer, welcome });
    }

    /// How many connections are open.
    pub(crate) fn connections(&self) -> usize {
        self.workers.iter().map(|worker| worker.connections.load(Ordering::Relaxed)).sum()
    }

    /// Tells every worker to end its connections in good order, within `grace`.
    pub(crate) fn drain(&self, grace: Duration) {
        self.tell(|| Command::Drain(grace));
    }

    /// Tells every worker to end.
    pub(crate) fn abort(&self) {
        self.tell(|| Command::Abort);
    }

    fn tell(&self, command: impl Fn() -> Command) {
        for worker in &self.workers {
            let _ = worker.commands.try_send(command());
        }
    }
}

/// Starts the worker threads. The channel says nothing, and closes when the last of them has ended.
pub(crate) fn start<H>(settings: &Settings, handler: H) -> Result<(Pool, Receiver<()>), Error>
where
    H: Handler + Clone + Send,
{
    let (working, ended) = bounded(1);
    let mut workers = Vec::new();
    for (number, handler) in vec![handler; settings.workers.get()].into_iter().enumerate() {
        let (commands, received) = unbounded();
        let connections = Arc::new(AtomicUsize::new(0));
        workers.push(Mailbox { commands, connections: Arc::clone(&connections) });
        let (settings, working) = (settings.clone(), working.clone());
        let body = move || {
            run(settings, handler, connections, &received);
            drop(working);
        };
        thread::Builder::new().name(format!("spoa-{number}")).spawn(body).map_err(Error::Worker)?;
    }
    Ok((Pool { workers, connections_max: settings.connections_max }, ended))
}

fn run<H: Handler>(settings: Settings, handler: H, connections: Arc<AtomicUsize>, commands: &Receiver<Command>) {
    let executor = Rc::new(LocalExecutor::new());
    let shared = Rc::new(Shared::new(settings, handler, connections, &executor));
    smol::block_on(executor.run(serve(&shared, &executor, commands)));
}

async fn serve<H: Handler>(shared: &Rc<Shared<H>>, executor: &LocalExecutor<'static>, commands: &Receiver<Command>) {
    // Each connection holds its end until it is closed.
    let (serving, served) = bounded::<()>(1);
    while let Ok(command) = commands.recv().await {
        match command {
            Command::Serve { socket, peer, welcome } => {
                let (shared, serving) = (Rc::clone(shared), serving.clone());
                let task = async move {
                    let _open = Open(Rc::clone(&shared));
                    match Driver::new(Rc::clone(&shared), socket, peer, welcome) {
                        Ok(driver) => {
                            // A bug of ours costs one connection, not the thread and all of its others.
                            if AssertUnwindSafe(driver).catch_unwind().await.is_err() {
                                tracing::error!("a connection was lost to a panic: please report it");
                            }
                        }
                        Err(error) => tracing::warn!("cannot serve a connection: {error}"),
                    }
                    drop(serving);
                };
                executor.spawn(task).detach();
            }
            Command::Drain(grace) => {
                shared.drain.set(Some(grace));
                for (_, waker) in shared.wakers.borrow().iter() {
                    waker.wake_by_ref();
                }
                break;
            }
            Command::Abort => return,
        }
    }
    drop(serving);
    let aborted = async { while !matches!(commands.recv().await, Ok(Command::Abort) | Err(_)) {} };
    let drained = async {
        let _ = served.recv().await;
    };
    futures_lite::future::or(drained, aborted).await;
}

/// Counts a connection out again, however it ends.
struct Open<H>(Rc<Shared<H>>);

impl<H> Drop for Open<H> {
    fn drop(&mut self) {
        self.0.connections.fetch_sub(1, Ordering::Relaxed);
    }
}
