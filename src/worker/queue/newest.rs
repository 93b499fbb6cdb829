//! The newest event of a lane, noted in the bronze checkpoint now and then.

use chrono::{DateTime, TimeDelta, Utc};

use crate::ambient::SharedAmbient;
use crate::bronze::Bronze;
use crate::error::chain;

/// The least time between two notes.
const NOTE_EVERY: TimeDelta = TimeDelta::seconds(10);

/// See the module.
pub(super) struct NewestEvent {
    ambient: SharedAmbient,
    newest: Option<DateTime<Utc>>,
    noted_at: DateTime<Utc>,
}

impl NewestEvent {
    pub(super) fn new(ambient: &SharedAmbient) -> Self {
        Self { ambient: ambient.clone(), newest: None, noted_at: ambient.now() }
    }

    /// An event was handled.
    pub(super) fn saw(&mut self, event_time: Option<DateTime<Utc>>) {
        self.newest = self.newest.max(event_time);
    }

    /// Notes it, unless that was done a moment ago.
    pub(super) async fn note_in_time(&mut self, bronze: &Bronze) {
        if self.ambient.now() - self.noted_at >= NOTE_EVERY {
            self.note(bronze).await;
        }
    }

    /// Notes it now.
    pub(super) async fn note(&mut self, bronze: &Bronze) {
        let Some(newest) = self.newest.take() else { return };
        self.noted_at = self.ambient.now();
        if let Err(error) = bronze.note_newest_event(newest).await {
            let error = chain(&error);
            tracing::warn!(
                error,
                "could not write the checkpoint; the tables hold all that it says"
            );
        }
    }
}
