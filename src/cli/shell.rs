//! The shell of `sql`: statements over several lines, history, completion of tables and columns, Ctrl-C.

use std::collections::BTreeSet;

use clap::ValueEnum;
use rustyline::completion::Completer;
use rustyline::config::CompletionType;
use rustyline::error::ReadlineError;
use rustyline::highlight::Highlighter;
use rustyline::hint::Hinter;
use rustyline::history::FileHistory;
use rustyline::validate::{ValidationContext, ValidationResult, Validator};
use rustyline::{Config, Editor, Helper};

use super::asking::Asking;
use super::exit::message;
use super::output::{Format, say};
use crate::config::environment;
use crate::lake::Lake;
use crate::sql::statement::parse;

const HELP: &str = "\
SELECT …;  EXPLAIN ANALYZE …;  SHOW TABLES;  DESCRIBE namespace.table;   a statement ends with a semicolon
\\d           the tables
\\d TABLE     the columns of a table
\\format F    how rows are printed: table, csv, json
\\timing      whether the time that a statement took is shown
\\q           the end; so is Ctrl-D. Ctrl-C ends a statement";

/// Tables whose columns are completed, at most: each is read at the start.
const COMPLETED: usize = 100;

/// Lines of history that are kept.
const HISTORY: usize = 1_000;

const KEYWORDS: [&str; 28] = [
    "SELECT",
    "FROM",
    "WHERE",
    "GROUP BY",
    "ORDER BY",
    "HAVING",
    "LIMIT",
    "JOIN",
    "LEFT JOIN",
    "ON",
    "AS",
    "AND",
    "OR",
    "NOT",
    "IN",
    "IS NULL",
    "BETWEEN",
    "LIKE",
    "DISTINCT",
    "UNION ALL",
    "WITH",
    "CASE",
    "DESCRIBE",
    "SHOW TABLES",
    "EXPLAIN",
    "EXPLAIN ANALYZE",
    "VERSION AS OF",
    "TIMESTAMP AS OF",
];

/// What is typed, and what it means.
#[derive(Debug, PartialEq)]
enum Line {
    Nothing,
    Tables,
    Columns(String),
    Format(Format),
    Timing,
    Help,
    End,
    Unknown(String),
    Statements(String),
}

impl Line {
    fn of(text: &str) -> Self {
        let text = text.trim();
        let bare = text.trim_end_matches(';').trim_end();
        if bare.is_empty() {
            return Self::Nothing;
        }
        if ["exit", "quit"].iter().any(|end| bare.eq_ignore_ascii_case(end)) {
            return Self::End;
        }
        if !bare.starts_with('\\') {
            return Self::Statements(text.to_owned());
        }
        let (command, rest) = bare.split_once(char::is_whitespace).unwrap_or((bare, ""));
        match (command, rest.trim()) {
            ("\\q", _) => Self::End,
            ("\\?" | "\\h", _) => Self::Help,
            ("\\timing", _) => Self::Timing,
            ("\\d" | "\\dt", "") => Self::Tables,
            ("\\d", table) => Self::Columns(table.to_owned()),
            ("\\format", format) => match Format::from_str(format, true) {
                Ok(format) => Self::Format(format),
                Err(_) => Self::Unknown(bare.to_owned()),
            },
            _ => Self::Unknown(bare.to_owned()),
        }
    }
}

struct Shell<'a> {
    asking: Asking<'a>,
    format: Format,
    timing: bool,
}

/// Reads and answers until the end of the input.
pub(super) async fn run(asking: Asking<'_>, format: Format) -> anyhow::Result<()> {
    let mut shell = Shell { asking, format, timing: true };
    let words = words(&asking.wired.lake).await;
    let config = Config::builder()
        .completion_type(CompletionType::List)
        .max_history_size(HISTORY)?
        .auto_add_history(true)
        .build();
    let mut editor: Editor<Words, FileHistory> = Editor::with_config(config)?;
    editor.set_helper(Some(Words(words)));
    let history = environment::state_folder().map(|folder| folder.join("sql_history"));
    if let Some(history) = &history {
        // The first time there is none.
        drop(editor.load_history(history));
    }
    say("A statement ends with a semicolon; \\? for help, \\q to leave.")?;
    loop {
        // The editor waits on a thread: tasks of the lake go on meanwhile.
        let read = tokio::task::spawn_blocking(move || {
            let read = editor.readline("silversmith> ");
            (editor, read)
        });
        let (back, read) = read.await?;
        editor = back;
        match read {
            Ok(text) => match Line::of(&text) {
                Line::End => break,
                line => shell.obey(line).await?,
            },
            Err(ReadlineError::Interrupted) => {}
            Err(ReadlineError::Eof) => break,
            Err(error) => return Err(error.into()),
        }
    }
    if let Some(history) = &history {
        let saved = history.parent().map_or(Ok(()), std::fs::create_dir_all);
        if let Err(error) =
            saved.map_err(ReadlineError::from).and_then(|()| editor.save_history(history))
        {
            say(&format!("the history could not be kept in {}: {error}", history.display()))?;
        }
    }
    Ok(())
}

impl Shell<'_> {
    async fn obey(&mut self, line: Line) -> anyhow::Result<()> {
        match line {
            Line::Nothing | Line::End => {}
            Line::Help => say(HELP)?,
            Line::Unknown(text) => say(&format!("unknown command {text}; \\? lists the commands"))?,
            Line::Format(format) => {
                self.format = format;
                say("rows are printed in this format from now on")?;
            }
            Line::Timing => {
                self.timing = !self.timing;
                say(if self.timing { "timing is on" } else { "timing is off" })?;
            }
            Line::Tables => self.answer("SHOW TABLES").await?,
            Line::Columns(table) => self.answer(&format!("DESCRIBE {table}")).await?,
            Line::Statements(text) => self.answer(&text).await?,
        }
        Ok(())
    }

    /// Answers statements; one that fails, or that Ctrl-C ends, ends these, and not the shell.
    async fn answer(&self, text: &str) -> anyhow::Result<()> {
        let answered = tokio::select! {
            answered = self.statements(text) => answered,
            _ = tokio::signal::ctrl_c() => return say("cancelled"),
        };
        match answered {
            Ok(()) => Ok(()),
            Err(error) => say(message(&error).trim_end()),
        }
    }

    async fn statements(&self, text: &str) -> anyhow::Result<()> {
        let clock = self.asking.wired.lake.ambient();
        for asked in parse(text)? {
            let began = clock.now();
            let rows = self.asking.answer(asked, self.format).await?;
            if self.timing {
                let seconds = (clock.now() - began).as_seconds_f64();
                let plural = if rows == 1 { "" } else { "s" };
                say(&format!("{rows} row{plural}, {seconds:.3} s"))?;
            }
        }
        Ok(())
    }
}

/// The names of tables and of their columns. What cannot be read is not completed.
async fn words(lake: &Lake) -> BTreeSet<String> {
    let mut words: BTreeSet<String> = KEYWORDS.iter().map(|word| (*word).to_owned()).collect();
    let tables = lake.tables().await.unwrap_or_default();
    for name in tables.iter().take(COMPLETED) {
        if let Ok(Some(table)) = lake.find(name).await {
            let fields = table.schema().arrow().fields().iter();
            words.extend(fields.map(|field| field.name().clone()));
        }
    }
    words.extend(tables.iter().map(ToString::to_string));
    words
}

/// What is completed.
struct Words(BTreeSet<String>);

impl Words {
    /// Where the word at the end begins, and the words that begin like it.
    fn like(&self, line: &str) -> (usize, Vec<String>) {
        let is_part = |c: char| c.is_alphanumeric() || c == '_' || c == '.';
        let begin = line.char_indices().rev().find(|(_, c)| !is_part(*c));
        let begin = begin.map_or(0, |(at, c)| at + c.len_utf8());
        let word = line[begin..].to_lowercase();
        if word.is_empty() {
            return (begin, vec![]);
        }
        let begins = |known: &&String| known.to_lowercase().starts_with(&word);
        (begin, self.0.iter().filter(begins).cloned().collect())
    }
}

impl Completer for Words {
    type Candidate = String;

    fn complete(
        &self,
        line: &str,
        position: usize,
        _: &rustyline::Context<'_>,
    ) -> rustyline::Result<(usize, Vec<String>)> {
        Ok(self.like(line.get(..position).unwrap_or(line)))
    }
}

impl Validator for Words {
    fn validate(&self, context: &mut ValidationContext<'_>) -> rustyline::Result<ValidationResult> {
        Ok(match Line::of(context.input()) {
            Line::Statements(text) if !is_whole(&text) => ValidationResult::Incomplete,
            _ => ValidationResult::Valid(None),
        })
    }
}

/// Whether a statement ends here: with a semicolon that is in no text, name or comment.
fn is_whole(text: &str) -> bool {
    // A text that is not closed cannot be parsed, and one that is wrong elsewhere is for the planner to say.
    text.ends_with(';') && !matches!(parse(text), Err(error) if is_open(&error))
}

fn is_open(error: &crate::sql::SqlError) -> bool {
    crate::error::chain(error).contains("Unterminated")
}

impl Hinter for Words {
    type Hint = String;
}

impl Highlighter for Words {}

impl Helper for Words {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn commands_and_statements_are_told_apart() {
        assert_eq!(Line::of("  \\d "), Line::Tables);
        assert_eq!(Line::of("\\d silver.orders;"), Line::Columns("silver.orders".into()));
        assert_eq!(Line::of("\\format json"), Line::Format(Format::Json));
        assert_eq!(Line::of("\\format xml"), Line::Unknown("\\format xml".into()));
        assert_eq!(Line::of("exit;"), Line::End);
        assert_eq!(Line::of(" ; "), Line::Nothing);
        assert_eq!(Line::of("select 1;"), Line::Statements("select 1;".into()));
    }

    #[test]
    fn a_statement_goes_on_until_its_semicolon() {
        for (text, whole) in [
            ("SELECT 1", false),
            ("SELECT 1;", true),
            ("SELECT ';", false),
            ("SELECT ';'\n;", true),
            ("SELEKT 1;", true),
        ] {
            assert_eq!(is_whole(text), whole, "{text}");
        }
    }

    #[test]
    fn tables_and_columns_are_completed() {
        let words = ["silver.orders", "silver.customers", "order_id", "SELECT"];
        let words = Words(words.iter().map(|word| (*word).to_owned()).collect());
        assert_eq!(words.like("SELECT * FROM Silver.o"), (14, vec!["silver.orders".to_owned()]));
        assert_eq!(words.like("SELECT sum(ord"), (11, vec!["order_id".to_owned()]));
        assert_eq!(words.like("sel"), (0, vec!["SELECT".to_owned()]));
        assert_eq!(words.like("SELECT 日本 ").1, Vec::<String>::new());
    }
}
