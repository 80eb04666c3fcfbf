//! What people say of incidents, change windows, and what was told to whom.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::notify::core::mute::WindowWish;
use crate::notify::core::notice::Notice;

/// Who did something, and when.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, ToSchema)]
pub struct Doing {
    /// When.
    pub at_unix_ms: i64,
    /// Who.
    pub who: String,
}

/// A note of an incident.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, ToSchema)]
pub struct IncidentNote {
    /// When it was written.
    pub at_unix_ms: i64,
    /// Who wrote it.
    pub who: String,
    /// What it says.
    pub text: String,
}

/// What people said of an incident, and what was told of it.
#[derive(Clone, Debug, PartialEq, Serialize, ToSchema)]
pub struct IncidentMarks {
    /// Who looks after it; absent while nobody does.
    pub acknowledged: Option<Doing>,
    /// Notes, oldest first.
    pub notes: Vec<IncidentNote>,
    /// Change windows that name this incident.
    pub mutes: Vec<ChangeWindow>,
    /// Messages about it, newest first, at most 100.
    pub messages: Vec<Letter>,
}

/// A note to write.
#[derive(Clone, Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct NoteRequest {
    /// What it says, 1 to 2000 characters.
    pub text: String,
}

/// A change window: a time in which incidents are recorded and not told.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, ToSchema)]
pub struct ChangeWindow {
    /// Its identity.
    pub window_id: String,
    /// When it was made.
    pub created_unix_ms: i64,
    /// Who made it.
    pub who: String,
    /// Whether it holds now; of one without a time zone, at sites that have none (UTC).
    pub holds: bool,
    /// What was asked for.
    pub window: WindowWish,
}

/// The time zone of a site.
#[derive(Clone, Debug, Deserialize, Serialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct SiteZone {
    /// IANA name, such as `Europe/Amsterdam`; `null` for none.
    pub time_zone: Option<String>,
}

/// Notifications: channels and the newest messages.
#[derive(Clone, Debug, PartialEq, Serialize, ToSchema)]
pub struct Notifications {
    /// The channels that have had messages.
    pub channels: Vec<ChannelState>,
    /// The newest messages, at most 100.
    pub messages: Vec<Letter>,
}

/// A channel and its messages, counted.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, ToSchema)]
pub struct ChannelState {
    /// Its name in the configuration.
    pub channel: String,
    /// On their way.
    pub waiting: u32,
    /// Delivered, of those that are kept.
    pub delivered: u32,
    /// Given up, of those that are kept.
    pub dead: u32,
    /// When the oldest on its way was made.
    pub oldest_waiting_unix_ms: Option<i64>,
    /// Why the newest failure failed.
    pub last_error: Option<String>,
}

/// A message to one channel.
#[derive(Clone, Debug, PartialEq, Serialize, ToSchema)]
pub struct Letter {
    /// The channel.
    pub channel: String,
    /// `waiting`, `delivered` or `dead`.
    pub state: String,
    /// When it was made.
    pub created_unix_ms: i64,
    /// When it is tried next, of one that waits.
    pub due_unix_ms: i64,
    /// Tries so far.
    pub attempts: u32,
    /// Why the last try failed.
    pub last_error: Option<String>,
    /// When it was delivered or given up.
    pub finished_unix_ms: Option<i64>,
    /// What it says.
    pub notice: Notice,
}
