//! Plain English in `src/`: comments and messages use the words of the field. Each rule is one line.

use std::fs;
use std::path::{Path, PathBuf};

/// What is not written, and what is written instead.
const NOT_BUT: &[(&str, &str)] = &[
    ("account", "detail"),
    ("anybody", "silversmith, another writer, the caller"),
    ("at hand", "complete, loaded"),
    ("be ended", "be deleted or released"),
    ("everybody", "all others"),
    ("facts", "snapshot properties, summary"),
    ("floor", "low watermark"),
    ("gave back", "released"),
    ("give back", "release"),
    ("given back", "released"),
    ("gives back", "releases"),
    ("giving back", "releasing"),
    ("in hand", "in flight"),
    ("is looked", "active voice: silversmith checks"),
    ("letter", "dead letter"),
    ("letters", "dead letters"),
    ("mark", "position, snapshot property"),
    ("marks", "snapshot properties"),
    ("mend", "fix"),
    ("mended", "fixed"),
    ("mends", "fixes"),
    ("nobody", "no other writer, no caller"),
    ("ours", "silversmith's, this worker's"),
    ("place", "index, location"),
    ("places", "indexes, locations"),
    ("round again", "replayed"),
    ("somebody", "silversmith, another writer, the caller"),
    ("take in", "ingest"),
    ("take up", "pick up"),
    ("taken in", "ingested"),
    ("taken up", "picked up"),
    ("takes in", "ingests"),
    ("takes up", "picks up"),
    ("tell", "report, show, distinguish"),
    ("telling", "reporting"),
    ("tells", "reports, shows, distinguishes"),
    ("theirs", "the other writer's"),
    ("told", "reported, dead-lettered, published"),
    ("took in", "ingested"),
    ("trouble", "failure, outage"),
    ("troubles", "failures"),
    ("wanted", "requested"),
    ("whoever", "the caller, the worker that"),
    ("work off", "drain"),
    ("worked off", "drained"),
];

/// Where such a word is the word of the field.
const ALLOWED: &[&str] = &[
    "<account>",
    "account id",
    "aws account",
    "byte order mark",
    "dead letter",
    "dead letters",
    "in place",
    "letters, digits",
    "lower-case letters",
];

/// A comment or a string of a source file.
struct Text {
    line: usize,
    words: String,
}

#[test]
fn plain_english() {
    let src = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut files: Vec<PathBuf> = Vec::new();
    super::sources(&src, &mut files);
    files.sort();
    let (mut texts, mut wrong) = (0, Vec::new());
    for path in files {
        let name = path.strip_prefix(&src).unwrap().display().to_string();
        for text in texts_of(&fs::read_to_string(&path).unwrap()) {
            texts += 1;
            for (words, instead) in dialect(&text.words) {
                wrong.push(format!("src/{name}:{}: `{words}`: write {instead}", text.line));
            }
        }
    }
    assert!(texts > 3_000, "only {texts} comments and strings were read");
    assert!(wrong.is_empty(), "{} findings:\n{}", wrong.len(), wrong.join("\n"));
}

#[test]
fn words_of_the_dialect_are_found_whole_and_across_lines() {
    let code = "/// It is given\n    /// back, as `told` says.\nfn told() {} // a dead\n// letter\n\
                let a = \"the letter \\\"a\\\"\"; let b = r#\"what we told\"#; let c = '\"'; \"told\";\n";
    let found: Vec<(usize, &str)> = texts_of(code)
        .iter()
        .flat_map(|text| dialect(&text.words).into_iter().map(|(words, _)| (text.line, words)))
        .collect();
    assert_eq!(found, [(1, "given back"), (5, "letter"), (5, "told")]);
    assert!(dialect("untold letterings of the AWS account, replaced in place").is_empty());
}

/// The words of the dialect in a text.
fn dialect(text: &str) -> Vec<(&'static str, &'static str)> {
    // What is in backticks is a name of the code.
    let prose: Vec<&str> = text.split('`').step_by(2).collect();
    let mut prose = prose.join(" ` ").to_lowercase();
    for allowed in ALLOWED {
        prose = prose.replace(allowed, "");
    }
    let is_part = |c: Option<char>| c.is_some_and(|c| c.is_alphanumeric() || c == '_' || c == '-');
    let says = |words: &str| {
        prose.match_indices(words).any(|(at, _)| {
            let (before, after) = (&prose[..at], &prose[at + words.len()..]);
            !is_part(before.chars().last()) && !is_part(after.chars().next())
        })
    };
    NOT_BUT.iter().filter(|(words, _)| says(words)).copied().collect()
}

/// The comments of a file, those of consecutive lines as one, and its strings of more than one word: a string of
/// one word is a key or a name.
fn texts_of(code: &str) -> Vec<Text> {
    let (mut found, mut line, mut rest): (Vec<Text>, usize, &str) = (Vec::new(), 1, code);
    let mut comment_ended = 0;
    while let Some(first) = rest.chars().next() {
        let length = if let Some(comment) = rest.strip_prefix("//") {
            let text = comment.split('\n').next().unwrap_or_default();
            let words = text.trim_start_matches(['/', '!']).trim();
            match found.last_mut() {
                Some(before) if comment_ended == line => {
                    before.words = format!("{} {words}", before.words);
                }
                _ => found.push(Text { line, words: words.to_owned() }),
            }
            comment_ended = line + 1;
            text.len() + 2
        } else if let Some((begin, text)) = string(rest) {
            if text.trim().contains(' ') {
                let words: Vec<&str> = text.split(['\\', '\n', ' ']).collect();
                found.push(Text { line, words: words.join(" ") });
                comment_ended = 0;
            }
            begin + text.len()
        } else if rest.starts_with("'\"'") {
            3
        } else {
            first.len_utf8()
        };
        line += rest[..length].matches('\n').count();
        rest = &rest[length..];
    }
    found
}

/// The string that code begins with, if it begins with one: the length of what is before its text, and the text up
/// to where its end is sure to be found as code again.
fn string(code: &str) -> Option<(usize, &str)> {
    let hashes = code.strip_prefix('r').map(|raw| raw.len() - raw.trim_start_matches('#').len());
    if let Some(hashes) = hashes.filter(|count| code[1 + count..].starts_with('"')) {
        let begin = 2 + hashes;
        let end = format!("\"{}", "#".repeat(hashes));
        let length = code[begin..].find(&end)? + end.len();
        return Some((begin, &code[begin..begin + length]));
    }
    let text = code.strip_prefix('"')?;
    let mut escaped = false;
    let end = text.find(|c: char| {
        let ends = c == '"' && !escaped;
        escaped = c == '\\' && !escaped;
        ends
    })?;
    Some((1, &text[..=end]))
}
