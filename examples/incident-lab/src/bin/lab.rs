//! Plans and exports takes; `run.sh` calls it. See `aiops_incident_lab::{plan, export}`.
//!
//! `lab plan --fault NAME --seed N [--normal-seconds N --fault-seconds N --recovery-seconds N]`
//! `lab export --prometheus URL --out DIR …`

use std::collections::BTreeMap;
use std::path::PathBuf;

use aiops_incident_lab::export::{ExportRequest, export};
use aiops_incident_lab::http::BoxError;
use aiops_incident_lab::plan::{Phases, Plan};
use lexopt::ValueExt as _;

#[tokio::main(flavor = "current_thread")]
#[expect(clippy::print_stdout, reason = "the plan is this program's output")]
async fn main() -> Result<(), BoxError> {
    let mut parser = lexopt::Parser::from_env();
    let mut command = None;
    let mut flags = BTreeMap::new();
    while let Some(arg) = parser.next()? {
        match arg {
            lexopt::Arg::Value(value) if command.is_none() => command = Some(value.string()?),
            lexopt::Arg::Long(name) => {
                let name = name.to_owned();
                flags.insert(name, parser.value()?.string()?);
            }
            other => return Err(other.unexpected().into()),
        }
    }
    match command.as_deref() {
        Some("plan") => print!("{}", plan(&flags)?.shell()),
        Some("export") => export(&request(&flags)?).await?,
        _ => return Err("commands are plan and export".into()),
    }
    Ok(())
}

type Flags = BTreeMap<String, String>;

fn get<'a>(flags: &'a Flags, name: &str) -> Result<&'a str, BoxError> {
    flags.get(name).map(String::as_str).ok_or_else(|| format!("--{name} is missing").into())
}

fn plan(flags: &Flags) -> Result<Plan, BoxError> {
    let lengths = ["normal-seconds", "fault-seconds", "recovery-seconds"];
    let phases = if lengths.iter().any(|name| flags.contains_key(*name)) {
        let [normal, fault, recovery] = lengths.map(|name| get(flags, name));
        Some(Phases {
            normal: normal?.parse()?,
            fault: fault?.parse()?,
            recovery: recovery?.parse()?,
        })
    } else {
        None
    };
    Ok(Plan::draw(get(flags, "fault")?.parse()?, get(flags, "seed")?.parse()?, phases))
}

fn request(flags: &Flags) -> Result<ExportRequest, BoxError> {
    Ok(ExportRequest {
        prometheus: get(flags, "prometheus")?.to_owned(),
        out: PathBuf::from(get(flags, "out")?),
        fault: get(flags, "fault")?.parse()?,
        seed: get(flags, "seed")?.parse()?,
        start_ms: get(flags, "start-ms")?.parse()?,
        end_ms: get(flags, "end-ms")?.parse()?,
        fault_start_ms: get(flags, "fault-start-ms")?.parse()?,
        fault_end_ms: get(flags, "fault-end-ms")?.parse()?,
        changes: PathBuf::from(get(flags, "changes")?),
        root_change: flags.get("root-change").cloned(),
        recorded_with: serde_json::from_str(get(flags, "recorded-with")?)?,
    })
}
