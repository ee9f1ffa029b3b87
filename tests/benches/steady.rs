//! Answers NOTIFYs and ends: what `tests/instructions` counts the instructions of.
//!
//! `steady in-place|deferred|copied BATCH TURNS`: BATCH NOTIFYs a read, TURNS times.

use std::error::Error;

use spoa_tests::steady::{Steady, copied, deferred, in_place, notifys};

fn main() -> Result<(), Box<dyn Error>> {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let [how, batch, turns] = &args[..] else { return Err("usage: steady HOW BATCH TURNS".into()) };
    let (input, turns) = (notifys(batch.parse()?), turns.parse::<u64>()?);
    let (mut steady, mut sent) = (Steady::default(), 0);
    for _ in 0..turns {
        let out = |bytes: &[u8]| sent += bytes.len();
        match how.as_str() {
            "in-place" => steady.turn(&input, in_place, out),
            "deferred" => steady.turn(&input, deferred, out),
            "copied" => steady.turn(&input, copied, out),
            _ => return Err("HOW is in-place, deferred or copied".into()),
        }
    }
    println!("{sent} bytes sent");
    Ok(())
}
