//! A list in shadow mode: HAProxy refuses nobody, and the agent counts what it would refuse.

use spoa_tests::admin::Admin;
use spoa_tests::folder::Folder;

use crate::agent::Spoa;
use crate::client::{Request, loopback};
use crate::haproxy::Install;
use crate::readme_config::{HAPROXY, file, lock_ports, packaged, start};

/// The last bytes of the clients' addresses; half of them are listed.
const CLIENTS: std::ops::RangeInclusive<u8> = 2..=41;

/// The same traffic with the list enforced and in shadow mode: equal counts, and no denial in shadow mode.
pub(crate) fn agrees_with_enforced(install: &Install) {
    let _ports = lock_ports();
    let text: String = CLIENTS.step_by(2).map(|client| format!("127.0.0.{client}\n")).collect();
    let lists = Folder::with(&[("bad", text.as_bytes())]);
    let listed = CLIENTS.step_by(2).count();
    let (denied, enforced) = denied_and_matched(install, &lists.list("bad", ",score=0"), "enforced");
    assert_eq!((denied, enforced), (listed, listed as f64), "enforced");
    let (denied, shadow) = denied_and_matched(install, &lists.list("bad", ",score=0,shadow"), "shadow");
    assert_eq!((denied, shadow), (0, listed as f64), "in shadow mode");
}

/// Returns the number of clients that HAProxy refused, and the number of verdicts that the list decided in this mode.
fn denied_and_matched(install: &Install, list: &str, mode: &str) -> (usize, f64) {
    let folder = Folder::with(&[]);
    let packaged = packaged(&folder);
    let spoa = Spoa::start(&[&packaged.each_ref().map(String::as_str)[..], &["--list", list]].concat(), 1);
    let admin = Admin::at(spoa.process.lines.wait_count("metrics and health on ", 1).trim());
    let _haproxy = start(install, &file("examples/lists/haproxy.cfg"));
    let status = |client| Request::get("/").from(loopback(client)).send(HAPROXY).status;
    let denied = CLIENTS.filter(|client| status(*client) == 403).count();
    (denied, admin.sample(&format!("spoa_list_matches_total{{list=\"bad\",mode=\"{mode}\"}}")))
}
