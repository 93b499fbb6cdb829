//! The files that silversmith does not simply read as the others do. The rules are those of `docs/raw-data.md`.

use silversmith::format::encoding::Encoding;

use super::Odd;

const PLAIN: Odd = Odd { file: "", refused: None, settings: None, differs: &[], why: "" };

const DELIMITER: &str =
    "another delimiter: the file would be one column for ever. The reason names csv.delimiter";
const HEADER: &str =
    "no header: its first row would be lost as the names of columns. The reason names csv.header";
const WORKBOOK: &str = "an Excel workbook is no text";
const LATIN_1: &str = "not UTF-8, and no encoding is guessed: without csv.encoding that cell is rescued, the row goes on";
const UTF_16: &str =
    "a byte order mark says that it is UTF-16; DuckDB reads UTF-16 of the other byte order alone";
const BLANK: &str = "a blank line is no row. DuckDB reads a null where there is one column; else it has none, either";
const RAGGED: &str = "a row of another shape keeps what fits under its header, and is in _rescued as a whole. Python \
                      leaves it to the caller, and DuckDB refuses the file";

/// See the module.
pub(super) const ODD: &[Odd] = &[
    Odd {
        file: "agate/test_csv_sniff.csv",
        refused: Some("other-delimiter"),
        settings: Some(|dialect| dialect.delimiter = b'|'),
        why: DELIMITER,
        ..PLAIN
    },
    Odd {
        file: "csvkit/dummy.tsv",
        refused: Some("other-delimiter"),
        settings: Some(|dialect| dialect.delimiter = b'\t'),
        why: DELIMITER,
        ..PLAIN
    },
    Odd {
        file: "csvkit/sniff_limit.csv",
        refused: Some("other-delimiter"),
        settings: Some(|dialect| dialect.delimiter = b';'),
        why: DELIMITER,
        ..PLAIN
    },
    Odd {
        file: "csvkit/realdata/event-notification-rpt-lastmonth.txt",
        refused: Some("broken-quote"),
        settings: Some(|dialect| dialect.delimiter = b'|'),
        why: "with commas it is one column, in which nothing shows where a broken quote ends",
        ..PLAIN
    },
    Odd {
        file: "agate/test_no_header.csv",
        refused: Some("no-header"),
        settings: Some(|dialect| dialect.header = false),
        why: HEADER,
        ..PLAIN
    },
    Odd {
        file: "csvkit/no_header_row.csv",
        refused: Some("no-header"),
        settings: Some(|dialect| dialect.header = false),
        why: HEADER,
        ..PLAIN
    },
    Odd {
        file: "csvkit/no_header_row2.csv",
        refused: Some("no-header"),
        settings: Some(|dialect| dialect.header = false),
        why: HEADER,
        ..PLAIN
    },
    Odd {
        file: "csvkit/no_header_row3.csv",
        refused: Some("no-header"),
        settings: Some(|dialect| dialect.header = false),
        why: HEADER,
        ..PLAIN
    },
    Odd { file: "csvkit/dummy.xls", refused: Some("not-text"), why: WORKBOOK, ..PLAIN },
    Odd { file: "csvkit/dummy.xlsx", refused: Some("not-text"), why: WORKBOOK, ..PLAIN },
    Odd {
        file: "csvkit/realdata/ne_1033_data.xlsx",
        refused: Some("not-text"),
        why: WORKBOOK,
        ..PLAIN
    },
    Odd { file: "csvkit/sheets.xls", refused: Some("not-text"), why: WORKBOOK, ..PLAIN },
    Odd { file: "csvkit/sheets.xlsx", refused: Some("not-text"), why: WORKBOOK, ..PLAIN },
    Odd { file: "csvkit/test.xls", refused: Some("not-text"), why: WORKBOOK, ..PLAIN },
    Odd { file: "csvkit/test.xlsx", refused: Some("not-text"), why: WORKBOOK, ..PLAIN },
    Odd { file: "csvkit/test_skip_lines.xls", refused: Some("not-text"), why: WORKBOOK, ..PLAIN },
    Odd { file: "csvkit/test_skip_lines.xlsx", refused: Some("not-text"), why: WORKBOOK, ..PLAIN },
    Odd {
        file: "agate/test_latin1.csv",
        settings: Some(|dialect| dialect.encoding = Encoding::named("windows-1252").unwrap()),
        why: LATIN_1,
        ..PLAIN
    },
    Odd {
        file: "csvkit/test_latin1.csv",
        settings: Some(|dialect| dialect.encoding = Encoding::named("windows-1252").unwrap()),
        why: LATIN_1,
        ..PLAIN
    },
    Odd {
        file: "agate/empty.csv",
        differs: &["duckdb has 1 records, silversmith 0"],
        why: BLANK,
        ..PLAIN
    },
    Odd {
        file: "csvkit/empty.csv",
        differs: &["duckdb has 1 records, silversmith 0"],
        why: BLANK,
        ..PLAIN
    },
    Odd {
        file: "agate/test_utf16_big.csv",
        differs: &["duckdb refuses it: CSV Error on Line: 1"],
        why: UTF_16,
        ..PLAIN
    },
    Odd {
        file: "csvkit/test_utf16_big.csv",
        differs: &["duckdb refuses it: CSV Error on Line: 1"],
        why: UTF_16,
        ..PLAIN
    },
    Odd {
        file: "csv-spectrum/csvs/location_coordinates.csv",
        differs: &[
            r#"record 1: csv-spectrum ["1234567890","37�36'37.8\"N 121�2'17.9\"W","Modesto","Stanislaus"], silversmith ["2095257564","37�36'37.8\"N 121�2'17.9\"W","Modesto","Stanislaus"]"#,
        ],
        why: "the number is 2095257564 in the CSV file; csv-spectrum's JSON was changed without it",
        ..PLAIN
    },
    Odd {
        file: "csvkit/null_byte.csv",
        differs: &[
            r#"record 1: python ["\u0000","2","3"], silversmith ["","2","3"]"#,
            r#"record 1: duckdb ["\u0000","2","3"], silversmith ["","2","3"]"#,
            r#"row 1 rescued: {"_problem":"a NUL byte","a":"\u0000"}"#,
        ],
        why: "a NUL byte is no text that other engines take in a column, so its cell is rescued, and none is lost",
        ..PLAIN
    },
    Odd {
        file: "csvkit/test_empty_columns_long_row.csv",
        differs: &[r#"record 1: python ["","","",""], silversmith ["","",""]"#],
        why: "delimiters at the end of a row, and nothing behind them, are no fields; DuckDB reads it so, too",
        ..PLAIN
    },
    Odd {
        file: "csvkit/bad.csv",
        differs: &[
            r#"record 1: python ["1","27","","I'm too long!"], silversmith ["1","27",""]"#,
            r#"record 2: python ["","I'm too short!"], silversmith ["","I'm too short!",""]"#,
            "duckdb refuses it: CSV Error on Line: 2",
            r#"row 1 rescued: {"_problem":"4 fields where the header has 3","_record":["1","27","","I'm too long!"]}"#,
            r#"row 2 rescued: {"_problem":"2 fields where the header has 3","_record":["","I'm too short!"]}"#,
        ],
        why: RAGGED,
        ..PLAIN
    },
    Odd {
        file: "csvkit/bad_skip_lines.csv",
        differs: &[
            r#"record 1: python ["1","27","","I'm too long!"], silversmith ["1","27",""]"#,
            r#"record 2: python ["","I'm too short!"], silversmith ["","I'm too short!",""]"#,
            "duckdb refuses it: CSV Error on Line: 5",
            r#"row 1 rescued: {"_problem":"4 fields where the header has 3","_record":["1","27","","I'm too long!"]}"#,
            r#"row 2 rescued: {"_problem":"2 fields where the header has 3","_record":["","I'm too short!"]}"#,
        ],
        why: RAGGED,
        ..PLAIN
    },
    Odd {
        file: "csvkit/join_a_short.csv",
        differs: &[
            r#"record 1: python ["1","b"], silversmith ["1","b",""]"#,
            r#"record 2: python ["2"], silversmith ["2","",""]"#,
            "duckdb refuses it: CSV Error on Line: 2",
            r#"row 1 rescued: {"_problem":"2 fields where the header has 3","_record":["1","b"]}"#,
            r#"row 2 rescued: {"_problem":"1 fields where the header has 3","_record":["2"]}"#,
        ],
        why: RAGGED,
        ..PLAIN
    },
    Odd {
        file: "csvkit/test_empty_columns.csv",
        differs: &[
            r#"record 2: python ["","","c",""], silversmith ["","","c","",""]"#,
            "duckdb refuses it: CSV Error on Line: 3",
            r#"row 2 rescued: {"_problem":"4 fields where the header has 5","_record":["","","c",""]}"#,
        ],
        why: RAGGED,
        ..PLAIN
    },
    Odd {
        file: "csvkit/test_empty_columns_short_row.csv",
        differs: &[
            r#"record 1: python ["",""], silversmith ["","",""]"#,
            "duckdb refuses it: CSV Error on Line: 2",
            r#"row 1 rescued: {"_problem":"2 fields where the header has 3","_record":["",""]}"#,
        ],
        why: RAGGED,
        ..PLAIN
    },
    Odd {
        file: "csvkit/test_extra_header.csv",
        differs: &[
            r#"record 1: python ["1","2","3"], silversmith ["1","2","3",""]"#,
            "duckdb refuses it: CSV Error on Line: 2",
            r#"row 1 rescued: {"_problem":"3 fields where the header has 4","_record":["1","2","3"]}"#,
        ],
        why: RAGGED,
        ..PLAIN
    },
    Odd {
        file: "csvkit/test_join_short_rows.csv",
        differs: &[
            r#"record 1: python ["1","cat"], silversmith ["1","cat",""]"#,
            r#"record 2: python ["dog","c"], silversmith ["dog","c",""]"#,
            "duckdb refuses it: CSV Error on Line: 2",
            r#"row 1 rescued: {"_problem":"2 fields where the header has 3","_record":["1","cat"]}"#,
            r#"row 2 rescued: {"_problem":"2 fields where the header has 3","_record":["dog","c"]}"#,
        ],
        why: RAGGED,
        ..PLAIN
    },
];
