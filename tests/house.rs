//! House rules that a compiler does not check: rooms use those below them, no files use each other in a circle,
//! each outside crate is named in one room, and comments and messages are in plain English.

#[path = "house/english.rs"]
mod english;

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

/// The rooms, top to bottom: a room uses those below it.
const FLOORS: &[&str] = &[
    "main",
    "cli",
    "lambda",
    "wiring",
    "worker",
    "pipeline",
    "config",
    "dead_letters",
    "announce",
    "upkeep",
    "gold",
    "silver",
    "bronze",
    "merge",
    "sql",
    "ledger",
    "key_index",
    "checkpoint",
    "lake",
    "source",
    "queue",
    "format",
    "event",
    "batch",
    "aws",
    "telemetry",
    "backoff",
    "ambient",
    "features",
    "reason",
    "error",
    "tls",
];

/// Each word, and the folders or files of `src/` that may say it.
const ONLY_IN: &[(&str, &[&str])] = &[
    ("iceberg::", &["lake/"]),
    ("sqlx::", &["lake/catalog/jdbc.rs"]),
    ("std::env", &["config/"]),
    ("aws_sdk_sqs", &["aws", "queue/sqs.rs"]),
    ("aws_sdk_eventbridge", &["aws", "announce/eventbridge.rs"]),
    ("aws_sdk_s3::", &["aws", "source/s3", "checkpoint/s3.rs", "lake/files/s3"]),
    ("aws_sigv4", &["aws/signing.rs"]),
    ("aws_types", &["aws/endpoint.rs"]),
    ("reqwest", &["aws", "lake/catalog/rest/"]),
    ("rustls::", &["tls.rs"]),
    ("lambda_runtime", &["lambda/"]),
    ("axum::", &["telemetry/"]),
    ("opentelemetry", &["telemetry/"]),
    ("prometheus", &["telemetry/"]),
    ("csv::", &["format/csv"]),
    ("anyhow", &["cli/", "lambda/"]),
    ("clap::", &["cli/", "telemetry/logs.rs"]),
    ("SqsQueue", &["queue/", "wiring/"]),
    ("S3Store", &["source/", "wiring/"]),
    ("S3Checkpoints", &["checkpoint/", "wiring/"]),
    ("JdbcCatalog", &["lake/catalog/", "wiring/"]),
    ("LocalCheckpoints", &["checkpoint/", "wiring/", "cli/demo"]),
    ("DirectoryStore", &["source/", "wiring/"]),
    ("EventBridge::", &["announce/", "wiring/"]),
];

/// What the lake does not know.
const LAYERS: [&str; 3] = ["bronze", "silver", "gold"];

/// The code of a source file: without comments, and without its tests.
fn code_of(text: &str) -> String {
    let text = text.split("#[cfg(test)]\nmod tests").next().unwrap_or_default();
    let lines = text.lines().map(|line| line.split("//").next().unwrap_or_default());
    lines.collect::<Vec<_>>().join("\n")
}

fn sources(folder: &Path, found: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            sources(&path, found);
        } else if path.extension().is_some_and(|e| e == "rs") {
            found.push(path);
        }
    }
}

/// The source files by name, such as `lake/read/scan.rs`, with their code.
fn house() -> BTreeMap<String, String> {
    let src = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut found = Vec::new();
    sources(&src, &mut found);
    assert!(found.len() > 40);
    let named = found.into_iter().map(|path| {
        let name = path.strip_prefix(&src).unwrap().display().to_string();
        (name, code_of(&fs::read_to_string(path).unwrap()))
    });
    named.filter(|(name, _)| !name.ends_with("_tests.rs")).collect()
}

#[test]
fn the_outside_is_named_in_one_place() {
    let mut wrong = Vec::new();
    for (name, code) in house() {
        for (number, line) in code.lines().enumerate() {
            for (word, places) in ONLY_IN {
                let said = line.match_indices(word).any(|(at, _)| {
                    !line[..at].ends_with(|c: char| c.is_alphanumeric() || c == '_' || c == ':')
                });
                if said && !places.iter().any(|place| name.starts_with(place)) {
                    wrong.push(format!("{name}:{}: {word}", number + 1));
                }
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn the_lake_does_not_know_the_layers() {
    let mut wrong = Vec::new();
    for (name, code) in house().into_iter().filter(|(name, _)| name.starts_with("lake/")) {
        for (number, line) in code.lines().enumerate() {
            let lower = line.to_lowercase().replace("silversmith", "");
            for word in LAYERS.iter().filter(|word| lower.contains(**word)) {
                wrong.push(format!("{name}:{}: {word}", number + 1));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn rooms_use_those_below_them() {
    let graph = Graph::of(&house());
    let floor = |room: &str| FLOORS.iter().position(|known| *known == room);
    let mut wrong = Vec::new();
    for (file, used) in &graph.uses {
        let Some(from) = floor(room_of(file)) else {
            // The crate's root names all rooms.
            assert_eq!(file, "lib.rs", "{file} is in no room that the house knows");
            continue;
        };
        for other in used.iter().filter(|other| *other != "lib.rs") {
            let to = floor(room_of(other)).unwrap_or_else(|| panic!("{other} is in no known room"));
            if to < from {
                wrong.push(format!("{file} uses {other}, which is above it"));
            }
        }
    }
    assert!(graph.uses.values().map(BTreeSet::len).sum::<usize>() > 300, "the uses were read");
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn no_files_use_each_other_in_a_circle() {
    let graph = Graph::of(&house());
    let circles = graph.circles();
    assert!(circles.is_empty(), "{}", circles.join("\n"));
}

#[test]
fn a_circle_would_be_found() {
    let house = [
        ("lib.rs", "mod a;\nmod b;"),
        ("a/mod.rs", "mod one;\nmod two;\npub use one::One;"),
        ("a/one.rs", "use super::two::{Two, other::Thing};"),
        ("a/two.rs", "use crate::a::One;"),
        ("b.rs", "fn f() { crate::a::One::new() }"),
    ];
    let house = house.map(|(name, code)| (name.to_owned(), code.to_owned()));
    let graph = Graph::of(&house.into());
    assert_eq!(graph.uses["b.rs"], BTreeSet::from(["a/one.rs".to_owned()]));
    assert_eq!(graph.circles(), ["a/one.rs, a/two.rs"]);
}

fn room_of(file: &str) -> &str {
    let first = file.split('/').next().unwrap_or(file);
    first.strip_suffix(".rs").unwrap_or(first)
}

/// Which files use which. A folder's `mod.rs` and what is in the folder belong together: that a file uses what
/// its own `mod.rs` defines is no use of another file; re-exports lead to the file that defines the item.
struct Graph {
    uses: BTreeMap<String, BTreeSet<String>>,
}

/// The modules of the house, and what they re-export.
struct Modules<'a> {
    /// Module path, such as `lake::read`, to file.
    files: BTreeMap<String, String>,
    reexports: BTreeMap<String, Vec<Vec<String>>>,
    house: &'a BTreeMap<String, String>,
}

impl Graph {
    fn of(house: &BTreeMap<String, String>) -> Self {
        let modules = Modules::of(house);
        let mut uses = BTreeMap::new();
        for (file, code) in house {
            let module = module_of(file);
            let mut used = BTreeSet::new();
            for path in paths(code, &module) {
                let Some(other) = modules.file_of(&path, 0) else { continue };
                let above = other.strip_suffix("mod.rs").is_some_and(|dir| file.starts_with(dir));
                if other != *file && !above && other != "lib.rs" {
                    used.insert(other);
                }
            }
            uses.insert(file.clone(), used);
        }
        Self { uses }
    }

    /// The groups of files that reach each other.
    fn circles(&self) -> Vec<String> {
        let reach = |from: &String| {
            let (mut seen, mut next) = (BTreeSet::new(), vec![from]);
            while let Some(file) = next.pop() {
                for other in self.uses.get(file).into_iter().flatten() {
                    if seen.insert(other) {
                        next.push(other);
                    }
                }
            }
            seen
        };
        let reached: BTreeMap<&String, BTreeSet<&String>> =
            self.uses.keys().map(|file| (file, reach(file))).collect();
        let mut circles = BTreeSet::new();
        for (file, others) in reached.iter().filter(|(file, others)| others.contains(*file)) {
            let members = others.iter().filter(|other| reached[**other].contains(*file));
            circles.insert(members.map(|other| other.as_str()).collect::<Vec<_>>().join(", "));
        }
        circles.into_iter().collect()
    }
}

fn module_of(file: &str) -> Vec<String> {
    let path = file.strip_suffix(".rs").unwrap_or(file);
    let path = path.strip_suffix("/mod").unwrap_or(path);
    match path {
        "lib" | "main" => vec![],
        path => path.split('/').map(str::to_owned).collect(),
    }
}

impl<'a> Modules<'a> {
    fn of(house: &'a BTreeMap<String, String>) -> Self {
        let files = house.keys().filter(|file| *file != "main.rs");
        let files = files.map(|file| (module_of(file).join("::"), file.clone())).collect();
        let mut modules = Self { files, reexports: BTreeMap::new(), house };
        for (file, code) in modules.house {
            let module = module_of(file);
            let reexported = statements(code).into_iter().filter(|(public, _)| *public);
            let paths = reexported.flat_map(|(_, tree)| expanded(&tree));
            let paths = paths.filter_map(|path| absolute(path, &module, true)).collect();
            modules.reexports.insert(module.join("::"), paths);
        }
        modules
    }

    /// The file that defines what a path from the crate's root names.
    fn file_of(&self, path: &[String], depth: usize) -> Option<String> {
        let longest =
            (0..=path.len()).rev().find(|n| self.files.contains_key(&path[..*n].join("::")))?;
        let module = path[..longest].join("::");
        if let (Some(item), true) = (path.get(longest), depth < 8) {
            let found = self.reexports.get(&module).into_iter().flatten().find(|reexported| {
                reexported.last() == Some(item) && reexported[..] != path[..=longest]
            });
            if let Some(found) = found {
                return self.file_of(found, depth + 1);
            }
        }
        self.files.get(&module).cloned()
    }
}

/// The `use` statements of a file: whether each is public, and its tree.
fn statements(code: &str) -> Vec<(bool, String)> {
    let mut found = Vec::new();
    let mut rest = code;
    while let Some(at) = rest.find("use ") {
        let before = &rest[..at];
        let line = before.rsplit('\n').next().unwrap_or_default().trim_start();
        let starts = line.is_empty() || line.starts_with("pub");
        rest = &rest[at + 4..];
        if let (true, Some(end)) = (starts, rest.find(';')) {
            found.push((line.starts_with("pub"), rest[..end].to_owned()));
            rest = &rest[end..];
        }
    }
    found
}

/// The paths of a `use` tree.
fn expanded(tree: &str) -> Vec<Vec<String>> {
    let tree = tree.trim();
    let Some(open) = tree.find('{') else {
        let name = tree.split(" as ").next().unwrap_or(tree);
        return vec![name.split("::").map(|part| part.trim().to_owned()).collect()];
    };
    let prefix: Vec<String> =
        tree[..open].split("::").map(|p| p.trim().to_owned()).filter(|p| !p.is_empty()).collect();
    let inside = &tree[open + 1..tree.rfind('}').unwrap_or(tree.len())];
    let (mut depth, mut parts, mut part) = (0, Vec::new(), String::new());
    for c in inside.chars() {
        match c {
            '{' => depth += 1,
            '}' => depth -= 1,
            ',' if depth == 0 => {
                parts.push(std::mem::take(&mut part));
                continue;
            }
            _ => {}
        }
        part.push(c);
    }
    parts.push(part);
    let parts = parts.iter().filter(|part| !part.trim().is_empty());
    parts
        .flat_map(|part| expanded(part))
        .map(|rest| prefix.iter().cloned().chain(rest).collect())
        .collect()
}

/// A path of this crate from its root; none for a path of another crate.
fn absolute(path: Vec<String>, module: &[String], relative: bool) -> Option<Vec<String>> {
    let mut rest = path.as_slice();
    let mut base = match rest.first()?.as_str() {
        "crate" => vec![],
        "self" | "super" => module.to_vec(),
        // In Rust 2024 a plain first name may be a module of this one.
        _ if relative => return Some(module.iter().cloned().chain(path).collect()),
        _ => return None,
    };
    while let Some(first) = rest.first() {
        match first.as_str() {
            "super" => drop(base.pop()),
            "self" | "crate" => {}
            _ => break,
        }
        rest = &rest[1..];
    }
    base.extend(rest.iter().filter(|part| *part != "self").cloned());
    Some(base)
}

/// Every path of this crate that a file names, in `use` statements and in its code.
fn paths(code: &str, module: &[String]) -> Vec<Vec<String>> {
    let used = statements(code).into_iter().filter(|(public, _)| !public);
    let used = used.flat_map(|(_, tree)| expanded(&tree));
    let mut found: Vec<Vec<String>> =
        used.filter_map(|path| absolute(path, module, true)).collect();
    for root in ["crate::", "super::"] {
        for (at, _) in code.match_indices(root) {
            let text = &code[at..];
            let end = text.find(|c: char| !(c.is_alphanumeric() || c == '_' || c == ':'));
            let path = text[..end.unwrap_or(text.len())].trim_end_matches(':');
            let parts: Vec<String> = path.split("::").map(str::to_owned).collect();
            found.extend(absolute(parts, module, false));
        }
    }
    found
}
