//! The tables of the moment: they may be replaced while the program runs.

use std::sync::{Arc, PoisonError, RwLock};

use super::Meaning;

/// Tables that can be replaced. Whoever works on one thing (a report, a page) asks once, so that one thing has one meaning.
pub struct Tables(RwLock<Arc<Meaning>>);

impl Tables {
    /// Begins with these.
    pub fn new(meaning: Meaning) -> Self {
        Self(RwLock::new(Arc::new(meaning)))
    }

    /// Those of now; they stay as they are for whoever holds them.
    pub fn now(&self) -> Arc<Meaning> {
        Arc::clone(&self.0.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// Puts others in their place.
    pub fn replace(&self, meaning: Meaning) {
        *self.0.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(meaning);
    }
}
