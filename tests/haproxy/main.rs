//! Tests agents with real HAProxy: one trial per scenario and HAProxy version that `tests/haproxy/install` installed.
//!
//! Scenarios observe HAProxy: its variables, which it returns as response headers, and its SPOE log. If these are not
//! enough, a relay between HAProxy and the agent observes the bytes that both send.

mod agent;
mod client;
mod crowd;
mod haproxy;
mod lists;
mod load;
mod log;
mod raw_agent;
mod recorder;
mod relay;
mod scene;
mod tap;

mod addresses;
mod agent_sockets;
mod agent_stop;
mod captured;
mod disconnect_status;
mod doctor;
mod fail2ban;
mod fleet;
mod health_check;
mod idle_connection;
mod no_reset;
mod oversized;
mod pipelining;
mod readme_config;
mod record;
mod reload_under_load;
mod several_messages;
mod shadow;
mod shipped;
mod slow_handler;
mod tls;
mod value_types;

use std::process::ExitCode;

use libtest_mimic::{Arguments, Trial};

use crate::haproxy::{Engine, Install};

/// The requirements of a scenario.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Needs {
    Any,
    Engine(Engine),
    Ipv6,
}

type Scenario = (&'static str, Needs, fn(&Install));

const SCENARIOS: &[Scenario] = &[
    ("readme_config", Needs::Any, readme_config::run),
    ("readme_recipe", Needs::Any, readme_config::recipe),
    ("shipped_every_pair", Needs::Any, shipped::every_pair),
    ("shipped_forwarded", Needs::Any, shipped::forwarded),
    ("health_check", Needs::Any, health_check::follows_the_agent),
    ("health_check_small_buffers", Needs::Any, health_check::small_buffers),
    ("pipelining_on", Needs::Any, pipelining::on),
    ("pipelining_off", Needs::Any, pipelining::off),
    ("pipelining_refused_by_agent", Needs::Any, pipelining::refused_by_agent),
    ("argument_types", Needs::Any, value_types::of_arguments),
    ("variable_types", Needs::Any, value_types::of_variables),
    ("variable_scopes", Needs::Any, value_types::scopes),
    ("oversized_fragmented", Needs::Engine(Engine::Applet), oversized::fragmented),
    ("oversized_refused", Needs::Engine(Engine::Mux), oversized::refused),
    ("shadow_agrees_with_enforced", Needs::Any, shadow::agrees_with_enforced),
    ("tls_with_client_certificates", Needs::Any, tls::with_client_certificates),
    ("headers", Needs::Any, value_types::headers),
    ("several_messages", Needs::Any, several_messages::run),
    ("addresses", Needs::Ipv6, addresses::run),
    ("lists_of_each_kind", Needs::Any, lists::each_kind),
    ("lists_policy_by_site", Needs::Any, lists::policy_by_site),
    ("lists_replaced_under_load", Needs::Any, lists::replaced_under_load),
    ("agent_on_unix_socket", Needs::Any, agent_sockets::unix),
    ("agent_on_unix_socket_of_another_user", Needs::Any, agent_sockets::unix_of_another_user),
    ("agent_on_ipv6", Needs::Ipv6, agent_sockets::ipv6),
    ("reload_under_load", Needs::Any, reload_under_load::run),
    ("agent_stop_under_load", Needs::Any, agent_stop::under_load),
    ("agent_stop_in_flight", Needs::Any, agent_stop::in_flight),
    ("fleet_rolling", Needs::Any, fleet::rolling),
    ("fleet_killed", Needs::Any, fleet::killed),
    ("fleet_hangs", Needs::Any, fleet::hangs),
    ("fleet_reloads", Needs::Any, fleet::reloads),
    ("fail2ban_bans_and_unbans", Needs::Any, fail2ban::bans_and_unbans),
    ("captured_by_tcpdump", Needs::Any, captured::by_tcpdump),
    ("slow_handler", Needs::Any, slow_handler::beyond_processing_timeout),
    ("slow_handler_cut_off", Needs::Any, slow_handler::beyond_ack_timeout),
    ("idle_connection", Needs::Any, idle_connection::closed_by_haproxy),
    ("disconnect_idle", Needs::Engine(Engine::Applet), disconnect_status::idle),
    ("disconnect_soft_stop", Needs::Engine(Engine::Applet), disconnect_status::soft_stop),
    ("disconnect_bad_hello", Needs::Any, disconnect_status::bad_hello),
    ("disconnect_ack_too_big", Needs::Engine(Engine::Applet), disconnect_status::ack_too_big),
    ("disconnect_not_fragmented", Needs::Engine(Engine::Applet), disconnect_status::not_fragmented),
    ("disconnect_by_agent", Needs::Any, disconnect_status::by_agent),
    ("handler_fails_deferred", Needs::Any, no_reset::deferred_handler),
    ("handler_fails_immediate", Needs::Any, no_reset::quick_handler),
];

fn main() -> ExitCode {
    let mut args = Arguments::from_args();
    // Trials mostly wait, for HAProxy or for a timeout, so several of them can share a processor.
    args.test_threads = args.test_threads.or(Some(4));
    let installs = Install::all();
    let ipv6 = std::net::TcpListener::bind("[::1]:0").is_ok();
    let scenarios = SCENARIOS.iter().flat_map(|&(name, needs, run)| trials(name, needs, &installs, ipv6, run));
    let scenes = record::SCENES.iter().flat_map(|&(name, needs, record)| {
        let run = move |install: &Install| scene::check_recording(name, install, &record(install));
        trials(&format!("record_{name}"), needs, &installs, ipv6, run)
    });
    let relay = Trial::test("relay_distinguishes_fin_and_reset", || {
        recorder::distinguishes_fin_and_reset();
        Ok(())
    });
    let trials = scenarios.chain(scenes).chain([relay]).chain(doctor::all(&installs)).collect();
    if !args.list {
        let versions: Vec<_> = installs.iter().map(|install| &*install.full).collect();
        match &versions[..] {
            [] => println!("no HAProxy is installed, so all its trials are ignored; tests/haproxy/install installs it"),
            versions => println!("HAProxy {}", versions.join(", ")),
        }
    }
    libtest_mimic::run(&args, trials).exit_code()
}

fn trials(
    name: &str,
    needs: Needs,
    installs: &[Install],
    ipv6: bool,
    run: impl Fn(&Install) + Clone + Send + 'static,
) -> Vec<Trial> {
    if installs.is_empty() {
        return vec![
            Trial::test(format!("{name}::no_haproxy"), || Err("no HAProxy is installed".into()))
                .with_ignored_flag(true),
        ];
    }
    let applies = |install: &&Install| match needs {
        Needs::Engine(engine) => install.engine() == engine,
        Needs::Any | Needs::Ipv6 => true,
    };
    let trial = |install: &Install| {
        let ((major, minor), install, run) = (install.version, install.clone(), run.clone());
        let trial = Trial::test(format!("{name}::haproxy_{major}.{minor}"), move || {
            run(&install);
            Ok(())
        });
        trial.with_ignored_flag(needs == Needs::Ipv6 && !ipv6)
    };
    installs.iter().filter(applies).map(trial).collect()
}
