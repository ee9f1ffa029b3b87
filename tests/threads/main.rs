//! Runs the two places in which threads of the agent meet in every order in which they can run, with `loom`: the waking of a worker
//! for its commands, and the wakers of deferred answers. The modules are those of the library, on loom's primitives.
//!
//! The third place, the swap of lists, is a single store of `arc_swap`.

#[path = "../../runtime/src/bell.rs"]
mod bell;
#[path = "../../runtime/src/ready.rs"]
mod ready;

/// The primitives of loom, in place of those of the library's `sync`.
mod sync {
    pub(crate) use loom::sync::Mutex;
    pub(crate) use loom::sync::atomic::{AtomicBool, Ordering};
}

use std::convert::Infallible;
use std::task::{Wake, Waker};

use loom::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use loom::sync::{Arc, Mutex, Notify};
use loom::thread;

use bell::Bell;
use ready::{Flag, Ready};

/// Runs `model` in every order with at most this many switches between threads that could both go on. Nearly all bugs need fewer.
fn explore(model: impl Fn() + Sync + Send + 'static) {
    let mut builder = loom::model::Builder::new();
    builder.preemption_bound = Some(2);
    builder.check(model);
}

/// Two threads send a command each; the worker sleeps when there is none. If a command were missed, it would sleep for ever, which
/// loom reports as a deadlock.
#[test]
fn a_worker_misses_no_command() {
    explore(|| {
        let (bell, commands, sleep) =
            (Arc::new(Bell::new()), Arc::new(Mutex::new(Vec::new())), Arc::new(Notify::new()));
        for command in 0..2 {
            let (bell, commands, sleep) = (Arc::clone(&bell), Arc::clone(&commands), Arc::clone(&sleep));
            thread::spawn(move || {
                commands.lock().expect("no thread panics").push(command);
                bell.ring(|| {
                    sleep.notify();
                    Ok::<_, Infallible>(())
                })
                .expect("the worker can be woken");
            });
        }
        let mut received = 0;
        while received < 2 {
            sleep.wait();
            bell.answer();
            received += commands.lock().expect("no thread panics").drain(..).count();
        }
    });
}

/// A thread that cannot wake the worker does not keep the next one from trying.
#[test]
fn a_failed_call_is_repeated() {
    explore(|| {
        let (bell, woken) = (Arc::new(Bell::new()), Arc::new(AtomicUsize::new(0)));
        assert_eq!(bell.ring(|| Err(())), Err(()));
        let other = Arc::clone(&bell);
        let count = Arc::clone(&woken);
        let wake = move || {
            count.fetch_add(1, Ordering::Relaxed);
            Ok::<_, ()>(())
        };
        let thread = thread::spawn(move || other.ring(wake));
        thread.join().expect("the thread does not panic").expect("the worker can be woken");
        assert_eq!(woken.load(Ordering::Relaxed), 1);
    });
}

/// The waker of a worker that sleeps.
struct Sleeper(Notify);

impl Wake for Sleeper {
    fn wake(self: std::sync::Arc<Self>) {
        self.0.notify();
    }
}

/// Two deferred answers become ready on two threads while the worker polls them, or sleeps. The first poll of each finds it pending
/// or not; if a wake-up were lost, the worker would sleep for ever.
#[test]
fn a_worker_polls_each_answer_that_becomes_ready() {
    explore(|| {
        let ready = Arc::new(Ready::new());
        let answers: Vec<_> = (0..2).map(|number| Arc::new((Flag::up(number), AtomicBool::new(false)))).collect();
        for answer in &answers {
            let (ready, answer) = (Arc::clone(&ready), Arc::clone(answer));
            thread::spawn(move || {
                answer.1.store(true, Ordering::Release);
                ready.raise(&answer.0);
            });
        }
        let sleeper = std::sync::Arc::new(Sleeper(Notify::new()));
        let waker = Waker::from(std::sync::Arc::clone(&sleeper));
        // A new future is polled in the first run.
        let mut running = vec![0, 1];
        let mut finished = [false; 2];
        loop {
            ready.hand_over(&mut running, &waker);
            for number in running.drain(..) {
                let (flag, is_ready) = &*answers[number];
                if flag.lower() && is_ready.load(Ordering::Acquire) {
                    finished[number] = true;
                }
            }
            if finished == [true; 2] {
                break;
            }
            sleeper.0.wait();
        }
    });
}
