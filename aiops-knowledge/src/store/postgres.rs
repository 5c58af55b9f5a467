//! The shared store: several processes, one PostgreSQL, leases by its clock.

use super::group::GroupCommit;
use super::record::{decode, encode};
use aiops_core::{
    Batch, Change, Entry, Error, Record, Store, StoreError, Timestamp, Version, Versioned,
};
use postgres::{Client, IsolationLevel, NoTls, Transaction};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

/// How long a process may stand still in the middle of a commit, with the lock that every other
/// commit waits for, before the server ends its session. A commit takes milliseconds.
const STANDS_STILL: Duration = Duration::from_secs(2);

/// Where the store is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PostgresConfig {
    /// A connection string, `host=127.0.0.1 user=aiops dbname=aiops` or a `postgresql://` URL.
    /// Connections are not encrypted: use a local socket, or a tunnel. No default.
    pub connection: String,
    /// The schema that holds the tables; made when it does not exist. Lower-case letters, digits
    /// and underscores. Default `aiops`.
    pub schema: String,
    /// How long to go on trying to reach the server before an operation fails. Default 10 s (a
    /// guess: longer than a restart, shorter than a person waits).
    pub patience: Duration,
}

impl Default for PostgresConfig {
    fn default() -> Self {
        PostgresConfig {
            connection: String::new(),
            schema: "aiops".into(),
            patience: Duration::from_secs(10),
        }
    }
}

/// A [`Store`] on PostgreSQL, shared by any number of processes: losing a host loses nothing, and a
/// second engine takes over by the leases it finds.
///
/// Commits are serialisable because they are serial: each holds a lock on one row until it is
/// durable. Concurrent commits of one process share a transaction. When the connection breaks in the middle of a
/// commit, the store reconnects and **finds out** whether it was applied: each commit leaves a
/// token, and taking the row lock waits until the old session is gone. So a cut connection or a
/// restart of the server is a delay, not an unknown result, unless the server stays away longer
/// than [`PostgresConfig::patience`]. A process that is stopped in the middle of a commit holds the
/// others up for two seconds; then the server ends its session, and its commit did not happen.
///
/// Blocking: call it from a blocking pool, never from an async task.
pub struct PostgresStore {
    config: PostgresConfig,
    client: Mutex<Option<Client>>,
    group: GroupCommit,
}

impl std::fmt::Debug for PostgresStore {
    /// Without the connection string, which may hold a password.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("PostgresStore").field("schema", &self.config.schema).finish_non_exhaustive()
    }
}

impl PostgresConfig {
    /// Connects, and makes the tables when they do not exist.
    ///
    /// # Errors
    /// [`Error::InvalidConfig`] for a schema name with other characters, wrapped in
    /// [`StoreError::Failed`], which also says why the server could not be reached.
    pub fn build(self) -> Result<PostgresStore, StoreError> {
        let named = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_';
        let starts = self.schema.starts_with(|c: char| c.is_ascii_lowercase() || c == '_');
        if !(starts && self.schema.len() <= 63 && self.schema.chars().all(named)) {
            let reason = format!("must match [a-z_][a-z0-9_]*, got {:?}", self.schema);
            let source = Error::config("schema", reason).into();
            return Err(StoreError::Failed { operation: "open", applied: Some(false), source });
        }
        let client = Mutex::new(None);
        let store = PostgresStore { config: self, client, group: GroupCommit::default() };
        store.read("open", |client| {
            let mut txn = client.transaction()?;
            // Two processes that start at once would both find no schema: one waits here.
            txn.batch_execute("select pg_advisory_xact_lock(4611027463412870401)")?;
            txn.batch_execute(&store.tables())?;
            txn.commit()
        })?;
        Ok(store)
    }
}

/// A commit that failed, and whether its fate is open.
struct Failure {
    error: postgres::Error,
    /// Set once `commit` was sent: the server may have applied it.
    token: Option<String>,
}

impl From<postgres::Error> for Failure {
    fn from(error: postgres::Error) -> Self {
        Failure { error, token: None }
    }
}

impl PostgresStore {
    fn tables(&self) -> String {
        let schema = &self.config.schema;
        format!(
            "create schema if not exists {schema};
             create table if not exists {schema}.meta (
                 one boolean primary key check (one), format bigint not null,
                 version bigint not null);
             insert into {schema}.meta values (true, 1, 0) on conflict do nothing;
             create table if not exists {schema}.keys (key bytea primary key, value bytea not null);
             create table if not exists {schema}.logs (log bytea primary key, next bigint not null);
             create table if not exists {schema}.records (
                 log bytea not null, position bigint not null, record bytea not null,
                 primary key (log, position));
             create table if not exists {schema}.tokens (
                 token text primary key, at timestamptz not null);"
        )
    }

    fn client(&self) -> MutexGuard<'_, Option<Client>> {
        self.client.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Runs something that may be repeated, reconnecting until patience ends.
    fn read<T>(
        &self,
        operation: &'static str,
        mut ask: impl FnMut(&mut Client) -> Result<T, postgres::Error>,
    ) -> Result<T, StoreError> {
        let mut guard = self.client();
        let mut waited = Duration::ZERO;
        loop {
            let asked = self.connected(&mut guard).and_then(&mut ask);
            match asked {
                Ok(answer) => return Ok(answer),
                Err(error) if is_transient(&error) && waited < self.config.patience => {
                    *guard = None;
                    waited += pause(waited);
                }
                Err(error) => {
                    *guard = None;
                    return Err(failed(operation, Some(false), error));
                }
            }
        }
    }

    fn connected<'a>(
        &self,
        slot: &'a mut Option<Client>,
    ) -> Result<&'a mut Client, postgres::Error> {
        if slot.as_ref().is_none_or(Client::is_closed) {
            let mut client = Client::connect(&self.config.connection, NoTls)?;
            let still = STANDS_STILL.as_millis();
            let set = format!("set idle_in_transaction_session_timeout = {still}");
            client.batch_execute(&set)?;
            *slot = Some(client);
        }
        match slot {
            Some(client) => Ok(client),
            None => unreachable!("the client was just put there"),
        }
    }

    /// Applies batches in one transaction, again after a serialisation failure or a lost
    /// connection, and finds out what became of a commit whose answer got lost.
    fn apply(&self, batches: Vec<Batch>) -> Vec<Result<Version, StoreError>> {
        let mut guard = self.client();
        let mut waited = Duration::ZERO;
        let mut open: Option<(String, Vec<Result<Version, StoreError>>)> = None;
        loop {
            let tried: Result<(), Failure> = match (self.connected(&mut guard), &open) {
                (Err(error), _) => Err(error.into()),
                // An answer got lost: whether the token stands tells what became of the commit.
                (Ok(client), Some((token, _))) => match self.find(client, token) {
                    Ok(true) => return open.map(|(_, outcomes)| outcomes).unwrap_or_default(),
                    Ok(false) => {
                        open = None;
                        continue;
                    }
                    Err(error) => Err(error.into()),
                },
                (Ok(client), None) => {
                    let mut outcomes = Vec::with_capacity(batches.len());
                    let done = self.transact(client, &batches, &mut outcomes);
                    match done {
                        Ok(()) => return outcomes,
                        Err(Failure { error, token }) => {
                            open = token.map(|token| (token, outcomes));
                            Err(error.into())
                        }
                    }
                }
            };
            let Err(Failure { error, .. }) = tried else { continue };
            *guard = None;
            if !(is_transient(&error) || open.is_some()) || waited >= self.config.patience {
                let applied = if open.is_some() { None } else { Some(false) };
                let text = error.to_string();
                let again = || StoreError::Failed {
                    operation: "commit",
                    applied,
                    source: text.clone().into(),
                };
                return batches.iter().map(|_| Err(again())).collect();
            }
            waited += pause(waited);
        }
    }

    /// Whether the commit of this token was applied. Taking the lock waits for its session to end.
    fn find(&self, client: &mut Client, token: &str) -> Result<bool, postgres::Error> {
        let schema = &self.config.schema;
        let mut txn = client.transaction()?;
        txn.execute(&format!("select 1 from {schema}.meta for update"), &[])?;
        let sql = format!("select 1 from {schema}.tokens where token = $1");
        Ok(txn.query_opt(&sql, &[&token])?.is_some())
    }

    fn transact(
        &self,
        client: &mut Client,
        batches: &[Batch],
        outcomes: &mut Vec<Result<Version, StoreError>>,
    ) -> Result<(), Failure> {
        let schema = &self.config.schema;
        // The lock first and in its own statement: a serialisable snapshot taken before the lock
        // was granted would be stale, and every waiting commit would fail and start again.
        let mut txn =
            client.build_transaction().isolation_level(IsolationLevel::ReadCommitted).start()?;
        let lock = format!("select version, gen_random_uuid()::text from {schema}.meta for update");
        let row = txn.query_one(&lock, &[])?;
        // Drawn at random: a number that counts up would be given again by the next process when this
        // commit fails, and would then be taken for ours.
        let (mut version, token): (i64, String) = (row.get(0), row.get(1));
        let first = version;
        for batch in batches {
            if let Some(conflict) = self.conflict(&mut txn, batch)? {
                outcomes.push(Err(conflict));
                continue;
            }
            version += 1;
            self.write(&mut txn, batch, version)?;
            outcomes.push(Ok(version as u64));
        }
        if version == first {
            txn.rollback()?;
            return Ok(());
        }
        let sql = format!("update {schema}.meta set version = $1");
        txn.execute(&sql, &[&version])?;
        // Tokens are only looked for by a process that is still waiting: an hour is plenty.
        let sql = format!(
            "with old as (delete from {schema}.tokens where at < now() - interval '1 hour')
             insert into {schema}.tokens values ($1, now())"
        );
        txn.execute(&sql, &[&token])?;
        txn.commit().map_err(|error| Failure { error, token: Some(token) })
    }

    fn conflict(
        &self,
        txn: &mut Transaction<'_>,
        batch: &Batch,
    ) -> Result<Option<StoreError>, postgres::Error> {
        let sql = format!("select value from {}.keys where key = $1", self.config.schema);
        for (key, expected) in &batch.expects {
            let row = txn.query_opt(&sql, &[key])?;
            let found = match row.map(|row| decode(key, row.get(0))).transpose() {
                Ok(found) => found.map_or(0, |versioned| versioned.version),
                Err(damaged) => return Ok(Some(damaged)),
            };
            if found != *expected {
                let (key, expected) = (key.clone(), *expected);
                return Ok(Some(StoreError::Conflict { key, expected, found }));
            }
        }
        Ok(None)
    }

    fn write(
        &self,
        txn: &mut Transaction<'_>,
        batch: &Batch,
        version: i64,
    ) -> Result<(), postgres::Error> {
        let schema = &self.config.schema;
        for change in &batch.changes {
            match change {
                Change::Put { key, value } => {
                    let sql = format!(
                        "insert into {schema}.keys values ($1, $2)
                         on conflict (key) do update set value = excluded.value"
                    );
                    txn.execute(&sql, &[key, &encode(key, version as u64, value)])?;
                }
                Change::Delete { key } => {
                    txn.execute(&format!("delete from {schema}.keys where key = $1"), &[key])?;
                }
                Change::Append { log, record } => {
                    let sql = format!(
                        "insert into {schema}.logs values ($1, 1)
                         on conflict (log) do update set next = logs.next + 1
                         returning next - 1"
                    );
                    let position: i64 = txn.query_one(&sql, &[log])?.get(0);
                    let sql = format!("insert into {schema}.records values ($1, $2, $3)");
                    let record = encode(&place(log, position), version as u64, record);
                    txn.execute(&sql, &[log, &position, &record])?;
                }
                _ => unreachable!("core and this crate have one version"),
            }
        }
        Ok(())
    }
}

/// What a record's checksum covers beside its content.
fn place(log: &[u8], position: i64) -> Vec<u8> {
    [&position.to_be_bytes(), log].concat()
}

impl Drop for PostgresStore {
    /// The client ends its session by waiting for the server, which it may not do on a thread that
    /// drives async tasks; and whoever drops a store need not know where it is.
    fn drop(&mut self) {
        let client = self.client.get_mut().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(client) = client {
            // Without a thread the server finds out by itself that nobody is there.
            let _ = std::thread::Builder::new().spawn(move || drop(client));
        }
    }
}

impl Store for PostgresStore {
    fn commit(&self, batch: Batch) -> Result<Version, StoreError> {
        self.group.commit(batch, |batches| self.apply(batches))
    }

    fn get(&self, key: &[u8]) -> Result<Option<Versioned>, StoreError> {
        let sql = format!("select value from {}.keys where key = $1", self.config.schema);
        let row = self.read("get", |client| client.query_opt(&sql, &[&key]))?;
        row.map(|row| decode(key, row.get(0))).transpose()
    }

    fn scan(
        &self,
        prefix: &[u8],
        after: Option<&[u8]>,
        limit: usize,
    ) -> Result<Vec<Entry>, StoreError> {
        let limit = i64::try_from(limit).unwrap_or(i64::MAX);
        let sql = format!(
            "select key, value from {}.keys
             where key >= $1 and substring(key from 1 for length($1)) = $1
               and ($2::bytea is null or key > $2)
             order by key limit $3",
            self.config.schema
        );
        let rows = self.read("scan", |client| client.query(&sql, &[&prefix, &after, &limit]))?;
        let entry = |row: &postgres::Row| {
            let key: Vec<u8> = row.get(0);
            let Versioned { version, value } = decode(&key, row.get(1))?;
            Ok(Entry { key, version, value })
        };
        rows.iter().map(entry).collect()
    }

    fn read_log(&self, log: &[u8], from: u64, limit: usize) -> Result<Vec<Record>, StoreError> {
        let Ok(from) = i64::try_from(from) else { return Ok(Vec::new()) };
        let limit = i64::try_from(limit).unwrap_or(i64::MAX);
        let sql = format!(
            "select position, record from {}.records where log = $1 and position >= $2
             order by position limit $3",
            self.config.schema
        );
        let rows = self.read("read_log", |client| client.query(&sql, &[&log, &from, &limit]))?;
        let record = |row: &postgres::Row| {
            let position: i64 = row.get(0);
            let record = decode(&place(log, position), row.get(1))?.value;
            Ok(Record { position: position as u64, record })
        };
        rows.iter().map(record).collect()
    }

    fn now(&self) -> Result<Timestamp, StoreError> {
        let sql = "select (extract(epoch from clock_timestamp()) * 1000000)::bigint";
        let micros: i64 = self.read("now", |client| client.query_one(sql, &[]))?.get(0);
        Ok(Timestamp::from_nanos(micros.saturating_mul(1_000)))
    }
}

/// Whether the same request may succeed later: the connection is gone, the server is going or
/// coming, or another session was in the way.
fn is_transient(error: &postgres::Error) -> bool {
    let Some(code) = error.code() else {
        // No answer from the server at all. A malformed connection string is the exception.
        return !error.to_string().contains("invalid configuration")
            && !error.to_string().contains("invalid connection string");
    };
    let code = code.code();
    // 08 connection, 40 serialisation and deadlock, 57P0x shutdown, crash, starting up, 25P03 stood
    // still in the middle of a commit.
    code.starts_with("08") || code.starts_with("40") || code.starts_with("57P0") || code == "25P03"
}

/// Sleeps a little longer each time and says for how long.
fn pause(waited: Duration) -> Duration {
    let pause = (waited / 4).clamp(Duration::from_millis(20), Duration::from_millis(500));
    std::thread::sleep(pause);
    pause
}

fn failed(operation: &'static str, applied: Option<bool>, error: postgres::Error) -> StoreError {
    StoreError::Failed { operation, applied, source: error.into() }
}
