//! The table of all planted bugs.

use std::fmt::Write as _;

use super::copy::Found;

/// A bug that was found.
pub(super) struct Row {
    pub(super) name: String,
    pub(super) story: String,
    pub(super) found: Found,
}

/// Returns the document with the table.
pub(super) fn text(rows: &[Row]) -> String {
    let seeds = median(rows.iter().map(|row| row.found.seed + 1));
    // A bug that a guided search does not find counts as the largest number.
    let guided = median(rows.iter().map(|row| row.found.guided.unwrap_or(u64::MAX)));
    let near = rows.iter().filter(|row| is_near(&row.found)).count();
    let all = rows.len();
    let mut text = format!(
        "# Planted bugs\n\n\
         Each is a small change to the core that `spoa-sim bugs` makes in a copy, builds and looks for. It wrote this table.\n\n\
         - *seeds*: the seeds until it is found; median {seeds}.\n\
         - *guided*: the runs until `run --guided` finds it, which changes scripts that have reached something new; median {guided}.\n\
         - *small*: the steps of the small script.\n\
         - *cause*: the step of the small script after which the state of the core is another one than without the bug.\n\
         - *begins*: the step of the small script at which the failure begins according to `spoa-sim when`. It is at most one step from \
         the cause for {near} of {all} bugs ({} %).\n\n\
         | bug | what is wrong | seeds | guided | small | cause | begins | fingerprint |\n\
         |---|---|---|---|---|---|---|---|\n",
        near * 100 / all.max(1)
    );
    for Row { name, story, found } in rows {
        let Found { seed, guided, steps, fingerprint, cause, begins } = found;
        let guided = guided.map_or("–".into(), |runs| runs.to_string());
        let [cause, begins] = [cause, begins].map(|step| step.map_or("–".into(), |step| step.to_string()));
        // Writing to a string does not fail.
        let _ = writeln!(
            text,
            "| [{name}]({name}.bug) | {story} | {} | {guided} | {steps} | {cause} | {begins} | `{fingerprint}` |",
            seed + 1
        );
    }
    text
}

/// True if the failure begins at most one step from the cause.
fn is_near(found: &Found) -> bool {
    found.cause.zip(found.begins).is_some_and(|(cause, begins)| cause.abs_diff(begins) <= 1)
}

fn median(numbers: impl Iterator<Item = u64>) -> u64 {
    let mut numbers: Vec<_> = numbers.collect();
    numbers.sort_unstable();
    numbers.get(numbers.len() / 2).copied().unwrap_or(0)
}
