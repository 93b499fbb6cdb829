//! Keys: unknown ones, and the line of each in the file.

use std::ops::Range;

use toml::de::{DeTable, DeValue};

use super::Problem;
use super::reference;

/// Finds unknown keys, with their paths. `Err` when it is not TOML.
pub(super) fn check(text: &str) -> Result<Vec<(String, Problem)>, Vec<Problem>> {
    let table = DeTable::parse(text).map_err(|e| vec![syntax(text, &e)])?;
    let mut problems = Vec::new();
    walk(table.get_ref(), "", &mut |path, span, is_table| {
        let line = line_of(text, span.start);
        if !is_known(path, is_table) {
            let hint = nearest(path).map(|key| format!("; did you mean `{key}`?"));
            let message = format!("unknown key `{path}`{}", hint.unwrap_or_default());
            problems.push((path.to_owned(), Problem { line, message }));
            return false;
        }
        true
    });
    Ok(problems)
}

/// Visits every key with its path and span; the visitor says whether to go into a table.
fn walk(
    table: &DeTable<'_>,
    prefix: &str,
    visit: &mut impl FnMut(&str, Range<usize>, bool) -> bool,
) {
    for (key, value) in table {
        let path = if prefix.is_empty() {
            key.get_ref().to_string()
        } else {
            format!("{prefix}.{}", key.get_ref())
        };
        let tables: Vec<&DeTable<'_>> = match value.get_ref() {
            DeValue::Table(table) => vec![table],
            DeValue::Array(items) => items
                .iter()
                .filter_map(|item| match item.get_ref() {
                    DeValue::Table(table) => Some(table),
                    _ => None,
                })
                .collect(),
            _ => vec![],
        };
        if visit(&path, key.span(), !tables.is_empty()) {
            for table in tables {
                walk(table, &path, visit);
            }
        }
    }
}

fn is_known(path: &str, is_table: bool) -> bool {
    reference::keys().map(|key| key.name).any(|key| match key.split_once(".*") {
        Some((parent, below)) => path == parent || is_below(path, parent, below),
        None => key == path || (is_table && key.starts_with(&format!("{path}."))),
    })
}

/// Whether a path is the parent, a name that the user chose, and what is below it.
fn is_below(path: &str, parent: &str, below: &str) -> bool {
    let name = path.strip_prefix(parent).and_then(|rest| rest.strip_prefix('.'));
    let name = name.and_then(|rest| rest.strip_suffix(below));
    name.is_some_and(|name| !name.is_empty() && !name.contains('.'))
}

/// The known key most like an unknown one.
fn nearest(path: &str) -> Option<String> {
    let leaf = |key: &str| key.rsplit('.').next().unwrap_or(key).to_owned();
    let parents = reference::keys().map(|key| key.name).flat_map(|key| {
        key.match_indices('.').map(|(end, _)| key[..end].to_owned()).chain([key.to_owned()])
    });
    parents
        .filter(|key| !key.contains('*'))
        .map(|key| {
            let whole = strsim::damerau_levenshtein(path, &key);
            // The right key in the wrong section is near, too.
            let own = strsim::damerau_levenshtein(&leaf(path), &leaf(&key)) + 2;
            (whole.min(own), key)
        })
        .min()
        .filter(|(distance, _)| *distance <= 4)
        .map(|(_, key)| key)
}

/// A problem at a key; where the key is missing, at the closest table that is in the file.
pub(super) fn located(text: &str, key: &str, why: String) -> Problem {
    let mut best = (0, 0);
    if let Ok(table) = DeTable::parse(text) {
        find(table.get_ref(), key, "", &mut |matched, span| {
            if matched > best.0 {
                best = (matched, span.start);
            }
        });
    }
    Problem { line: line_of(text, best.1), message: format!("`{}`: {why}", plain(key)) }
}

/// `pipeline[1].silver.keys` → `pipeline.silver.keys`.
fn plain(key: &str) -> String {
    let mut out = String::new();
    let mut inside = false;
    for c in key.chars() {
        match c {
            '[' => inside = true,
            ']' => inside = false,
            c if !inside => out.push(c),
            _ => {}
        }
    }
    out
}

fn find(
    table: &DeTable<'_>,
    requested: &str,
    prefix: &str,
    found: &mut impl FnMut(usize, Range<usize>),
) {
    for (key, value) in table {
        let path = if prefix.is_empty() {
            key.get_ref().to_string()
        } else {
            format!("{prefix}.{}", key.get_ref())
        };
        match value.get_ref() {
            DeValue::Array(items) => {
                for (index, item) in items.iter().enumerate() {
                    if let DeValue::Table(inner) = item.get_ref() {
                        let path = format!("{path}[{index}]");
                        if reaches(requested, &path) {
                            found(path.len(), item.span());
                            find(inner, requested, &path, found);
                        }
                    }
                }
                if requested == path {
                    found(path.len(), key.span());
                }
            }
            DeValue::Table(inner) if reaches(requested, &path) => {
                found(path.len(), key.span());
                find(inner, requested, &path, found);
            }
            _ if requested == path => found(path.len(), key.span()),
            _ => {}
        }
    }
}

fn reaches(requested: &str, path: &str) -> bool {
    requested == path || requested.strip_prefix(path).is_some_and(|rest| rest.starts_with('.'))
}

/// The TOML parser's error, with the line.
pub(super) fn syntax(text: &str, error: &toml::de::Error) -> Problem {
    let line = line_of(text, error.span().map_or(0, |span| span.start));
    Problem { line, message: error.message().trim().replace('\n', " ") }
}

fn line_of(text: &str, offset: usize) -> usize {
    text.as_bytes().iter().take(offset).filter(|b| **b == b'\n').count() + 1
}
