//! The index of a table, opened, filled, merged, removed.

use tempfile::TempDir;

use super::super::entry::VALUE;
use super::super::header::Column;
use super::*;

const NOW: DateTime<Utc> = DateTime::UNIX_EPOCH;

fn definition(table: &str) -> Definition {
    let column = Column { id: "1".to_owned(), kind: "Int64".to_owned() };
    Definition { table: table.to_owned(), keys: vec![column], order: vec![] }
}

fn open(root: &TempDir) -> Option<Index> {
    Index::open(root.path(), &definition("t"), "secret".to_owned(), NOW).unwrap()
}

/// Covers a file that has the rows `keys`.
fn learn(index: &mut Index, path: &str, keys: std::ops::Range<u32>) {
    let rows = keys.len() as u64;
    let files = index.numbered([(path, 1, rows)]);
    let hash = |key: u32| index.hasher().key(&key.to_be_bytes());
    let entries: Vec<_> = keys
        .zip(0..)
        .map(|(key, at)| Entry::new(&hash(key), &[0; VALUE], files[0].id, at))
        .collect();
    let mut sorter = index.sorter(rows, 1 << 20);
    sorter.push(entries).unwrap();
    index.learn(sorter, &files, NOW).unwrap();
}

/// The files, by path, and positions of a key.
fn found(index: &Index, key: u32) -> Vec<(String, u32)> {
    let path = |id| index.files.values().find(|file| file.id == id).unwrap().path.clone();
    let entries = index.find(&[index.hasher().key(&key.to_be_bytes())]).unwrap();
    let mut found: Vec<_> = entries.iter().map(|(_, e)| (path(e.file()), e.position())).collect();
    found.sort();
    found
}

fn names(root: &TempDir) -> Vec<String> {
    let folder = fs::read_dir(root.path().join("t")).unwrap();
    let mut names: Vec<_> = folder.map(|e| e.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    names
}

#[test]
fn what_was_learned_is_there_after_a_restart() {
    let root = TempDir::new().unwrap();
    let mut index = open(&root).unwrap();
    learn(&mut index, "a", 0..10);
    learn(&mut index, "b", 5..20);
    assert!(open(&root).is_none(), "another process has it");
    drop(index);
    let index = open(&root).unwrap();
    assert_eq!(found(&index, 7), [("a".to_owned(), 7), ("b".to_owned(), 2)]);
    assert_eq!(found(&index, 19), [("b".to_owned(), 14)]);
    assert!(index.covers("a", 1, 10).is_some());
    assert_eq!(index.covers("a", 2, 10), None, "another file under its name");
    assert_eq!(index.covers("c", 1, 10), None);
}

#[test]
fn many_hashes_are_found_by_several_threads() {
    let root = TempDir::new().unwrap();
    let mut index = open(&root).unwrap();
    learn(&mut index, "a", 0..20_000);
    let mut hashes: Vec<_> =
        (10_000..30_000_u32).map(|key| index.hasher().key(&key.to_be_bytes())).collect();
    hashes.sort_unstable();
    let found = index.find(&hashes).unwrap();
    assert_eq!(found.len(), 10_000);
    assert!(found.iter().all(|(at, entry)| entry.key() == hashes[*at]));
    assert_eq!(index.find(&[]).unwrap(), []);
}

#[test]
fn runs_are_merged_and_dead_files_go() {
    let root = TempDir::new().unwrap();
    let mut index = open(&root).unwrap();
    for number in 0..8 {
        assert!(!index.is_due(None));
        learn(&mut index, &format!("file {number}"), 0..10);
    }
    assert!(index.is_due(None));
    learn(&mut index, "file 8", 0..10);
    learn(&mut index, "file 9", 0..10);
    let live: HashSet<String> = (2..10).map(|number| format!("file {number}")).collect();
    index.tidy(&live).unwrap();
    assert_eq!(index.size().1, 1, "two runs are dead, and the other eight are one");
    assert_eq!(found(&index, 3).len(), 8);
    assert_eq!(index.covers("file 1", 1, 10), None);
    assert_eq!(names(&root), ["11.run", "header", "lock"]);
    index.tidy(&HashSet::new()).unwrap();
    assert_eq!((index.size(), names(&root).len()), ((0, 0, 0), 2), "nothing is live");
}

/// A crash between a run and the header: the run is not named, and removed.
#[test]
fn a_run_without_a_header_is_as_if_it_had_not_been() {
    let root = TempDir::new().unwrap();
    let mut index = open(&root).unwrap();
    learn(&mut index, "a", 0..10);
    let before = fs::read(root.path().join("t/header")).unwrap();
    learn(&mut index, "b", 0..10);
    drop(index);
    fs::write(root.path().join("t/header"), before).unwrap();
    fs::write(root.path().join("t/0.spill"), "left by a crash").unwrap();
    let mut index = open(&root).unwrap();
    assert_eq!(names(&root), ["1.run", "header", "lock"]);
    assert_eq!(index.covers("b", 1, 10), None);
    learn(&mut index, "b", 0..10);
    assert_eq!(found(&index, 3), [("a".to_owned(), 3), ("b".to_owned(), 3)]);
}

#[test]
fn an_index_with_a_missing_run_or_of_other_keys_begins_anew() {
    let root = TempDir::new().unwrap();
    let mut index = open(&root).unwrap();
    learn(&mut index, "a", 0..10);
    drop(index);
    fs::remove_file(root.path().join("t/1.run")).unwrap();
    let mut index = open(&root).unwrap();
    assert_eq!(index.covers("a", 1, 10), None);
    learn(&mut index, "a", 0..10);
    index.forget().unwrap();
    let index = open(&root).unwrap();
    assert_eq!((index.covers("a", 1, 10), index.size().0), (None, 0), "it was forgotten");
    drop(index);
    let other = Definition { keys: vec![], ..definition("t") };
    let index = Index::open(root.path(), &other, "secret".to_owned(), NOW).unwrap().unwrap();
    assert!(index.is_of(&other) && !index.is_of(&definition("t")));
}

#[test]
fn files_that_wait_are_remembered_until_they_are_learned() {
    let root = TempDir::new().unwrap();
    let mut index = open(&root).unwrap();
    let paths = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect();
    let set = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect::<HashSet<_>>();
    let live = set(&["a", "b", "c", "d"]);
    assert_eq!(index.wait_for(paths(&["a", "b"]), &live).unwrap(), set(&[]));
    drop(index);
    let mut index = open(&root).unwrap();
    assert_eq!(index.wait_for(paths(&["b", "c"]), &live).unwrap(), set(&["b"]));
    learn(&mut index, "b", 0..1);
    // A look-up of keys that only "d" may hold says nothing of the others.
    assert_eq!(index.wait_for(paths(&["d"]), &live).unwrap(), set(&[]));
    drop(index);
    let mut index = open(&root).unwrap();
    let all = paths(&["a", "b", "c", "d"]);
    assert_eq!(index.wait_for(all.clone(), &live).unwrap(), set(&["a", "c", "d"]));
    // A file that is gone is forgotten.
    index.wait_for(vec![], &set(&["d"])).unwrap();
    assert_eq!(index.header.waiting, ["d"]);
}

/// A disk that fails once has the index still when it works again.
#[test]
fn a_file_that_cannot_be_read_now_costs_no_index() {
    let root = TempDir::new().unwrap();
    let mut index = open(&root).unwrap();
    learn(&mut index, "a", 0..10);
    drop(index);
    let (run, away) = (root.path().join("t/1.run"), root.path().join("away"));
    fs::rename(&run, &away).unwrap();
    // A folder cannot be read as a file, and is not missing.
    fs::create_dir(&run).unwrap();
    let error = Index::open(root.path(), &definition("t"), "other".to_owned(), NOW).unwrap_err();
    assert!(matches!(error, KeyIndexError::Disk { .. }), "{error}");
    fs::remove_dir(&run).unwrap();
    fs::rename(&away, &run).unwrap();
    assert_eq!(found(&open(&root).unwrap(), 3), [("a".to_owned(), 3)]);
}

/// Whatever is wrong with what was written: the index begins anew, and is not refused for good.
#[test]
fn damage_is_no_failure_of_the_disk() {
    for name in ["header", "1.run"] {
        for harm in [&b""[..], b"\xff\xfe", &[7; 5_000]] {
            let root = TempDir::new().unwrap();
            let mut index = open(&root).unwrap();
            learn(&mut index, "a", 0..10);
            drop(index);
            fs::write(root.path().join("t").join(name), harm).unwrap();
            let index = open(&root).unwrap();
            assert_eq!(index.covers("a", 1, 10), None, "{name}");
        }
    }
    // Under the process that has it open.
    let root = TempDir::new().unwrap();
    let mut index = open(&root).unwrap();
    learn(&mut index, "a", 0..10);
    fs::write(root.path().join("t/1.run"), "short").unwrap();
    let error = index.find(&[index.hasher().key(&[0; 4])]).unwrap_err();
    assert!(matches!(error, KeyIndexError::Damaged { .. }), "{error}");
}

#[test]
fn an_index_that_is_not_used_is_removed_after_a_week() {
    let root = TempDir::new().unwrap();
    let other =
        |now| Index::open(root.path(), &definition("other"), "secret".to_owned(), now).unwrap();
    let held = open(&root);
    drop(other(NOW));
    let later = NOW + UNUSED;
    drop(other(later - Duration::from_secs(1)));
    assert!(root.path().join("t").exists());
    drop(other(later));
    assert!(root.path().join("t").exists(), "a process has it");
    drop(held);
    drop(other(later));
    assert!(!root.path().join("t").exists());
}
