//! What a store keeps of notifications: what was told, and the messages on their way.

use std::collections::BTreeMap;

use async_trait::async_trait;
use firstmile_wire::ids::OrganisationId;

use super::StoreResult;
use crate::notify::core::notice::Notice;
use crate::notify::core::plan::{Message, Told};

/// Messages that wait in one channel; one more, and the oldest is given up. An outage of a receiver with more incidents than this is
/// told by the newest.
pub const WAITING_MAX: u32 = 5_000;

/// What is told of one incident from now on, and the messages that tell it.
#[derive(Clone, Debug)]
pub struct Telling {
    /// The incident.
    pub incident_id: String,
    /// What was told, these messages included.
    pub told: Told,
    /// The messages.
    pub messages: Vec<Message>,
}

/// Where a message is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LetterState {
    /// On its way.
    Waiting,
    /// Taken by its receiver.
    Delivered,
    /// Given up.
    Dead,
}

impl LetterState {
    /// The word of the API.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Waiting => "waiting",
            Self::Delivered => "delivered",
            Self::Dead => "dead",
        }
    }

    /// The state of a word.
    pub fn parse(word: &str) -> Option<Self> {
        [Self::Waiting, Self::Delivered, Self::Dead]
            .into_iter()
            .find(|state| state.as_str() == word)
    }
}

/// A message to one channel.
#[derive(Clone, Debug, PartialEq)]
pub struct Letter {
    /// Its number; messages of a channel go out in this order.
    pub number: i64,
    /// The channel.
    pub channel: String,
    /// Where it is.
    pub state: LetterState,
    /// When it was made.
    pub created_unix_ms: i64,
    /// When it is tried next.
    pub due_unix_ms: i64,
    /// Tries so far.
    pub attempts: u32,
    /// Why the last one failed.
    pub last_error: Option<String>,
    /// When it was delivered or given up.
    pub finished_unix_ms: Option<i64>,
    /// What it says.
    pub notice: Notice,
}

/// What became of one try.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Attempt {
    /// The receiver took it.
    Delivered,
    /// It did not; tried again at a time.
    Failed {
        /// Why.
        error: String,
        /// When to try again.
        due_unix_ms: i64,
    },
    /// It did not, and is not tried again.
    GivenUp {
        /// Why.
        error: String,
    },
}

/// Messages of one channel, counted.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ChannelCounts {
    /// The channel.
    pub channel: String,
    /// On their way.
    pub waiting: u32,
    /// Taken, of those that are kept.
    pub delivered: u32,
    /// Given up, of those that are kept.
    pub dead: u32,
    /// When the oldest on its way was made.
    pub oldest_waiting_unix_ms: Option<i64>,
    /// Why the newest failure failed, of those that wait or were given up.
    pub last_error: Option<String>,
}

/// The part of a store that notifies.
#[async_trait]
pub trait Notifying: Send + Sync {
    /// What was told of these incidents; of which nothing was written is left out.
    async fn told(
        &self,
        organisation: &OrganisationId,
        incidents: Vec<String>,
    ) -> StoreResult<BTreeMap<String, Told>>;
    /// Writes what is told from now on, with its messages, in one transaction. A message that is there already is not written twice.
    async fn tell(
        &self,
        organisation: &OrganisationId,
        now_unix_ms: i64,
        tellings: Vec<Telling>,
    ) -> StoreResult<()>;
    /// The message of a channel that goes out next, due or not.
    async fn next_letter(
        &self,
        organisation: &OrganisationId,
        channel: &str,
    ) -> StoreResult<Option<Letter>>;
    /// Writes what became of a try.
    async fn settle(
        &self,
        organisation: &OrganisationId,
        number: i64,
        now_unix_ms: i64,
        attempt: Attempt,
    ) -> StoreResult<()>;
    /// Gives those of a channel up that were made before a time and still wait; says how many.
    async fn give_up_letters(
        &self,
        organisation: &OrganisationId,
        channel: &str,
        before_unix_ms: i64,
        now_unix_ms: i64,
    ) -> StoreResult<usize>;
    /// Incidents that some channel knows of, and not yet of their end.
    async fn unfinished(&self, organisation: &OrganisationId) -> StoreResult<Vec<String>>;
    /// Messages, newest first, at most `limit`: those of one state or all, of one incident or all.
    async fn letters(
        &self,
        organisation: &OrganisationId,
        state: Option<LetterState>,
        incident_id: Option<String>,
        limit: u32,
    ) -> StoreResult<Vec<Letter>>;
    /// The channels that have messages, counted.
    async fn channel_counts(
        &self,
        organisation: &OrganisationId,
    ) -> StoreResult<Vec<ChannelCounts>>;
}
