//! The statuses in HAProxy's log, explained.

use std::fs::File;
use std::io::{self, BufRead, BufReader, Read};
use std::path::Path;

use spoa_doctor::{Explained, Log};
use spoa_runtime::text::{Count, Escaped};

use crate::{Failure, complain, print};

/// The longest line of a log that is read, in bytes.
const LINE_MAX: u64 = 64 << 10;

/// Explains the statuses in a log of HAProxy.
///
/// # Errors
/// Events have failed, the log cannot be read, or it has no line about SPOE.
pub(super) fn explain(path: &Path, as_json: bool) -> Result<(), Failure> {
    let shown = path.display();
    let failed = |error: io::Error| format!("cannot read {shown}: {error}");
    let input: Box<dyn Read> =
        if path == Path::new("-") { Box::new(io::stdin().lock()) } else { Box::new(File::open(path).map_err(failed)?) };
    let (mut log, mut input, mut line) = (Log::default(), BufReader::new(input), Vec::new());
    loop {
        line.clear();
        if input.by_ref().take(LINE_MAX).read_until(b'\n', &mut line).map_err(failed)? == 0 {
            break;
        }
        log.add(&String::from_utf8_lossy(&line));
    }
    let explained = log.explained();
    print(explained.iter().map(|one| if as_json { json_status(one) } else { status(one) }).collect::<String>())?;
    if log.unread() > 0 {
        complain(&format!("{} about SPOE cannot be read", Count(log.unread(), "line")));
    }
    let failed = explained.iter().filter(|one| one.status != 0).map(|one| one.count).sum::<u64>();
    match (explained.is_empty(), failed) {
        (true, _) => {
            Err(format!("{shown} has no line about SPOE: does the `spoe-agent` section have a `log` line?").into())
        }
        (false, 0) => Ok(()),
        (false, failed) => Err(format!("{} not answered", Count(failed, "event")).into()),
    }
}

/// Returns the lines about a status.
fn status(one: &Explained) -> String {
    let Explained { agent, cause, status, count, happens, cure } = one;
    let count = Count(*count, "event");
    let mut text = format!("{}\n", Escaped(format_args!("{agent} {cause} st={status}: {count}, {happens}")));
    if !cure.is_empty() {
        text += &format!("  What to do: {cure}\n");
    }
    text
}

/// Returns a status as a line of JSON.
fn json_status(one: &Explained) -> String {
    let Explained { agent, cause, status, count, happens, cure } = one;
    let value = serde_json::json!({
        "agent": agent, "cause": cause, "status": status, "count": count, "happens": happens, "cure": cure
    });
    format!("{value}\n")
}
