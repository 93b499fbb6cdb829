//! The decisions of a merge into a history: where the versions of the source stand among those of the target, and which
//! rows come and end by that. Pure.
//!
//! The rows and the deletes of a key, in their order, make a chain. A row is a version: it begins with itself, and ends
//! where the next of the chain begins. So a row that comes, late or not, changes its neighbours alone: it ends the
//! version before it, and the next one ends it.
//!
//! The versions of a key in the source divide its chain into gaps. Of what the target has in a gap the first counts, as
//! it ends the version before the gap, and the last, which the version after the gap ends. All between have the same
//! neighbours as before. So memory follows the source, however many versions of its keys the target has (I7).

use std::collections::HashMap;

use crate::merge::Counts;
use crate::merge::plan::RowAt;

/// The order of a row, as comparable bytes. It begins with the bytes of its first column: when the row begins.
pub(super) type Order = Box<[u8]>;

/// A row of the source.
#[derive(Debug)]
pub(super) struct Version {
    pub(super) order: Order,
    /// Whether it deletes its key.
    pub(super) deleted: bool,
}

/// A version that the target has.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Stored {
    pub(super) at: RowAt,
    /// When it ends, as the bytes of that one column; none: it is current.
    pub(super) end: Option<Box<[u8]>>,
}

/// The versions of one key in the source.
#[derive(Debug, Clone, Copy)]
struct Group {
    first: usize,
    count: usize,
}

/// The versions of a part of the source, by key.
#[derive(Debug)]
pub(super) struct Chains {
    /// Indexes of groups.
    keys: HashMap<Box<[u8]>, usize>,
    groups: Vec<Group>,
    versions: Vec<Version>,
    continues: bool,
    goes_on: bool,
}

/// What the target has of those keys, and its stored deletes.
#[derive(Debug, Default)]
pub(super) struct Seen {
    /// By their index: a group has one before each of its versions, and one after the last.
    gaps: HashMap<usize, Gap>,
    /// By the index of the version that the target has, too.
    same: HashMap<usize, Same>,
}

/// What the target has between two versions of the source.
#[derive(Debug, Default)]
struct Gap {
    first: Option<Order>,
    /// The last version. Where another program wrote it twice, both rows.
    version: Option<(Order, Vec<Stored>)>,
    /// The last delete.
    delete: Option<Order>,
}

/// What the target has of a version of the source.
#[derive(Debug, Default)]
struct Same {
    stored: Vec<Stored>,
    /// Whether it is a stored delete.
    deleted: bool,
}

/// What a merge does. Versions are indexes into those of the source. What ends one is the order of the next.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Plan<'a> {
    /// Versions that come, each with what ends it.
    pub(super) written: Vec<(usize, Option<&'a [u8]>)>,
    /// Rows of the target that end otherwise than they say.
    pub(super) ended: Vec<(RowAt, &'a [u8])>,
    /// Rows of the target that go, beside those that end otherwise.
    pub(super) gone: Vec<RowAt>,
    /// Deletes to remember.
    pub(super) deletes: Vec<usize>,
}

impl Chains {
    /// Of versions with their keys, sorted by key and order. `continues`: the first one is the last of the part before,
    /// which has another of its key. `goes_on`: the last one is the first of the next part, which decides about it.
    pub(super) fn new<'a>(
        sorted: impl Iterator<Item = (&'a [u8], Version)>,
        continues: bool,
        goes_on: bool,
    ) -> Self {
        let (keys, groups, versions) = (HashMap::new(), vec![], vec![]);
        let mut chains = Self { keys, groups, versions, continues, goes_on };
        let mut last = None;
        for (key, version) in sorted {
            match chains.groups.last_mut().filter(|_| last == Some(key)) {
                Some(group) => group.count += 1,
                None => {
                    chains.keys.insert(key.into(), chains.groups.len());
                    chains.groups.push(Group { first: chains.versions.len(), count: 1 });
                }
            }
            chains.versions.push(version);
            last = Some(key);
        }
        chains
    }

    /// The versions of a key, if the source has it.
    pub(super) fn of(&self, key: &[u8]) -> Option<usize> {
        self.keys.get(key).copied()
    }

    /// Takes note of a row of the target, of the key that has these versions; of a stored delete, where it is none.
    pub(super) fn see(&self, index: usize, order: &[u8], stored: Option<Stored>, seen: &mut Seen) {
        let Group { first, count } = self.groups[index];
        let of_key = &self.versions[first..first + count];
        match of_key.binary_search_by(|version| (*version.order).cmp(order)) {
            Ok(at) => {
                let same = seen.same.entry(first + at).or_default();
                same.deleted |= stored.is_none();
                same.stored.extend(stored);
            }
            Err(at) => {
                let gap = seen.gaps.entry(first + index + at).or_default();
                gap.see_first(order);
                match stored {
                    Some(stored) => gap.see_version(order, stored),
                    None => gap.see_delete(order),
                }
            }
        }
    }

    /// What becomes of the target.
    pub(super) fn plan<'a>(
        &'a self,
        seen: &'a Seen,
        refresh_equal: bool,
        counts: &mut Counts,
    ) -> Plan<'a> {
        let (late_below, plan) = (0, Plan::default());
        let mut planning = Planning { chains: self, seen, refresh_equal, counts, late_below, plan };
        for (index, group) in self.groups.iter().enumerate() {
            let goes_on = self.goes_on && index + 1 == self.groups.len();
            let decided = group.count - usize::from(goes_on);
            if decided == 0 {
                continue;
            }
            planning.late_below = planning.newest_of(index);
            // Otherwise the part before has planned it.
            if index > 0 || !self.continues {
                planning.gap(index, 0);
            }
            for at in 0..decided {
                planning.version(index, at);
                planning.gap(index, at + 1);
            }
        }
        planning.plan
    }
}

impl Gap {
    fn see_first(&mut self, order: &[u8]) {
        if self.first.as_deref().is_none_or(|first| order < first) {
            self.first = Some(order.into());
        }
    }

    fn see_version(&mut self, order: &[u8], stored: Stored) {
        match &mut self.version {
            Some((last, rows)) if **last == *order => rows.push(stored),
            Some((last, _)) if **last > *order => {}
            last => *last = Some((order.into(), vec![stored])),
        }
    }

    fn see_delete(&mut self, order: &[u8]) {
        if self.delete.as_deref().is_none_or(|last| order > last) {
            self.delete = Some(order.into());
        }
    }
}

/// A plan in the making.
struct Planning<'a, 'c> {
    chains: &'a Chains,
    seen: &'a Seen,
    refresh_equal: bool,
    counts: &'c mut Counts,
    /// Of the versions of the group, those before this one are late: the target has something newer of the key.
    late_below: usize,
    plan: Plan<'a>,
}

impl<'a> Planning<'a, '_> {
    fn gap_at(&self, group: usize, at: usize) -> Option<&'a Gap> {
        self.seen.gaps.get(&(self.chains.groups[group].first + group + at))
    }

    /// Whether a version of the source deletes its key, or is remembered as one that does.
    fn is_delete(&self, version: usize) -> bool {
        self.chains.versions[version].deleted || self.is_remembered(version)
    }

    fn is_remembered(&self, version: usize) -> bool {
        self.seen.same.get(&version).is_some_and(|same| same.deleted)
    }

    /// The version of a group at or before which the newest is that the target has of the key.
    fn newest_of(&self, group: usize) -> usize {
        let Group { first, count } = self.chains.groups[group];
        let is_there = |at: &usize| {
            self.gap_at(group, *at).is_some() || self.seen.same.contains_key(&(first + at))
        };
        // Behind the last version is no other version of this key.
        if self.gap_at(group, count).is_some() {
            return count;
        }
        (0..count).rev().find(is_there).unwrap_or(0)
    }

    /// What follows a version of the source.
    fn after(&self, group: usize, at: usize) -> Option<&'a [u8]> {
        let Group { first, count } = self.chains.groups[group];
        let in_gap = self.gap_at(group, at + 1).and_then(|gap| gap.first.as_deref());
        let next = (at + 1 < count).then(|| &*self.chains.versions[first + at + 1].order);
        in_gap.or(next)
    }

    /// A version of the target ends where `next` begins, unless it ends before: what ended it then may be forgotten.
    fn end(&mut self, stored: &Stored, next: Option<&'a [u8]>) -> bool {
        let Some(next) = next else { return false };
        // The bytes of one column: they compare with the first column of the order.
        if stored.end.as_deref().is_some_and(|end| end <= next) {
            return false;
        }
        self.plan.ended.push((stored.at, next));
        self.counts.updated += 1;
        self.counts.gone += 1;
        true
    }

    /// The gap before a version of the source, or after the last one.
    fn gap(&mut self, group: usize, at: usize) {
        let chains = self.chains;
        let Group { first, count } = chains.groups[group];
        let next = (at < count).then_some(first + at);
        let mut follows_version = at > 0 && !self.is_delete(first + at - 1);
        let mut has_ended = false;
        if let Some(gap) = self.gap_at(group, at) {
            let last_delete = gap.delete.as_deref();
            let last = gap.version.as_ref().map(|(order, _)| &**order);
            follows_version = last > last_delete;
            // A delete is remembered before silver is merged, and may not have ended it yet.
            let order = next.map(|next| &*chains.versions[next].order);
            let end = if follows_version { order } else { last_delete };
            for stored in gap.version.iter().flat_map(|(_, rows)| rows) {
                has_ended |= self.end(stored, end);
            }
        }
        if let Some(next) = next.filter(|next| chains.versions[*next].deleted) {
            match follows_version && (has_ended || !self.is_remembered(next)) {
                true => {
                    self.counts.deleted += 1;
                    self.counts.late += u64::from(at < self.late_below);
                }
                false => self.counts.unchanged += 1,
            }
        }
    }

    fn version(&mut self, group: usize, at: usize) {
        let index = self.chains.groups[group].first + at;
        let seen = self.seen;
        let stored = seen.same.get(&index).map_or(&[][..], |same| &same.stored);
        if self.is_delete(index) {
            match (self.chains.versions[index].deleted, self.is_remembered(index)) {
                (true, false) => self.plan.deletes.push(index),
                (true, true) => {}
                (false, _) => self.counts.late += 1,
            }
            self.go(stored);
            return;
        }
        let next = self.after(group, at);
        if stored.is_empty() {
            self.counts.inserted += 1;
            self.counts.late += u64::from(at < self.late_below);
            self.plan.written.push((index, next));
        } else if self.refresh_equal {
            self.counts.updated += 1;
            self.plan.written.push((index, next));
            self.go(stored);
        } else {
            let mut has_ended = false;
            for stored in stored {
                has_ended |= self.end(stored, next);
            }
            self.counts.unchanged += u64::from(!has_ended);
        }
    }

    fn go(&mut self, stored: &[Stored]) {
        self.plan.gone.extend(stored.iter().map(|stored| stored.at));
        self.counts.gone += stored.len() as u64;
    }
}

#[cfg(test)]
#[path = "chain_tests.rs"]
mod tests;
