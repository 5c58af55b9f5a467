//! `leaderboard`: measures every claim of the family on the machine at hand.
//!
//! ```text
//! leaderboard -- speed [--quick] [--rows ID,...] [--json FILE]   hot paths beside plain-loop baselines
//! leaderboard -- AREA --help                                     what an area measures and its options
//! leaderboard -- all [--quick] [--data DIR] [--json DIR]         every area, data in DIR/<area>
//! ```
//!
//! One registry, one file an area: see [`registry`] for how to add one.
#![allow(clippy::print_stdout, clippy::print_stderr, reason = "a command line tool prints")]

mod args;
mod convert;
mod correlate;
mod detect;
mod discovery;
mod rca;
mod rca_convert;
mod rca_data;
mod rca_growth;
mod rca_plot;
mod registry;
mod speed;
mod speed_act;
mod speed_correlate;
mod speed_detect;
#[cfg(any(feature = "cuda", feature = "wgpu"))]
mod speed_device;
mod speed_gpu;
#[cfg(feature = "history")]
mod speed_history;
mod speed_observe;
mod speed_rca;
mod speed_seasonal;
mod speed_tier1;
mod stopwatch;

use args::Args;
use registry::{AREAS, Area, Result};

fn main() {
    let mut arguments = std::env::args().skip(1);
    let outcome = match arguments.next().as_deref() {
        None | Some("--help" | "-h" | "help") => {
            print!("{}", overview());
            Ok(())
        }
        Some("all") => all(Args::new(arguments.collect())),
        Some(name) => one(name, Args::new(arguments.collect())),
    };
    if let Err(error) = outcome {
        eprintln!("leaderboard: {error}");
        std::process::exit(2);
    }
}

fn one(name: &str, mut args: Args) -> Result<()> {
    let area = AREAS.iter().find(|area| area.name == name).ok_or_else(|| {
        let known: Vec<_> = AREAS.iter().map(|area| area.name).collect();
        format!("no area {name:?}; known are {} and all", known.join(", "))
    })?;
    if args.flag("--help") {
        println!("leaderboard -- {} {}\n\n{}", area.name, area.usage, area.about);
        return Ok(());
    }
    (area.run)(args)
}

/// Every area that can run unattended. `--data DIR` becomes `DIR/<area>` and `--json DIR` becomes
/// `DIR/<area>.json`, so that one call leaves one file an area.
fn all(mut args: Args) -> Result<()> {
    let quick = args.flag("--quick");
    let data = args.value("--data")?;
    let json = args.value("--json")?;
    args.finish()?;
    if let Some(dir) = &json {
        std::fs::create_dir_all(dir).map_err(|error| format!("{dir}: {error}"))?;
    }
    for area in AREAS.iter().filter(|area| area.unattended) {
        let mut given = Vec::new();
        if quick && area.usage.contains("--quick") {
            given.push("--quick".to_owned());
        }
        if area.usage.contains("--data") {
            let Some(root) = &data else {
                println!("{}: skipped, it needs --data DIR\n", area.name);
                continue;
            };
            let folder = format!("{root}/{}", area.name);
            if !std::path::Path::new(&folder).is_dir() {
                println!("{}: skipped, no folder {folder}\n", area.name);
                continue;
            }
            given.extend(["--data".to_owned(), folder]);
        }
        if let Some(dir) = &json {
            given.extend(["--json".to_owned(), format!("{dir}/{}.json", area.name)]);
        }
        (area.run)(Args::new(given)).map_err(|error| format!("{}: {error}", area.name))?;
        println!();
    }
    Ok(())
}

fn overview() -> String {
    let mut text = String::from("leaderboard -- AREA [OPTION ...], or -- all, with AREA one of\n");
    for Area { name, usage, about, .. } in AREAS {
        let first = about.lines().next().unwrap_or_default();
        text.push_str(&format!("  {name:<12} {first}\n{:15}{usage}\n", ""));
    }
    text
}
