//! Plants each bug into a copy of the workspace, builds it, and lets the simulator find it.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::{env, fs, io};

use spoa_sim::planted::{Place, PlantedBug};

/// The seeds within which each has to be found: of the profile endpoint if the bug is in the endpoint, else standard, then endpoint.
const SEEDS: &str = "0..100000";
/// Their folder, from the workspace's root.
const FOLDER: &str = "sim/bugs";
/// The folder of the code that they change.
const CORE: &str = "core/src";

const HEAD: &str = "# Planted bugs

Each is a small change to the core that `spoa-sim bugs` makes in a copy, builds and looks for. It wrote this table.

| bug | what is wrong | seeds to find it | steps when shrunk | fingerprint |
|---|---|---|---|---|
";

/// Plants the bugs of these names, or all, one after the other; returns false if one is not found. After a run of all it
/// rewrites the table.
///
/// # Errors
/// There is no workspace here, or git or cargo does not work in it; in one line.
pub(super) fn plant(names: &[String]) -> Result<bool, String> {
    let folder = Path::new(FOLDER);
    let all = list(folder).map_err(|error| format!("cannot read {FOLDER}: {error}; run it in the workspace's root"))?;
    if let Some(unknown) = names.iter().find(|name| !all.contains(name)) {
        return Err(format!("there is no {FOLDER}/{unknown}.bug"));
    }
    let copy = Copy::make()?;
    let mut table = String::from(HEAD);
    let mut missed = Vec::new();
    for name in if names.is_empty() { &all } else { names } {
        let path = folder.join(format!("{name}.bug"));
        let text = fs::read_to_string(&path).map_err(|error| format!("cannot read {}: {error}", path.display()))?;
        let bug = PlantedBug::parse(&text).map_err(|error| format!("{}: {error}", path.display()))?;
        let story = &bug.story;
        match copy.search(name, &bug)? {
            Some(Found { seed, steps, fingerprint }) => {
                println!("{name:<26} seed {seed:<6} {steps:>2} steps  {fingerprint}");
                let _ =
                    writeln!(table, "| [{name}]({name}.bug) | {story} | {} | {steps} | `{fingerprint}` |", seed + 1);
            }
            None => {
                println!("{name:<26} NOT FOUND: {story}");
                missed.push(name.as_str());
            }
        }
    }
    if !missed.is_empty() {
        println!("not found in seeds {SEEDS}: {}", missed.join(", "));
    } else if names.is_empty() {
        fs::write(folder.join("README.md"), table).map_err(|error| format!("cannot write the table: {error}"))?;
    }
    Ok(missed.is_empty())
}

fn list(folder: &Path) -> io::Result<Vec<String>> {
    let mut names = Vec::new();
    for entry in fs::read_dir(folder)? {
        let path = entry?.path();
        if path.extension().is_some_and(|extension| extension == "bug") {
            names.extend(path.file_stem().map(|name| name.to_string_lossy().into_owned()));
        }
    }
    names.sort();
    Ok(names)
}

/// The run that found a bug.
struct Found {
    seed: u64,
    steps: String,
    fingerprint: String,
}

/// A copy of the workspace, with a separate target folder next to it.
struct Copy {
    source: PathBuf,
    build: PathBuf,
}

impl Copy {
    fn make() -> Result<Self, String> {
        let metadata = output(Command::new(cargo()).args(["metadata", "--format-version", "1", "--no-deps"]))?;
        let target = metadata.split_once("\"target_directory\":\"").and_then(|(_, rest)| rest.split_once('"'));
        let (target, _) = target.ok_or("cargo does not say where it builds")?;
        let work = Path::new(target).join("bugs");
        let copy = Self { source: work.join("source"), build: work.join("build") };
        let _ = fs::remove_dir_all(&copy.source);
        let files = output(Command::new("git").args(["ls-files", "-z", "--cached", "--others", "--exclude-standard"]))?;
        for file in files.split('\0').filter(|file| !file.is_empty() && Path::new(file).exists()) {
            let to = copy.source.join(file);
            let made = to.parent().map_or(Ok(()), fs::create_dir_all).and_then(|()| fs::copy(file, &to).map(drop));
            made.map_err(|error| format!("cannot copy {file}: {error}"))?;
        }
        Ok(copy)
    }

    fn search(&self, name: &str, bug: &PlantedBug) -> Result<Option<Found>, String> {
        let Place { file, text } = bug.place(&self.source.join(CORE)).map_err(|error| format!("{name}: {error}"))?;
        let cannot_write = |error| format!("cannot write {}: {error}", file.display());
        let original = fs::read(&file).map_err(cannot_write)?;
        fs::write(&file, text).map_err(cannot_write)?;
        let is_in_endpoint = file.to_string_lossy().contains("endpoint");
        let profiles: &[&str] = if is_in_endpoint { &["endpoint"] } else { &["standard", "endpoint"] };
        let found = profiles.iter().find_map(|profile| self.run_seeds(name, profile).transpose());
        fs::write(&file, original).map_err(cannot_write)?;
        found.transpose()
    }

    /// Builds the copy, and runs the seeds of a profile until one fails.
    fn run_seeds(&self, name: &str, profile: &str) -> Result<Option<Found>, String> {
        let output = Command::new(cargo())
            .args(["run", "--quiet", "--release", "-p", "spoa-sim", "--", "run", "--jobs", "1", "--seeds", SEEDS])
            .args(["--profile", profile])
            .current_dir(&self.source)
            .env("CARGO_TARGET_DIR", &self.build)
            // A build a bug: quick ones.
            .envs([("CARGO_PROFILE_RELEASE_LTO", "off"), ("CARGO_PROFILE_RELEASE_DEBUG", "0")])
            .envs([("CARGO_PROFILE_RELEASE_INCREMENTAL", "true"), ("CARGO_PROFILE_RELEASE_CODEGEN_UNITS", "16")])
            .output()
            .map_err(|error| format!("cannot run cargo: {error}"))?;
        let said = String::from_utf8_lossy(&output.stdout);
        if !said.starts_with("seeds ") {
            return Err(format!("{name} does not build:\n{}", String::from_utf8_lossy(&output.stderr)));
        }
        let after = |start: &str, end: char| {
            let line = said.lines().find_map(|line| line.strip_prefix(start))?;
            Some(line.split(end).next().unwrap_or(line).trim().to_owned())
        };
        let Some(seed) = after("FAILED: seed ", ':').and_then(|seed| seed.parse().ok()) else { return Ok(None) };
        let steps =
            said.lines().find_map(|line| line.strip_prefix("shrunk from ")?.split(' ').nth(3).map(str::to_owned));
        let fingerprint = after("fingerprint ", ' ').unwrap_or_default();
        Ok(Some(Found { seed, steps: steps.unwrap_or("?".into()), fingerprint }))
    }
}

fn cargo() -> String {
    env::var("CARGO").unwrap_or_else(|_| "cargo".into())
}

/// Returns the output of a command, if it succeeds.
fn output(command: &mut Command) -> Result<String, String> {
    let output = command.output().map_err(|error| format!("cannot run {command:?}: {error}"))?;
    if output.status.success() {
        return Ok(String::from_utf8_lossy(&output.stdout).into_owned());
    }
    Err(format!("{command:?} fails: {}", String::from_utf8_lossy(&output.stderr).trim()))
}
