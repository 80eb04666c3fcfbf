//! An answer, in the envelopes of Azure Resource Manager: `{"error":{…}}`, `{"value":[…]}`, a resource.

use serde_json::{Value, json};

use crate::id::ResourceId;
use crate::model::Resource;

/// What to send, and what to write before it is sent.
#[derive(Clone, Debug, PartialEq)]
pub struct Answer {
    /// HTTP status.
    pub status: u16,
    /// Body, if there is one.
    pub body: Option<Value>,
    /// Changes of the registry, to be written in one transaction.
    pub changes: Vec<Change>,
    /// One line for the audit log, if something changes.
    pub audit: Option<String>,
}

/// One change of the registry.
#[derive(Clone, Debug, PartialEq)]
pub enum Change {
    /// Make or replace a resource.
    Put(Box<Resource>),
    /// Take a resource away.
    Delete(ResourceId),
}

impl Answer {
    /// What was asked for.
    pub fn found(body: Value) -> Self {
        Self::of(200, Some(body))
    }

    /// Nothing more to say.
    pub fn empty(status: u16) -> Self {
        Self::of(status, None)
    }

    /// A list, all on one page.
    pub fn list(items: impl IntoIterator<Item = Value>) -> Self {
        let items: Vec<Value> = items.into_iter().collect();
        Self::found(json!({ "value": items }))
    }

    /// Why not.
    pub fn error(status: u16, code: &str, message: impl Into<String>) -> Self {
        let message: String = message.into();
        Self::of(
            status,
            Some(json!({ "error": { "code": code, "message": message } })),
        )
    }

    /// A body or parameter that cannot be used.
    pub fn bad_request(code: &str, message: impl Into<String>) -> Self {
        Self::error(400, code, message)
    }

    /// There is no such thing.
    pub fn not_found(what: &str) -> Self {
        Self::error(
            404,
            "ResourceNotFound",
            format!("The resource '{what}' was not found."),
        )
    }

    fn of(status: u16, body: Option<Value>) -> Self {
        Self {
            status,
            body,
            changes: Vec::new(),
            audit: None,
        }
    }

    /// With what it changes.
    #[must_use]
    pub fn changing(mut self, changes: Vec<Change>, audit: String) -> Self {
        self.changes = changes;
        self.audit = Some(audit);
        self
    }
}
