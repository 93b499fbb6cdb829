//! What is good for a while and then asked for again: credentials, tokens.

use std::time::Duration;

use tokio::sync::Mutex;
use tokio::time::Instant;

use super::signing::Unsigned;

/// How long something is used whose end is not known: RFC 6749 leaves the lifetime of tokens to other means.
const LIFETIME: Duration = Duration::from_secs(600);
/// Nothing is used for longer without asking again.
const LONGEST: Duration = Duration::from_secs(86_400);
/// Something is renewed this long before its end.
const MARGIN: Duration = Duration::from_secs(30);

/// Something that is good for a while, with the time when a new one is asked for.
#[derive(Debug)]
pub(crate) struct Held<T>(Mutex<Option<(T, Instant)>>);

impl<T> Default for Held<T> {
    fn default() -> Self {
        Self(Mutex::new(None))
    }
}

impl<T: Clone> Held<T> {
    /// What is held, or else what `ask` brings, with how long it is good.
    pub(crate) async fn get(
        &self,
        ask: impl Future<Output = Result<(T, Option<Duration>), Unsigned>>,
    ) -> Result<T, Unsigned> {
        let mut held = self.0.lock().await;
        match &*held {
            Some((value, stale)) if Instant::now() < *stale => Ok(value.clone()),
            _ => {
                let (fresh, lifetime) = ask.await?;
                *held = Some((fresh.clone(), stale(lifetime)));
                Ok(fresh)
            }
        }
    }

    /// Forgets it: the next `get` asks.
    pub(crate) async fn forget(&self) {
        *self.0.lock().await = None;
    }
}

/// When something is renewed that is good for so long.
fn stale(lifetime: Option<Duration>) -> Instant {
    let lifetime = lifetime.unwrap_or(LIFETIME).min(LONGEST);
    Instant::now() + lifetime.saturating_sub(MARGIN.min(lifetime / 2))
}
