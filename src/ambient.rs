//! Time and randomness, passed in: nothing else in the crate reads a clock, sleeps or draws a
//! number, so a test decides all three (`clippy.toml` bans the rest).

use std::fmt::Debug;
use std::future::Future;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use chrono::{DateTime, TimeZone, Utc};
use futures::FutureExt;
use futures::future::BoxFuture;
use tokio::sync::watch;
use uuid::Uuid;

/// Returns when its time has come.
pub type Sleep = BoxFuture<'static, ()>;

/// Where "now", pauses and fresh ids come from.
pub trait Ambient: Debug + Send + Sync {
    /// The current time.
    fn now(&self) -> DateTime<Utc>;
    /// Returns when so much time has passed since the call.
    fn sleep(&self, delay: Duration) -> Sleep;
    /// A time drawn from `[delay / 2, delay]`: workers that fail together do not retry together.
    fn jitter(&self, delay: Duration) -> Duration;
    /// A fresh unique id: batches, file names.
    fn uuid(&self) -> Uuid;
    /// A fresh positive 64-bit number: Iceberg snapshot ids.
    fn snapshot_id(&self) -> i64;
}

/// A shared [`Ambient`].
pub type SharedAmbient = Arc<dyn Ambient>;

/// Work that was not done in time.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("no answer within {0:?}")]
pub struct TimedOut(pub Duration);

/// Does work, and drops it where it takes longer than `limit`.
///
/// # Errors
/// [`TimedOut`]: whether the work had an effect is not known.
pub async fn timeout<T>(
    ambient: &SharedAmbient,
    limit: Duration,
    work: impl Future<Output = T>,
) -> Result<T, TimedOut> {
    tokio::select! {
        biased;
        done = work => Ok(done),
        () = ambient.sleep(limit) => Err(TimedOut(limit)),
    }
}

/// The pauses of a retry loop, each with jitter.
pub fn pauses(ambient: &SharedAmbient) -> impl Fn(Duration) -> Sleep + Send + Sync + use<> {
    let ambient = ambient.clone();
    move |delay| ambient.sleep(ambient.jitter(delay))
}

/// The part of `[delay / 2, delay]` that a draw from `0..=u32::MAX` stands for.
fn jittered(delay: Duration, draw: u32) -> Duration {
    let half = delay / 2;
    (half + half.mul_f64(f64::from(draw) / f64::from(u32::MAX))).min(delay)
}

/// The machine's clock and its random numbers.
#[derive(Debug, Default, Clone, Copy)]
pub struct SystemAmbient;

impl Ambient for SystemAmbient {
    #[allow(clippy::disallowed_methods, reason = "only this function reads the clock")]
    fn now(&self) -> DateTime<Utc> {
        Utc::now()
    }

    #[allow(clippy::disallowed_methods, reason = "only this function sleeps")]
    fn sleep(&self, delay: Duration) -> Sleep {
        tokio::time::sleep(delay).boxed()
    }

    #[allow(clippy::disallowed_methods, reason = "only this function draws numbers")]
    fn jitter(&self, delay: Duration) -> Duration {
        // The last 32 bits of a random UUID are random.
        jittered(delay, Uuid::new_v4().as_u64_pair().1 as u32)
    }

    #[allow(clippy::disallowed_methods, reason = "only this function draws ids")]
    fn uuid(&self) -> Uuid {
        Uuid::now_v7()
    }

    #[allow(clippy::disallowed_methods, reason = "only this function draws ids")]
    fn snapshot_id(&self) -> i64 {
        // Folding a random UUID's halves is how the Iceberg reference implementations draw ids.
        let (high, low) = Uuid::new_v4().as_u64_pair();
        ((high ^ low) >> 1) as i64
    }
}

/// A clock that stands still until it is moved, and ids that count up: for tests and simulations.
///
/// A sleep ends when the clock was moved past its end, or when so much time has passed on tokio's
/// clock, which then moves this one. With tokio's clock paused, both go on together once every task
/// waits for time, and a test takes no time at all.
#[derive(Debug)]
pub struct ManualAmbient {
    micros: watch::Sender<i64>,
    ids: AtomicU64,
    draws: AtomicU64,
}

impl ManualAmbient {
    /// A clock standing at `start`.
    pub fn at(start: DateTime<Utc>) -> Self {
        Self {
            micros: watch::Sender::new(start.timestamp_micros()),
            ids: AtomicU64::new(1),
            draws: AtomicU64::new(1),
        }
    }

    /// Moves the clock forward.
    pub fn advance(&self, by: Duration) {
        self.micros.send_modify(|now| *now = now.saturating_add(micros(by)));
    }
}

fn micros(time: Duration) -> i64 {
    time.as_micros().try_into().unwrap_or(i64::MAX)
}

impl Ambient for ManualAmbient {
    fn now(&self) -> DateTime<Utc> {
        Utc.timestamp_micros(*self.micros.borrow()).single().unwrap_or_default()
    }

    fn sleep(&self, delay: Duration) -> Sleep {
        let clock = self.micros.clone();
        let wake = clock.borrow().saturating_add(micros(delay));
        #[allow(clippy::disallowed_methods, reason = "only this function sleeps")]
        let sleep = async move {
            let mut moved = clock.subscribe();
            tokio::select! {
                // The sender lives in `clock`.
                _ = moved.wait_for(|now| *now >= wake) => {}
                () = tokio::time::sleep(delay) => {
                    let reached = |now: &mut i64| std::mem::replace(now, wake.max(*now)) < wake;
                    clock.send_if_modified(reached);
                }
            }
        };
        sleep.boxed()
    }

    fn jitter(&self, delay: Duration) -> Duration {
        // An odd multiplier spreads consecutive numbers over all bits (Fibonacci hashing).
        let draw = self.draws.fetch_add(1, Ordering::SeqCst).wrapping_mul(0x9E37_79B9_7F4A_7C15);
        jittered(delay, (draw >> 32) as u32)
    }

    fn uuid(&self) -> Uuid {
        Uuid::from_u64_pair(0x5117_e250_0000_4000, self.ids.fetch_add(1, Ordering::SeqCst))
    }

    fn snapshot_id(&self) -> i64 {
        5_600 + self.ids.fetch_add(1, Ordering::SeqCst) as i64
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const HOUR: Duration = Duration::from_secs(3_600);

    fn clock() -> Arc<ManualAmbient> {
        Arc::new(ManualAmbient::at(DateTime::UNIX_EPOCH))
    }

    #[tokio::test(start_paused = true)]
    async fn with_tokio_paused_a_sleep_moves_the_clock() {
        let clock = clock();
        tokio::join!(clock.sleep(HOUR), clock.sleep(HOUR / 2));
        assert_eq!(clock.now(), DateTime::UNIX_EPOCH + HOUR);
    }

    #[tokio::test(start_paused = true)]
    async fn a_sleep_ends_when_the_clock_is_moved_past_its_end() {
        let clock = clock();
        let mut sleep = clock.sleep(HOUR);
        clock.advance(HOUR / 2);
        assert!((&mut sleep).now_or_never().is_none());
        clock.advance(HOUR / 2);
        assert!(sleep.now_or_never().is_some());
        assert_eq!(clock.now(), DateTime::UNIX_EPOCH + HOUR);
    }

    #[tokio::test(start_paused = true)]
    async fn work_that_takes_too_long_is_dropped() {
        let clock: SharedAmbient = clock();
        assert_eq!(timeout(&clock, HOUR, async { 7 }).await, Ok(7));
        assert_eq!(timeout(&clock, HOUR, clock.sleep(HOUR / 2)).await, Ok(()));
        let late = timeout(&clock, HOUR, std::future::pending::<()>()).await;
        assert_eq!(late.unwrap_err().to_string(), "no answer within 3600s");
    }

    #[test]
    fn draws_differ() {
        let clock = clock();
        let (first, second) = (clock.jitter(HOUR), clock.jitter(HOUR));
        assert_ne!(first, second);
        assert_ne!(SystemAmbient.jitter(HOUR), SystemAmbient.jitter(HOUR));
    }

    proptest! {
        #[test]
        fn jitter_stays_between_half_and_whole(seconds in any::<u64>(), draw in any::<u32>()) {
            let delay = Duration::from_secs(seconds);
            let drawn = jittered(delay, draw);
            prop_assert!(delay / 2 <= drawn && drawn <= delay);
        }
    }
}
