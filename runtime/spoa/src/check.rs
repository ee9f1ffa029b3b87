//! `spoa check`: the verdict on addresses.

use std::io;
use std::net::IpAddr;

use spoa_reputation::{Asked, Library};
use spoa_runtime::ListenAddr;
use spoa_runtime::text::Count;

use crate::cli::{CheckArgs, address};
use crate::explanation::Explanation;
use crate::{Failure, complain, live, print};

/// Shows the verdict on the given addresses, or on those of standard input.
///
/// # Errors
/// There are no lists, one cannot be used, the running agent does not answer, a line of standard input is not an address, an
/// address is listed and `--fail-if-listed` was given, or standard output cannot be written to.
pub(crate) fn check(args: &CheckArgs) -> Result<(), Failure> {
    let judge = Judge::new(args)?;
    let asked = Asked { message: args.message.clone(), policy: args.policy.clone() };
    let (mut is_listed, mut wrong) = (false, 0);
    let mut show = |address: IpAddr| {
        let explanation = judge.explain(&asked, address)?;
        is_listed |= explanation.is_listed();
        print(if args.json { serde_json::to_string(&explanation)? + "\n" } else { explanation.to_string() })
    };
    if args.addresses.is_empty() {
        for (line, number) in io::stdin().lines().zip(1_u64..) {
            let text = line?;
            let text = text.trim();
            match address(text) {
                _ if text.is_empty() || text.starts_with('#') => {}
                Ok(address) => show(address)?,
                Err(error) => {
                    complain(&format_args!("standard input, line {number}: \"{}\": {error}", text.escape_debug()));
                    wrong += 1;
                }
            }
        }
    } else {
        args.addresses.iter().try_for_each(|address| show(*address))?;
    }
    match wrong {
        0 if is_listed && args.fail_if_listed => Err(Failure::Listed),
        0 => Ok(()),
        wrong => Err(format!("standard input has {} without an address", Count(wrong, "line")).into()),
    }
}

/// The source of verdicts.
enum Judge {
    /// The lists in files, read now.
    Files(Library),
    /// A running agent.
    Live(ListenAddr),
}

impl Judge {
    fn new(args: &CheckArgs) -> Result<Self, Failure> {
        if let Some(agent) = args.live()? {
            return Ok(Self::Live(agent));
        }
        let options = args.lists.options()?;
        if !options.has_lists() {
            return Err(Failure::Usage("check needs a --list, or a --config with a [[list]]".into()));
        }
        let library = Library::open(options.reputation())?;
        for (_, error) in library.refused() {
            complain(&format_args!("{error}; the list is optional, and counts as empty"));
        }
        Ok(Self::Files(library))
    }

    fn explain(&self, asked: &Asked, address: IpAddr) -> Result<Explanation, Failure> {
        Ok(match self {
            Self::Files(library) => Explanation::with_lines(&library.edition(), asked, address)?,
            Self::Live(agent) => live::ask(agent, asked, address)?,
        })
    }
}
