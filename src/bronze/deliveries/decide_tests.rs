//! Folders, and what is decided about them.

use chrono::{DateTime, TimeDelta};
use proptest::prelude::*;

use super::*;
use crate::bronze::deliveries::rule::marker;

const MOST: usize = 100;

fn object(name: &str, version: &str, second: i64) -> RawObject {
    let last_modified = DateTime::UNIX_EPOCH + TimeDelta::seconds(second);
    let id = ObjectId { uri: format!("raw/1/{name}"), version: version.to_owned(), last_modified };
    RawObject { id, size: version.len() as u64, version_id: None }
}

fn folder(names: &[&str], marker: Option<&str>) -> Folder {
    let objects = names.iter().map(|name| object(name, "v1", 1));
    Folder {
        uri: "raw/1/".to_owned(),
        markers: marker.map(|name| (name.to_owned(), object(name, "m", 2))).into_iter().collect(),
        objects: objects.map(|object| (object.id.uri.clone(), object)).collect(),
        count: names.len() as u64,
    }
}

fn by_marker() -> Rule {
    Rule::Marker(marker("raw/*/*.csv", "_SUCCESS", true).unwrap())
}

fn by_manifest() -> Rule {
    Rule::Manifest(marker("raw/*/*.csv", "list.json", false).unwrap())
}

fn manifest(text: &str) -> Manifest {
    Manifest::parse(text.as_bytes(), "raw/1/", 100, |uri| uri.ends_with(".csv")).unwrap()
}

fn names(objects: &[RawObject]) -> Vec<&str> {
    objects.iter().map(|object| name_of(&object.id.uri)).collect()
}

/// The names of the delivery, and of what is surplus.
fn complete(verdict: &Verdict) -> (Vec<&str>, Vec<&str>) {
    match verdict {
        Verdict::Complete(complete) => (names(&complete.objects), names(&complete.surplus)),
        other => panic!("{other:?}"),
    }
}

fn refused(verdict: &Verdict) -> (Reason, &str) {
    match verdict {
        Verdict::Refused(refusal) => (refusal.reason, &refusal.error),
        other => panic!("{other:?}"),
    }
}

fn waits(text: &str) -> Verdict {
    Verdict::Waits(text.to_owned())
}

#[test]
fn a_marker_makes_a_folder_complete() {
    let open = decide(&by_marker(), &folder(&["a.csv"], None), None, MOST);
    assert_eq!(open, waits("_SUCCESS"));
    let closed = decide(&by_marker(), &folder(&["a.csv", "b.csv"], Some("_SUCCESS")), None, MOST);
    assert_eq!(complete(&closed), (vec!["a.csv", "b.csv"], vec![]));
    let empty = decide(&by_marker(), &folder(&[], Some("_SUCCESS")), None, MOST);
    assert_eq!(complete(&empty), (vec![], vec![]));
}

#[test]
fn a_number_of_objects_makes_a_folder_complete() {
    let two = folder(&["a.csv", "b.csv"], None);
    assert_eq!(decide(&Rule::Count(3), &two, None, MOST), waits("1 of 3 objects"));
    for count in [1, 2] {
        let verdict = decide(&Rule::Count(count), &two, None, MOST);
        assert_eq!(complete(&verdict).0.len(), 2, "what is there belongs to it");
    }
}

#[test]
fn a_manifest_names_the_objects_of_its_folder() {
    let all = folder(&["a.csv", "b.csv", "c.csv"], Some("list.json"));
    assert_eq!(decide(&by_manifest(), &all, None, MOST), waits("list.json"));
    let two = manifest("a.csv\nb.csv\nREADME.txt");
    let closed = decide(&by_manifest(), &all, Some(&two), MOST);
    assert_eq!(complete(&closed), (vec!["a.csv", "b.csv"], vec!["c.csv"]));
    let more = manifest("a.csv\nx.csv\ny.csv\nz.csv\n1.csv\n2.csv\n3.csv");
    let text = "6 of 7 objects of list.json: 1.csv, 2.csv, 3.csv, x.csv, y.csv and 1 more";
    assert_eq!(decide(&by_manifest(), &all, Some(&more), MOST), waits(text));
    let none = decide(&by_manifest(), &all, Some(&manifest("[]")), MOST);
    assert_eq!(complete(&none), (vec![], vec!["a.csv", "b.csv", "c.csv"]));
}

#[test]
fn a_manifest_that_names_none_of_what_is_there_is_refused() {
    let strange = manifest("hello\nworld");
    let one = decide(&by_manifest(), &folder(&["a.csv"], Some("list.json")), Some(&strange), MOST);
    let why = "list.json cannot be used: it names none of the 1 objects of its folder";
    assert_eq!(refused(&one), (Reason::BadManifest, why));
    // The manifest of a folder that two pipelines share.
    let none = decide(&by_manifest(), &folder(&[], Some("list.json")), Some(&strange), MOST);
    assert_eq!(complete(&none), (vec![], vec![]));
}

#[test]
fn an_object_has_to_be_as_the_manifest_says() {
    let one = folder(&["a.csv"], Some("list.json"));
    let of = |text: &str| decide(&by_manifest(), &one, Some(&manifest(text)), MOST);
    let wrong = of(r#"[{"key": "a.csv", "size": 18446744073709551615}]"#);
    let error = "a.csv has 2 bytes, and list.json says 18446744073709551615";
    assert_eq!(refused(&wrong), (Reason::WrongSize, error));
    let right = of(
        r#"[{"key": "a.csv", "size": 2, "rows": 5, "md5": "d41d8cd98f00b204e9800998ecf8427e"}]"#,
    );
    let Verdict::Complete(complete) = right else { panic!("{right:?}") };
    assert_eq!(complete.rows.values().collect::<Vec<_>>(), [&5]);
    assert_eq!(complete.checksums.len(), 1);
}

#[test]
fn a_key_of_a_manifest_is_taken_as_it_is_and_else_decoded() {
    let plain = folder(&["a b.csv"], Some("list.json"));
    let both = folder(&["a b.csv", "a%20b.csv"], Some("list.json"));
    let listed = manifest("a%20b.csv");
    let decoded = decide(&by_manifest(), &plain, Some(&listed), MOST);
    assert_eq!(complete(&decoded), (vec!["a b.csv"], vec![]));
    let literal = decide(&by_manifest(), &both, Some(&listed), MOST);
    assert_eq!(complete(&literal), (vec!["a%20b.csv"], vec!["a b.csv"]));
    let twice = decide(&by_manifest(), &plain, Some(&manifest("a%20b.csv\na b.csv")), MOST);
    assert_eq!(complete(&twice), (vec!["a b.csv"], vec![]));
}

#[test]
fn a_folder_that_memory_is_not_for_is_refused_once_it_is_complete() {
    let mut large = folder(&["a.csv", "b.csv"], Some("_SUCCESS"));
    large.count = 7;
    let verdict = decide(&by_marker(), &large, None, 2);
    let error =
        "the folder has 7 objects, and memory is for 2 of one delivery: raise worker.memory";
    assert_eq!(refused(&verdict), (Reason::TooManyObjects, error));
    let listed = decide(&by_manifest(), &large, Some(&manifest("a.csv\nc.csv")), 2);
    assert_eq!(refused(&listed).0, Reason::TooManyObjects, "c.csv may be among those not kept");
    large.markers.clear();
    assert_eq!(decide(&by_marker(), &large, None, 2), waits("_SUCCESS"));
}

/// What a folder had to do with: the rule, in a model where uploads and events are interleaved.
#[derive(Debug, Clone, Copy)]
enum Kind {
    Marker,
    Manifest,
    Count,
}

proptest! {
    /// Uploads in any order, events in any other order, some of them twice, a restart at any time: one delivery, once
    /// all is there, with every object of it, and what came later by itself. What is kept between the events is only
    /// what the ledger says: which folder is complete, and which versions are ingested.
    #[test]
    fn any_order_of_events_gives_one_delivery(
        kind in prop_oneof![Just(Kind::Marker), Just(Kind::Manifest), Just(Kind::Count)],
        uploads in Just(vec!["a.csv", "b.csv", "c.csv", "a.csv", "MARK"]).prop_shuffle(),
        events in proptest::collection::vec((0usize..5, 0usize..6), 0..12),
        last in Just(vec![0usize, 1, 2, 3, 4]).prop_shuffle(),
    ) {
        let rule = match kind {
            Kind::Marker => by_marker(),
            Kind::Manifest => by_manifest(),
            Kind::Count => Rule::Count(3),
        };
        let listed = manifest("a.csv\nb.csv\nc.csv");
        // Events that come early: of what was uploaded by then; and at the end one for each upload.
        let early = events.into_iter().map(|(of, uploaded)| (of, uploaded.max(of + 1)));
        let mut steps: Vec<(usize, usize)> = early.collect();
        steps.sort_by_key(|(_, uploaded)| *uploaded);
        steps.extend(last.into_iter().map(|of| (of, uploads.len())));

        let (mut deliveries, mut ingested) = (0, BTreeSet::new());
        for (of, uploaded) in steps {
            let mut now = folder(&[], None);
            for (second, name) in uploads.iter().take(uploaded).enumerate() {
                match *name {
                    "MARK" => drop(now.markers.insert("mark".to_owned(), object("mark", "m", second as i64))),
                    name => {
                        let new = object(name, &format!("v{second}"), second as i64);
                        now.objects.insert(new.id.uri.clone(), new);
                    }
                }
            }
            now.count = now.objects.len() as u64;
            if deliveries > 0 {
                // Late: the object of the event, as it is now.
                let late = now.objects.get(&format!("raw/1/{}", uploads[of]));
                ingested.extend(late.map(|object| (object.id.uri.clone(), object.id.version.clone())));
                continue;
            }
            let manifest = now.marker().map(|_| &listed);
            if let Verdict::Complete(complete) = decide(&rule, &now, manifest, MOST) {
                deliveries += 1;
                prop_assert!(complete.surplus.is_empty());
                let ids = complete.objects.into_iter().map(|object| (object.id.uri, object.id.version));
                ingested.extend(ids);
                match kind {
                    Kind::Marker => prop_assert!(now.marker().is_some()),
                    _ => prop_assert_eq!(ingested.len(), 3),
                }
            }
        }
        prop_assert_eq!(deliveries, 1);
        // The newest version of each object is there, whatever the order.
        for name in ["a.csv", "b.csv", "c.csv"] {
            let second = uploads.iter().rposition(|upload| *upload == name).unwrap();
            let newest = (format!("raw/1/{name}"), format!("v{second}"));
            prop_assert!(ingested.contains(&newest), "{newest:?} of {ingested:?}");
        }
    }
}
