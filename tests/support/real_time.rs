//! The real clock, for tests of programs and services that live by it: they poll, or wait for a time
//! that the other side keeps.
#![allow(clippy::disallowed_methods, reason = "the other side lives by the real clock")]

use std::time::{Duration, Instant};

pub async fn sleep(time: Duration) {
    tokio::time::sleep(time).await;
}

/// Blocks the thread.
pub fn block(time: Duration) {
    std::thread::sleep(time);
}

pub fn now() -> Instant {
    Instant::now()
}

/// The work's output; `None` where it takes longer.
pub async fn within<T>(time: Duration, work: impl Future<Output = T>) -> Option<T> {
    tokio::time::timeout(time, work).await.ok()
}
