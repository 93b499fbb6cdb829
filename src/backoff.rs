//! How long to wait before the next attempt. Pure; callers add jitter ([`crate::ambient`]).

use std::time::Duration;

/// `first`, doubled with each failure after the first, at most `longest`.
pub fn backoff(first: Duration, failures: u32, longest: Duration) -> Duration {
    // 2³¹ times anything is longer than anyone waits.
    let doublings = failures.saturating_sub(1).min(31);
    first.saturating_mul(1 << doublings).min(longest)
}

/// Between the attempts of a part of the worker that fails: 1 s, 2 s, 4 s, … a minute.
pub fn retry_delay(failures: u32) -> Duration {
    backoff(Duration::from_secs(1), failures, Duration::from_secs(60))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_doubles_and_ends() {
        let seconds = |failures| retry_delay(failures).as_secs();
        assert_eq!([0, 1, 2, 3, 6, 7, 1_000].map(seconds), [1, 1, 2, 4, 32, 60, 60]);
        let whole_hour = Duration::from_secs(3_600);
        assert_eq!(backoff(Duration::MAX, u32::MAX, whole_hour), whole_hour);
    }
}
