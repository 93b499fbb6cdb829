//! From entries to hits: rows that are deleted now are none, and an order that an entry does not decide is read from
//! the row itself.

use std::cmp::Ordering;
use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use futures::{FutureExt, StreamExt, TryStreamExt};

use super::order::{OrderPrefix, OrderValue};
use crate::key_index::KeyIndexError;
use crate::key_index::entry::KeyHash;
use crate::key_index::folder::Index;
use crate::lake::Lake;
use crate::lake::read::scan::FileTask;
use crate::merge::MergeError;
use crate::merge::lookup::Target;
use crate::merge::newest::Newest;
use crate::merge::order::Encoder;
use crate::merge::output::arrow_error;
use crate::merge::plan::{Hit, Key, RowAt};

/// A row that has a key of the merge.
#[derive(Debug)]
pub(super) struct Candidate {
    at: RowAt,
    key: Key,
    /// How its order compares with the newest row's, where its entry says it.
    compared: Option<Ordering>,
}

/// The rows with keys of the merge, in the files that are searched: indexes into their list, by number.
pub(super) fn candidates(
    index: &Index,
    newest: &Newest,
    prefix: &OrderPrefix,
    searched: &HashMap<u32, usize>,
) -> Result<Vec<Candidate>, KeyIndexError> {
    let winners = newest.sorted();
    let hasher = index.hasher();
    let mut hashed: Vec<(KeyHash, usize)> =
        winners.iter().enumerate().map(|(at, (key, _))| (hasher.key(key), at)).collect();
    hashed.sort_unstable();
    let hashes: Vec<KeyHash> = hashed.iter().map(|(hash, _)| *hash).collect();
    let mut found = Vec::new();
    for (at, entry) in index.find(&hashes)? {
        let Some(file) = searched.get(&entry.file()) else { continue };
        let (key, winner) = winners[hashed[at].1];
        let compared = OrderValue(entry.value()).compared(&prefix.value(hasher, &winner.order));
        let at = RowAt { file: *file, position: u64::from(entry.position()) };
        found.push(Candidate { at, key: key.into(), compared });
    }
    Ok(found)
}

/// Makes hits of candidates.
pub(super) struct Decider<'a> {
    pub(super) lake: &'a Lake,
    pub(super) target: &'a Target,
    pub(super) newest: &'a Arc<Newest>,
    pub(super) files: &'a [FileTask],
    pub(super) threads: usize,
}

impl Decider<'_> {
    pub(super) async fn hits(&self, found: Vec<Candidate>) -> Result<Vec<Hit>, MergeError> {
        let mut hits = Vec::with_capacity(found.len());
        let mut open: HashMap<usize, Vec<Candidate>> = HashMap::new();
        for candidate in self.live(found).await? {
            let Candidate { at, key, compared } = candidate;
            match compared {
                Some(order) => hits.push(Hit { at, key, verdict: order.into() }),
                None => open.entry(at.file).or_default().push(Candidate { at, key, compared }),
            }
        }
        let reads: Vec<_> =
            open.into_iter().map(|(file, rows)| self.read(file, rows).boxed()).collect();
        let read: Vec<Vec<Hit>> = futures::stream::iter(reads)
            .buffer_unordered(self.threads.max(1))
            .try_collect()
            .await?;
        hits.extend(read.into_iter().flatten());
        Ok(hits)
    }

    async fn live(&self, mut found: Vec<Candidate>) -> Result<Vec<Candidate>, MergeError> {
        let rows: HashSet<_> = found.iter().map(|c| (c.at.file, c.at.position)).collect();
        let Target { table, .. } = self.target;
        let deleted = self.lake.deleted_among(table, self.files, &rows, self.threads).await?;
        found.retain(|c| !deleted.contains(&(c.at.file, c.at.position)));
        Ok(found)
    }

    /// Decides by the rows of one file.
    async fn read(&self, file: usize, mut rows: Vec<Candidate>) -> Result<Vec<Hit>, MergeError> {
        let Target { table, schema, rules } = self.target;
        let arrow = |e| arrow_error(rules, e);
        rows.sort_unstable_by_key(|candidate| candidate.at);
        let mut rows = rows.into_iter().peekable();
        let mut hits = Vec::new();
        let all = self.files[file].without_deletes();
        let mut batches = self.lake.read_file(table, schema, &all, &rules.kept())?;
        let mut first = 0;
        while let (Some(_), Some(batch)) = (rows.peek(), batches.try_next().await?) {
            let end = first + batch.num_rows() as u64;
            let mut orders = None;
            while let Some(Candidate { at, key, .. }) = rows.next_if(|c| c.at.position < end) {
                if orders.is_none() {
                    let encoder = Encoder::new(&batch.schema(), &rules.order).map_err(arrow)?;
                    orders = Some(encoder.encode(&batch).map_err(arrow)?);
                }
                let (Some(orders), Some(winner)) = (&orders, self.newest.get(&key)) else {
                    continue;
                };
                let order = orders.row((at.position - first) as usize);
                let verdict = order.as_ref().cmp(&*winner.order).into();
                hits.push(Hit { at, key, verdict });
            }
            first = end;
        }
        Ok(hits)
    }
}
