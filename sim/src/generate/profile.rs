//! The profile of a seed: the kinds of steps and faults, their frequency, and the limits of the agent.

use spoa_sim_checker::Limits;
use spoa_sim_haproxy::Engine;

use super::Move;
use super::weights::Weights;
use crate::random::Random;
use crate::script::{AgentSetup, MS};

/// The version of the generator. A seed has the same script only within one version.
pub const GENERATOR_VERSION: u32 = 6;

/// The kind of runs to generate.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Profile {
    /// Runs of all kinds.
    #[default]
    Standard,
    /// Runs without faults. A failure concerns correct peers.
    Calm,
    /// Runs with a model of HAProxy 3.1 or later, on a network with faults.
    Mux,
    /// Runs with a model of HAProxy 3.0 or earlier, on a network with faults.
    Applet,
    /// Runs of many connections through an endpoint.
    Endpoint,
    /// Runs of several agents behind models of HAProxy.
    Fleet,
}

impl Profile {
    /// All profiles.
    pub const ALL: [Self; 6] = [Self::Standard, Self::Calm, Self::Mux, Self::Applet, Self::Endpoint, Self::Fleet];

    /// Returns the profile with this name.
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|profile| profile.name() == name)
    }

    /// Returns the name.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Standard => "standard",
            Self::Calm => "calm",
            Self::Mux => "mux",
            Self::Applet => "applet",
            Self::Endpoint => "endpoint",
            Self::Fleet => "fleet",
        }
    }
}

/// The player of HAProxy in a run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Play {
    /// The script itself says what HAProxy sends.
    Script,
    /// Models of this engine, with one agent.
    Model(Engine),
    /// Models, with several agents.
    Fleet,
}

/// The kinds of steps and faults of a seed, and their frequency.
#[derive(Clone, Debug)]
pub(super) struct Swarm {
    pub(super) play: Play,
    /// True if there are no faults.
    pub(super) calm: bool,
    pub(super) steps: u64,
    pub(super) links: usize,
    /// The relative frequency of each kind of step.
    pub(super) weights: Weights<Move>,
    /// The percentage of connections that start with a bad HELLO.
    pub(super) bad_hello: u64,
    /// The percentage of the other connections that start without a HELLO, and of HELLOs with the key `healthcheck`.
    pub(super) no_hello: u64,
    /// True if the HELLO may be cut too.
    pub(super) cuts_first: bool,
    /// The percentage of NOTIFYs in fragments that have a fault.
    pub(super) fragment_faults: u64,
    /// The percentage of NOTIFYs with a plan. Their answer may be deferred or unusual.
    pub(super) odd_answers: u64,
    /// The percentage of plans that set more variables than fit, so that ACKs are as large as they can be.
    pub(super) large_answers: u64,
    /// The percentage of arguments that are large.
    pub(super) large_args: u64,
    /// True if NOTIFYs in fragments are above 64 KiB. Such a run takes as long as several others.
    pub(super) has_huge_notifies: bool,
    /// The percentage of steps after which a peer is inside a frame until its next step.
    pub(super) splits: u64,
}

impl Swarm {
    pub(super) fn draw(random: &mut Random, profile: Profile) -> Self {
        // One seed in ten has no fault at all.
        let calm = profile == Profile::Calm || random.chance(1, 10);
        let mut weights = Weights::draw(Move::ALL, random, calm);
        if calm {
            weights.set(Move::Fin, 1);
        }
        let play = match profile {
            Profile::Mux => Play::Model(Engine::Mux),
            Profile::Applet => Play::Model(Engine::Applet),
            // A fleet takes as long as 20 other runs.
            Profile::Standard | Profile::Calm => match random.below(480) {
                0..12 => Play::Model(Engine::Mux),
                12..24 => Play::Model(Engine::Applet),
                24 => Play::Fleet,
                _ => Play::Script,
            },
            Profile::Endpoint => Play::Script,
            Profile::Fleet => Play::Fleet,
        };
        // Such large NOTIFYs arrive in fragments.
        let has_huge_notifies = !calm && random.chance(1, 100);
        if has_huge_notifies {
            weights.set(Move::Fragments, weights.get(Move::Notify));
        }
        let mut percent = |max: u64| if calm || random.chance(1, 2) { 0 } else { random.between(1, max) };
        Self {
            play,
            calm,
            bad_hello: percent(30),
            no_hello: percent(10),
            fragment_faults: percent(30),
            odd_answers: percent(60),
            large_answers: percent(40) / 2,
            large_args: percent(20),
            has_huge_notifies,
            cuts_first: random.chance(1, 2),
            steps: random.magnitude(3, 32),
            links: match profile {
                Profile::Endpoint => random.between(1, 10) as usize,
                _ => 1 + random.weighted(&[8, 4, 2, 1]),
            },
            splits: if profile == Profile::Endpoint && random.chance(1, 2) { random.between(5, 60) } else { 0 },
            weights,
        }
    }
}

/// Draws the limits of the agent: the defaults, or usual, tiny and unusual values.
pub(super) fn agent(random: &mut Random, profile: Profile, play: Play) -> AgentSetup {
    match profile {
        _ if play == Play::Fleet => fleet(random),
        Profile::Endpoint => {
            let connection = connection(random, profile);
            endpoint(random, &connection)
        }
        Profile::Mux | Profile::Applet => {
            let connection = connection(random, profile);
            driver(random, &connection)
        }
        Profile::Standard | Profile::Calm | Profile::Fleet => connection(random, profile),
    }
}

/// Draws several agents. A connection has the default limits, so that only the stops of agents can lose events.
fn fleet(random: &mut Random) -> AgentSetup {
    let agents = random.between(2, 3) as u32;
    let mut agent = AgentSetup { agents, ..AgentSetup::default() };
    agent.connection.ack_timeout = random.magnitude(100 * MS, 1000 * MS);
    let agent = if random.chance(1, 2) { driver(random, &agent) } else { agent };
    // A drain with patience closes connections at the best moment.
    let patience = if random.chance(7, 8) { random.magnitude(MS, 1000 * MS) } else { 0 };
    AgentSetup { patience, ..agent }
}

/// Draws the faults of the endpoint's driver, and the number of workers.
fn driver(random: &mut Random, agent: &AgentSetup) -> AgentSetup {
    AgentSetup {
        workers: if random.chance(1, 3) { random.between(2, 3) as u32 } else { 1 },
        patience: if random.chance(1, 2) { random.magnitude(MS, 50 * MS) } else { 0 },
        late: if random.chance(1, 3) { random.magnitude(1, 20 * MS) } else { 0 },
        lazy: if random.chance(1, 3) { random.between(2, 8) as u32 } else { 1 },
        spurious: if random.chance(1, 3) { random.between(1, 4) as u32 } else { 0 },
        ..agent.clone()
    }
}

/// Draws the limits of all connections together.
fn endpoint(random: &mut Random, connection: &AgentSetup) -> AgentSetup {
    let defaults = AgentSetup::default();
    let (few, all) = (random.between(1, 4) as u32, defaults.total_in_flight_max);
    // A NOTIFY in fragments then takes as much room as several of the largest frames.
    let has_small_frames = random.chance(1, 4);
    let mut agent = AgentSetup {
        endpoint: true,
        total_in_flight_max: if random.chance(1, 2) { few } else { all },
        total_bytes_max: if random.chance(1, 2) {
            random.magnitude(100, if has_small_frames { 4000 } else { 50_000 }) as u32
        } else {
            defaults.total_bytes_max
        },
        origins: if random.chance(1, 2) { random.between(2, 4) as u32 } else { 1 },
        ..connection.clone()
    };
    if has_small_frames {
        (agent.connection.max_frame_size, agent.connection.fragmentation) = (256, true);
    }
    driver(random, &agent)
}

/// Draws the limits of each connection.
fn connection(random: &mut Random, profile: Profile) -> AgentSetup {
    let defaults = AgentSetup::default();
    if profile == Profile::Calm || random.chance(1, 4) {
        return defaults;
    }
    let on = |random: &mut Random| random.chance(3, 4);
    let mut agent = defaults.clone();
    // The fields are drawn in this order. Another order changes the scripts of all seeds.
    agent.connection = Limits {
        max_frame_size: *random.pick(&[256, 257, 300, 512, 1024, 4096, 16_380, 16_384, 100_000]),
        pipelining: on(random),
        fragmentation: on(random),
        asynchronous: !on(random),
        in_flight_max: *random.pick(&[1, 2, 3, 8, 20, 64]),
        deferred_max: *random.pick(&[1, 100, 2000, 1 << 20, 1 << 20]),
        unsent_max: *random.pick(&[1, 64, 300, 2000, 64 << 10]),
        reassembly_max: *random.pick(&[0, 50, 200, 1000, 20_000, 1 << 20]),
        notify_max: if random.chance(1, 8) { random.between(1, 10) as u32 } else { 0 },
        hello_timeout: random.magnitude(MS, 5_000 * MS),
        idle_timeout: if random.chance(1, 4) { random.magnitude(MS, 100 * MS) } else { 0 },
        ack_timeout: random.magnitude(MS, 1_000 * MS),
        refuse_delay: if random.chance(1, 3) { 0 } else { random.magnitude(MS, 100 * MS) },
        linger: random.magnitude(MS, 100 * MS),
        send_timeout: random.magnitude(MS, 1_000 * MS),
        refuse_healthchecks: false,
    };
    if random.chance(1, 8) {
        agent.connections_max = random.between(1, 3) as u32;
    }
    agent.connection.refuse_healthchecks = random.chance(1, 8);
    if random.chance(1, 8) {
        agent.total_in_flight_max = random.between(1, 4) as u32;
    }
    agent
}
