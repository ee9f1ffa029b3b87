//! The verdicts of a running agent: the page that serves them, and the client that asks for them.

use std::net::IpAddr;

use spoa_reputation::{Asked, Library};
use spoa_runtime::{ListenAddr, Page, PageAnswer, PageRequest};

use crate::bans::ServedBans;
use crate::cli;
use crate::explanation::Explanation;
use crate::http;

/// The path of the page on the admin address, to which `?address=IP` is appended.
pub(crate) const PATH: &str = "/verdict";

/// Serves the verdict on one address as JSON, with the lists that are in use.
#[derive(Debug)]
pub(crate) struct VerdictPage(pub(crate) Library, pub(crate) Option<ServedBans>);

impl Page for VerdictPage {
    fn get(&self, request: &PageRequest<'_>) -> PageAnswer {
        let asked = match query_of(request.query()) {
            Ok(asked) => asked,
            Err(error) => return PageAnswer::bad_query(&error),
        };
        let (asked, address) = asked;
        let bans = self.1.as_ref().map(ServedBans::store);
        let explanation = match Explanation::of(&self.0.edition(), bans, &asked, address) {
            Ok(explanation) => explanation,
            Err(error) => return PageAnswer::bad_query(&error.to_string()),
        };
        let json =
            serde_json::to_string(&explanation).expect("an explanation has no maps, whose keys could be no strings");
        PageAnswer::json(json + "\n")
    }
}

/// Reads `address=IP`, and `message=NAME` and `policy=NAME` if they are given.
fn query_of(query: &str) -> Result<(Asked, IpAddr), String> {
    let (mut asked, mut address) = (Asked::default(), None);
    for (key, value) in form_urlencoded::parse(query.as_bytes()) {
        let is_repeated = match &*key {
            "address" => address.replace(cli::address(&value)?).is_some(),
            "message" => asked.message.replace(value.into_owned()).is_some(),
            "policy" => asked.policy.replace(value.into_owned()).is_some(),
            _ => true,
        };
        if is_repeated {
            return Err(EXPECTED.into());
        }
    }
    Ok((asked, address.ok_or(EXPECTED)?))
}

/// The query of the page.
const EXPECTED: &str = "expected ?address=IP, and perhaps &message=NAME and &policy=NAME";

/// Asks the agent with this admin address for its verdict.
///
/// # Errors
/// It cannot be reached, does not answer in time, has no lists, or is something else than this agent.
pub(crate) fn ask(agent: &ListenAddr, asked: &Asked, address: IpAddr) -> Result<Explanation, String> {
    let mut query = form_urlencoded::Serializer::new(String::new());
    query.append_pair("address", &address.to_string());
    let names = [("message", &asked.message), ("policy", &asked.policy)];
    names.into_iter().for_each(|(key, name)| _ = name.as_ref().map(|name| query.append_pair(key, name)));
    let target = format!("{PATH}?{}", query.finish());
    http::get_json(agent, &target, "no verdicts: it answers with random scores, or is another program")
}
