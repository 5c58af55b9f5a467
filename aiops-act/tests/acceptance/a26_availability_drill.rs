//! Any one part goes away during ten minutes.

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicBool, AtomicU8, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use aiops_act::executor::BoxFuture;
use aiops_act::modes::{Health, Part};
use aiops_act::testing::message;
use aiops_act::{Engine, Gate, Message, Mode, Notifier, Passage, Plan, SendError};
use aiops_core::{Batch, Clock, Store};
use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinHandle;

use crate::a20_store_failures::Sick;
use crate::common::{Bench, library_of, one_write, shop, situation};

const PARTS: [Part; 5] = [Part::Store, Part::Topology, Part::Model, Part::Notifier, Part::Engine];

/// A receiver that can be taken away.
struct Receiver(Arc<AtomicBool>);

impl Notifier for Receiver {
    fn name(&self) -> &str {
        "receiver"
    }
    fn send<'a>(&'a self, _: &'a Message) -> BoxFuture<'a, Result<(), SendError>> {
        let gone = self.0.load(Ordering::SeqCst);
        let later = SendError::Later { reason: "gone".to_owned(), after: None };
        Box::pin(std::future::ready(if gone { Err(later) } else { Ok(()) }))
    }
}

/// The task that works on alerts: each is handed in with a way to say that it was processed.
type Work = (u32, oneshot::Sender<u32>);

fn start_worker(engine: Engine, plan: Plan) -> (mpsc::Sender<Work>, JoinHandle<()>) {
    let (give, mut take) = mpsc::channel::<Work>(16);
    let worker = tokio::spawn(async move {
        while let Some((alert, done)) = take.recv().await {
            // What a service does with every alert: it looks what may be done about it.
            let _ = engine.check_gates(&plan).await;
            let _ = done.send(alert);
        }
    });
    (give, worker)
}

struct Drill {
    bench: Bench,
    sick: Arc<Sick>,
    receiver: Arc<Receiver>,
    engine: Engine,
    plan: Plan,
    worker: Option<(mpsc::Sender<Work>, JoinHandle<()>)>,
    model_is_gone: bool,
    topology_is_gone: bool,
}

impl Drill {
    async fn new() -> Drill {
        let library = library_of([one_write("one", "")]);
        let mut bench = Bench::with_library(situation(&[("api", 0.9)]), library);
        let sick = Arc::new(Sick { inner: bench.store.clone(), how: AtomicU8::new(0) });
        bench.store = sick.clone();
        let receiver = Arc::new(Receiver(Arc::default()));
        let engine = bench.builder().notifier(receiver.clone()).build().unwrap();
        let plan = bench.plan(&engine).await;
        let worker = Some(start_worker(engine.clone(), plan.clone()));
        let (model_is_gone, topology_is_gone) = (false, false);
        Drill { bench, sick, receiver, engine, plan, worker, model_is_gone, topology_is_gone }
    }

    /// Takes the part away, or brings it back as its supervisor would.
    fn switch(&mut self, part: Part, gone: bool) {
        match part {
            Part::Store => self.sick.how.store(u8::from(gone), Ordering::SeqCst),
            Part::Topology => self.topology_is_gone = gone,
            Part::Model => self.model_is_gone = gone,
            Part::Notifier => self.receiver.0.store(gone, Ordering::SeqCst),
            Part::Engine if gone => {
                if let Some((_, worker)) = self.worker.take() {
                    worker.abort();
                }
            }
            _ => self.worker = Some(start_worker(self.engine.clone(), self.plan.clone())),
        }
    }

    /// Whether the part does what it is for, found out by letting it do it.
    async fn works(&self, part: Part) -> bool {
        match part {
            Part::Store => self.bench.store.commit(Batch::new().put("health", "x")).is_ok(),
            Part::Topology => !self.topology_is_gone,
            Part::Model => !self.model_is_gone,
            Part::Notifier => self.receiver.send(&message("are you there")).await.is_ok(),
            _ => self.process(u32::MAX).await,
        }
    }

    /// Hands an alert to the worker; false when nobody takes it or says that it was processed.
    async fn process(&self, alert: u32) -> bool {
        let Some((give, _)) = &self.worker else { return false };
        let (done, processed) = oneshot::channel();
        give.send((alert, done)).await.is_ok() && processed.await == Ok(alert)
    }
}

/// Pass: with any one part gone for two of ten minutes, every alert is processed or passed on
/// unchanged, the mode changes within 10 s, the gates go by it, and it comes back by itself.
#[tokio::test]
async fn acceptance_26_availability_drill() {
    for gone in PARTS {
        let mut drill = Drill::new().await;
        let start = drill.bench.now();
        let (silence, hold) = (Duration::from_secs(5), Duration::from_secs(60));
        let mut health = Health::new(PARTS, silence, hold, start);
        let (mut processed, mut passed_on) = (BTreeSet::new(), BTreeSet::new());
        let (mut changed, mut recovered) = (None, None);
        let fallback: Mutex<Vec<u32>> = Mutex::default();
        for second in 0..600_u32 {
            drill.bench.manual.advance(Duration::from_secs(1));
            let now = drill.bench.manual.now();
            if second == 200 || second == 320 {
                drill.switch(gone, second == 200);
            }
            for part in PARTS {
                let works = drill.works(part).await;
                if works {
                    health.report(part, true, now); // one that is gone says nothing at all
                }
            }
            let mode = health.mode(now);
            let topology = Arc::new(shop(now));
            let fresh = !drill.topology_is_gone;
            drill.bench.world.change(|world| {
                world.mode = mode;
                if fresh {
                    world.topology = topology;
                }
            });
            if mode == gone.mode_without() {
                changed.get_or_insert(second);
            } else {
                assert_eq!(mode, Mode::Full, "{gone:?} at {second}");
                if changed.is_some() {
                    recovered.get_or_insert(second);
                }
            }
            // What may be done about an alert follows the mode.
            let report = drill.engine.check_gates(&drill.plan).await.unwrap();
            let gate = report.checks.iter().find(|check| check.gate == Gate::Mode).unwrap();
            let expected = match mode {
                Mode::Full => Passage::Open,
                Mode::SuggestOnly => Passage::Propose,
                Mode::NotifyOnly | Mode::PassThrough => Passage::Refuse,
            };
            assert_eq!(gate.passage, expected, "{gone:?} at {second}");
            // One alert a second: it is processed, or goes on unchanged to where raw alerts go.
            if mode != Mode::PassThrough && drill.process(second).await {
                processed.insert(second);
            } else {
                fallback.lock().unwrap().push(second);
                passed_on.insert(second);
            }
        }
        assert_eq!(processed.len() + passed_on.len(), 600, "no alert is lost");
        assert!(processed.is_disjoint(&passed_on), "and none comes twice");
        assert_eq!(passed_on.is_empty(), gone != Part::Engine);
        let changed = changed.expect("it is noticed");
        assert!((200..210).contains(&changed), "{gone:?}: after {} s", changed - 200);
        assert_eq!(recovered, Some(320 + 60), "{gone:?}: by itself, after the hold time");
    }
}
