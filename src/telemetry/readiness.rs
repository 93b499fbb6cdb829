//! Whether the worker can do its work, and if not, why: what `/readyz` answers.

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

static STATE: Mutex<State> = Mutex::new(State { working: false, troubles: BTreeMap::new() });

struct State {
    working: bool,
    /// By part of the worker.
    troubles: BTreeMap<String, String>,
}

fn lock() -> MutexGuard<'static, State> {
    STATE.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The worker has begun to work, or has ended.
pub fn set_working(working: bool) {
    lock().working = working;
}

/// A part of the worker is in trouble.
pub fn trouble(part: &str, why: &str) {
    lock().troubles.insert(part.to_owned(), why.to_owned());
}

/// A part of the worker is well.
pub fn well(part: &str) {
    let mut state = lock();
    if !state.troubles.is_empty() {
        state.troubles.remove(part);
    }
}

/// What keeps the worker from its work; nothing where it is ready.
pub(super) fn reasons() -> Vec<String> {
    let state = lock();
    let begun = (!state.working).then(|| "the worker has not begun".to_owned());
    let troubles = state.troubles.iter().map(|(part, why)| format!("{part}: {why}"));
    begun.into_iter().chain(troubles).collect()
}
