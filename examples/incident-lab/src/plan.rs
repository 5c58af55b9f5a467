//! What one take will be: everything that the seed decides, drawn before anything runs.
//!
//! The driver (`run.sh`) evaluates [`Plan::shell`]. Each decision has its own random stream, so a
//! fault added later does not change the takes that exist.

use std::fmt::Write as _;
use std::str::FromStr;

use crate::random::Random;

/// The faults that the lab can inject.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// An outside client locks rows and holds them; checkouts queue up and drain the pool.
    PoolExhaustion,
    /// The API gets less processor time than it needs.
    CpuStarvation,
    /// An outside client runs expensive commands in Redis.
    RedisSlow,
    /// Bytes between API and PostgreSQL are delayed.
    DbNetworkDelay,
    /// The database volume serves only a few writes a second.
    DbDiskPressure,
    /// A new API build runs an expensive query.
    BadDeploy,
    /// A load step, a good deploy and a nightly job: nothing is wrong.
    Harmless,
}

/// All faults, in the order of the documentation.
pub const FAULTS: [Fault; 7] = [
    Fault::PoolExhaustion,
    Fault::CpuStarvation,
    Fault::RedisSlow,
    Fault::DbNetworkDelay,
    Fault::DbDiskPressure,
    Fault::BadDeploy,
    Fault::Harmless,
];

impl Fault {
    /// Name on the command line and of the recording.
    pub fn name(self) -> &'static str {
        match self {
            Fault::PoolExhaustion => "pool-exhaustion",
            Fault::CpuStarvation => "cpu-starvation",
            Fault::RedisSlow => "redis-slow",
            Fault::DbNetworkDelay => "db-network-delay",
            Fault::DbDiskPressure => "db-disk-pressure",
            Fault::BadDeploy => "bad-deploy",
            Fault::Harmless => "harmless",
        }
    }

    /// Services that a right answer names first; empty when nothing is to blame.
    pub fn root_services(self) -> &'static [&'static str] {
        match self {
            Fault::PoolExhaustion | Fault::DbNetworkDelay | Fault::DbDiskPressure => &["postgres"],
            Fault::CpuStarvation | Fault::BadDeploy => &["api"],
            Fault::RedisSlow => &["redis"],
            Fault::Harmless => &[],
        }
    }

    /// What kind of metric shows the root trouble.
    pub fn root_metric_kind(self) -> Option<&'static str> {
        match self {
            Fault::PoolExhaustion | Fault::DbDiskPressure => Some("saturation"),
            Fault::CpuStarvation => Some("cpu"),
            Fault::RedisSlow | Fault::DbNetworkDelay | Fault::BadDeploy => Some("latency"),
            Fault::Harmless => None,
        }
    }
}

/// A name that is none of [`FAULTS`].
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error("unknown fault {name:?}; known are {}", FAULTS.map(Fault::name).join(", "))]
pub struct UnknownFault {
    name: String,
}

impl FromStr for Fault {
    type Err = UnknownFault;

    fn from_str(name: &str) -> Result<Self, UnknownFault> {
        FAULTS
            .into_iter()
            .find(|fault| fault.name() == name)
            .ok_or_else(|| UnknownFault { name: name.to_owned() })
    }
}

/// A harmless change in the normal part of a take, so that a change alone accuses nobody.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Routine {
    /// The gateway reloads its configuration.
    Config,
    /// `VACUUM (ANALYZE)` as a scheduled job.
    Job,
    /// A good build of the API goes out.
    Deploy,
}

impl Routine {
    fn name(self) -> &'static str {
        match self {
            Routine::Config => "config",
            Routine::Job => "job",
            Routine::Deploy => "deploy",
        }
    }
}

/// Lengths of the three phases, in seconds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Phases {
    /// Before the fault.
    pub normal: u64,
    /// From injection to healing.
    pub fault: u64,
    /// After healing.
    pub recovery: u64,
}

/// Everything that the seed decides about one take.
#[derive(Debug, Clone, PartialEq)]
pub struct Plan {
    /// What will be injected.
    pub fault: Fault,
    /// The seed it was all drawn from.
    pub seed: u64,
    /// Phase lengths.
    pub phases: Phases,
    /// Mean load in requests per second.
    pub base_rate: f64,
    /// The load step of a harmless take: offset into the take, length, factor (1 elsewhere).
    pub step: (u64, u64, f64),
    /// Routine changes: offset into the take in seconds, and what.
    pub routine: Vec<(u64, Routine)>,
    /// API versions in the order in which they may go out.
    pub versions: [String; 3],
    /// Settings of the fault, named as the driver names them.
    pub strength: Vec<(&'static str, f64)>,
}

impl Plan {
    /// Draws a plan; `phases` replaces the drawn lengths (rehearsals are shorter).
    pub fn draw(fault: Fault, seed: u64, phases: Option<Phases>) -> Self {
        let mut lengths = Random::new(seed, 1);
        let drawn = Phases {
            normal: lengths.integer(602, 650),
            fault: lengths.integer(185, 215),
            recovery: lengths.integer(95, 105),
        };
        let phases = phases.unwrap_or(drawn);
        let base_rate = Random::new(seed, 2).uniform(38.0, 52.0);
        let mut version = Random::new(seed, 3);
        let (major, minor, patch) =
            (version.integer(2, 4), version.integer(1, 19), version.integer(0, 6));
        let versions = [0, 1, 2].map(|next| format!("{major}.{minor}.{}", patch + next));
        let (step, routine) = match fault {
            Fault::Harmless => Self::draw_harmless(seed, phases),
            _ => ((0, 0, 1.0), Self::draw_routine(seed, phases)),
        };
        let strength = Self::draw_strength(fault, &mut Random::new(seed, 5));
        Self { fault, seed, phases, base_rate, step, routine, versions, strength }
    }

    /// One or two changes, none in the last 150 s before the fault: a change that close would
    /// deserve suspicion, and the truth would be open to argument.
    fn draw_routine(seed: u64, phases: Phases) -> Vec<(u64, Routine)> {
        let mut random = Random::new(seed, 4);
        let kinds = [Routine::Config, Routine::Job, Routine::Deploy];
        let first = random.integer(0, 2) as usize;
        let latest = phases.normal.saturating_sub(150);
        if latest < 120 {
            return Vec::new(); // a rehearsal
        }
        let mut changes = vec![(random.integer(60, latest / 2), kinds[first])];
        if random.integer(0, 1) == 1 {
            let other = (first + random.integer(1, 2) as usize) % 3;
            changes.push((random.integer(latest / 2 + 40, latest), kinds[other]));
        }
        changes
    }

    /// Step, deploy and job of a harmless take, spread over its length.
    fn draw_harmless(seed: u64, phases: Phases) -> ((u64, u64, f64), Vec<(u64, Routine)>) {
        let mut random = Random::new(seed, 4);
        let total = (phases.normal + phases.fault + phases.recovery) as f64;
        let at = |share: f64| (total * share) as u64;
        let step = (
            at(random.uniform(0.30, 0.42)),
            at(random.uniform(0.20, 0.30)),
            random.uniform(1.3, 1.5),
        );
        let deploy = (at(random.uniform(0.60, 0.74)), Routine::Deploy);
        let job = (at(random.uniform(0.78, 0.88)), Routine::Job);
        (step, vec![deploy, job])
    }

    fn draw_strength(fault: Fault, random: &mut Random) -> Vec<(&'static str, f64)> {
        match fault {
            Fault::PoolExhaustion => vec![
                ("LOCK_PERCENT", random.integer(55, 80) as f64),
                ("LOCK_SESSIONS", random.integer(6, 10) as f64),
                ("LOCK_RAMP_SECONDS", random.integer(10, 18) as f64),
            ],
            Fault::CpuStarvation => vec![("CPU_SHARE_PERCENT", random.integer(70, 85) as f64)],
            Fault::RedisSlow => vec![
                ("REDIS_SCANS", random.integer(3, 4) as f64),
                ("REDIS_PAUSE_MS", random.integer(20, 60) as f64),
            ],
            Fault::DbNetworkDelay => vec![
                ("DELAY_MS", random.integer(35, 55) as f64),
                ("JITTER_MS", random.integer(10, 25) as f64),
            ],
            Fault::DbDiskPressure => vec![("WRITE_IOPS", random.integer(3, 5) as f64)],
            Fault::BadDeploy => vec![("RELATED_SCAN", random.integer(29, 33) as f64 * 1_000.0)],
            Fault::Harmless => Vec::new(),
        }
    }

    /// The plan as shell assignments.
    pub fn shell(&self) -> String {
        let mut out = String::new();
        let mut line = |name: &str, value: String| {
            // Writing into a String cannot fail.
            let _ = writeln!(out, "PLAN_{name}='{value}'");
        };
        line("FAULT", self.fault.name().into());
        line("SEED", self.seed.to_string());
        line("NORMAL_SECONDS", self.phases.normal.to_string());
        line("FAULT_SECONDS", self.phases.fault.to_string());
        line("RECOVERY_SECONDS", self.phases.recovery.to_string());
        line("BASE_RATE", format!("{:.1}", self.base_rate));
        line("STEP_AT", self.step.0.to_string());
        line("STEP_SECONDS", self.step.1.to_string());
        line("STEP_FACTOR", format!("{:.2}", self.step.2));
        let routine: Vec<String> =
            self.routine.iter().map(|(at, what)| format!("{at}:{}", what.name())).collect();
        line("ROUTINE", routine.join(" "));
        line("VERSIONS", self.versions.join(" "));
        for (name, value) in &self.strength {
            line(name, value.to_string());
        }
        out
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_plan_is_a_function_of_fault_and_seed() {
        for fault in FAULTS {
            assert_eq!(Plan::draw(fault, 5, None), Plan::draw(fault, 5, None));
            assert_ne!(Plan::draw(fault, 5, None), Plan::draw(fault, 6, None));
            assert_eq!(fault.name().parse(), Ok(fault));
        }
        assert!("pool".parse::<Fault>().is_err());
    }

    #[test]
    fn every_take_is_long_enough_and_no_routine_change_is_near_the_fault() {
        for fault in FAULTS {
            for seed in 0..200 {
                let plan = Plan::draw(fault, seed, None);
                assert!(plan.phases.normal >= 600 && (180..=300).contains(&plan.phases.fault));
                assert!(!plan.routine.is_empty());
                if fault != Fault::Harmless {
                    assert!(plan.routine.iter().all(|(at, _)| at + 150 <= plan.phases.normal));
                }
                assert!(plan.routine.windows(2).all(|pair| pair[0].0 < pair[1].0));
            }
        }
    }

    #[test]
    fn a_harmless_take_has_its_step_deploy_and_job() {
        let plan = Plan::draw(Fault::Harmless, 3, None);
        assert!(plan.step.2 > 1.2);
        let kinds: Vec<Routine> = plan.routine.iter().map(|(_, what)| *what).collect();
        assert_eq!(kinds, [Routine::Deploy, Routine::Job]);
        assert!(plan.shell().contains("PLAN_FAULT='harmless'\n"));
    }
}
