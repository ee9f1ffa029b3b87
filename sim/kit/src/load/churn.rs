//! A connection per NOTIFY: HELLO, NOTIFY, ACK and a reset.

use std::io::Write;
use std::thread;
use std::time::Instant;

use hdrhistogram::Histogram;

use super::pipeline::read_frame;
use super::{Figures, Load, LoadError, SILENCE_MAX, check_hello, figures, histogram, record};
use crate::bytes::ACK;
use crate::frames::Hello;
use crate::process;
use crate::socket::Stream;

pub(super) fn run(load: &Load, clients: usize) -> Result<Figures, LoadError> {
    let cpu = || load.pid.and_then(process::cpu_time);
    let cpu_before = cpu();
    let start = Instant::now();
    let latencies = thread::scope(|scope| {
        let clients: Vec<_> = (0..clients).map(|_| scope.spawn(|| client(load, start))).collect();
        let mut all = histogram();
        for client in clients {
            let latencies = client.join().unwrap_or(Err(LoadError::Closed))?;
            // All histograms have the same bounds.
            let _ = all.add(latencies);
        }
        Ok::<_, LoadError>(all)
    })?;
    let cpu = cpu().zip(cpu_before).map(|(after, before)| after.saturating_sub(before));
    Ok(figures(&latencies, start.elapsed(), cpu))
}

fn client(load: &Load, start: Instant) -> Result<Histogram<u64>, LoadError> {
    let (hello, notify) = (Hello::mux().encode(), load.question.notify(1, 1));
    let mut latencies = histogram();
    while start.elapsed() < load.time {
        let started = Instant::now();
        let mut stream = Stream::connect(&load.address)?;
        stream.set_read_timeout(SILENCE_MAX)?;
        stream.write_all(&hello)?;
        check_hello(&read_frame(&mut stream)?)?;
        stream.write_all(&notify)?;
        let ack = read_frame(&mut stream)?;
        if (ack.kind, ack.sid, ack.fid) != (ACK, 1, 1) {
            return Err(LoadError::Answer(format!("a frame of type {} to the stream {}", ack.kind, ack.sid)));
        }
        load.check_answer(&ack.payload)?;
        stream.reset();
        record(&mut latencies, started.elapsed());
    }
    Ok(latencies)
}
