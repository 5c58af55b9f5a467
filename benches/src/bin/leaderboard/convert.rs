//! `leaderboard -- convert`: public downloads into the layouts that the other areas read.

use crate::args::Args;
use crate::registry::{Area, Result};
use crate::{detect, rca_convert};

pub(crate) const AREA: Area = Area {
    name: "convert",
    usage: "--from nab|tsb-ad|csv|rcaeval SRC OUT",
    about: "For `detect --data`, from nab, tsb-ad or csv; for `rca --data`, from rcaeval.",
    unattended: false,
    run,
};

fn run(mut args: Args) -> Result<()> {
    let Some(from) = args.value("--from")? else {
        let about = [detect::convert::ABOUT, rca_convert::ABOUT].join("\n\n");
        return Err(format!("--from nab, tsb-ad, csv or rcaeval is needed\n\n{about}").into());
    };
    if from == "rcaeval" { rca_convert::run(args) } else { detect::convert::run(&from, args) }
}
