//! Answers a number of NOTIFYs and exits, so that `tests/instructions` can count the instructions.
//!
//! `steady in-place|deferred|copied BATCH TURNS` answers TURNS reads with BATCH NOTIFYs each.

use std::error::Error;

use spoa_tests::steady::{Steady, deferred, deferred_with_copy, immediate, notifys};

const USAGE: &str = "usage: steady in-place|deferred|copied BATCH TURNS";

fn main() -> Result<(), Box<dyn Error>> {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let [answers, batch, turns] = &args[..] else { return Err(USAGE.into()) };
    let (input, turns) = (notifys(batch.parse()?), turns.parse::<u64>()?);
    let (mut steady, mut sent) = (Steady::default(), 0);
    for _ in 0..turns {
        let out = |bytes: &[u8]| sent += bytes.len();
        match answers.as_str() {
            "in-place" => steady.turn(&input, immediate, out),
            "deferred" => steady.turn(&input, deferred, out),
            "copied" => steady.turn(&input, deferred_with_copy, out),
            _ => return Err(USAGE.into()),
        }
    }
    println!("{sent} bytes sent");
    Ok(())
}
