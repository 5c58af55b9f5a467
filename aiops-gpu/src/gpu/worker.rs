//! [`Worker`]: the thread that talks to a device, so that nobody else waits for it or dies with it.
//!
//! cubecl panics where a driver fails, and a driver may never answer. Both happen to this thread only: who
//! waits for an answer waits with a deadline, and learns of a panic by the answer that does not come.

use std::{
    any::Any,
    collections::VecDeque,
    panic::{AssertUnwindSafe, catch_unwind},
    sync::{
        Arc, Mutex, PoisonError,
        mpsc::{Receiver, RecvTimeoutError, Sender, channel},
    },
    time::Duration,
};

use cubecl::{Runtime, client::ComputeClient};

use super::{
    DeviceInfo,
    resident::{Chunk, Done, Fault, Flight, Resident, Returned},
    tables::Tables,
};

/// Batches whose kernels may be launched before the oldest is read back: one computes while the next is
/// copied in.
const IN_FLIGHT: usize = 3;

pub(super) type Reply<T> = Sender<Done<T>>;
pub(super) type Answer<T> = Receiver<Done<T>>;

/// What the thread can be told.
pub(super) enum Command {
    Load(Box<Tables>, Reply<()>),
    Register(u32, Reply<()>),
    Release(Vec<u32>, Reply<()>),
    Run {
        chunks: Vec<Chunk>,
        learn: bool,
        columns: bool,
        most_flags: u32,
        reply: Reply<Vec<Returned>>,
    },
    Save(Vec<u32>, Reply<Vec<u32>>),
    Restore {
        list: Vec<u32>,
        known: Vec<u32>,
        reply: Reply<()>,
    },
    Windows {
        windows: Vec<f32>,
        length: u32,
        launches: u32,
        reply: Reply<(Vec<f32>, Duration)>,
    },
    Runs {
        runs: Vec<f32>,
        launches: u32,
        reply: Reply<(Vec<f32>, Duration)>,
    },
    Time {
        chunks: Vec<Chunk>,
        learn: bool,
        reply: Reply<Duration>,
    },
    /// Panics, as cubecl does when a driver fails.
    #[cfg(test)]
    Fail,
}

/// A device that was opened, on the thread that will use it.
pub(super) type Opened<R> = Result<(ComputeClient<R>, DeviceInfo), String>;

/// A handle to the thread; dropping it ends the thread when it is through with what it was told.
#[derive(Debug)]
pub(super) struct Worker {
    commands: Sender<Command>,
    last_words: Arc<Mutex<Option<String>>>,
    pub(super) info: DeviceInfo,
}

impl Worker {
    /// Starts a thread, opens a device there, and tries it with a small kernel.
    ///
    /// # Errors
    /// What `open` says, what a panic said, or that nothing was heard within `patience`.
    pub(super) fn open<R: Runtime>(
        open: impl FnOnce() -> Opened<R> + Send + 'static,
        patience: Duration,
    ) -> Result<Self, String> {
        let (commands, told) = channel();
        let (ready, opened) = channel();
        let last_words = Arc::new(Mutex::new(None));
        let words = Arc::clone(&last_words);
        let thread = move || {
            let work = AssertUnwindSafe(|| {
                let (resident, info) = match open().and_then(|(client, info)| {
                    let resident = tried(Resident::<R>::new(client))?;
                    Ok((resident, info))
                }) {
                    Ok(opened) => opened,
                    Err(reason) => {
                        let _ = ready.send(Err(reason));
                        return;
                    }
                };
                // Nobody listens any more where the probe was given up.
                if ready.send(Ok(info)).is_ok() {
                    serve(resident, &told);
                }
            });
            if let Err(panic) = catch_unwind(work) {
                let said = said(&*panic);
                *words.lock().unwrap_or_else(PoisonError::into_inner) = Some(said.clone());
                let _ = ready.send(Err(said));
            }
        };
        std::thread::Builder::new()
            .name("aiops-gpu".to_owned())
            .spawn(thread)
            .map_err(|error| format!("no thread for it: {error}"))?;
        match opened.recv_timeout(patience) {
            Ok(Ok(info)) => Ok(Worker { commands, last_words, info }),
            Ok(Err(reason)) => Err(reason),
            Err(RecvTimeoutError::Timeout) => {
                Err(format!("the driver did not answer in {patience:?}"))
            }
            Err(RecvTimeoutError::Disconnected) => Err("its thread ended".to_owned()),
        }
    }

    /// Tells it something.
    pub(super) fn tell(&self, command: Command) -> Done<()> {
        self.commands.send(command).map_err(|_| self.ended())
    }

    /// What became of a thread that does not answer.
    pub(super) fn ended(&self) -> Fault {
        let words = self.last_words.lock().unwrap_or_else(PoisonError::into_inner);
        let words = words.as_deref().unwrap_or("without a word");
        Fault::Failed(format!("its thread ended: {words}"))
    }
}

/// A device that ran a kernel and gave back what it should.
fn tried<R: Runtime>(mut resident: Resident<R>) -> Result<Resident<R>, String> {
    let trial = |resident: &mut Resident<R>| -> Done<Vec<u32>> {
        resident.load(Tables::default())?;
        resident.register(1)?;
        resident.save(&[0])
    };
    match trial(&mut resident) {
        Ok(known) if known.contains(&1.0_f32.to_bits()) => Ok(resident),
        Ok(_) => Err("a kernel gave back what it should not".to_owned()),
        Err(Fault::Full) => Err("it has no memory left".to_owned()),
        Err(Fault::Failed(reason)) => Err(reason),
    }
}

/// What a panic said.
pub(super) fn said(panic: &(dyn Any + Send)) -> String {
    let text = panic.downcast_ref::<&str>().map(|text| (*text).to_owned());
    let text = text.or_else(|| panic.downcast_ref::<String>().cloned());
    text.unwrap_or_else(|| "it panicked without a word".to_owned())
}

fn serve<R: Runtime>(mut resident: Resident<R>, told: &Receiver<Command>) {
    let reader = resident.reader();
    let mut flights: VecDeque<(Flight<'_>, Reply<Vec<Returned>>)> = VecDeque::new();
    loop {
        let next = if flights.len() >= IN_FLIGHT {
            None
        } else if flights.is_empty() {
            match told.recv() {
                Ok(command) => Some(command),
                Err(_) => return,
            }
        } else {
            told.try_recv().ok()
        };
        // Whoever asked may have stopped to listen; what was asked is done all the same.
        match next {
            Some(Command::Run { chunks, learn, columns, most_flags, reply }) => {
                let flight = resident.launch(&reader, &chunks, learn, columns, most_flags);
                flights.push_back((flight, reply));
            }
            Some(Command::Load(tables, reply)) => {
                let _ = reply.send(resident.load(*tables));
            }
            Some(Command::Register(series, reply)) => {
                let _ = reply.send(resident.register(series));
            }
            Some(Command::Release(list, reply)) => {
                let _ = reply.send(resident.release(&list));
            }
            Some(Command::Save(list, reply)) => {
                let _ = reply.send(resident.save(&list));
            }
            Some(Command::Restore { list, known, reply }) => {
                let _ = reply.send(resident.restore(&list, &known));
            }
            Some(Command::Windows { windows, length, launches, reply }) => {
                let _ = reply.send(resident.windows(&windows, length, launches));
            }
            Some(Command::Runs { runs, launches, reply }) => {
                let _ = reply.send(resident.runs(&runs, launches));
            }
            Some(Command::Time { chunks, learn, reply }) => {
                let _ = reply.send(resident.time(&chunks, learn));
            }
            #[cfg(test)]
            Some(Command::Fail) => panic!("the driver failed"),
            None => {
                if let Some((flight, reply)) = flights.pop_front() {
                    let _ = reply.send(resident.finish(flight));
                }
            }
        }
    }
}

#[cfg(all(test, feature = "wgpu"))]
mod tests {
    use cubecl::wgpu::WgpuRuntime;

    use super::*;

    /// A driver that is missing, fails, or never answers is an error, soon.
    #[test]
    fn opening_neither_panics_nor_hangs() {
        let soon = Duration::from_millis(200);
        let missing = Worker::open::<WgpuRuntime>(|| Err("nothing there".to_owned()), soon);
        assert_eq!(missing.unwrap_err(), "nothing there");
        let failing = Worker::open::<WgpuRuntime>(|| panic!("it broke"), soon);
        assert_eq!(failing.unwrap_err(), "it broke");
        let silent = Worker::open::<WgpuRuntime>(
            || {
                std::thread::sleep(Duration::from_secs(5));
                Err("too late".to_owned())
            },
            soon,
        );
        assert!(silent.unwrap_err().contains("did not answer"));
    }
}
