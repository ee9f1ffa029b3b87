//! `conform --seeds` and `conform --script`: plays conversations of HAProxy with any agent over a socket.

use std::collections::BTreeMap;
use std::fs;
use std::fs::File;
use std::io::BufWriter;
use std::path::Path;
use std::time::Instant;

use spoa_sim::generate::{GENERATOR_VERSION, Profile, generate};
use spoa_sim::live::{self, Failing, Played, Trial, adapt};
use spoa_sim::script::Script;
use spoa_sim::text::parse;
use spoa_sim_kit::capture::write_pcapng;
use spoa_sim_kit::conformance::{Engine, KnownFailing};
use spoa_sim_kit::judge::Finding;

use super::conform::{cannot_write, clear_progress, read, show_progress, write};
use super::counted;
use super::subject::{self, Problem};
use crate::Exit;
use crate::cli::Conform;

/// The number of kinds of failures after which no further seeds are played.
const KINDS_MAX: usize = 10;

/// True if the arguments ask for conversations instead of cases.
pub(super) fn are_asked(arguments: &Conform) -> bool {
    arguments.conversations.seeds.is_some() || !arguments.conversations.script.is_empty()
}

/// Plays the conversations, and shows those that fail.
pub(super) fn run(arguments: &Conform) -> Result<Exit, Problem> {
    let (conversations, count) = conversations(arguments);
    let known = match &arguments.known_failing {
        Some(path) => KnownFailing::parse(&read(path)?).map_err(|error| format!("{}: {error}", path.display()))?,
        None => KnownFailing::default(),
    };
    for folder in [&arguments.pcapng, &arguments.conversations.scripts].into_iter().flatten() {
        fs::create_dir_all(folder).map_err(|error| format!("cannot create {}: {error}", folder.display()))?;
    }
    let options = live::Options { question: subject::question(&arguments.question)?, timeout: arguments.timeout };
    let mut subject = subject::subject(&arguments.subject)?;
    let mut session = Session {
        arguments,
        known,
        trial: Trial::new(&mut subject, &options),
        kinds: BTreeMap::new(),
        played: 0,
        failed: 0,
        notifys: 0,
    };
    let until = arguments.conversations.time.map(|time| Instant::now() + time);
    for (number, conversation) in (1..).zip(conversations) {
        if session.kinds.len() >= KINDS_MAX {
            println!("stopped after {KINDS_MAX} kinds of failures");
            break;
        }
        if until.is_some_and(|until| Instant::now() >= until) {
            break;
        }
        let conversation = conversation?;
        show_progress(number, count, &conversation.name);
        session.play(&conversation)?;
    }
    clear_progress();
    Ok(session.conclude())
}

/// A script, and its name in reports.
struct Conversation {
    name: String,
    script: Script,
    is_seed: bool,
}

type Conversations<'a> = Box<dyn Iterator<Item = Result<Conversation, Problem>> + 'a>;

/// Returns the conversations, and their number unless there is no end.
fn conversations(arguments: &Conform) -> (Conversations<'_>, Option<usize>) {
    let Some(seeds) = &arguments.conversations.seeds else {
        let paths = &arguments.conversations.script;
        let scripts = paths.iter().map(|path| {
            let script = parse(&read(path)?).map_err(|error| format!("{}: {error}", path.display()))?;
            Ok(Conversation { name: path.display().to_string(), script, is_seed: false })
        });
        return (Box::new(scripts), Some(paths.len()));
    };
    let profiles: &[Profile] = match arguments.engine {
        None => &[Profile::Mux, Profile::Applet],
        Some(Engine::Mux) => &[Profile::Mux],
        Some(Engine::Applet) => &[Profile::Applet],
    };
    let all = seeds.0.clone().flat_map(|seed| profiles.iter().map(move |profile| (seed, *profile)));
    let adapted = all.map(|(seed, profile)| {
        let script = adapt(&generate(seed, profile), &arguments.question.message);
        Ok(Conversation { name: format!("{}-{seed}", profile.name()), script, is_seed: true })
    });
    let count = (!seeds.is_open()).then(|| (seeds.0.end - seeds.0.start) as usize * profiles.len());
    (Box::new(adapted), count)
}

struct Session<'s> {
    arguments: &'s Conform,
    known: KnownFailing,
    trial: Trial<'s>,
    /// The kinds of failures so far, and the number of conversations that had each.
    kinds: BTreeMap<Failing, usize>,
    played: usize,
    failed: usize,
    notifys: usize,
}

impl Session<'_> {
    fn play(&mut self, conversation: &Conversation) -> Result<(), Problem> {
        let Conversation { name, script, is_seed } = conversation;
        let played = self.trial.play(script).map_err(|error| cannot_play(&error))?;
        self.played += 1;
        self.notifys += played.notifys;
        if let Some(folder) = &self.arguments.pcapng {
            let stem = if *is_seed { name.clone() } else { format!("{}-{}", self.played, file_stem(name)) };
            write_capture(&folder.join(format!("{stem}.pcapng")), &played)?;
        }
        let findings = played.findings.iter().filter(|finding| !self.known.contains(finding.case));
        let mut kinds: BTreeMap<Failing, &Finding> = BTreeMap::new();
        findings.for_each(|finding| {
            kinds.entry(Failing::of(finding)).or_insert(finding);
        });
        self.failed += usize::from(!kinds.is_empty());
        for (kind, finding) in kinds {
            let count = self.kinds.entry(kind.clone()).or_default();
            *count += 1;
            if *count == 1 {
                clear_progress();
                println!("FAILED: {name}: {finding}");
                if *is_seed {
                    self.shrink(name, script, &kind)?;
                }
            }
        }
        Ok(())
    }

    /// Makes the script of a failure small, and prints it or writes it to a file.
    fn shrink(&mut self, name: &str, script: &Script, failing: &Failing) -> Result<(), Problem> {
        let (question, time) = (&self.arguments.question.message, self.arguments.conversations.shrink_time);
        let shrunk = self.trial.shrink(script, question, failing, time).map_err(|error| cannot_play(&error))?;
        if !shrunk.is_certain {
            println!("  the failure does not occur in every run");
        }
        let (before, after) = (script.steps.len(), shrunk.script.steps.len());
        println!(
            "  shrunk from {before} steps to {after}, {} considered",
            counted(shrunk.candidates as usize, "script")
        );
        let story = vec![format!("Seed {name}, generator {GENERATOR_VERSION}: {}", failing.case)];
        let text = Script { story, ..shrunk.script }.to_string();
        match &self.arguments.conversations.scripts {
            None => print!("\n{text}\n"),
            Some(folder) => {
                // A seed may break a rule in several ways.
                let number = self.kinds.keys().filter(|kind| kind.case == failing.case).count();
                let path = folder.join(format!("{name}-{}-{number}.spop", failing.case.replace('/', "-")));
                write(&path, &text)?;
                println!("  {}", path.display());
            }
        }
        Ok(())
    }

    fn conclude(&self) -> Exit {
        let Self { kinds, played, failed, notifys, .. } = self;
        kinds.iter().for_each(|(kind, count)| println!("{count:>6}  {kind}"));
        println!("{} with {}, {failed} failed", counted(*played, "conversation"), counted(*notifys, "NOTIFY"));
        if *failed > 0 { Exit::Failed } else { Exit::Held }
    }
}

fn cannot_play(error: &std::io::Error) -> Problem {
    format!("cannot go on: {error}")
}

fn file_stem(name: &str) -> String {
    Path::new(name).file_stem().map_or_else(|| name.into(), |stem| stem.to_string_lossy().into_owned())
}

fn write_capture(path: &Path, played: &Played) -> Result<(), Problem> {
    let file = File::create(path).and_then(|file| write_pcapng(&played.recording, BufWriter::new(file)));
    file.map_err(|error| cannot_write(path, &error))
}
