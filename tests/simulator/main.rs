//! Tests of the simulator: scripts keep their meaning, the corpus passes, and the checker is independent of the core.

mod exhaustive;
mod recordings;
mod replay;

use std::path::{Path, PathBuf};
use std::process::Command;
use std::{env, fs};

use spoa_sim::coverage::{Coverage, Goal};
use spoa_sim::generate::{Profile, generate};
use spoa_sim::metamorphic::examine;
use spoa_sim::planted::PlantedBug;
use spoa_sim::run::run;
use spoa_sim::search::{Limits, search};
use spoa_sim::text::parse;

/// Hash of the traces of the first seeds of each profile. A hash changes with the generator, with the behaviour of the agent and
/// with the format of traces. If it changes, find out which of them is the reason. If it is the generator, increase the
/// generator's version.
const GOLDEN: [(Profile, u64, &str); 3] = [
    (Profile::Standard, 500, "93b9f1403e932cd554a451978253d45f"),
    (Profile::Endpoint, 500, "feddf600690a57d526e34741e600f246"),
    (Profile::Fleet, 50, "e48e2b197d04c097e685d6223edb69b2"),
];

#[test]
fn traces_of_seeds_never_change() {
    for (profile, seeds, golden) in GOLDEN {
        let findings = search(0..seeds, profile, Limits::of_jobs(2), |_| {});
        assert_eq!(findings.failures, [], "{}", profile.name());
        assert_eq!(findings.unstable, [0; 0], "{}", profile.name());
        assert_eq!(format!("{:032x}", findings.digest), golden, "{}", profile.name());
    }
}

#[test]
fn every_script_of_the_corpus_passes() {
    for (path, text) in corpus() {
        let script = parse(&text).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
        assert!(!script.story.is_empty(), "{} has no story", path.display());
        let written = script.to_string();
        assert_eq!(normal(&written), normal(&text), "{} is not in the normal form of scripts", path.display());
        if let Some(failure) = examine(&script, None) {
            panic!("{}: {failure}", path.display());
        }
    }
}

/// Returns the lines of a script with the limits of the agent in alphabetical order: scripts of different times have them in
/// different orders.
fn normal(text: &str) -> Vec<String> {
    let sorted = |line: &str| {
        let mut words: Vec<_> = line.split(' ').collect();
        words[1..].sort_unstable();
        words.join(" ")
    };
    text.lines().map(|line| if line.starts_with("agent ") { sorted(line) } else { line.into() }).collect()
}

/// The scripts of the corpus reach every coverage goal. They are short, so this test is quick.
#[test]
fn the_corpus_reaches_every_goal() {
    let mut coverage = Coverage::default();
    corpus()
        .iter()
        .for_each(|(_, text)| coverage.add(&run(&parse(text).expect("the file is a script"), false).coverage));
    let missing: Vec<_> = Goal::all().filter(|goal| !coverage.has(*goal)).map(|goal| goal.to_string()).collect();
    assert_eq!(
        missing, [""; 0],
        "goals that no script reaches; to add scripts: spoa-sim coverage --distil sim/corpus/covers"
    );
}

#[test]
fn a_script_passes_without_any_one_of_its_steps() {
    let runs = (0..60).flat_map(|seed| [(seed, Profile::Standard), (seed, Profile::Endpoint)]);
    for (seed, profile) in runs.chain((0..2).map(|seed| (seed, Profile::Fleet))) {
        let whole = generate(seed, profile);
        for at in 0..whole.steps.len() {
            let mut script = whole.clone();
            script.steps.remove(at);
            if let Some(failure) = run(&script, false).failure {
                panic!("seed {seed} without step {at}: {failure}");
            }
        }
    }
}

#[test]
fn a_generated_script_equals_the_script_parsed_from_its_text() {
    let runs = (0..300).flat_map(|seed| [(seed, Profile::Standard), (seed, Profile::Endpoint)]);
    for (seed, profile) in runs.chain((0..30).map(|seed| (seed, Profile::Fleet))) {
        let script = generate(seed, profile);
        let parsed = parse(&script.to_string()).unwrap_or_else(|error| panic!("seed {seed}: {error}"));
        assert_eq!(parsed, script, "seed {seed}");
        assert_eq!(run(&parsed, true).trace.digest(), run(&script, false).trace.digest(), "seed {seed}");
    }
}

/// A checker or a model of HAProxy that shares code with the core would share its bugs.
#[test]
fn the_checker_and_the_models_have_no_dependencies() {
    for package in ["spoa-sim-checker", "spoa-sim-haproxy"] {
        let output = Command::new(env::var("CARGO").unwrap_or("cargo".into()))
            .args(["tree", "--package", package, "--edges", "normal,build", "--prefix", "none"])
            .output()
            .expect("cargo runs");
        let tree = String::from_utf8_lossy(&output.stdout);
        assert!(tree.starts_with(package), "{tree}{}", String::from_utf8_lossy(&output.stderr));
        assert_eq!(tree.lines().count(), 1, "{package} has dependencies:\n{tree}");
    }
}

/// The code that each bug of `spoa-sim bugs` replaces occurs exactly once in the core. CI itself plants only one of the
/// bugs.
#[test]
fn every_planted_bug_can_be_applied_to_the_core() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let bugs: Vec<_> = fs::read_dir(root.join("sim/bugs"))
        .expect("sim/bugs can be read")
        .map(|entry| entry.expect("sim/bugs can be read").path())
        .filter(|path| path.extension().is_some_and(|extension| extension == "bug"))
        .collect();
    assert!(bugs.len() >= 30, "expected at least 30 bugs, got {}", bugs.len());
    for path in bugs {
        let text = fs::read_to_string(&path).expect("the file can be read");
        let place = PlantedBug::parse(&text).and_then(|bug| bug.place(&root.join("core/src")));
        assert!(place.is_ok(), "{}: {place:?}", path.display());
    }
}

/// Returns the paths and texts of all scripts of the corpus.
fn corpus() -> Vec<(PathBuf, String)> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../sim/corpus");
    let files = |folder: &Path| -> Vec<PathBuf> {
        let entries = fs::read_dir(folder).expect("the folder can be read");
        entries.map(|entry| entry.expect("the folder can be read").path()).filter(|path| path.is_file()).collect()
    };
    let named = files(&folder);
    assert!(named.len() >= 16, "expected at least 16 scripts, got {}", named.len());
    let mut scripts: Vec<_> = named
        .into_iter()
        .chain(files(&folder.join("covers")))
        .map(|path| (path.clone(), fs::read_to_string(&path).expect("the file can be read")))
        .collect();
    scripts.sort();
    scripts
}
