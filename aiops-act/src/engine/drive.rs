//! The loop: ask the run what is due, do it, make what came of it durable, again.

use std::sync::Arc;
use std::time::Duration;

use aiops_core::{Timestamp, report, telemetry};

use super::{Engine, Phase};
use crate::approve::Earned;
use crate::approver::Request;
use crate::audit::Head;
use crate::book::{Book, Closing};
use crate::error::{Error, Result};
use crate::escalate::Page;
use crate::gates::{GateReport, Passage};
use crate::journal::{BookChange, Commit, CommitError, Draft, Loaded, Pending, StoredPage};
use crate::machine::{Do, Event, NoticeKind, Run, State, Transition};
use crate::notify::Message;
use crate::plan::{Plan, RunId};
use crate::timer::WaitFor;

/// How an effect ended: with an event to record, or with news from the store.
pub(super) enum Came {
    /// This happened.
    Event(Event),
    /// Something else was recorded meanwhile, or the wait is over: look again.
    LookAgain,
    /// It was recorded already; the run is as it is stored.
    Recorded,
}

impl Engine {
    /// Drives a run until it ends or needs a person.
    ///
    /// A run that another engine drives is left alone until that engine has been silent for the
    /// lease time; one that this engine drives already is waited for. What was under way when its last
    /// driver stopped, of whichever engine, counts as unknown: an effect is only begun by the driver
    /// that made its intent durable, and only once. Dropping the future cuts off what is under way.
    ///
    /// # Errors
    /// The run belongs to another engine, or the store failed: then it stays where it is, with
    /// nothing undone that was done, and can be driven again.
    pub async fn drive(&self, run: RunId) -> Result<Run> {
        let driving = self.note_driving(run);
        let _turn = driving.turn().await;
        if self.was_handed_over(run) {
            return Err(Error::ShuttingDown);
        }
        let mut loaded = self.take(run).await?;
        let mut asked = false;
        // The revision that this driver made durable last, and has not acted upon.
        let mut intent = None;
        let result = loop {
            let due = loaded.run.due();
            if matches!(due, Do::Nothing | Do::AwaitPerson) {
                break Ok(loaded.run);
            }
            if self.stops_before(due) {
                self.hand_over(loaded).await;
                break Err(Error::ShuttingDown);
            }
            let begins = matches!(due, Do::Run { .. } | Do::Undo { .. });
            if begins && intent.take() != Some(loaded.run.revision) {
                loaded = self.take_over(loaded).await?;
                continue;
            }
            let came = match due {
                Do::CheckGates => match self.gates(&mut loaded).await {
                    Ok(came) => came,
                    Err(error) => break Err(error),
                },
                Do::Ask { until } => {
                    if !asked {
                        self.ask(&loaded.run).await?;
                        asked = true;
                    }
                    self.wait(&mut loaded, until, WaitFor::Person).await?
                }
                Do::Wait { until } => self.wait(&mut loaded, until, WaitFor::Time).await?,
                due => self.perform(&mut loaded, due).await?,
            };
            if matches!(came, Came::Recorded) {
                continue;
            }
            if let Came::Event(event) = came {
                match self.commit(&loaded, event, None).await {
                    Ok(next) => {
                        intent = Some(next.run.revision);
                        loaded = next;
                        continue;
                    }
                    Err(error) => match lost(error) {
                        None => {}
                        Some(error) => break Err(error),
                    },
                }
            }
            loaded = self.reload(run).await?;
        };
        self.forget_news(run);
        result
    }

    /// Every run that no engine drives any more, this one included. Drive each of them.
    ///
    /// # Errors
    /// The store failed.
    pub async fn orphans(&self) -> Result<Vec<RunId>> {
        let mine = self.0.incarnation.clone();
        let driven = self.driven();
        self.blocking(move |journal| {
            let (now, mut found, mut after) = (journal.now()?, Vec::new(), None);
            loop {
                let page = journal.run_ids(after, 500)?;
                let Some(last) = page.last() else { return Ok(found) };
                after = Some(*last);
                for run in page {
                    if driven.contains(&run) {
                        continue;
                    }
                    let (owner, due) = journal.standing(run)?;
                    let free =
                        owner.is_none_or(|owner| owner.incarnation == mine || owner.until <= now);
                    let goes_on = !matches!(due, Do::Nothing | Do::AwaitPerson);
                    if free && goes_on {
                        found.push(run);
                    }
                }
            }
        })
        .await
    }

    /// Loads a run and becomes its owner, fencing off whoever drove it before.
    async fn take(&self, run: RunId) -> Result<Loaded> {
        loop {
            let loaded = self.blocking(move |journal| journal.load(run)).await?;
            let mine = self.0.incarnation.clone();
            if matches!(loaded.run.due(), Do::Nothing | Do::AwaitPerson)
                || loaded.owner.as_ref().is_some_and(|owner| owner.incarnation == mine)
            {
                return Ok(loaded);
            }
            let now = self.blocking(|journal| journal.now()).await?;
            if loaded.owner.as_ref().is_some_and(|owner| owner.until > now) {
                return Err(Error::NotOurs(run));
            }
            match self.fence_off(&loaded).await {
                Ok(loaded) => return Ok(loaded),
                Err(error) => {
                    if let Some(error) = lost(error) {
                        return Err(error);
                    }
                }
            }
        }
    }

    /// Takes over what a driver of this engine left under way: one whose commit failed after the
    /// effect, or that was dropped in the middle.
    async fn take_over(&self, loaded: Loaded) -> Result<Loaded> {
        match self.fence_off(&loaded).await {
            Ok(loaded) => Ok(loaded),
            Err(error) => match lost(error) {
                None => self.reload(loaded.run.plan.run).await,
                Some(error) => Err(error),
            },
        }
    }

    /// The new token, the change of ownership and the event are one commit.
    async fn fence_off(&self, loaded: &Loaded) -> Result<Loaded, CommitError> {
        let (engine, from) = (self.clone(), loaded.clone());
        let decide = move |draft: &mut Draft<'_>| {
            let fence = draft.book()?.fence + 1;
            let commit = engine.transition(&from, Event::TakenOver { fence }, None)?;
            draft.change_book(|book| {
                book.fence_again();
            })?;
            Ok(commit)
        };
        self.judged(loaded, decide).await
    }

    async fn reload(&self, run: RunId) -> Result<Loaded> {
        let loaded = self.blocking(move |journal| journal.load(run)).await?;
        match &loaded.owner {
            Some(owner) if owner.incarnation != self.0.incarnation => {
                telemetry::count("aiops_act_leases_lost_total", "engine", "this", 1);
                report!(warn, "aiops_act", "another engine took the run over"; run = run);
                Err(Error::NotOurs(run))
            }
            _ => Ok(loaded),
        }
    }

    /// Applies an event; gives everything that is to be committed with it.
    fn transition(
        &self,
        loaded: &Loaded,
        event: Event,
        earned: Option<&Earned>,
    ) -> Result<Commit, CommitError> {
        let (at, policy) = (self.0.clock.now(), &self.0.config.approval);
        let transition = match loaded.run.apply(event.clone(), at, policy, earned) {
            Ok(transition) => transition,
            // The clock was set back while we waited: the deadline is not over after all.
            Err(_) if event == Event::Tick => return Err(CommitError::Moved),
            Err(late) => return Err(Error::TooLate { reason: late.reason }.into()),
        };
        let book = self.book_change(loaded, &transition, at);
        let (messages, page) = self.messages(&transition, at);
        let tenant = Some(self.tenant());
        Ok(Commit { event, transition, messages, page, book, tenant, at })
    }

    /// Applies an event and makes the transition durable. One that would begin a step halts instead
    /// if the kill switch is pressed in that very commit.
    pub(super) async fn commit(
        &self,
        loaded: &Loaded,
        event: Event,
        earned: Option<&Earned>,
    ) -> Result<Loaded, CommitError> {
        if matches!(event, Event::Prepared { .. } | Event::Probed { .. }) {
            let (engine, from) = (self.clone(), loaded.clone());
            let decide = move |draft: &mut Draft<'_>| {
                let commit = engine.transition(&from, event.clone(), None)?;
                if matches!(commit.transition.run.state, State::Running { .. })
                    && let Some(why) = draft.paused()?
                {
                    return engine.transition(&from, Event::Halted { why }, None);
                }
                Ok(commit)
            };
            return self.judged(loaded, decide).await;
        }
        let commit = self.transition(loaded, event, earned)?;
        let done = self.0.journal.commit(loaded, commit).await;
        self.noted(done)
    }

    /// Makes a transition durable that is decided on the book of the same commit.
    async fn judged(
        &self,
        loaded: &Loaded,
        decide: impl FnMut(&mut Draft<'_>) -> Result<Commit, CommitError> + Send + 'static,
    ) -> Result<Loaded, CommitError> {
        let mut decide = decide;
        let decide = move |draft: &mut Draft<'_>| decide(draft).map(Arc::new);
        let done = self.0.journal.commit_judged(loaded, decide).await;
        self.noted(done)
    }

    /// Notes how a commit went, and publishes the new end of the audit.
    fn noted(
        &self,
        done: Result<(Loaded, Option<Head>), CommitError>,
    ) -> Result<Loaded, CommitError> {
        match done {
            Ok((loaded, head)) => {
                self.note(Ok(()))?;
                head.into_iter().for_each(|head| self.publish(head));
                Ok(loaded)
            }
            Err(CommitError::Other(error)) => Ok(self.note(Err(error))?),
            Err(moved) => Err(moved),
        }
    }

    /// Records an event that comes from outside: an answer, a decision, a cancellation. The owner
    /// stays who it is, and hears of it.
    pub(super) async fn record(&self, run: RunId, event: Event) -> Result<Run> {
        loop {
            let loaded = self.blocking(move |journal| journal.load(run)).await?;
            let mut commit = match self.transition(&loaded, event.clone(), None) {
                Ok(commit) => commit,
                Err(error) => match lost(error) {
                    None => continue,
                    Some(error) => return Err(error),
                },
            };
            commit.tenant = None;
            let done = self.0.journal.commit(&loaded, commit).await;
            match self.noted(done) {
                Ok(loaded) => {
                    self.news_of(run).notify_waiters();
                    return Ok(loaded.run);
                }
                Err(error) => {
                    if let Some(error) = lost(error) {
                        return Err(error);
                    }
                }
            }
        }
    }

    /// What a transition changes in the book: a run that held a lease ends or is quarantined, and
    /// what went wrong is counted.
    fn book_change(
        &self,
        loaded: &Loaded,
        transition: &Transition,
        at: Timestamp,
    ) -> Option<BookChange> {
        if !loaded.run.holds_lease() {
            return None;
        }
        let (plan, limits) = (transition.run.plan.clone(), self.0.config.gates.limits.clone());
        let closing = transition.closing;
        let worse = closing == Some(Closing::Worse);
        let counts = crate::trust::counts(&loaded.run, &transition.run, worse);
        let (key, policy) = (self.trust_key(&plan).ok(), self.0.config.trust.clone());
        let ended = transition.run.ending().is_some();
        let stuck = matches!(transition.run.state, State::NeedsHuman { .. });
        if !ended && !stuck && closing.is_none() {
            return None;
        }
        Some(Arc::new(move |book: &mut Book| {
            let closing = closing.unwrap_or(Closing::Good);
            if ended {
                book.end(&plan, closing, &limits, at);
            } else {
                book.count(&plan, closing, &limits, at);
            }
            if stuck {
                book.quarantine(plan.run);
            }
            if let Some(key) = &key {
                book.trust.count(key, counts, &policy, at);
            }
        }))
    }

    /// What people hear of a transition, and whom it pages level by level. With an escalation policy,
    /// what needs a person goes to its levels, and everything else to the routes of the runbook.
    fn messages(
        &self,
        transition: &Transition,
        at: Timestamp,
    ) -> (Vec<Pending>, Option<StoredPage>) {
        let run = &transition.run;
        let wanted = &run.plan.runbook.document().notify;
        let mut messages = Vec::new();
        let mut page = None;
        let escalates = !self.0.config.escalation.levels.is_empty();
        let told = |kind: NoticeKind| kind.severity() >= self.0.config.least_severity;
        for notice in transition.notices.iter().filter(|notice| told(notice.kind)) {
            let message = Message {
                key: format!("{}:{}:{}", run.plan.incident, run.plan.run, notice.kind.name()),
                kind: notice.kind,
                severity: notice.kind.severity(),
                run: run.plan.run,
                incident: run.plan.incident,
                title: notice.title.clone(),
                because: notice.because.clone(),
                at,
            };
            if escalates && notice.kind == NoticeKind::NeedsHuman {
                page = Some(StoredPage { page: Page::new(at), message });
                continue;
            }
            for notifier in &self.0.notifiers {
                let route = notifier.name();
                if wanted.is_empty() || wanted.iter().any(|w| w == route) {
                    messages.push(Pending {
                        route: route.to_owned(),
                        message: message.clone(),
                        attempts: 0,
                        not_before: at,
                    });
                }
            }
        }
        (messages, page)
    }

    /// Checks the gates; if they are open after an approval, takes lease and rate slot in the
    /// commit that starts the run, where they are checked once more against what holds then.
    async fn gates(&self, loaded: &mut Loaded) -> Result<Came> {
        let (paused, (book, _)) =
            self.blocking(|journal| Ok::<_, Error>((journal.paused()?, journal.book()?))).await?;
        let report: GateReport = self.gate_report(&loaded.run.plan, paused.as_deref(), &book);
        if loaded.run.state != State::Approved || report.passage() != Passage::Open {
            let earned = self.earned(&loaded.run.plan, &book);
            let event = Event::Gated { report, trusted: earned.is_some() };
            return match self.commit(loaded, event, earned.as_ref()).await {
                Ok(next) => {
                    *loaded = next;
                    Ok(Came::Recorded)
                }
                Err(error) => lost(error).map_or(Ok(Came::LookAgain), Err),
            };
        }
        let (engine, from) = (self.clone(), loaded.clone());
        let claim = move |draft: &mut Draft<'_>| engine.claim(draft, &from);
        match self.judged(loaded, claim).await {
            Ok(next) => {
                *loaded = next;
                Ok(Came::Recorded)
            }
            // Lost: judge again.
            Err(error) => lost(error).map_or(Ok(Came::LookAgain), Err),
        }
    }

    /// Takes lease and rate slot if every gate is open in this very commit.
    fn claim(&self, draft: &mut Draft<'_>, from: &Loaded) -> Result<Commit, CommitError> {
        let (plan, now) = (from.run.plan.clone(), self.0.clock.now());
        let paused = draft.paused()?;
        let book = draft.book()?;
        if self.gate_report(&plan, paused.as_deref(), book).passage() != Passage::Open {
            return Err(CommitError::BookMoved);
        }
        let (fence, earned) = (book.fence + 1, self.earned(&plan, book));
        let unasked = earned.is_some() && from.run.question.as_ref().is_some_and(|q| q.earned);
        let topology = self.0.world.topology();
        let blast = crate::gates::plan_blast(&plan, &self.0.config.gates, &topology, now);
        let commit = self.transition(from, Event::Claimed { fence }, earned.as_ref())?;
        draft.change_book(move |book| {
            book.start(&plan, blast.services, now);
            if unasked {
                book.note_unasked(plan.run);
            }
        })?;
        Ok(commit)
    }

    /// Brings the question to every approver, each in a task of its own; what they bring back is
    /// recorded like any other answer.
    async fn ask(&self, run: &Run) -> Result<()> {
        let Some(question) = run.question.clone() else { return Ok(()) };
        let gates = self.check_gates(&run.plan).await?;
        let request = Request { plan: Plan::clone(&run.plan), question, gates };
        for approver in &self.0.approvers {
            let (engine, approver, request) = (self.clone(), approver.clone(), request.clone());
            tokio::spawn(async move {
                let id = request.plan.run;
                // An approver that cannot ask leaves the question standing: it expires unless
                // somebody answers another way, and nothing runs meanwhile.
                if let Ok(Some(answer)) = approver.ask(&request).await {
                    let _ = engine.answer(id, answer).await;
                }
            });
        }
        Ok(())
    }

    /// Waits until `until`, or until something is recorded for the run.
    async fn wait(&self, loaded: &mut Loaded, until: Timestamp, wait: WaitFor) -> Result<Came> {
        let run = loaded.run.plan.run;
        let news = self.news_of(run);
        let heard = news.notified();
        tokio::pin!(heard);
        heard.as_mut().enable();
        // Between the last load and now an answer may have come in: look before waiting.
        let fresh = self.reload(run).await?;
        if fresh.version != loaded.version {
            return Ok(Came::LookAgain);
        }
        *loaded = fresh;
        let renew = self.0.config.lease_ttl / 3;
        tokio::select! {
            biased;
            () = &mut heard => Ok(Came::LookAgain),
            () = self.until(Phase::Closing) => Ok(Came::LookAgain),
            () = self.0.clock.sleep_until(until, wait) => Ok(Came::Event(Event::Tick)),
            () = tokio::time::sleep(self.0.config.poll.min(renew)) => {
                self.renew_if_due(loaded).await?;
                Ok(Came::LookAgain)
            }
        }
    }

    /// Extends the lease when a third of it has passed.
    pub(super) async fn renew_if_due(&self, loaded: &mut Loaded) -> Result<()> {
        let ttl = self.0.config.lease_ttl;
        let now = self.blocking(|journal| journal.now()).await?;
        let left = loaded.owner.as_ref().map_or(Duration::ZERO, |owner| owner.until.since(now));
        if left > ttl / 3 * 2 {
            return Ok(());
        }
        match self.0.journal.own(loaded.clone(), Some(self.tenant())).await {
            Ok(next) => *loaded = next,
            Err(error) => match lost(error) {
                None => *loaded = self.reload(loaded.run.plan.run).await?,
                Some(error) => return Err(error),
            },
        }
        Ok(())
    }
}

/// `None` for a lost race, after which one looks again.
fn lost(error: CommitError) -> Option<Error> {
    match error {
        CommitError::Moved | CommitError::BookMoved => None,
        CommitError::Failed(source) => Some(Error::Store { operation: "committing", source }),
        CommitError::Other(error) => Some(error),
    }
}
