//! Requests for work that is done once for all that came before it.

use std::sync::atomic::{AtomicU64, Ordering};

use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;

/// Asks for work, and knows whether it was done.
#[derive(Debug, Default)]
pub(super) struct Wake {
    requested: AtomicU64,
    done: AtomicU64,
    woken: Notify,
}

/// What was asked for when it was taken.
#[derive(Debug, Clone, Copy)]
pub(super) struct Request(u64);

impl Wake {
    /// What is followed has moved. The worker that moved it is responsible until what follows is done.
    pub(super) fn wake(&self) {
        self.requested.fetch_add(1, Ordering::SeqCst);
        self.woken.notify_one();
    }

    fn request(&self) -> Option<Request> {
        let requested = self.requested.load(Ordering::SeqCst);
        (requested != self.done.load(Ordering::SeqCst)).then_some(Request(requested))
    }

    /// What was asked for and is not done; without any it waits, and asks by itself when `look` has passed. `None`: what
    /// asks has ended, and all was done.
    pub(super) async fn next<Look: Future<Output = ()>>(
        &self,
        ended: &CancellationToken,
        look: impl Fn() -> Look,
    ) -> Option<Request> {
        loop {
            if let Some(request) = self.request() {
                return Some(request);
            }
            tokio::select! {
                () = ended.cancelled() => if self.is_done() { return None },
                () = self.woken.notified() => {}
                () = look() => self.wake(),
            }
        }
    }

    /// What was asked for up to then is done.
    pub(super) fn done(&self, request: Request) {
        self.done.store(request.0, Ordering::SeqCst);
    }

    /// Whether all that was asked for was done.
    pub(super) fn is_done(&self) -> bool {
        self.request().is_none()
    }
}
