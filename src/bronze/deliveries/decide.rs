//! Whether a folder is complete. Pure: a folder as it was listed, and what its manifest says.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use super::manifest::{Checksum, Entry, Manifest};
use super::rule::{Marker, Rule};
use crate::reason::Reason;
use crate::source::{ObjectId, RawObject};

/// Missing objects that are named.
const NAMED: usize = 5;

/// A folder as it was listed.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Folder {
    /// Its URI, with a `/` at the end.
    pub(super) uri: String,
    /// Its markers by URI.
    pub(super) markers: BTreeMap<String, RawObject>,
    /// Its objects of this pipeline by URI, as far as memory is for them.
    pub(super) objects: BTreeMap<String, RawObject>,
    /// How many there are.
    pub(super) count: u64,
}

impl Folder {
    /// Its newest marker.
    pub(super) fn marker(&self) -> Option<&RawObject> {
        self.markers.values().max_by_key(|marker| (marker.id.last_modified, &marker.id.uri))
    }
}

/// What is to be done about a folder.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Verdict {
    /// It is not complete: what it waits for.
    Waits(String),
    /// It cannot be ingested as it is.
    Refused(Refusal),
    /// It is complete.
    Complete(Complete),
}

/// Why a delivery is refused.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::bronze) struct Refusal {
    pub(super) reason: Reason,
    pub(super) error: String,
}

/// The objects of a complete folder.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Complete {
    /// Those of the delivery.
    pub(super) objects: Vec<RawObject>,
    /// Those that its manifest does not name.
    pub(super) surplus: Vec<RawObject>,
    /// How many rows they have to have.
    pub(super) rows: HashMap<ObjectId, u64>,
    /// What their bytes have to be.
    pub(super) checksums: Vec<(RawObject, Checksum)>,
}

impl Refusal {
    /// A refusal for what the manifest says.
    pub(super) fn bad_manifest(marker: &Marker, why: &str) -> Self {
        let error = format!("{} cannot be used: {why}", marker.name);
        Self { reason: Reason::BadManifest, error }
    }
}

/// Decides about a folder; `manifest` is what its marker says where that is a manifest, which was read.
pub(super) fn decide(
    rule: &Rule,
    folder: &Folder,
    manifest: Option<&Manifest>,
    most: usize,
) -> Verdict {
    let complete = match rule {
        Rule::Marker(marker) if folder.markers.is_empty() => return waits_for(marker),
        Rule::Marker(_) => all_of(folder),
        Rule::Count(count) if folder.count < *count => {
            let there = folder.count;
            return Verdict::Waits(format!("{} of {count} objects", count - there));
        }
        Rule::Count(_) => all_of(folder),
        Rule::Manifest(marker) => match manifest {
            None => return waits_for(marker),
            Some(manifest) => match of_manifest(marker, folder, manifest) {
                Ok(complete) => complete,
                Err(verdict) => return verdict,
            },
        },
    };
    // Some of them were not kept.
    if folder.count > folder.objects.len() as u64 || folder.objects.len() > most {
        let error = format!(
            "the folder has {} objects, and memory is for {most} of one delivery: raise worker.memory",
            folder.count
        );
        return Verdict::Refused(Refusal { reason: Reason::TooManyObjects, error });
    }
    Verdict::Complete(complete)
}

fn waits_for(marker: &Marker) -> Verdict {
    Verdict::Waits(marker.name.clone())
}

fn all_of(folder: &Folder) -> Complete {
    Complete { objects: folder.objects.values().cloned().collect(), ..Complete::default() }
}

/// The objects that a manifest names, if all of them are there and as it says.
fn of_manifest(marker: &Marker, folder: &Folder, manifest: &Manifest) -> Result<Complete, Verdict> {
    let name = &marker.name;
    if manifest.entries.is_empty() && manifest.others > 0 && folder.count > 0 {
        let why = format!("it names none of the {} objects of its folder", folder.count);
        return Err(Verdict::Refused(Refusal::bad_manifest(marker, &why)));
    }
    let mut complete = Complete::default();
    let (mut named, mut missing) = (BTreeSet::new(), Vec::new());
    for (uri, entry) in &manifest.entries {
        match find(folder, uri, entry) {
            // Two keys of the manifest may be one object, encoded and not.
            Some(object) if !named.insert(object.id.uri.as_str()) => {}
            Some(object) => {
                if let Some(said) = entry.size.filter(|said| *said != object.size) {
                    let (there, size) = (name_of(&object.id.uri), object.size);
                    let error = format!("{there} has {size} bytes, and {name} says {said}");
                    return Err(Verdict::Refused(Refusal { reason: Reason::WrongSize, error }));
                }
                complete.rows.extend(entry.rows.map(|rows| (object.id.clone(), rows)));
                complete.checksums.extend(entry.checksum.clone().map(|sum| (object.clone(), sum)));
                complete.objects.push(object.clone());
            }
            None => missing.push(name_of(uri)),
        }
    }
    // With some not kept, one that seems to be missing may be among them.
    if !missing.is_empty() && folder.count == folder.objects.len() as u64 {
        let (some, all) = (missing.len(), manifest.entries.len());
        let mut text = format!("{some} of {all} objects of {name}: ");
        text.push_str(&missing.iter().take(NAMED).copied().collect::<Vec<_>>().join(", "));
        if some > NAMED {
            text.push_str(&format!(" and {} more", some - NAMED));
        }
        return Err(Verdict::Waits(text));
    }
    let others = folder.objects.values().filter(|object| !named.contains(object.id.uri.as_str()));
    complete.surplus = others.cloned().collect();
    Ok(complete)
}

/// The object that an entry names: as it is written, or else decoded.
fn find<'a>(folder: &'a Folder, uri: &str, entry: &Entry) -> Option<&'a RawObject> {
    let decoded = || folder.objects.get(entry.decoded.as_ref()?);
    folder.objects.get(uri).or_else(decoded)
}

fn name_of(uri: &str) -> &str {
    uri.rsplit('/').next().unwrap_or(uri)
}

#[cfg(test)]
#[path = "decide_tests.rs"]
mod decide_tests;
