//! The breaker: during an outage that all pipelines share (catalog, warehouse, network), nothing more is
//! received, so that no receive counts are consumed. The heartbeat keeps hidden what is in flight.

use std::sync::Arc;

use tokio::sync::watch;

use crate::telemetry::metrics;

/// See the module. It is open while at least one lane holds it open.
#[derive(Debug)]
pub(super) struct Breaker {
    open: Arc<watch::Sender<usize>>,
}

impl Default for Breaker {
    fn default() -> Self {
        metrics::breaker(false);
        Self { open: Arc::new(watch::Sender::new(0)) }
    }
}

impl Breaker {
    /// Holds the breaker open for as long as the guard lives.
    pub(super) fn open(&self) -> Open {
        self.open.send_modify(|count| *count += 1);
        metrics::breaker(true);
        Open(self.open.clone())
    }

    /// Returns when it is closed.
    pub(super) async fn closed(&self) {
        // The sender lives as long as `self`.
        drop(self.open.subscribe().wait_for(|open| *open == 0).await);
    }
}

/// See [`Breaker::open`].
#[derive(Debug)]
pub(super) struct Open(Arc<watch::Sender<usize>>);

impl Drop for Open {
    fn drop(&mut self) {
        self.0.send_modify(|count| *count -= 1);
        metrics::breaker(*self.0.borrow() > 0);
    }
}
