//! Tasks of the application beside its handler, such as one that keeps a cache fresh.

use std::fmt;
use std::panic::AssertUnwindSafe;
use std::pin::Pin;
use std::sync::Arc;

use futures_lite::FutureExt;
use smol::Task;

type BoxedTask = Pin<Box<dyn Future<Output = ()> + Send>>;

/// Creates a task. Clones share it.
#[derive(Clone)]
pub(crate) struct Background(Arc<dyn Fn() -> BoxedTask + Send + Sync>);

impl Background {
    pub(crate) fn new<F>(create: impl Fn() -> F + Send + Sync + 'static) -> Self
    where
        F: Future<Output = ()> + Send + 'static,
    {
        Self(Arc::new(move || Box::pin(create())))
    }

    /// Starts the task on the executor of smol. Dropping the result cancels it.
    pub(crate) fn spawn(&self) -> Task<()> {
        let task = AssertUnwindSafe((self.0)()).catch_unwind();
        smol::spawn(async {
            if task.await.is_err() {
                tracing::error!("a background task of the agent panicked, and does not run any more");
            }
        })
    }
}

impl fmt::Debug for Background {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Background")
    }
}
