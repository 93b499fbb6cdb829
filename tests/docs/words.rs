//! Plain English: one word for one thing, and the word of the field.

use super::{documents, lines, without_code};

/// What is not written, and what is written instead.
const NOT_BUT: &[(&str, &str)] = &[
    ("taken in", "ingested"),
    ("takes in", "ingests"),
    ("give back", "release"),
    ("given back", "released"),
    ("gives back", "releases"),
    ("in trouble", "failing"),
    ("trouble", "failure, outage"),
    ("mend", "fix"),
    ("mended", "fixed"),
    ("told", "reported, dead-lettered, published"),
    ("somebody", "silversmith, another writer, the caller"),
    ("nobody", "no one thing: name what does not"),
    ("whoever", "the caller, the sender"),
    ("in hand", "in flight"),
    ("work off", "drain"),
    ("worked off", "drained"),
    ("sent round again", "replayed"),
    ("the mark", "position, snapshot properties"),
    ("marks", "snapshot properties"),
    ("the letter", "the dead letter"),
    ("the letters", "the dead letters"),
];

/// Whether a text says these words, as whole words.
fn says(text: &str, words: &str) -> bool {
    let text = text.to_lowercase();
    let is_part = |c: Option<char>| c.is_some_and(|c| c.is_alphanumeric() || c == '_' || c == '-');
    text.match_indices(words).any(|(at, _)| {
        let (before, after) = (&text[..at], &text[at + words.len()..]);
        !is_part(before.chars().last()) && !is_part(after.chars().next())
    })
}

#[test]
fn documents_use_the_words_of_the_field() {
    let mut wrong = Vec::new();
    for (path, text) in documents() {
        for line in lines(&text).into_iter().filter(|line| line.code.is_none()) {
            let prose = without_code(line.text);
            for (words, instead) in NOT_BUT.iter().filter(|(words, _)| says(&prose, words)) {
                wrong.push(format!(
                    "{}:{}: `{words}`: write {instead}",
                    path.display(),
                    line.number
                ));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn words_are_found_whole() {
    assert!(says("It was told.", "told") && !says("untold stories", "told"));
    assert!(says("Read the letter", "the letter") && !says("read the lettering", "the letter"));
}
