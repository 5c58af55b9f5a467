//! `aiops-service`: the family as one service.
#![allow(clippy::print_stdout, clippy::print_stderr, reason = "this is the command line")]

use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use aiops_core::{Cause, Clock, Store, SystemClock, Timestamp};
use aiops_pipeline::recording::{Recording, Truth};
use aiops_service::journal::Journal;
use aiops_service::rehearse::rehearse;
use aiops_service::{Config, Error, Result, web};
use clap::{Parser, Subcommand};

/// Watches what senders send, groups what fires into incidents, ranks causes, proposes remedies, runs what
/// people approve, and asks whether it was right.
#[derive(Parser)]
#[command(name = "aiops-service", version, subcommand_required = true)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Runs until it is told to stop.
    Serve {
        /// The configuration; every default when not given.
        #[arg(long, value_name = "FILE")]
        config: Option<PathBuf>,
    },
    /// Prints every default as a configuration file.
    PrintConfig,
    /// Says whether a configuration file can be used: exit code 0, or 2 with line and column.
    CheckConfig {
        /// The file.
        file: PathBuf,
    },
    /// Prints the alerts and changes of the last `recover_hours` as lines of JSON, in the order in which they
    /// came in. The service must not be running on the same data.
    Journal {
        /// The configuration; every default when not given.
        #[arg(long, value_name = "FILE")]
        config: Option<PathBuf>,
    },
    /// Plays recordings to a service with an empty memory, in virtual time, and says what it would have shown:
    /// incidents before the fault, which are false, and after how many seconds the right cause was ranked first.
    Rehearse {
        /// The configuration; every default when not given. The topology is the recording's.
        #[arg(long, value_name = "FILE")]
        config: Option<PathBuf>,
        /// Begin so many seconds before the fault, and not with the recording.
        #[arg(long, value_name = "SECONDS")]
        normal: Option<u64>,
        /// Say of every incident which alerts it had when it was shown.
        #[arg(long)]
        why: bool,
        /// Folders of recordings.
        #[arg(required = true)]
        recordings: Vec<PathBuf>,
    },
}

fn main() -> ExitCode {
    let read = |file: &Option<PathBuf>| match file {
        Some(file) => Config::read(file),
        None => Ok(Config::default()),
    };
    let done = match Cli::parse().command {
        Command::Serve { config } => read(&config).and_then(|first| serve(first, config)),
        Command::Journal { config } => read(&config).and_then(|config| print_journal(&config)),
        Command::Rehearse { config, normal, why, recordings } => read(&config).and_then(|config| {
            recordings.iter().try_for_each(|r| print_rehearsal(&config, normal, why, r))
        }),
        Command::PrintConfig => {
            print!("{}", toml::to_string(&Config::default()).expect("the defaults are TOML"));
            Ok(())
        }
        Command::CheckConfig { file } => {
            Config::read(&file).map(|_| println!("{}: can be used", file.display()))
        }
    };
    let Err(error) = done else { return ExitCode::SUCCESS };
    let mut message = error.to_string();
    let mut source = std::error::Error::source(&error);
    while let Some(cause) = source {
        message = format!("{message}: {cause}");
        source = cause.source();
    }
    eprintln!("error: {message}");
    ExitCode::from(if matches!(error, Error::Config { .. }) { 2 } else { 1 })
}

fn store(config: &Config) -> Result<Arc<dyn Store>> {
    let failed = |reason: String| Error::Data { folder: config.data.clone(), reason };
    #[cfg(feature = "postgres")]
    if let Some(connection) = &config.postgres {
        let shared = aiops_knowledge::PostgresConfig {
            connection: connection.clone(),
            ..aiops_knowledge::PostgresConfig::default()
        };
        let opened = shared.build();
        return Ok(Arc::new(
            opened.map_err(|source| Error::Store { operation: "reaching PostgreSQL", source })?,
        ));
    }
    std::fs::create_dir_all(&config.data).map_err(|error| failed(error.to_string()))?;
    let store = aiops_knowledge::RedbStore::open(config.data.join("aiops.redb"));
    Ok(Arc::new(store.map_err(|error| failed(error.to_string()))?))
}

fn print_journal(config: &Config) -> Result<()> {
    let back = Duration::from_secs(config.recover_hours * 3_600);
    for input in Journal::new(store(config)?).since(SystemClock.now(), back)? {
        println!("{}", serde_json::to_string(&input).expect("nouns are JSON"));
    }
    Ok(())
}

fn print_rehearsal(
    config: &Config,
    normal: Option<u64>,
    why: bool,
    folder: &std::path::Path,
) -> Result<()> {
    let failed = |error: aiops_pipeline::recording::RecordingError| Error::Stage {
        stage: "observe",
        reason: error.to_string(),
    };
    let recording = Recording::open(folder).map_err(failed)?;
    let truth = Truth::read(folder).map_err(failed)?;
    let fault = truth.as_ref().and_then(Truth::start).unwrap_or(recording.end());
    let from = normal.map_or(recording.start(), |seconds| fault - Duration::from_secs(seconds));
    let config = Config { topology: Some(folder.join("topology.json")), ..config.clone() };
    let shown = rehearse(&recording, from, &config)?;
    let (before, after): (Vec<_>, Vec<_>) = shown.iter().partition(|shown| shown.at < fault);
    let is_root = |cause: &Cause| truth.as_ref().is_some_and(|truth| truth.is_root(cause));
    let seconds = |at: Option<Timestamp>| {
        at.map_or_else(
            || "never".to_owned(),
            |at| format!("{:.0} s", at.since(fault).as_secs_f64()),
        )
    };
    let firsts = shown.iter().flat_map(|shown| &shown.first).filter(|(at, _)| *at >= fault);
    let right = firsts.filter(|(_, cause)| is_root(cause)).map(|(at, _)| *at).min();
    let minutes = fault.since(from).as_secs_f64() / 60.0;
    println!(
        "{}: {} shown in {minutes:.0} min before the fault; then {} shown, first {}, right cause first {}",
        recording.about.name,
        before.len(),
        after.len(),
        seconds(after.first().map(|shown| shown.at)),
        seconds(right),
    );
    for one in shown.iter().filter(|_| why) {
        let after = one.at.since(from).as_secs_f64();
        println!("  {after:.0} s: {}", one.because.join(", "));
    }
    Ok(())
}

fn serve(config: Config, file: Option<PathBuf>) -> Result<()> {
    let store = store(&config)?;
    let service = web::Service::open(&config, store, Arc::new(SystemClock))?;
    let runtime = tokio::runtime::Runtime::new()?;
    runtime.block_on(async {
        let listener = tokio::net::TcpListener::bind(config.listen).await?;
        println!("look at http://{}/ and send to it; stop with ctrl-c", listener.local_addr()?);
        if let Some(file) = file {
            tokio::spawn(reload_when_asked(service.clone(), file));
        }
        service.serve(listener, stopped()).await
    })
}

/// Reads the configuration again at every SIGHUP; one that cannot be used changes nothing.
async fn reload_when_asked(service: web::Service, file: PathBuf) {
    use tokio::signal::unix::{SignalKind, signal};
    let Ok(mut asked) = signal(SignalKind::hangup()) else { return };
    while asked.recv().await.is_some() {
        let reloaded = match Config::read(&file) {
            Ok(config) => service.reload(&config).await,
            Err(error) => Err(error),
        };
        match reloaded {
            Ok(fixed) if fixed.is_empty() => eprintln!("{}: in use", file.display()),
            Ok(fixed) => {
                eprintln!(
                    "{}: in use, but for {} after a restart",
                    file.display(),
                    fixed.join(", ")
                );
            }
            Err(error) => eprintln!("the configuration stays as it was: {error}"),
        }
    }
}

/// Ends when the process is asked to.
async fn stopped() {
    let ended = async {
        use tokio::signal::unix::{SignalKind, signal};
        match signal(SignalKind::terminate()) {
            Ok(mut terminate) => terminate.recv().await,
            Err(_) => std::future::pending().await,
        }
    };
    tokio::select! {
        _ = tokio::signal::ctrl_c() => {}
        _ = ended => {}
    }
}
