//! `aiops-service`: the family as one service.
#![allow(clippy::print_stdout, clippy::print_stderr, reason = "this is the command line")]

use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::{Arc, Mutex};

use aiops_core::{Clock, Store, SystemClock};
use aiops_service::{Acting, Config, Error, Result, Stages, web};
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
}

fn main() -> ExitCode {
    let done = match Cli::parse().command {
        Command::Serve { config } => {
            config.map_or_else(|| Ok(Config::default()), |file| Config::read(&file)).and_then(serve)
        }
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

fn serve(config: Config) -> Result<()> {
    let failed = |reason: String| Error::Data { folder: config.data.clone(), reason };
    std::fs::create_dir_all(&config.data).map_err(|error| failed(error.to_string()))?;
    let store = aiops_knowledge::RedbStore::open(config.data.join("aiops.redb"));
    let store: Arc<dyn Store> = Arc::new(store.map_err(|error| failed(error.to_string()))?);
    let clock = Arc::new(SystemClock);
    let stages = Stages::open(config.clone(), store.clone(), clock.now())?;
    let stages = Arc::new(Mutex::new(stages));
    let acting = Acting::new(&config, store, clock.clone(), stages.clone())?;
    let runtime = tokio::runtime::Runtime::new()?;
    runtime.block_on(async {
        let listener = tokio::net::TcpListener::bind(config.listen).await?;
        println!("look at http://{}/ and send to it; stop with ctrl-c", listener.local_addr()?);
        web::serve(listener, stages, Arc::new(acting), &config, clock, stopped()).await
    })
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
