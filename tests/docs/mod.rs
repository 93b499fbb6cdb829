//! The documentation agrees with the code: tables that are made from it, links, names, words.
//!
//! `SILVERSMITH_BLESS=1 cargo test --all-features docs::` rewrites what is made from the code.

mod generated;
mod links;
mod names;
mod readme;
mod words;

use std::path::{Path, PathBuf};

/// The root of the repository.
fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn read(file: &str) -> String {
    let path = root().join(file);
    std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// Files of the repository with this ending, relative to its root. What is built or hidden is left out.
fn files(folder: &str, ending: &str) -> Vec<PathBuf> {
    let is_ours = |entry: &walkdir::DirEntry| {
        let name = entry.file_name().to_string_lossy();
        entry.depth() == 0 || !(name.starts_with('.') || name == "target")
    };
    let walk = walkdir::WalkDir::new(root().join(folder)).sort_by_file_name();
    let found: Vec<PathBuf> = walk
        .into_iter()
        .filter_entry(is_ours)
        .map(|entry| entry.unwrap().into_path())
        .filter(|path| path.extension().is_some_and(|e| e == ending))
        .map(|path| path.strip_prefix(root()).unwrap().to_owned())
        .collect();
    assert!(!found.is_empty(), "no .{ending} below {folder}");
    found
}

/// Every Markdown file with its text.
fn documents() -> Vec<(PathBuf, String)> {
    let with_text = |path: PathBuf| {
        let text = read(&path.display().to_string());
        (path, text)
    };
    files("", "md").into_iter().map(with_text).collect()
}

/// All of `src/`, with literals that go over several lines joined.
fn source() -> String {
    let texts = files("src", "rs").into_iter().map(|path| read(&path.display().to_string()));
    let mut joined = String::new();
    for line in texts.collect::<Vec<_>>().join("\n").lines() {
        match line.strip_suffix('\\') {
            Some(begun) => joined.push_str(begun),
            None if joined.ends_with('\n') || joined.is_empty() => {
                joined.push_str(line);
                joined.push('\n');
            }
            None => {
                joined.push_str(line.trim_start());
                joined.push('\n');
            }
        }
    }
    joined
}

/// A line of Markdown and what it is part of.
struct Line<'a> {
    number: usize,
    text: &'a str,
    /// The language of the block of code around it.
    code: Option<&'a str>,
}

fn lines(text: &str) -> Vec<Line<'_>> {
    let mut code = None;
    let mut lines = Vec::new();
    for (index, line) in text.lines().enumerate() {
        let fence = line.trim_start().strip_prefix("```");
        if let (Some(language), None) = (fence, code) {
            code = Some(language.trim());
            continue;
        }
        if fence.is_some() {
            code = None;
            continue;
        }
        lines.push(Line { number: index + 1, text: line, code });
    }
    lines
}

/// The line without what stands in `backticks`.
fn without_code(line: &str) -> String {
    line.split('`').step_by(2).collect::<Vec<_>>().join("`")
}

/// What stands in `backticks` in a line.
fn code_spans(line: &str) -> impl Iterator<Item = &str> {
    line.split('`').skip(1).step_by(2)
}

/// The cells of a row of a table; none for other lines and for the rule below the header.
fn cells(line: &str) -> Option<Vec<&str>> {
    let inner = line.strip_prefix('|')?.strip_suffix('|')?;
    let cells: Vec<&str> = inner.split('|').map(str::trim).collect();
    let is_rule = cells.iter().all(|cell| cell.trim_matches([':', '-']).is_empty());
    (!is_rule).then_some(cells)
}
