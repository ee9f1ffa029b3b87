//! A copy of the workspace, in which bugs are planted and built.

use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::{env, fmt, fs, io};

use spoa_sim::generate::Profile;
use spoa_sim::planted::Place;
use spoa_sim::run::run_with_states;
use spoa_sim::text::parse;

use super::Change;
use crate::Exit;
use crate::cli::StateFormat;
use crate::report::state;

/// The seeds within which each has to be found: of the profile endpoint if the bug is in the endpoint, else standard, then endpoint.
/// A patch may also be found by the profile fleet.
pub(super) const SEEDS: &str = "0..100000";
/// The folder of the code that they change.
const CORE: &str = "core/src";

/// The facts that the simulator finds out about a bug.
pub(super) struct Found {
    pub(super) seed: u64,
    /// The number of runs of a search that is guided by coverage, if it finds the bug.
    pub(super) guided: Option<u64>,
    /// The number of steps of the small script.
    pub(super) steps: String,
    pub(super) fingerprint: String,
    /// The step of the small script after which the state of the core is another one than without the bug.
    pub(super) cause: Option<usize>,
    /// The step of the small script at which the failure begins according to `when`.
    pub(super) begins: Option<usize>,
}

impl fmt::Display for Found {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { seed, guided, steps, fingerprint, cause, begins } = self;
        let guided = guided.map_or("-".into(), |runs| runs.to_string());
        let [cause, begins] = [cause, begins].map(|step| step.map_or("-".into(), |step| step.to_string()));
        write!(
            f,
            "seed {seed:<6} guided {guided:<6} {steps:>2} steps  cause {cause:>2} begins {begins:>2}  {fingerprint}"
        )
    }
}

/// A copy of the workspace, with a separate target folder next to it.
pub(super) struct WorkspaceCopy {
    source: PathBuf,
    build: PathBuf,
}

impl WorkspaceCopy {
    /// Copies all files of the workspace that git knows.
    pub(super) fn make(root: &Path) -> Result<Self, String> {
        let metadata =
            Command::new(cargo()).args(["metadata", "--format-version", "1", "--no-deps"]).current_dir(root).output();
        let metadata = checked("cargo metadata", metadata)?;
        let target = metadata.split_once("\"target_directory\":\"").and_then(|(_, rest)| rest.split_once('"'));
        let (target, _) = target.ok_or("cargo does not say where it builds")?;
        let work = Path::new(target).join("bugs");
        let copy = Self { source: work.join("source"), build: work.join("build") };
        let _ = fs::remove_dir_all(&copy.source);
        let files = ["ls-files", "-z", "--cached", "--others", "--exclude-standard"];
        let files = checked("git ls-files", Command::new("git").args(files).current_dir(root).output())?;
        for file in files.split('\0').filter(|file| !file.is_empty() && root.join(file).exists()) {
            let to = copy.source.join(file);
            let made = to.parent().map_or(Ok(()), fs::create_dir_all);
            let made = made.and_then(|()| fs::copy(root.join(file), &to).map(drop));
            made.map_err(|error| format!("cannot copy {file}: {error}"))?;
        }
        Ok(copy)
    }

    /// Plants a bug, and looks for it. Returns `None` if it is not found.
    pub(super) fn search(&self, name: &str, change: &Change) -> Result<Option<Found>, String> {
        let profiles: &[Profile] = match change {
            Change::Lines(bug) => {
                let Place { file, text } =
                    bug.place(&self.source.join(CORE)).map_err(|error| format!("{name}: {error}"))?;
                let cannot_write = |error| format!("cannot write {}: {error}", file.display());
                let original = fs::read(&file).map_err(cannot_write)?;
                fs::write(&file, text).map_err(cannot_write)?;
                let built = self.build(name);
                fs::write(&file, original).map_err(cannot_write)?;
                built?;
                let is_in_endpoint =
                    file.strip_prefix(&self.source).is_ok_and(|file| file.to_string_lossy().contains("endpoint"));
                if is_in_endpoint { &[Profile::Endpoint] } else { &[Profile::Standard, Profile::Endpoint] }
            }
            Change::Patch(path) => {
                self.patch(path, &[])?;
                let built = self.build(name);
                self.patch(path, &["--reverse"])?;
                built?;
                &[Profile::Standard, Profile::Endpoint, Profile::Fleet]
            }
        };
        profiles.iter().find_map(|profile| self.find(*profile).transpose()).transpose()
    }

    /// Applies a patch to the copy.
    fn patch(&self, path: &Path, options: &[&str]) -> Result<(), String> {
        let mut git = Command::new("git");
        // The copy is no repository, and must not be taken for a part of one that it is in.
        let above = self.source.parent().unwrap_or(&self.source);
        git.current_dir(&self.source).env("GIT_CEILING_DIRECTORIES", above).arg("apply");
        checked("git apply", git.args(options).arg(path).output()).map(drop)
    }

    /// Builds the simulator of the copy.
    fn build(&self, name: &str) -> Result<(), String> {
        let output = Command::new(cargo())
            .args(["build", "--quiet", "--release", "-p", "spoa-sim"])
            .current_dir(&self.source)
            .env("CARGO_TARGET_DIR", &self.build)
            // There is a build for each bug, so it has to be quick.
            .envs([("CARGO_PROFILE_RELEASE_LTO", "off"), ("CARGO_PROFILE_RELEASE_DEBUG", "0")])
            .envs([("CARGO_PROFILE_RELEASE_INCREMENTAL", "true"), ("CARGO_PROFILE_RELEASE_CODEGEN_UNITS", "16")])
            .output()
            .map_err(|error| format!("cannot run cargo: {error}"))?;
        if output.status.success() {
            return Ok(());
        }
        Err(format!("{name} does not build:\n{}", String::from_utf8_lossy(&output.stderr)))
    }

    /// Runs the simulator of the copy, and returns what it prints.
    fn simulate(&self, arguments: &[&str]) -> Result<String, String> {
        let program = self.build.join("release/spoa-sim");
        let output = Command::new(&program).args(arguments).output();
        let output = output.map_err(|error| format!("cannot run {}: {error}", program.display()))?;
        // A check that fails is what is looked for. A fault of the simulator or a wrong option is not.
        match output.status.code() {
            Some(code) if code != Exit::Internal as i32 && code != Exit::Usage as i32 => {
                Ok(String::from_utf8_lossy(&output.stdout).into_owned())
            }
            _ => {
                let error = String::from_utf8_lossy(&output.stderr).trim().to_owned();
                Err(format!("the simulator with a bug ended with {}: {error}", output.status))
            }
        }
    }

    /// Runs the seeds of a profile until one fails, and examines it.
    fn find(&self, profile: Profile) -> Result<Option<Found>, String> {
        let of_profile = ["--profile", profile.name()];
        // The scripts of planted bugs are not kept.
        let seeds = ["--failures", "none", "--seeds", SEEDS];
        let said = self.simulate(&[&["run", "--jobs", "1"], &seeds[..], &of_profile].concat())?;
        let Some(seed) = after(&said, "FAILED: seed ", ':').and_then(|seed| seed.parse::<u64>().ok()) else {
            return Ok(None);
        };
        let steps = said.lines().find_map(|line| line.strip_prefix("shrunk from ")?.split(' ').nth(3));
        let guided = self.simulate(&[&["run", "--guided"], &seeds[..], &of_profile].concat())?;
        let small = self.build.join("small.spop");
        let path = small.to_string_lossy();
        // If nothing is written, the script of another bug must not be used.
        let _ = fs::remove_file(&small);
        self.simulate(&[&["shrink", &seed.to_string(), "-o", &path], &of_profile[..]].concat())?;
        // A bug that shows itself only with the memory of earlier runs has no script that fails alone.
        let (cause, begins) = if small.exists() {
            let when = self.simulate(&[&["when", &path, "--whole"], &of_profile[..]].concat())?;
            let begins = after(&when, "the failure begins at step ", ' ').and_then(|step| step.parse().ok());
            (Some(self.cause(&small)?), begins)
        } else {
            (None, None)
        };
        Ok(Some(Found {
            seed,
            guided: after(&guided, "FAILED: run ", ':').and_then(|run| run.parse().ok()),
            steps: steps.unwrap_or("?").into(),
            fingerprint: after(&said, "fingerprint ", ' ').unwrap_or_default(),
            cause,
            begins,
        }))
    }

    /// Returns the first step after which the state is another one than that of this program, which has no bug; or the step that
    /// fails.
    fn cause(&self, path: &Path) -> Result<usize, String> {
        let said = self.simulate(&["script", &path.to_string_lossy(), "--state=full"])?;
        let text = fs::read_to_string(path).map_err(|error| format!("cannot read {}: {error}", path.display()))?;
        let script = parse(&text).map_err(|error| format!("{}: {error}", path.display()))?;
        let expected = state::texts(&script, &run_with_states(&script), StateFormat::Full);
        let mut last = 0;
        for (number, text) in expected {
            if !said.contains(&text) {
                // The run has ended before this step, because it has failed.
                let is_missing = !said.contains(&format!("after step {number}, "));
                return Ok(if is_missing { last } else { number });
            }
            last = number;
        }
        Ok(last)
    }
}

/// Returns the text between the start of a line and `end`.
fn after(said: &str, start: &str, end: char) -> Option<String> {
    let line = said.lines().find_map(|line| line.strip_prefix(start))?;
    Some(line.split(end).next().unwrap_or(line).trim().to_owned())
}

fn cargo() -> String {
    env::var("CARGO").unwrap_or_else(|_| "cargo".into())
}

/// Returns what a command has printed, if it has succeeded.
fn checked(name: &str, output: io::Result<Output>) -> Result<String, String> {
    let output = output.map_err(|error| format!("cannot run {name}: {error}"))?;
    if output.status.success() {
        return Ok(String::from_utf8_lossy(&output.stdout).into_owned());
    }
    Err(format!("{name} fails: {}", String::from_utf8_lossy(&output.stderr).trim()))
}
