//! Names that documents quote are those of the code: log lines, tests, reasons, properties, variables.

use std::collections::BTreeSet;

use silversmith::config::environment;
use silversmith::reason::Reason;

use super::{cells, code_spans, documents, files, lines, read, source};

#[test]
fn documented_log_lines_are_logged() {
    let (source, text) = (source(), read("docs/log-messages.md"));
    let table = text.split_once("## The lines").unwrap().1.split_once("\n## ").unwrap().0;
    let rows: Vec<&str> = table.lines().filter_map(|line| cells(line)?.first().copied()).collect();
    let messages: Vec<&str> = rows.into_iter().flat_map(code_spans).collect();
    assert!(messages.len() > 20, "{messages:?}");
    let missing: Vec<_> =
        messages.iter().filter(|line| !source.contains(&format!("\"{line}\""))).collect();
    assert!(missing.is_empty(), "not in src: {missing:?}");
}

/// A link whose text is one name, to a Rust file: that function is in that file.
#[test]
fn tests_that_documents_name_exist() {
    let (mut named, mut missing) = (0, Vec::new());
    for (path, text) in documents() {
        for line in lines(&text).into_iter().filter(|line| line.code.is_none()) {
            for (at, _) in line.text.match_indices("[`") {
                let Some((name, rest)) = line.text[at + 2..].split_once("`](") else { continue };
                let Some((target, _)) = rest.split_once(".rs)") else { continue };
                if !name.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_') {
                    continue;
                }
                named += 1;
                let target = format!("{target}.rs");
                let file = super::root().join(path.parent().unwrap()).join(&target);
                let code = std::fs::read_to_string(&file).unwrap_or_default();
                if !code.contains(&format!("fn {name}(")) {
                    missing.push(format!("{}:{}: {name} in {target}", path.display(), line.number));
                }
            }
        }
    }
    assert!(named > 30, "only {named} tests are named");
    assert!(missing.is_empty(), "{}", missing.join("\n"));
}

/// Every reason has a row in the tables of outcomes.
#[test]
fn every_reason_is_documented() {
    let text = read("docs/tables.md") + &read("docs/outcomes.md");
    let rows: Vec<&str> = text.lines().filter_map(cells).flatten().collect();
    let documented: BTreeSet<&str> = rows.into_iter().flat_map(code_spans).collect();
    let missing: Vec<_> =
        Reason::ALL.into_iter().filter(|reason| !documented.contains(reason.as_str())).collect();
    assert!(missing.is_empty(), "in no table: {missing:?}");
}

#[test]
fn documented_reasons_and_outcomes_are_those_of_the_code() {
    let source = source();
    let mut words = BTreeSet::new();
    let text = read("docs/outcomes.md");
    for cells in text.lines().filter_map(cells).filter(|cells| cells.len() >= 4) {
        // The words that are no key of the configuration and no command.
        let found = cells[2..].iter().take(2).flat_map(|cell| code_spans(cell));
        words.extend(found.filter(|word| !word.contains([' ', '=']) && *word != "visibility"));
    }
    assert!(words.len() > 12, "{words:?}");
    let known = |word: &&&str| source.contains(&format!("\"{word}\""));
    let missing: Vec<_> = words.iter().filter(|word| !known(word)).collect();
    assert!(missing.is_empty(), "not in src: {missing:?}");
}

/// `silversmith.…` in the documents: properties of snapshots.
#[test]
fn documented_properties_are_those_of_the_code() {
    const OF_A_POSITION: [&str; 3] = ["-table-uuid", "-snapshot-id", "-sequence-number"];
    let (source, text) = (source(), read("docs/tables.md"));
    let mut found = 0;
    for property in text.lines().flat_map(code_spans) {
        let Some(rest) = property.strip_prefix("silversmith.") else { continue };
        if rest == "toml" || rest.contains(['…', ' ']) {
            continue;
        }
        found += 1;
        let prefix = OF_A_POSITION.iter().find_map(|end| property.strip_suffix(end));
        let known = [Some(property), prefix].into_iter().flatten();
        let mut known = known.map(|name| format!("\"{name}\""));
        assert!(known.any(|name| source.contains(&name)), "{property} is not in src");
    }
    assert!(found >= 10, "only {found} properties are documented");
}

/// `SILVERSMITH_…`, wherever it is named, is a variable that is read.
#[test]
fn variables_that_are_named_are_read() {
    // Of the tests, the benchmark and the installer.
    const OTHERS: [&str; 6] = [
        "SILVERSMITH_TEST_",
        "SILVERSMITH_BENCH_",
        "SILVERSMITH_BLESS",
        "SILVERSMITH_REPOSITORY",
        "SILVERSMITH_VERSION",
        "SILVERSMITH_BIN",
    ];
    let texts = documents().into_iter().map(|(path, text)| (path.display().to_string(), text));
    let code = files("src", "rs").into_iter().map(|path| path.display().to_string());
    let code = code.map(|path| (path.clone(), read(&path)));
    let mut wrong = Vec::new();
    for (path, text) in texts.chain(code) {
        for (at, _) in text.match_indices("SILVERSMITH_") {
            let end = text[at..].find(|c: char| !(c.is_ascii_uppercase() || c == '_'));
            let name = &text[at..end.map_or(text.len(), |end| at + end)];
            let known = environment::ALL.iter().any(|variable| variable.name == name);
            if !known && name != "SILVERSMITH_" && !OTHERS.iter().any(|o| name.starts_with(o)) {
                wrong.push(format!("{path}: {name}"));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}
