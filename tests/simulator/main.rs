//! The simulator itself: its scripts mean the same for ever, its checker is nobody's accomplice.

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
use spoa_sim::search::search;
use spoa_sim::text::parse;
use spoa_sim::world::run;

/// The fingerprint of all traces of seeds 0..500. It changes when the generator, the core's behaviour or the trace does:
/// then look at what changed, and raise the generator's version if it was that.
const GOLDEN: &str = "1cfea703f4910b872851a3e688f76e27";

#[test]
fn seeds_have_the_same_traces_for_ever() {
    let findings = search(0..500, Profile::Standard, 2, usize::MAX, |_| {});
    assert_eq!(findings.failures, []);
    assert_eq!(findings.unstable, [0; 0]);
    assert_eq!(format!("{:032x}", findings.digest), GOLDEN);
}

#[test]
fn every_script_of_the_corpus_holds() {
    for (path, text) in corpus() {
        let script = parse(&text).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
        assert!(!script.story.is_empty(), "{} has no story", path.display());
        assert_eq!(script.to_string(), text, "{} is not written as it would be", path.display());
        if let Some(failure) = examine(&script, None) {
            panic!("{}: {failure}", path.display());
        }
    }
}

/// Everything that runs have to reach is reached by a script of a few lines, in a moment.
#[test]
fn the_corpus_reaches_everything() {
    let mut coverage = Coverage::default();
    corpus().iter().for_each(|(_, text)| coverage.add(&run(&parse(text).expect("it is a script"), false).coverage));
    let open: Vec<_> = Goal::all().filter(|goal| !coverage.has(*goal)).map(|goal| goal.to_string()).collect();
    assert_eq!(open, [""; 0], "make it anew: spoa-sim coverage --distil sim/corpus/covers");
}

#[test]
fn any_line_of_a_script_can_go() {
    for seed in 0..60 {
        let whole = generate(seed, Profile::Standard);
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
fn a_generated_script_is_the_same_from_its_text() {
    for seed in 0..300 {
        let script = generate(seed, Profile::Standard);
        let again = parse(&script.to_string()).unwrap_or_else(|error| panic!("seed {seed}: {error}"));
        assert_eq!(again, script, "seed {seed}");
        assert_eq!(run(&again, true).trace.digest(), run(&script, false).trace.digest(), "seed {seed}");
    }
}

/// A checker that shares code with what it checks shares its mistakes.
#[test]
fn the_checker_depends_on_nothing_of_the_core() {
    let output = Command::new(env::var("CARGO").unwrap_or("cargo".into()))
        .args(["tree", "--package", "spoa-sim-checker", "--edges", "normal,build", "--prefix", "none"])
        .output()
        .expect("cargo runs");
    let tree = String::from_utf8_lossy(&output.stdout);
    assert!(tree.starts_with("spoa-sim-checker "), "{tree}{}", String::from_utf8_lossy(&output.stderr));
    assert_eq!(tree.lines().count(), 1, "the checker has dependencies:\n{tree}");
}

/// Each bug of `spoa-sim bugs` has one place in the core as it is; CI itself plants only one.
#[test]
fn every_planted_bug_fits_the_core() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let bugs: Vec<_> = fs::read_dir(root.join("sim/bugs"))
        .expect("the folder is there")
        .map(|entry| entry.expect("it can be read").path())
        .filter(|path| path.extension().is_some_and(|extension| extension == "bug"))
        .collect();
    assert!(bugs.len() >= 30, "only {} bugs are planted", bugs.len());
    for path in bugs {
        let text = fs::read_to_string(&path).expect("it can be read");
        let place = PlantedBug::parse(&text).and_then(|bug| bug.place(&root.join("core/src")));
        assert!(place.is_ok(), "{}: {place:?}", path.display());
    }
}

fn corpus() -> Vec<(PathBuf, String)> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../sim/corpus");
    let files = |folder: &Path| -> Vec<PathBuf> {
        let entries = fs::read_dir(folder).expect("the corpus is there");
        entries.map(|entry| entry.expect("it can be read").path()).filter(|path| path.is_file()).collect()
    };
    let named = files(&folder);
    assert!(named.len() >= 16, "the corpus has shrunk to {}", named.len());
    let mut scripts: Vec<_> = named
        .into_iter()
        .chain(files(&folder.join("covers")))
        .map(|path| (path.clone(), fs::read_to_string(&path).expect("so can its scripts")))
        .collect();
    scripts.sort();
    scripts
}
