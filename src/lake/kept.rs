//! What was read of files that never change, in memory within a bound.

use std::hash::Hash;
use std::sync::Arc;

use moka::policy::EvictionPolicy;
use moka::sync::Cache;

/// Keeps what came or was used last, at most `most` by weight. Each commit makes a table's metadata anew: moka's own
/// choice would refuse that, where the states before it were used more often.
pub(super) fn kept<K, V>(
    most: u64,
    weight: impl Fn(&K, &V) -> u32 + Send + Sync + 'static,
) -> Arc<Cache<K, V>>
where
    K: Hash + Eq + Send + Sync + 'static,
    V: Clone + Send + Sync + 'static,
{
    let cache = Cache::builder().max_capacity(most).weigher(weight);
    Arc::new(cache.eviction_policy(EvictionPolicy::lru()).build())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_new_stays_however_often_the_others_were_used() {
        let cache = kept(40, |_, _| 10);
        for state in 0..100 {
            cache.insert(state, state);
            for _ in 0..20 {
                cache.run_pending_tasks();
                assert_eq!(cache.get(&state), Some(state));
            }
        }
        cache.run_pending_tasks();
        assert!(cache.weighted_size() <= 40);
    }
}
