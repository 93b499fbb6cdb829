//! Values with a lifetime: credentials, tokens.

use std::time::Duration;

use chrono::{DateTime, Utc};
use tokio::sync::Mutex;

use crate::ambient::SharedAmbient;

/// Lifetime assumed where none is known: the `expires_in` of a token is optional in RFC 6749.
const LIFETIME: Duration = Duration::from_secs(600);
/// The longest lifetime.
const LONGEST: Duration = Duration::from_secs(86_400);
/// How long before its end a value is renewed.
const MARGIN: Duration = Duration::from_secs(30);

/// A value with a lifetime, and the time when a new one is requested.
#[derive(Debug)]
pub(crate) struct Held<T>(Mutex<Option<(T, DateTime<Utc>)>>);

impl<T> Default for Held<T> {
    fn default() -> Self {
        Self(Mutex::new(None))
    }
}

impl<T: Clone> Held<T> {
    /// The held value, or else the one that `ask` returns, with its lifetime.
    pub(crate) async fn get<E>(
        &self,
        ambient: &SharedAmbient,
        ask: impl Future<Output = Result<(T, Option<Duration>), E>>,
    ) -> Result<T, E> {
        let mut held = self.0.lock().await;
        match &*held {
            Some((value, stale)) if ambient.now() < *stale => Ok(value.clone()),
            _ => {
                let (fresh, lifetime) = ask.await?;
                *held = Some((fresh.clone(), ambient.now() + usable(lifetime)));
                Ok(fresh)
            }
        }
    }

    /// Forgets the value: the next `get` requests a new one.
    pub(crate) async fn forget(&self) {
        *self.0.lock().await = None;
    }
}

/// How long a value with this lifetime is used before it is renewed.
fn usable(lifetime: Option<Duration>) -> Duration {
    let lifetime = lifetime.unwrap_or(LIFETIME).min(LONGEST);
    lifetime.saturating_sub(MARGIN.min(lifetime / 2))
}
