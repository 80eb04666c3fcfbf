//! The thread that writes: one transaction after the other, queued reports gathered into one commit.

use std::collections::VecDeque;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::thread::JoinHandle;

use rusqlite::{Connection, Transaction, TransactionBehavior};
use tokio::sync::{mpsc, oneshot};
use tracing::error;

use super::{engine, inbox};
use crate::store::{Appended, InboxReport, StoreError, StoreResult};

/// Commands that wait; beyond it callers wait. A command is a report or a short transaction.
const QUEUE: usize = 256;

/// Calls of `append` that one commit gathers, so that none waits for more than some megabytes of others.
const GATHER: usize = 64;

/// When a transaction is on disk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Durability {
    /// When it returns.
    Full,
    /// With the next full one: a power cut may undo it as a whole, and it is then done again from what is on disk.
    Replayable,
}

type AppendReply = oneshot::Sender<StoreResult<Vec<Appended>>>;
type Work = Box<dyn FnOnce(&mut Connection) + Send>;

enum Command {
    Append(Vec<InboxReport>, AppendReply),
    Run(Durability, Work),
}

/// The queue of the writer's thread.
#[derive(Debug)]
pub(super) struct Writer {
    /// Present until the writer is dropped.
    queue: Option<mpsc::Sender<Command>>,
    thread: Option<JoinHandle<()>>,
}

impl Writer {
    pub(super) fn start(connection: Connection) -> StoreResult<Self> {
        let (queue, commands) = mpsc::channel(QUEUE);
        let thread = std::thread::Builder::new()
            .name("store-writer".to_owned())
            .spawn(move || write_until_closed(connection, commands))
            .map_err(engine("start its writer"))?;
        Ok(Self {
            queue: Some(queue),
            thread: Some(thread),
        })
    }

    /// Appends reports; returns when they are on disk.
    pub(super) async fn append(&self, reports: Vec<InboxReport>) -> StoreResult<Vec<Appended>> {
        let (reply, outcome) = oneshot::channel();
        self.send("store reports", Command::Append(reports, reply))
            .await?;
        outcome.await.map_err(engine("store reports"))?
    }

    /// Runs `work` in one transaction, which is committed if it returns `Ok`.
    pub(super) async fn run<T: Send + 'static>(
        &self,
        durability: Durability,
        action: &'static str,
        work: impl FnOnce(&Transaction<'_>) -> StoreResult<T> + Send + 'static,
    ) -> StoreResult<T> {
        self.run_then(durability, action, work, |outcome| outcome)
            .await
    }

    /// Runs `work` in one transaction, and `then` when that is committed, before any other transaction.
    pub(super) async fn run_then<T, U: Send + 'static>(
        &self,
        durability: Durability,
        action: &'static str,
        work: impl FnOnce(&Transaction<'_>) -> StoreResult<T> + Send + 'static,
        then: impl FnOnce(T) -> U + Send + 'static,
    ) -> StoreResult<U> {
        let (reply, outcome) = oneshot::channel();
        let work = Box::new(move |connection: &mut Connection| {
            let done = in_transaction(connection, action, work).map(then);
            // Nobody waits any more: the outcome is of no use, but the transaction is done all the same.
            drop(reply.send(done));
        });
        self.send(action, Command::Run(durability, work)).await?;
        outcome.await.map_err(engine(action))?
    }

    async fn send(&self, action: &'static str, command: Command) -> StoreResult<()> {
        let Some(queue) = &self.queue else {
            return Err(engine(action)("the store is closed"));
        };
        queue
            .send(command)
            .await
            .map_err(|_| engine(action)("the store's writer has ended"))
    }
}

impl Drop for Writer {
    /// What is queued is still written.
    fn drop(&mut self) {
        self.queue = None;
        if let Some(thread) = self.thread.take()
            && thread.join().is_err()
        {
            error!("the store's writer ended in a panic");
        }
    }
}

fn write_until_closed(mut connection: Connection, mut commands: mpsc::Receiver<Command>) {
    let mut in_force = Durability::Full;
    let mut waiting = VecDeque::new();
    while let Some(command) = waiting.pop_front().or_else(|| commands.blocking_recv()) {
        match command {
            Command::Append(reports, reply) => {
                let mut gathered = vec![(reports, reply)];
                gather(&mut gathered, &mut waiting, &mut commands);
                switch(&connection, &mut in_force, Durability::Full);
                append_gathered(&mut connection, gathered);
            }
            Command::Run(durability, work) => {
                switch(&connection, &mut in_force, durability);
                // A panic drops the transaction, which undoes it, and the reply, which tells the caller.
                if catch_unwind(AssertUnwindSafe(|| work(&mut connection))).is_err() {
                    error!("a transaction of the store ended in a panic and was undone");
                }
            }
        }
    }
}

/// Takes the appends that wait already; the first command of another kind waits for its turn.
fn gather(
    gathered: &mut Vec<(Vec<InboxReport>, AppendReply)>,
    waiting: &mut VecDeque<Command>,
    commands: &mut mpsc::Receiver<Command>,
) {
    while gathered.len() < GATHER && waiting.is_empty() {
        match commands.try_recv() {
            Ok(Command::Append(reports, reply)) => gathered.push((reports, reply)),
            Ok(other @ Command::Run(..)) => waiting.push_back(other),
            Err(_) => return,
        }
    }
}

/// Stores the reports of all callers in one transaction: one sync for all of them.
fn append_gathered(connection: &mut Connection, gathered: Vec<(Vec<InboxReport>, AppendReply)>) {
    let (reports, replies): (Vec<_>, Vec<_>) = gathered.into_iter().unzip();
    let outcome = in_transaction(connection, "store reports", |tx| {
        reports
            .iter()
            .map(|reports| inbox::append(tx, reports))
            .collect::<StoreResult<Vec<_>>>()
    });
    match outcome {
        Ok(outcomes) => {
            for (reply, outcome) in replies.into_iter().zip(outcomes) {
                drop(reply.send(Ok(outcome)));
            }
        }
        Err(error) => {
            let shared = Shared(Arc::new(error));
            for reply in replies {
                drop(reply.send(Err(engine("store reports")(shared.clone()))));
            }
        }
    }
}

/// One failure for several callers, each of whom may look for its causes.
#[derive(Clone, Debug, thiserror::Error)]
#[error(transparent)]
struct Shared(Arc<StoreError>);

/// `IMMEDIATE`: the lock is taken at the start, so the transaction cannot fail half way because another process writes.
fn in_transaction<T>(
    connection: &mut Connection,
    action: &'static str,
    work: impl FnOnce(&Transaction<'_>) -> StoreResult<T>,
) -> StoreResult<T> {
    let transaction = connection
        .transaction_with_behavior(TransactionBehavior::Immediate)
        .map_err(engine(action))?;
    let outcome = work(&transaction)?;
    transaction.commit().map_err(engine(action))?;
    Ok(outcome)
}

/// In WAL mode `NORMAL` leaves out the sync at each commit; the database stays consistent, and the next `FULL` commit syncs all
/// before it, since the log is one file in order.
fn switch(connection: &Connection, in_force: &mut Durability, wanted: Durability) {
    if *in_force == wanted {
        return;
    }
    let name = match wanted {
        Durability::Full => "FULL",
        Durability::Replayable => "NORMAL",
    };
    match connection.pragma_update(None, "synchronous", name) {
        Ok(()) => *in_force = wanted,
        // From FULL to NORMAL this costs time only; the other way it is tried again before the next transaction.
        Err(error) => error!(%error, wanted = name, "cannot switch the durability of the store"),
    }
}
