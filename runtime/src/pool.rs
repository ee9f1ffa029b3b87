//! All workers, as the accepting thread sees them.

use std::sync::Arc;
use std::thread;
use std::time::Duration;

use smol::channel::{Receiver, bounded};
use socket2::Socket;

use crate::error::Error;
use crate::handler::Handler;
use crate::mailbox::{Command, Mailbox};
use crate::settings::Settings;
use crate::worker::{Sockets, Worker};

/// Where connections are handed to. When it is dropped, the workers end.
#[derive(Debug)]
pub(crate) struct Pool {
    workers: Vec<Arc<Mailbox>>,
    connections_max: usize,
}

/// How many connections above the limit are told that there is no room.
const TURNED_AWAY_MAX: usize = 1024;

impl Pool {
    /// Starts the worker threads. The channel says nothing, and closes when the last of them has ended.
    ///
    /// # Errors
    /// A thread, or what it waits on, cannot be had.
    pub(crate) fn start<H>(settings: &Settings, handler: H) -> Result<(Self, Receiver<()>), Error>
    where
        H: Handler + Clone + Send,
    {
        let (working, ended) = bounded(1);
        let mut pool = Self { workers: Vec::new(), connections_max: settings.connections_max };
        for (number, handler) in vec![handler; settings.workers.get()].into_iter().enumerate() {
            let sockets = Sockets::new().map_err(Error::Worker)?;
            pool.workers.push(Arc::clone(sockets.mailbox()));
            let (settings, working) = (settings.clone(), working.clone());
            let body = move || {
                Worker::new(settings, handler, sockets).run();
                drop(working);
            };
            thread::Builder::new().name(format!("spoa-{number}")).spawn(body).map_err(Error::Worker)?;
        }
        Ok((pool, ended))
    }

    /// Gives a connection to the worker that has the fewest. Above the limit some are taken to be told so; beyond that
    /// they are just closed, or a flood of them would take what the others need.
    pub(crate) fn assign(&self, socket: Socket, peer: String) {
        let open = self.connections();
        if open >= self.connections_max.saturating_add(TURNED_AWAY_MAX) {
            return;
        }
        if let Some(worker) = self.working().min_by_key(|worker| worker.connections()) {
            worker.assign(socket, peer, open < self.connections_max);
        }
    }

    /// How many connections are open.
    pub(crate) fn connections(&self) -> usize {
        self.working().map(|worker| worker.connections()).sum()
    }

    /// The workers, but for those that a panic has ended.
    fn working(&self) -> impl Iterator<Item = &Arc<Mailbox>> {
        self.workers.iter().filter(|worker| !worker.is_closed())
    }

    /// Tells every worker to end its connections in good order, within `grace`.
    pub(crate) fn drain(&self, grace: Duration) {
        self.workers.iter().for_each(|worker| worker.tell(Command::Drain(grace)));
    }

    /// Tells every worker to end.
    pub(crate) fn abort(&self) {
        self.workers.iter().for_each(|worker| worker.tell(Command::Abort));
    }
}

impl Drop for Pool {
    fn drop(&mut self) {
        self.abort();
    }
}
