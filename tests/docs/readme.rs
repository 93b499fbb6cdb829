//! The README is short, and what it shows is what the program prints.

use std::path::Path;
use std::time::{Duration, UNIX_EPOCH};

use super::{lines, read};
use crate::cli::Folder;

#[test]
fn the_readme_is_short() {
    let count = read("README.md").lines().count();
    assert!(count <= 120, "{count} lines");
}

/// A line with single spaces, and rules of tables of one width.
fn plain(line: &str) -> String {
    let words: Vec<&str> = line.split_whitespace().collect();
    if line.contains("+-") { "+---+".to_owned() } else { words.join(" ") }
}

#[test]
fn what_the_demo_prints_is_what_it_prints() {
    let readme = read("README.md");
    let shown: Vec<String> = lines(&readme)
        .into_iter()
        .filter(|line| line.code == Some("text"))
        .map(|line| plain(line.text))
        .collect();
    assert!(shown.len() >= 10, "{shown:?}");
    let snapshot = read("tests/cli/snapshots/demo.snap");
    let mut printed = snapshot.lines().map(plain);
    for line in shown {
        assert!(printed.any(|printed| printed == line), "the demo does not print, here: {line}");
    }
}

/// Makes a file look as if it had not changed for long.
fn settle(path: &Path) {
    let file = std::fs::File::options().write(true).open(path).unwrap();
    file.set_modified(UNIX_EPOCH + Duration::from_secs(1_767_225_600)).unwrap();
}

/// The four commands for a CSV of one's own, on the files that the README shows.
#[test]
fn the_four_commands_work_as_shown() {
    let folder = Folder::new("");
    std::fs::remove_file(folder.path().join("silversmith.toml")).unwrap();
    let header = "order_id,status,updated_at\n";
    let first = "1,ordered,2026-01-01T10:00:00Z\n2,ordered,2026-01-01T10:05:00Z\n";
    folder.write("raw/orders.csv", &format!("{header}{first}"));
    folder.write("raw/orders-2.csv", &format!("{header}2,shipped,2026-01-01T11:00:00Z\n"));
    for file in ["raw/orders.csv", "raw/orders-2.csv"] {
        settle(&folder.path().join(file));
    }
    let readme = read("README.md");
    let shown = lines(&readme).into_iter().filter(|line| line.code == Some("console"));
    let (mut printed, mut commands) = (String::new(), 0);
    for line in shown {
        let Some(command) = line.text.strip_prefix("$ silversmith ") else {
            let found = printed.lines().any(|printed| plain(printed) == plain(line.text));
            assert!(found, "not printed: {}\n{printed}", line.text);
            continue;
        };
        commands += 1;
        // One argument may be in quotes.
        let (words, quoted) = command.split_once('\'').unwrap_or((command, ""));
        let args = words.split_whitespace().chain(quoted.strip_suffix('\''));
        let output = folder.run(&args.collect::<Vec<_>>());
        printed =
            [output.stdout, output.stderr].map(|out| String::from_utf8(out).unwrap()).concat();
    }
    assert_eq!(commands, 4);
}
