//! Links resolve, every document is in the book, lines are short.

use std::collections::{BTreeSet, HashMap};
use std::path::{Component, Path, PathBuf};

use super::{documents, files, lines, read, root, without_code};

/// The targets of the links in a line. What stands in backticks is no link, a link's own text aside.
fn targets(line: &str) -> Vec<String> {
    let mut found = Vec::new();
    for (at, _) in line.match_indices("](") {
        let inside_code = line[..at].matches('`').count() % 2 == 1;
        if let (false, Some(end)) = (inside_code, line[at..].find(')')) {
            found.push(line[at + 2..at + end].to_owned());
        }
    }
    found
}

/// The anchor that a heading gets.
fn slug(heading: &str) -> String {
    let text = heading.trim_start_matches('#').trim().to_lowercase();
    let kept = text.chars().filter(|c| c.is_alphanumeric() || matches!(c, ' ' | '-' | '_'));
    kept.map(|c| if c == ' ' { '-' } else { c }).collect()
}

fn anchors(text: &str) -> BTreeSet<String> {
    let mut seen: HashMap<String, usize> = HashMap::new();
    let headings = lines(text).into_iter().filter(|line| line.code.is_none());
    headings
        .filter(|line| line.text.starts_with('#'))
        .map(|line| {
            let slug = slug(line.text);
            let times = seen.entry(slug.clone()).or_default();
            *times += 1;
            if *times == 1 { slug } else { format!("{slug}-{}", *times - 1) }
        })
        .collect()
}

/// The path without `.` and `..`.
fn normal(path: &Path) -> PathBuf {
    let mut out = PathBuf::new();
    for part in path.components() {
        match part {
            Component::ParentDir => assert!(out.pop(), "{} leaves the repository", path.display()),
            Component::CurDir => {}
            part => out.push(part),
        }
    }
    out
}

/// What is wrong with a link of a document.
fn fault(document: &Path, target: &str) -> Option<String> {
    if target.contains("://") || target.starts_with("mailto:") {
        return None;
    }
    let (file, anchor) = target.split_once('#').unwrap_or((target, ""));
    let path = match file {
        "" => document.to_owned(),
        file => normal(&document.parent().unwrap().join(file)),
    };
    if !root().join(&path).exists() {
        return Some(format!("{} is not there", path.display()));
    }
    if anchor.is_empty() || path.extension().is_none_or(|e| e != "md") {
        return None;
    }
    let known = anchors(&read(&path.display().to_string()));
    (!known.contains(anchor)).then(|| format!("{} has no #{anchor}", path.display()))
}

#[test]
fn every_link_resolves() {
    let (mut links, mut wrong) = (0, Vec::new());
    for (path, text) in documents() {
        for line in lines(&text).into_iter().filter(|line| line.code.is_none()) {
            for target in targets(line.text) {
                links += 1;
                if let Some(why) = fault(&path, &target) {
                    wrong.push(format!("{}:{}: {target}: {why}", path.display(), line.number));
                }
            }
        }
    }
    assert!(links > 200, "only {links} links found");
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn every_document_is_in_the_book() {
    let summary = read("docs/SUMMARY.md");
    let listed: BTreeSet<PathBuf> = summary
        .lines()
        .flat_map(targets)
        .map(|target| normal(&Path::new("docs").join(target)))
        .collect();
    let there: BTreeSet<PathBuf> = files("docs", "md").into_iter().collect();
    let mut there_but_the_summary = there;
    there_but_the_summary.remove(Path::new("docs/SUMMARY.md"));
    assert_eq!(listed, there_but_the_summary);
}

/// At most 120 characters, outside tables, links and what programs print.
#[test]
fn lines_are_short() {
    const LONGEST: usize = 120;
    let mut wrong = Vec::new();
    for (path, text) in documents() {
        for line in lines(&text) {
            let printed = matches!(line.code, Some("text" | "console"));
            let is_link = line.code.is_none() && !targets(line.text).is_empty();
            let is_table = line.code.is_none() && line.text.starts_with('|');
            let length = line.text.chars().count();
            if length > LONGEST && !(printed || is_link || is_table) {
                wrong.push(format!("{}:{}: {length}", path.display(), line.number));
            }
        }
    }
    assert!(wrong.is_empty(), "longer than {LONGEST} characters:\n{}", wrong.join("\n"));
}

#[test]
fn links_and_anchors_are_found() {
    assert_eq!(targets("see [a](b.md#c), `[no](x)` and [`d`](e.rs)"), ["b.md#c", "e.rs"]);
    assert_eq!(slug("## 8. What `S3 Tables` is, particularly"), "8-what-s3-tables-is-particularly");
    let known = anchors("# A\n```sh\n# no heading\n```\n## A\n");
    assert_eq!(known, BTreeSet::from(["a".to_owned(), "a-1".to_owned()]));
    assert!(fault(Path::new("docs/x.md"), "../README.md#no-such-heading").is_some());
    assert!(fault(Path::new("docs/x.md"), "../no/such/file").is_some());
    assert_eq!(without_code("a `b` c"), "a ` c");
}
