//! Time and randomness, passed in: nothing else in the crate reads a clock or draws a number,
//! so a test decides both (`clippy.toml` bans the rest).

use std::fmt::Debug;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};

use chrono::{DateTime, TimeZone, Utc};
use uuid::Uuid;

/// Where "now" and fresh ids come from.
pub trait Ambient: Debug + Send + Sync {
    /// The current time.
    fn now(&self) -> DateTime<Utc>;
    /// A fresh unique id: batches, file names.
    fn uuid(&self) -> Uuid;
    /// A fresh positive 64-bit number: Iceberg snapshot ids.
    fn snapshot_id(&self) -> i64;
}

/// A shared [`Ambient`].
pub type SharedAmbient = Arc<dyn Ambient>;

/// The machine's clock and its random numbers.
#[derive(Debug, Default, Clone, Copy)]
pub struct SystemAmbient;

impl Ambient for SystemAmbient {
    #[allow(clippy::disallowed_methods, reason = "the one place that reads the clock")]
    fn now(&self) -> DateTime<Utc> {
        Utc::now()
    }

    #[allow(clippy::disallowed_methods, reason = "the one place that draws ids")]
    fn uuid(&self) -> Uuid {
        Uuid::now_v7()
    }

    #[allow(clippy::disallowed_methods, reason = "the one place that draws ids")]
    fn snapshot_id(&self) -> i64 {
        // Folding a random UUID's halves is how the Iceberg reference implementations draw ids.
        let (high, low) = Uuid::new_v4().as_u64_pair();
        ((high ^ low) >> 1) as i64
    }
}

/// A clock that stands still until it is moved, and ids that count up: for tests and simulations.
#[derive(Debug)]
pub struct ManualAmbient {
    micros: AtomicI64,
    ids: AtomicU64,
}

impl ManualAmbient {
    /// A clock standing at `start`.
    pub fn at(start: DateTime<Utc>) -> Self {
        Self { micros: AtomicI64::new(start.timestamp_micros()), ids: AtomicU64::new(1) }
    }

    /// Moves the clock forward.
    pub fn advance(&self, by: std::time::Duration) {
        self.micros.fetch_add(by.as_micros() as i64, Ordering::SeqCst);
    }
}

impl Ambient for ManualAmbient {
    fn now(&self) -> DateTime<Utc> {
        let micros = self.micros.load(Ordering::SeqCst);
        Utc.timestamp_micros(micros).single().unwrap_or_default()
    }

    fn uuid(&self) -> Uuid {
        Uuid::from_u64_pair(0x5117_e250_0000_4000, self.ids.fetch_add(1, Ordering::SeqCst))
    }

    fn snapshot_id(&self) -> i64 {
        5_600 + self.ids.fetch_add(1, Ordering::SeqCst) as i64
    }
}
