//! The decisions of a merge: what was found in the target → what is inserted, replaced, deleted. Pure.

use std::collections::{BTreeMap, BTreeSet};

use super::Counts;
use super::newest::Newest;
use crate::lake::read::scan::FileTask;

/// What the target says about the winner of a key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Verdict {
    /// It holds an older row: to be replaced, or taken out.
    Replace,
    /// It holds this very row.
    Same,
    /// It, or a remembered delete, is newer.
    Late,
}

/// A target file in which keys of the source were found: position, key, verdict.
#[derive(Debug)]
pub(super) struct Probed {
    pub(super) file: FileTask,
    pub(super) hits: Vec<(u64, Box<[u8]>, Verdict)>,
}

/// A file of the target to be written again.
#[derive(Debug)]
pub(super) struct Rewrite {
    pub(super) file: FileTask,
    /// Positions of rows that go, ascending.
    pub(super) gone: Vec<u64>,
    /// Keys whose newest row comes instead.
    pub(super) instead: Vec<Box<[u8]>>,
}

/// The decisions of a merge. Pure.
#[derive(Debug, Default)]
pub(super) struct Plan {
    pub(super) rewrites: Vec<Rewrite>,
    pub(super) inserts: Vec<Box<[u8]>>,
    pub(super) deletes: Vec<Box<[u8]>>,
}

pub(super) fn plan(
    newest: &Newest,
    probed: Vec<Probed>,
    buried: &BTreeSet<Box<[u8]>>,
    refresh_equal: bool,
    counts: &mut Counts,
) -> Plan {
    // A key may be in silver more than once, where others wrote it: the newest of all decides.
    let mut verdicts: BTreeMap<&[u8], Verdict> = BTreeMap::new();
    for (_, key, verdict) in probed.iter().flat_map(|p| &p.hits) {
        let entry = verdicts.entry(key).or_insert(*verdict);
        let rank = |v: Verdict| match v {
            Verdict::Replace => 0,
            Verdict::Same => 1,
            Verdict::Late => 2,
        };
        if rank(*verdict) > rank(*entry) {
            *entry = *verdict;
        }
    }
    let mut plan = Plan::default();
    let mut replaced: BTreeSet<Box<[u8]>> = BTreeSet::new();
    for (key, winner) in newest.sorted() {
        let verdict = verdicts.get(key).copied();
        if winner.deleted {
            plan.deletes.push(key.into());
            match verdict {
                Some(Verdict::Replace | Verdict::Same) => {
                    counts.deleted += 1;
                    replaced.insert(key.into());
                }
                Some(Verdict::Late) => counts.late += 1,
                None => counts.unchanged += 1,
            }
            continue;
        }
        match verdict {
            _ if buried.contains(key) => counts.late += 1,
            Some(Verdict::Late) => counts.late += 1,
            Some(Verdict::Same) if !refresh_equal => counts.unchanged += 1,
            Some(Verdict::Same | Verdict::Replace) => {
                counts.updated += 1;
                replaced.insert(key.into());
            }
            None => {
                counts.inserted += 1;
                plan.inserts.push(key.into());
            }
        }
    }
    let mut placed: BTreeSet<Box<[u8]>> = BTreeSet::new();
    for Probed { file, hits } in probed {
        let mut rewrite = Rewrite { file, gone: vec![], instead: vec![] };
        for (position, key, _) in hits {
            if replaced.contains(&key) {
                rewrite.gone.push(position);
                let lives = newest.get(&key).is_some_and(|w| !w.deleted);
                if lives && placed.insert(key.clone()) {
                    rewrite.instead.push(key);
                }
            }
        }
        if !rewrite.gone.is_empty() {
            plan.rewrites.push(rewrite);
        }
    }
    plan
}
