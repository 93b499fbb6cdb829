//! CSV in many dialects: silversmith, Python's `csv` and DuckDB read the same.

use std::process::Command;

use arrow::array::{Array, AsArray};
use rand::rngs::StdRng;
use rand::seq::IndexedRandom;
use rand::{Rng, SeedableRng};
use serde_json::json;
use silversmith::format::csv::Dialect;
use silversmith::format::{self, FormatSettings, Limits};

use super::python;

/// Characters that are special in one dialect or another, and some that never are.
const CHARACTERS: [char; 14] =
    ['a', 'b', '1', ',', ';', '|', '\t', '"', '\'', ' ', '\n', 'é', '名', '.'];

struct File {
    dialect: Dialect,
    line_end: &'static str,
    rows: Vec<Vec<String>>,
}

impl File {
    fn random(random: &mut StdRng) -> Self {
        let mut choose = |bytes: &[u8]| *bytes.choose(random).unwrap();
        let (delimiter, quote) = (choose(b",;\t|"), choose(b"\"'"));
        let line_end = if choose(b"01") == b'0' { "\n" } else { "\r\n" };
        let width = random.random_range(2..5);
        let cell = |random: &mut StdRng| -> String {
            (0..random.random_range(0..7)).map(|_| *CHARACTERS.choose(random).unwrap()).collect()
        };
        let rows = (0..random.random_range(1..13))
            .map(|_| (0..width).map(|_| cell(random)).collect())
            .collect();
        let dialect = Dialect { delimiter, quote: Some(quote), ..Dialect::default() };
        Self { dialect, line_end, rows }
    }

    fn quote(&self) -> char {
        char::from(self.dialect.quote.unwrap())
    }

    fn text(&self, random: &mut StdRng) -> String {
        let (delimiter, quote) = (char::from(self.dialect.delimiter), self.quote());
        let mut cell = |text: &String| {
            let special = [delimiter, quote, '\n', '\r'];
            match text.contains(special) || random.random_bool(0.2) {
                true => {
                    format!("{quote}{}{quote}", text.replace(quote, &quote.to_string().repeat(2)))
                }
                false => text.clone(),
            }
        };
        let header: Vec<String> = (0..self.rows[0].len()).map(|n| format!("h{n}")).collect();
        let mut lines = vec![header];
        lines.extend(self.rows.iter().map(|row| row.iter().map(&mut cell).collect()));
        let delimiter = delimiter.to_string();
        lines.iter().map(|line| line.join(&delimiter) + self.line_end).collect()
    }

    /// What silversmith reads. Empty texts and nulls are the same here, as the others do not tell them apart.
    fn read(&self, text: &str) -> Vec<Vec<String>> {
        let settings = FormatSettings::Csv(self.dialect.clone());
        let input = Box::new(std::io::Cursor::new(text.as_bytes().to_vec()));
        let mut reader = format::open(&settings, input, Limits::default()).unwrap();
        let mut rows = vec![];
        while let Some(batch) = reader.next_batch().unwrap() {
            let cell = |column: &arrow::array::ArrayRef, row: usize| {
                let column = column.as_string::<i32>();
                if column.is_null(row) { String::new() } else { column.value(row).to_owned() }
            };
            let row = |row: usize| batch.columns.iter().map(|column| cell(column, row)).collect();
            rows.extend((0..batch.rows()).map(row));
        }
        rows
    }
}

#[test]
fn python_and_duckdb_read_the_same_in_every_dialect() {
    let folder = tempfile::tempdir().unwrap();
    let mut random = StdRng::seed_from_u64(7);
    let mut files = vec![];
    for number in 0..200 {
        let file = File::random(&mut random);
        let text = file.text(&mut random);
        assert_eq!(file.read(&text), file.rows, "{text}");
        let name = format!("{number}.csv");
        std::fs::write(folder.path().join(&name), &text).unwrap();
        files.push(json!({
            "file": name, "delimiter": char::from(file.dialect.delimiter).to_string(),
            "quote": file.quote().to_string(), "line_end": file.line_end,
            "width": file.rows[0].len(), "rows": file.rows,
        }));
    }
    std::fs::write(folder.path().join("files.json"), json!(files).to_string()).unwrap();
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/engines/dialects.py");
    let output = Command::new(python()).arg(script).arg(folder.path()).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
}
