//! The command `diff`: the same seeds on two builds, and the first difference.

use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Command, Stdio};
use std::{env, fs, io, process};

use spoa_sim::generate::{GENERATOR_VERSION, Profile, generate};
use spoa_sim::outcome::Buffers;
use spoa_sim::run::{run, run_in};
use spoa_sim::text::VERSION;

use super::{counted, verdict};
use crate::Exit;
use crate::cli::Seeds;

/// The number of equal lines that are shown before a difference.
const CONTEXT: usize = 5;

/// Returns the first line of `hashes`.
fn head() -> String {
    format!("generator {GENERATOR_VERSION}, scripts {VERSION}")
}

/// Executes `hashes`: prints the hash of the trace of each seed.
pub(super) fn hashes(Seeds(seeds): &Seeds, profile: Profile) -> Exit {
    println!("{}", head());
    let mut buffers = Buffers::default();
    for seed in seeds.clone() {
        println!("{}", hash(&mut buffers, seed, profile));
    }
    Exit::Held
}

fn hash(buffers: &mut Buffers, seed: u64, profile: Profile) -> String {
    let outcome = run_in(buffers, &generate(seed, profile));
    let failed = if outcome.failure.is_some() { " failed" } else { "" };
    format!("{seed} {:032x}{failed}", outcome.trace.digest())
}

/// Executes `diff`.
pub(super) fn diff(build: &Path, seeds: &Seeds, profile: Profile) -> Exit {
    if seeds.is_open() {
        eprintln!("spoa-sim: the seeds of diff need an end");
        return Exit::Usage;
    }
    match compare(build, seeds, profile) {
        Ok(None) => {
            println!("{}, no difference", counted(seeds.count() as usize, "seed"));
            Exit::Held
        }
        Ok(Some(seed)) => show(build, seed, profile).unwrap_or_else(|error| cannot_run(build, &error)),
        Err(error) => cannot_run(build, &error),
    }
}

fn cannot_run(build: &Path, error: &io::Error) -> Exit {
    eprintln!("spoa-sim: cannot compare with {}: {error}", build.display());
    Exit::Usage
}

/// Returns the first seed whose traces differ.
fn compare(build: &Path, seeds: &Seeds, profile: Profile) -> io::Result<Option<u64>> {
    let range = format!("{}..{}", seeds.0.start, seeds.0.end);
    let mut other = Command::new(build)
        .args(["hashes", "--seeds", &range, "--profile", profile.name()])
        .stdout(Stdio::piped())
        .spawn()?;
    let found = other.stdout.take().map_or(Err(io::ErrorKind::BrokenPipe.into()), |lines| {
        first_difference(&mut BufReader::new(lines).lines(), seeds, profile)
    });
    // The rest is not needed.
    let _ = other.kill();
    other.wait()?;
    found
}

fn first_difference(
    lines: &mut impl Iterator<Item = io::Result<String>>,
    seeds: &Seeds,
    profile: Profile,
) -> io::Result<Option<u64>> {
    let first = lines.next().transpose()?;
    match first {
        None => return Err(io::Error::other("it prints no hashes of seeds")),
        Some(first) if first != head() => {
            return Err(io::Error::other(format!(
                "it has another generator (\"{first}\"), so its seeds mean other scripts"
            )));
        }
        Some(_) => {}
    }
    let mut buffers = Buffers::default();
    for seed in seeds.0.clone() {
        match lines.next().transpose()? {
            None => return Err(io::Error::other(format!("it ended before seed {seed}"))),
            Some(line) if line != hash(&mut buffers, seed, profile) => return Ok(Some(seed)),
            Some(_) => {}
        }
    }
    Ok(None)
}

/// Shows the first difference of the traces of a seed.
fn show(build: &Path, seed: u64, profile: Profile) -> io::Result<Exit> {
    let script = generate(seed, profile);
    let path = env::temp_dir().join(format!("spoa-sim-diff-{}.spop", process::id()));
    fs::write(&path, script.to_string())?;
    let output = Command::new(build).arg("script").arg(&path).args(["--trace", "text"]).output();
    fs::remove_file(&path)?;
    let text = String::from_utf8_lossy(&output?.stdout).into_owned();
    // The first line is the name of the file.
    let theirs: Vec<_> = text.lines().skip(1).collect();
    let outcome = run(&script, true);
    let mut mine: Vec<_> = outcome.trace.records().iter().map(ToString::to_string).collect();
    mine.push(verdict(&script, outcome).0);
    let same = mine.iter().zip(&theirs).take_while(|(mine, theirs)| mine == *theirs).count();
    println!("seed {seed} differs, profile {}:\n", profile.name());
    mine[same.saturating_sub(CONTEXT)..same.min(mine.len())].iter().for_each(|line| println!("    {line}"));
    println!("this  {}", mine.get(same).map_or("(nothing)", String::as_str));
    println!("other {}", theirs.get(same).unwrap_or(&"(nothing)"));
    println!("\nto see the trace: spoa-sim replay {seed} --profile {}", profile.name());
    Ok(Exit::Failed)
}
