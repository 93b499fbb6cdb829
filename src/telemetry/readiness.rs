//! Whether the worker can do its work, and if not, why: what `/readyz` answers.
//!
//! A part of the worker keeps it from being ready while its last attempt failed, and while an
//! attempt is under way that has made no progress for too long: a request that hangs reports no
//! failure, and is seen all the same.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use chrono::{DateTime, Utc};

use crate::ambient::SharedAmbient;

/// The health of one worker, shared by its parts and by who asks for it.
#[derive(Debug, Clone)]
pub struct Health {
    ambient: SharedAmbient,
    state: Arc<Mutex<State>>,
}

#[derive(Debug, Default)]
struct State {
    working: bool,
    failures: BTreeMap<String, String>,
    /// By number, the attempts under way.
    attempts: BTreeMap<u64, Attempt>,
    begun: u64,
}

#[derive(Debug)]
struct Attempt {
    part: String,
    progress_at: DateTime<Utc>,
    patience: Duration,
}

impl Health {
    /// Of a worker that has not begun.
    pub fn new(ambient: SharedAmbient) -> Self {
        Self { ambient, state: Arc::default() }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The worker has begun to work, or has ended.
    pub fn set_working(&self, working: bool) {
        self.lock().working = working;
    }

    /// A part of the worker, by its name.
    pub fn part(&self, name: &str) -> PartHealth {
        PartHealth { health: self.clone(), name: name.to_owned() }
    }

    /// What keeps the worker from its work; nothing where it is ready.
    pub fn reasons(&self) -> Vec<String> {
        let now = self.ambient.now();
        let state = self.lock();
        let idle = (!state.working).then(|| "the worker has not begun".to_owned());
        let failures = state.failures.iter().map(|(part, why)| format!("{part}: {why}"));
        let stalled = state.attempts.values().filter_map(|attempt| {
            let waited = (now - attempt.progress_at).to_std().unwrap_or_default();
            let Attempt { part, patience, .. } = attempt;
            (waited >= *patience).then(|| format!("{part}: no progress for {} s", waited.as_secs()))
        });
        idle.into_iter().chain(failures).chain(stalled).collect()
    }
}

/// The health of a part of the worker.
#[derive(Debug, Clone)]
pub struct PartHealth {
    health: Health,
    name: String,
}

impl PartHealth {
    /// Its last attempt failed, and why.
    pub fn failed(&self, why: &str) {
        self.health.lock().failures.insert(self.name.clone(), why.to_owned());
    }

    /// Its last attempt succeeded.
    pub fn succeeded(&self) {
        self.health.lock().failures.remove(&self.name);
    }

    /// An attempt has begun. Without progress for as long as `patience`, it counts as stalled.
    pub fn begin(&self, patience: Duration) -> Begun {
        let progress_at = self.health.ambient.now();
        let mut state = self.health.lock();
        state.begun += 1;
        let number = state.begun;
        let attempt = Attempt { part: self.name.clone(), progress_at, patience };
        state.attempts.insert(number, attempt);
        Begun { health: self.health.clone(), number }
    }
}

/// An attempt under way; it is over when this is dropped.
#[derive(Debug)]
pub struct Begun {
    health: Health,
    number: u64,
}

impl Begun {
    /// Something of it was done.
    pub fn progress(&self) {
        let now = self.health.ambient.now();
        if let Some(attempt) = self.health.lock().attempts.get_mut(&self.number) {
            attempt.progress_at = now;
        }
    }
}

impl Drop for Begun {
    fn drop(&mut self) {
        self.health.lock().attempts.remove(&self.number);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ambient::ManualAmbient;

    const PATIENCE: Duration = Duration::from_secs(300);

    fn health() -> (Arc<ManualAmbient>, Health) {
        let clock = Arc::new(ManualAmbient::at(DateTime::UNIX_EPOCH));
        let health = Health::new(clock.clone());
        health.set_working(true);
        (clock, health)
    }

    #[test]
    fn a_worker_is_ready_once_it_works_and_while_no_part_fails() {
        let (_, health) = health();
        health.set_working(false);
        assert_eq!(health.reasons(), ["the worker has not begun"]);
        health.set_working(true);
        assert!(health.reasons().is_empty());
        let part = health.part("bronze of orders");
        part.failed("the catalog is down");
        assert_eq!(health.reasons(), ["bronze of orders: the catalog is down"]);
        health.part("bronze of events").succeeded();
        assert_eq!(health.reasons().len(), 1, "the success of another part");
        part.succeeded();
        assert!(health.reasons().is_empty());
    }

    #[test]
    fn an_attempt_without_progress_is_named() {
        let (clock, health) = health();
        let part = health.part("silver of orders");
        let begun = part.begin(PATIENCE);
        clock.advance(PATIENCE - Duration::from_secs(1));
        assert!(health.reasons().is_empty());
        begun.progress();
        clock.advance(PATIENCE - Duration::from_secs(1));
        assert!(health.reasons().is_empty(), "there was progress");
        let other = part.begin(PATIENCE);
        clock.advance(Duration::from_secs(1));
        assert_eq!(health.reasons(), ["silver of orders: no progress for 300 s"]);
        drop(begun);
        assert!(health.reasons().is_empty(), "it is over, the other has just begun");
        drop(other);
        clock.advance(PATIENCE * 2);
        assert!(health.reasons().is_empty());
    }
}
