//! `aiops-pipeline`: replay a recorded incident, or judge many.

mod evaluate;

use std::error::Error as _;
use std::io::{ErrorKind, IsTerminal, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use aiops_act::Library;
use aiops_act::approver::visible;
use aiops_core::Prefer;
use aiops_pipeline::recording::{Recording, Truth};
use aiops_pipeline::story::Story;
use aiops_pipeline::{
    Approval, Error, Settings, bundled_runbooks, carry_out, json, judge, print, replay, report,
};
use clap::{Args, Parser, Subcommand, ValueEnum};
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

/// Exit codes, as `--help` states them.
const CODES: &str = "Exit codes: 0 the replay was completed, whatever the answer to the approval; \
    1 a stage failed or the report could not be written; 2 wrong usage; 3 a recording could not be read.";

/// Replays a recorded incident through detection, correlation, ranking and action.
///
/// Without arguments: the bundled incident, in which a connection pool runs dry.
#[derive(Parser)]
#[command(name = "aiops-pipeline", version, after_help = CODES, args_conflicts_with_subcommands = true)]
struct Cli {
    #[command(subcommand)]
    command: Option<Command>,
    #[command(flatten)]
    replay: ReplayArgs,
}

#[derive(Subcommand)]
enum Command {
    /// Replays one recording and writes the report.
    #[command(after_help = CODES)]
    Replay(ReplayArgs),
    /// Replays recordings and prints how well each was understood.
    #[command(after_help = CODES)]
    Evaluate {
        /// Directories of recordings.
        #[arg(required = true, value_name = "DIR")]
        recordings: Vec<PathBuf>,
        /// Print one JSON document with a row for each recording.
        #[arg(long)]
        json: bool,
        #[command(flatten)]
        settings: SettingsArgs,
    },
}

#[derive(Args)]
struct SettingsArgs {
    /// JSON file with settings; what it leaves out keeps its default.
    #[arg(long, value_name = "FILE")]
    settings: Option<PathBuf>,
    /// Which mistake is worse, in place of a file: fewer_misses (the default), balanced, fewer_pages.
    #[arg(long, value_name = "MISTAKE", value_parser = preference, conflicts_with = "settings")]
    prefer: Option<Prefer>,
}

fn preference(word: &str) -> Result<Prefer, String> {
    serde_json::from_value(word.into()).map_err(|error| error.to_string())
}

impl SettingsArgs {
    fn read(&self) -> Result<Settings, Failure> {
        let Some(file) = &self.settings else {
            return Ok(Settings::from(self.prefer.unwrap_or_default()));
        };
        let failed = |error: &dyn std::fmt::Display| Failure {
            message: format!("cannot read settings from {}: {error}", file.display()),
            code: 2,
        };
        let text = std::fs::read_to_string(file).map_err(|error| failed(&error))?;
        Settings::from_json(&text).map_err(|error| failed(&error))
    }
}

#[derive(Args)]
struct ReplayArgs {
    /// Directory of a recording; the bundled one when not given.
    #[arg(long, value_name = "DIR")]
    recording: Option<PathBuf>,
    /// How approval is given. When not given: asked on a terminal, denied without one.
    #[arg(long, value_enum)]
    approve: Option<Approve>,
    /// Print everything as one JSON document (`aiops.replay/v1`) instead of text.
    #[arg(long)]
    json: bool,
    /// Where to write the HTML report [default: report-NAME.html in the current directory]
    #[arg(long, value_name = "FILE")]
    report: Option<PathBuf>,
    /// Directory of runbooks; the bundled ones when not given.
    #[arg(long, value_name = "DIR")]
    runbooks: Option<PathBuf>,
    #[command(flatten)]
    settings: SettingsArgs,
}

impl ReplayArgs {
    fn library(&self) -> Result<Library, Failure> {
        let library = match &self.runbooks {
            Some(dir) => Library::load_dir(dir).map_err(Error::from),
            None => bundled_runbooks(),
        };
        Ok(library?)
    }
}

#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Approve {
    /// Approve every plan without asking. Steps are run dry all the same.
    Auto,
    /// Ask on the terminal.
    Ask,
    /// Deny every plan without asking.
    Deny,
}

fn main() -> ExitCode {
    let cli = Cli::parse();
    let done = match cli.command {
        None => run(&cli.replay),
        Some(Command::Replay(args)) => run(&args),
        Some(Command::Evaluate { recordings, json, settings }) => {
            settings.read().and_then(|settings| evaluate::run(&recordings, &settings, json))
        }
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            if failure.code != 0 {
                tell(&format!("error: {}", visible(&failure.message)));
            }
            ExitCode::from(failure.code)
        }
    }
}

/// Writes to standard output. A reader that has seen enough (`| head`) ends the program quietly.
fn say(text: &str) -> Result<(), Failure> {
    let mut stdout = std::io::stdout().lock();
    stdout.write_all(text.as_bytes()).and_then(|()| stdout.flush()).map_err(|error| {
        let code = if error.kind() == ErrorKind::BrokenPipe { 0 } else { 1 };
        Failure { message: format!("cannot write to standard output: {error}"), code }
    })
}

/// Writes a line to standard error. When nobody reads that, there is nobody left to tell.
fn tell(line: &str) {
    let _ = writeln!(std::io::stderr(), "{line}");
}

/// Why the program ends, in words and as an exit code.
struct Failure {
    message: String,
    code: u8,
}

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        let is_recording = matches!(error, Error::Recording(_) | Error::Series { .. });
        let code = if is_recording { 3 } else { 1 };
        let mut message = error.to_string();
        let mut source = error.source();
        while let Some(cause) = source {
            message = format!("{message}: {cause}");
            source = cause.source();
        }
        Failure { message, code }
    }
}

fn run(args: &ReplayArgs) -> Result<(), Failure> {
    let dir = args.recording.clone().unwrap_or_else(bundled);
    let settings = args.settings.read()?;
    let library = args.library()?;
    let mut story = replay_dir(&dir, &library, &settings)?;
    let approval = match args.approve {
        Some(Approve::Auto) => Approval::Auto,
        Some(Approve::Ask) => Approval::Ask,
        None if std::io::stdin().is_terminal() && std::io::stderr().is_terminal() => Approval::Ask,
        Some(Approve::Deny) | None => Approval::Deny,
    };
    if approval == Approval::Ask && !args.json {
        // What one is asked about, before one is asked.
        print_text(|out| print::understanding(&story, out))?;
    }
    carry_out(&mut story, &library, approval)?;
    let file = args.report.clone().unwrap_or_else(|| format!("report-{}.html", story.name).into());
    std::fs::write(&file, report(&story, &settings)).map_err(|error| Failure {
        message: format!("cannot write the report to {}: {error}", file.display()),
        code: 1,
    })?;
    if args.json {
        let text = serde_json::to_string_pretty(&json::document(&story));
        let text = text.map_err(|error| Failure { message: error.to_string(), code: 1 })?;
        tell(&format!("report: {}", visible(&file.display().to_string())));
        say(&(text + "\n"))?;
    } else {
        if approval != Approval::Ask {
            print_text(|out| print::understanding(&story, out))?;
        }
        print_text(|out| print::outcome(&story, out))?;
        say(&format!("\nreport: {}\n", visible(&file.display().to_string())))?;
    }
    Ok(())
}

fn print_text(
    write: impl FnOnce(&mut dyn std::fmt::Write) -> std::fmt::Result,
) -> Result<(), Failure> {
    let mut text = String::new();
    write(&mut text).map_err(|error| Failure { message: error.to_string(), code: 1 })?;
    say(&text)
}

/// Replays a recording, with progress where somebody watches, and judges it where a truth is known.
fn replay_dir(dir: &Path, library: &Library, settings: &Settings) -> Result<Story, Failure> {
    let recording = Recording::open(dir).map_err(Error::from)?;
    let bar = progress(&recording);
    let mut story = replay(&recording, library, settings, &mut |_| bar.inc(1))?;
    bar.finish_and_clear();
    // Only here: no stage can have seen it.
    if let Some(truth) = Truth::read(dir).map_err(Error::from)? {
        story.score = Some(judge::judge(&story, &truth));
    }
    Ok(story)
}

fn progress(recording: &Recording) -> ProgressBar {
    let target = if std::io::stderr().is_terminal() {
        ProgressDrawTarget::stderr_with_hz(10)
    } else {
        ProgressDrawTarget::hidden()
    };
    let bar = ProgressBar::with_draw_target(Some(recording.times.len() as u64), target);
    let style = ProgressStyle::with_template("{msg} {wide_bar} {pos}/{len} s");
    bar.with_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()))
        .with_message(visible(&recording.about.name).into_owned())
}

/// The incident that comes with the source.
fn bundled() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../data/pool-exhaustion-1")
}
