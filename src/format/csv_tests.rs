//! The oddities of CSV files: what each becomes (docs/raw-data.md has them as a table).

use std::io::Cursor;

use arrow::array::{Array, AsArray};
use serde_json::{Value, json};

use super::csv::Dialect;
use super::encoding::Encoding;
use super::{FormatError, FormatSettings, Limits, open};

/// The rows of a file, each as its cells and its misfit.
type Rows = Vec<(Vec<Option<String>>, Option<Value>)>;

fn read_in(dialect: &Dialect, bytes: &[u8]) -> Result<(Vec<String>, Rows), FormatError> {
    let input = Box::new(Cursor::new(bytes.to_vec()));
    let mut reader = open(&FormatSettings::Csv(dialect.clone()), input, Limits::default())?;
    let (names, mut rows) = (reader.names().to_vec(), vec![]);
    while let Some(batch) = reader.next_batch()? {
        assert_eq!(batch.first_row, rows.len() as u64 + 1);
        for row in 0..batch.rows() {
            let cell = |column: &arrow::array::StringArray| {
                column.is_valid(row).then(|| column.value(row).to_owned())
            };
            let cells = batch.columns.iter().map(|column| cell(column.as_string::<i32>()));
            let misfit = cell(&batch.misfits).map(|text| serde_json::from_str(&text).unwrap());
            rows.push((cells.collect(), misfit));
        }
    }
    Ok((names, rows))
}

fn read(bytes: impl AsRef<[u8]>) -> Rows {
    read_in(&Dialect::default(), bytes.as_ref()).unwrap().1
}

/// A row that fits.
fn row(cells: &[&str]) -> (Vec<Option<String>>, Option<Value>) {
    (cells.iter().map(|cell| Some((*cell).to_owned())).collect(), None)
}

/// A row of which something does not fit; `-` is a null.
fn odd(cells: &[&str], misfit: Value) -> (Vec<Option<String>>, Option<Value>) {
    let cell = |cell: &&str| (*cell != "-").then(|| (*cell).to_owned());
    (cells.iter().map(cell).collect(), Some(misfit))
}

#[test]
fn rows_of_too_many_or_too_few_fields_keep_what_fits() {
    assert_eq!(
        read("id,name,city\n1,a\n2,b,Bath,more\n3,c,Bath\n"),
        [
            odd(
                &["1", "a", "-"],
                json!({"_problem": "2 fields where the header has 3", "_record": ["1", "a"]})
            ),
            odd(
                &["2", "b", "Bath"],
                json!({"_problem": "4 fields where the header has 3", "_record": ["2", "b", "Bath", "more"]})
            ),
            row(&["3", "c", "Bath"]),
        ]
    );
}

#[test]
fn delimiters_at_the_end_of_rows_are_no_fields() {
    let rows = read("id,name\n1,a,\n2,b,,,\n3,c,\"\"\n");
    assert_eq!(rows[..2], [row(&["1", "a"]), row(&["2", "b"])]);
    assert!(rows[2].1.is_some(), "an empty text is one");
}

/// Where rows end with a delimiter, quotes are what they are elsewhere.
#[test]
fn delimiters_at_the_end_of_rows_do_not_change_what_quotes_mean() {
    assert_eq!(
        read("id,text\n1,\"Dear,\nhello, world\nbye\",\n2,x\n"),
        [row(&["1", "Dear,\nhello, world\nbye"]), row(&["2", "x"])]
    );
    let (unclosed, text) = ("a quote that is not closed", "text after a closing quote");
    assert_eq!(
        read("id,qty,note\n3,1,\"6, inch,\n4,2,\"8 inch,\n5,9,fine,\n"),
        [
            odd(&["-", "-", "-"], json!({"_problem": text, "_text": "3,1,\"6, inch,"})),
            odd(&["4", "2", "-"], json!({"_problem": unclosed, "note": "\"8 inch,"})),
            row(&["5", "9", "fine"]),
        ]
    );
}

#[test]
fn bytes_that_are_not_utf_8_cost_their_cell() {
    let rows = read(b"id,name,city\n1,Smith,Bath\n2,M\xFCller,K\xF6ln\n3,a\0b,Bath\n");
    assert_eq!(
        rows,
        [
            row(&["1", "Smith", "Bath"]),
            odd(
                &["2", "-", "-"],
                json!({"_problem": "not UTF-8", "name": {"base64": "TfxsbGVy"}, "city": {"base64": "S/Zsbg=="}})
            ),
            odd(&["3", "-", "Bath"], json!({"_problem": "a NUL byte", "name": "a\u{0}b"})),
        ]
    );
    let half = read(b"a,b\n\"\xC3\",\"\xBC\"\n");
    assert_eq!(half[0].0, [None, None], "no character is made of two fields");
}

/// The two files of a public report (shared cases): a feed in which inches are written with a quote.
#[test]
fn an_unclosed_quote_costs_its_cell_and_no_row_behind_it() {
    let broken = |id: &str, qty: &str, problem: &str, note: &str| {
        odd(&[id, qty, "-"], json!({"_problem": problem, "note": note}))
    };
    let (unclosed, text) = ("a quote that is not closed", "text after a closing quote");
    assert_eq!(
        read("id,qty,note\n1,5,fine\n2,7,6 inch pipe\n3,1,\"6 inch pipe\n4,2,fine\n5,9,fine\n"),
        [
            row(&["1", "5", "fine"]),
            row(&["2", "7", "6 inch pipe"]),
            broken("3", "1", unclosed, "\"6 inch pipe"),
            row(&["4", "2", "fine"]),
            row(&["5", "9", "fine"]),
        ]
    );
    assert_eq!(
        read("id,qty,note\n2,7,\"6 inch pipe\n3,1,fine\n5,9,\"8 inch pipe\n6,3,fine\n"),
        [
            broken("2", "7", text, "\"6 inch pipe"),
            row(&["3", "1", "fine"]),
            broken("5", "9", unclosed, "\"8 inch pipe"),
            row(&["6", "3", "fine"]),
        ]
    );
}

#[test]
fn of_a_broken_record_that_is_not_one_line_nothing_is_sure() {
    let lines = "1,\"He said \"hi\", he\nand left";
    assert_eq!(
        read(format!("id,text,n\n{lines}\n2,b,3\n")),
        [
            odd(
                &["-", "-", "-"],
                json!({"_problem": "text after a closing quote", "_text": lines})
            ),
            row(&["2", "b", "3"]),
        ]
    );
}

#[test]
fn a_file_is_refused_where_nothing_shows_the_end_of_a_record() {
    for bytes in
        ["text\na\n\"b\nc\n", "id,text\n1,\"He said \"hi\"\nand left\n", "id,\"text\n1,2\n"]
    {
        let error = read_in(&Dialect::default(), bytes.as_bytes()).unwrap_err();
        assert!(matches!(error, FormatError::BrokenQuote { .. }), "{bytes:?}: {error}");
    }
}

#[test]
fn quotes_that_pair_up_across_records_are_never_silent() {
    let rows = read("id,qty,note\n2,7,\"pipe\n3,1,fine\n5,9,plate\"\n6,3,fine\n");
    let cells = ["2", "7", "pipe\n3,1,fine\n5,9,plate"];
    let problem = json!({"_problem": "quotes around 3 lines, each like a record"});
    assert_eq!(rows, [odd(&cells, problem), row(&["6", "3", "fine"])]);
    let rows = read("id,qty,note\n2,7,\"pipe\n3,1,fine\n5,9,plate\",x\n6,3,fine\n");
    assert_eq!(rows.len(), 4, "with another number of fields it is no record");
    assert_eq!(rows[1], row(&["3", "1", "fine"]));
}

#[test]
fn an_unclosed_quote_in_a_long_file_costs_one_row() {
    let mut bytes = b"id,note\n1,\"6 inch\n".to_vec();
    for n in 2..600_000 {
        bytes.extend_from_slice(format!("{n},fine\n").as_bytes());
    }
    let rows = read(bytes);
    assert_eq!(rows.len(), 599_999);
    assert_eq!(rows.iter().filter(|(_, misfit)| misfit.is_some()).count(), 1);
}

#[test]
fn quotes_inside_fields_are_read_as_written() {
    assert_eq!(
        read("a,b\n\"say \"\"hi\"\"\",6\" pipe\n\"x\" ,\"\"\"\"\n\"a,b\",\"c\r\nd\"\n"),
        [row(&["say \"hi\"", "6\" pipe"]), row(&["x ", "\""]), row(&["a,b", "c\r\nd"])]
    );
}

#[test]
fn the_first_record_says_what_ends_records() {
    for (bytes, expected) in [
        ("a,b\r1,2\r3,4", vec![row(&["1", "2"]), row(&["3", "4"])]),
        ("a,b\n1,x\ry\n3,4\n", vec![row(&["1", "x\ry"]), row(&["3", "4"])]),
        ("a,b\r\n1,2\r\n\r\n3,4\n", vec![row(&["1", "2"]), row(&["3", "4"])]),
        ("\n\na,b\n\n1,2\n\n", vec![row(&["1", "2"])]),
    ] {
        assert_eq!(read(bytes), expected, "{bytes:?}");
    }
}

#[test]
fn a_header_in_the_middle_is_no_row_of_data() {
    assert_eq!(
        read("a,b\n1,2\na,b\n3,4\n"),
        [
            row(&["1", "2"]),
            odd(&["-", "-"], json!({"_problem": "the header again", "_record": ["a", "b"]})),
            row(&["3", "4"]),
        ]
    );
    assert_eq!(read("a\na\n"), [row(&["a"])], "one value can be a cell's");
}

#[test]
fn a_quoted_empty_cell_is_an_empty_text() {
    let bytes = b"a,b,c\n,\"\",NA\n\\N,\"NA\",x\n";
    let cells = |null_values: &[&str]| {
        let null_values = null_values.iter().map(|text| (*text).to_owned()).collect();
        let dialect = Dialect { null_values, ..Dialect::default() };
        let rows = read_in(&dialect, bytes).unwrap().1;
        rows.into_iter().flat_map(|(cells, _)| cells).map(|c| c.unwrap_or("-".into())).collect()
    };
    let all = |null_values: &[&str]| -> Vec<String> { cells(null_values) };
    assert_eq!(all(&[""]), ["-", "", "NA", "\\N", "NA", "x"]);
    assert_eq!(all(&["", "\"\""]), ["-", "-", "NA", "\\N", "NA", "x"]);
    assert_eq!(all(&["NA", "\\N"]), ["", "", "-", "-", "-", "x"]);
}

#[test]
fn another_quote_an_escape_or_none_are_settings() {
    let dialect = |quote, escape| Dialect {
        quote,
        escape,
        null_values: vec!["\\N".to_owned()],
        ..Dialect::default()
    };
    for (quote, escape, bytes, expected) in [
        (Some(b'\''), None, "a,b\n'x,''y',\"z\n", vec![row(&["x,'y", "\"z"])]),
        (None, None, "a,b\n\"x,y\"\n", vec![row(&["\"x", "y\""])]),
        (Some(b'"'), Some(b'\\'), "a,b\n\"x\\\"y\",1\\,2\n", vec![row(&["x\"y", "1,2"])]),
        (None, Some(b'\\'), "a,b\nx\\\ny,\\\\\n", vec![row(&["x\ny", "\\"])]),
        (Some(b'"'), Some(b'\\'), "a,b\n\\N,\"\\N\"\n", vec![(vec![None, Some("N".into())], None)]),
    ] {
        let rows = read_in(&dialect(quote, escape), bytes.as_bytes()).unwrap().1;
        assert_eq!(rows, expected, "{bytes:?}");
    }
}

#[test]
fn a_file_of_another_kind_is_named() {
    for (bytes, expected) in [
        (&[0x04, 0x22, 0x4D, 0x18, 0, 0][..], "lz4-compressed"),
        (b"PK\x03\x04\x14\0\x06\0", "zip archive"),
        (b"i\0d\0,\0", "NUL byte"),
        (b"n\xFCmber\n1\n", "its header is not; set csv.encoding"),
    ] {
        let error = read_in(&Dialect::default(), bytes).unwrap_err();
        assert_eq!(error.reason(), crate::reason::Reason::NotText);
        assert!(error.to_string().contains(expected), "{error}");
    }
}

/// Text that means nothing in its encoding costs its cell, and nothing of it is lost.
#[test]
fn bytes_that_mean_nothing_in_an_encoding_cost_their_cell() {
    let encoding = Encoding::named("shift-jis").unwrap();
    let dialect = Dialect { encoding, ..Dialect::default() };
    let (names, rows) = read_in(&dialect, b"\x96\xBC,n\n\x91\x4F,1\na\xFDb,2\n").unwrap();
    assert_eq!(names[1], "n");
    assert_eq!(rows[0], row(&["前", "1"]));
    assert_eq!(rows[1].0, [None, Some("2".to_owned())]);
    assert_eq!(rows[1].1.as_ref().unwrap()[&names[0]], json!({"base64": "Yf9GRGI="}));
}

#[test]
fn a_byte_order_mark_counts_at_the_start_only() {
    let (names, rows) = read_in(&Dialect::default(), b"\xEF\xBB\xBFid\n\xEF\xBB\xBF1\n").unwrap();
    assert_eq!((names, rows), (vec!["id".to_owned()], vec![row(&["\u{FEFF}1"])]));
}

/// Lines and comments before and between records are skipped as text, however that is encoded and packed.
#[test]
fn lines_and_comments_are_skipped_after_unpacking_and_decoding() {
    let dialect = Dialect { skip_lines: 1, comment: Some(b'#'), ..Dialect::default() };
    let text = "of \"today\r\nsep=;\r\n# a; \"b\r\nid;name\r\n1;a\r\n#2;\"b\r\n\r\n3;\"two\r\n# lines\"\r\n# end";
    let utf_16 = |text: &str| -> Vec<u8> {
        let units = std::iter::once(0xFEFF).chain(text.encode_utf16());
        units.flat_map(u16::to_le_bytes).collect()
    };
    for bytes in [
        text.as_bytes().to_vec(),
        utf_16(text),
        zstd::encode_all(text.as_bytes(), 1).unwrap(),
        zstd::encode_all(utf_16(text).as_slice(), 1).unwrap(),
    ] {
        let (names, rows) = read_in(&dialect, &bytes).unwrap();
        assert_eq!(names, ["id", "name"]);
        assert_eq!(rows, [row(&["1", "a"]), row(&["3", "two\r\n# lines"])]);
    }
}

/// A footer is skipped, whatever is in it: it is no row, and nothing of it is rescued.
#[test]
fn the_last_lines_are_skipped_as_text() {
    let dialect = Dialect { skip_lines: 1, skip_footer: 2, ..Dialect::default() };
    let text = "title\nid,name\n1,a\n\n2,\"b\n\"\n\nTotal,2,\"rows\nend of file\n\n";
    let (names, rows) = read_in(&dialect, text.as_bytes()).unwrap();
    assert_eq!(names, ["id", "name"]);
    assert_eq!(rows, [row(&["1", "a"]), row(&["2", "b\n"])]);
    let packed = zstd::encode_all(text.as_bytes(), 1).unwrap();
    assert_eq!(read_in(&dialect, &packed).unwrap().1, rows);
    // No more than is there.
    assert_eq!(read_in(&dialect, b"title\nid,name\nTotal").unwrap().1, []);
}

/// Behind a broken quote, a line that looks like a comment may be a part of the text.
#[test]
fn no_line_behind_a_broken_quote_is_lost_as_a_comment() {
    let dialect = Dialect { comment: Some(b'#'), ..Dialect::default() };
    let rows = read_in(&dialect, b"id,name\n1,\"a\n# x,y\n2,b\n").unwrap().1;
    let kept = json!({"_problem": "a quote that is not closed", "_text": "1,\"a\n# x,y"});
    assert_eq!(rows, [odd(&["-", "-"], kept), row(&["2", "b"])]);
}

/// From each of these lines, quotes open and close to the end of the file.
#[test]
fn a_search_that_would_take_hours_is_given_up() {
    let bytes = format!("a,b\n{}", "x\",\"y\n".repeat(300_000));
    let error = read_in(&Dialect::default(), bytes.as_bytes()).unwrap_err();
    let FormatError::BrokenQuote { row } = error else { panic!("{error}") };
    assert!((10..1_000).contains(&row), "{row}");
}
