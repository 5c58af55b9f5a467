//! `aiops-service`: the family as one service.
#![allow(clippy::print_stdout, clippy::print_stderr, reason = "this is the command line")]

use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use aiops_core::{Clock, Store, SystemClock};
use aiops_service::journal::Journal;
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
}

fn main() -> ExitCode {
    let read = |file: &Option<PathBuf>| match file {
        Some(file) => Config::read(file),
        None => Ok(Config::default()),
    };
    let done = match Cli::parse().command {
        Command::Serve { config } => read(&config).and_then(|first| serve(first, config)),
        Command::Journal { config } => read(&config).and_then(|config| print_journal(&config)),
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
