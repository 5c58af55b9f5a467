//! Plans and exports takes; `run.sh` calls it. See `aiops_incident_lab::{plan, export}`.

use std::path::PathBuf;

use aiops_incident_lab::export::{ExportRequest, export};
use aiops_incident_lab::http::BoxError;
use aiops_incident_lab::plan::{Fault, Phases, Plan};
use clap::Parser;

/// Draws the plan of a take from its seed, and writes the recording of one.
#[derive(Parser)]
enum Args {
    /// Prints the plan as shell assignments
    Plan {
        /// What will be injected
        #[arg(long)]
        fault: Fault,
        /// Seed of everything that is drawn
        #[arg(long)]
        seed: u64,
        /// Replaces the drawn length of the normal phase; needs the other two as well
        #[arg(long, requires = "fault_seconds", requires = "recovery_seconds")]
        normal_seconds: Option<u64>,
        /// Replaces the drawn length of the fault
        #[arg(long, requires = "normal_seconds")]
        fault_seconds: Option<u64>,
        /// Replaces the drawn length of the recovery
        #[arg(long, requires = "normal_seconds")]
        recovery_seconds: Option<u64>,
    },
    /// Reads the history of a take from Prometheus and writes its recording
    Export(Box<ExportArgs>),
}

#[derive(clap::Args)]
struct ExportArgs {
    /// Base address of Prometheus
    #[arg(long, value_name = "URL")]
    prometheus: String,
    /// Directory to write; its name becomes the recording's
    #[arg(long)]
    out: PathBuf,
    /// What was injected
    #[arg(long)]
    fault: Fault,
    /// Seed of the take
    #[arg(long)]
    seed: u64,
    /// First second, in milliseconds since the epoch
    #[arg(long)]
    start_ms: i64,
    /// Last second
    #[arg(long)]
    end_ms: i64,
    /// When the fault was injected
    #[arg(long)]
    fault_start_ms: i64,
    /// When it was healed
    #[arg(long)]
    fault_end_ms: i64,
    /// The driver's list of changes
    #[arg(long)]
    changes: PathBuf,
    /// Title of the change to blame
    #[arg(long)]
    root_change: Option<String>,
    /// Versions and machine, as JSON
    #[arg(long)]
    recorded_with: serde_json::Value,
}

#[tokio::main(flavor = "current_thread")]
#[expect(clippy::print_stdout, reason = "the plan is this program's output")]
async fn main() -> Result<(), BoxError> {
    match Args::parse() {
        Args::Plan { fault, seed, normal_seconds, fault_seconds, recovery_seconds } => {
            let phases = match (normal_seconds, fault_seconds, recovery_seconds) {
                (Some(normal), Some(fault), Some(recovery)) => {
                    Some(Phases { normal, fault, recovery })
                }
                _ => None,
            };
            print!("{}", Plan::draw(fault, seed, phases).shell());
            Ok(())
        }
        Args::Export(args) => export(&request(*args)).await,
    }
}

fn request(args: ExportArgs) -> ExportRequest {
    ExportRequest {
        prometheus: args.prometheus,
        out: args.out,
        fault: args.fault,
        seed: args.seed,
        start_ms: args.start_ms,
        end_ms: args.end_ms,
        fault_start_ms: args.fault_start_ms,
        fault_end_ms: args.fault_end_ms,
        changes: args.changes,
        root_change: args.root_change,
        recorded_with: args.recorded_with,
    }
}
