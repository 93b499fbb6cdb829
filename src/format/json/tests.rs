//! The oddities of JSON files: what each becomes (docs/raw-data.md has them as a table).

use std::io::{Cursor, Read};

use arrow::array::{Array, AsArray};
use proptest::prelude::*;
use serde_json::{Value, json};

use super::super::{FormatError, FormatSettings, Limits, RawBatch, RowReader, open};

/// Delivers a few bytes at a time.
struct Pieces(Cursor<Vec<u8>>, usize);

impl Read for Pieces {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        let length = buffer.len().min(self.1);
        self.0.read(&mut buffer[..length])
    }
}

fn opened(bytes: &[u8], piece: usize) -> Result<Box<dyn RowReader>, FormatError> {
    let input = Box::new(Pieces(Cursor::new(bytes.to_vec()), piece));
    open(&FormatSettings::Json, input, Limits::default())
}

fn batches(bytes: &[u8], piece: usize) -> Result<(Vec<String>, Vec<RawBatch>), FormatError> {
    let mut reader = opened(bytes, piece)?;
    let (keys, mut batches) = (reader.originals().to_vec(), vec![]);
    while let Some(batch) = reader.next_batch()? {
        batches.push(batch);
    }
    Ok((keys, batches))
}

/// Each row as an object: its cells by their key, and what does not fit under `_`.
fn rows_in(bytes: &[u8], piece: usize) -> Result<Vec<Value>, FormatError> {
    let (keys, batches) = batches(bytes, piece)?;
    let mut rows = vec![];
    for batch in &batches {
        assert_eq!(batch.first_row, rows.len() as u64 + 1);
        let late = batch.late.iter().map(|late| (&late.header, &late.values));
        let columns: Vec<_> = keys.iter().zip(&batch.columns).chain(late).collect();
        for row in 0..batch.rows() {
            let cells = columns.iter().map(|(key, values)| (key, values.as_string::<i32>()));
            let cells = cells.filter(|(_, values)| values.is_valid(row));
            let cells = cells.map(|(key, values)| ((*key).clone(), values.value(row).into()));
            let mut object: serde_json::Map<String, Value> = cells.collect();
            if batch.misfits.is_valid(row) {
                let misfit = serde_json::from_str(batch.misfits.value(row)).unwrap();
                object.insert("_".to_owned(), misfit);
            }
            rows.push(Value::Object(object));
        }
    }
    Ok(rows)
}

fn rows(text: impl AsRef<[u8]>) -> Vec<Value> {
    rows_in(text.as_ref(), usize::MAX).unwrap()
}

fn refused(text: &str) -> String {
    rows_in(text.as_bytes(), usize::MAX).unwrap_err().to_string()
}

#[test]
fn objects_are_rows_in_any_layout() {
    let two = [json!({"a": "1", "b": "x"}), json!({"a": "2"})];
    for text in [
        "{\"a\":1,\"b\":\"x\"}\n{\"a\":2}\n",
        "{\"a\":1,\"b\":\"x\"}\r\n\r\n{\"a\":2,\"b\":null}",
        "{\"a\":1,\"b\":\"x\"}{\"a\":2}",
        "\u{feff}{\"a\":1,\"b\":\"x\"},\n{\"a\":2},\n",
        "[{\"a\":1,\"b\":\"x\"},{\"a\":2}]",
        "[\n  {\n    \"a\": 1,\n    \"b\": \"x\"\n  },\n  {\n    \"a\": 2\n  }\n]\n",
        "{\n\"a\": 1,\n\"b\": \"x\"\n}\n{\n\"a\": 2\n}\n",
        "[{\"a\":1,\"b\":\"x\"}]\n[{\"a\":2}]\n",
        "{\"Records\":[{\"a\":1,\"b\":\"x\"},{\"a\":2}]}",
        "{ \"Records\" : [ {\"a\":1,\"b\":\"x\"} ] }\n{\"Records\":[{\"a\":2}]}\n",
        "\u{1e}{\"a\":1,\"b\":\"x\"}\n\u{1e}{\"a\":2}\n",
        "{\"a\":1,\"b\":\"x\"}\n\u{feff}{\"a\":2}\n",
    ] {
        for piece in [1, 3, usize::MAX] {
            assert_eq!(rows_in(text.as_bytes(), piece).unwrap(), two, "{text} by {piece}");
        }
    }
    let utf16: Vec<u8> = "\u{feff}{\"a\":1,\"b\":\"x\"}\n{\"a\":2}"
        .encode_utf16()
        .flat_map(u16::to_le_bytes)
        .collect();
    assert_eq!(rows(utf16), two);
    for text in ["", "\n\n", "[]", "{\"Records\":[]}", " [ ] "] {
        assert!(opened(text.as_bytes(), 1).unwrap().sample().is_none(), "{text}");
    }
}

#[test]
fn values_keep_every_digit_and_character() {
    assert_eq!(
        rows(r#"{"n":1.10,"big":123456789012345678901234567890,"e":-1E+400,"f":9007199254740993}"#),
        [json!({
            "n": "1.10", "big": "123456789012345678901234567890", "e": "-1E+400",
            "f": "9007199254740993"
        })]
    );
    assert_eq!(
        rows(
            r#"{"t":true,"f":false,"n":null,"s":"a\n\"\u00e9\ud83d\ude00","empty":"","x":NaN,"y":-Infinity}"#
        ),
        [json!({
            "t": "true", "f": "false", "s": "a\n\"é😀", "empty": "", "x": "NaN", "y": "-Infinity"
        })]
    );
    let nested = r#"{"o": { "b" : [ 1.50, {"c":"x y"} ], "b": null }, "l": [ ]}"#;
    assert_eq!(rows(nested), [json!({"o": r#"{"b":[1.50,{"c":"x y"}],"b":null}"#, "l": "[]"})]);
    assert_eq!(rows("{\"a\":\"tab\there\"}"), [json!({"a": "tab\there"})]);
    assert_eq!(rows("{}\n{\"a\":1}"), [json!({}), json!({"a": "1"})]);
}

#[test]
fn a_cell_that_is_no_text_is_rescued() {
    for (text, kept, why) in [
        (&br#"{"a":1,"b":"\ud800"}"#[..], json!("\\ud800"), "half of a surrogate pair"),
        (br#"{"a":1,"b":"x\u0000"}"#, json!("x\\u0000"), "a NUL character"),
        (b"{\"a\":1,\"b\":\"\xFF\"}", json!({"base64": "/w=="}), "not UTF-8"),
        (b"{\"a\":1,\"b\":[\"\xFF\"]}", json!({"base64": "WyL/Il0="}), "not UTF-8"),
        (b"{\"b\":1,\"a\":1,\"b\":\"1\"}", json!(["1", "1"]), "several values for one key"),
        (b"{\"b\":1,\"a\":1,\"b\":2}", json!(["1", "2"]), "several values for one key"),
        (
            b"{\"b\":null,\"a\":1,\"b\":2,\"b\":3}",
            json!(["null", "2", "3"]),
            "several values for one key",
        ),
    ] {
        let expected = json!({"a": "1", "_": {"_problem": why, "b": kept}});
        assert_eq!(rows(text), [expected], "{}", String::from_utf8_lossy(text));
    }
    assert_eq!(rows(r#"{"a":1,"a":1,"\u0061":1}"#), [json!({"a": "1"})], "the same value");
}

#[test]
fn a_key_may_come_as_often_as_there_may_be_members() {
    const TIMES: usize = 4_000;
    let members: Vec<String> = (0..TIMES).map(|n| format!("\"b\":{n}")).collect();
    let rows = rows(format!("{{\"a\":1,{}}}", members.join(",")));
    assert_eq!(rows[0]["_"]["b"].as_array().unwrap().len(), TIMES);
}

/// A row of text that is no object.
fn odd(why: &str, text: &str) -> Value {
    json!({"_": {"_problem": why, "_text": text}})
}

#[test]
fn what_is_no_json_costs_its_own_lines() {
    let (one, two) = (json!({"a": "1"}), json!({"a": "2"}));
    for (broken, why) in [
        ("{\"a\":7,\"b\":\"unclosed}", "a text that is not closed on its line"),
        ("{\"a\":7,\"b\":\"unclosed", "a text that is not closed on its line"),
        ("{\"a\":7", "a comma or the end of the object is missing"),
        ("{\"a\":7,", "a key in quotes is missing"),
        ("{\"a\":[1,2", "a comma or a closing bracket is missing"),
        ("{\"a\":07}", "zeros in front of a number"),
        ("{\"a\":+7}", "a value that is none of JSON"),
        ("{\"a\":1.}", "a value that is none of JSON"),
        ("{\"a\":nope}", "a word that is no value"),
        ("{\"a\":1,}", "a key in quotes is missing"),
        ("{a:1}", "a key in quotes is missing"),
        ("{'a':1}", "a key in quotes is missing"),
        ("{\"a\":\"\\x\"}", "an escape that JSON does not have"),
        ("{\"a\":1} }", ""),
        ("7", "not a JSON object"),
        ("a,b\",{c", "not a JSON object"),
    ] {
        let text = format!("{{\"a\":1}}\n{broken}\n{{\"a\":2}}\n");
        let expected = match why {
            "" => vec![one.clone(), one.clone(), odd("not a JSON object", "}"), two.clone()],
            why => vec![one.clone(), odd(why, broken), two.clone()],
        };
        for piece in [1, usize::MAX] {
            let found = rows_in(text.as_bytes(), piece).unwrap();
            assert_eq!(found, expected, "{broken} by {piece}");
        }
    }
    let cut = "{\"a\":1}\n{\"a\":2,\"b";
    assert_eq!(rows(cut), [one.clone(), odd("the file ends inside of it", "{\"a\":2,\"b")]);
    let deep =
        format!("{{\"a\":1}}\n{{\"b\":{}{}}}\n{{\"a\":2}}", "[".repeat(500), "]".repeat(500));
    let found = rows(deep);
    assert_eq!((&found[0], &found[2], found.len()), (&one, &two, 3));
    assert!(found[1]["_"]["_problem"].as_str().unwrap().starts_with("more than 128"));
}

#[test]
fn a_broken_object_costs_no_other_one_of_its_array() {
    let pretty = "[\n  {\n    \"a\": 1\n  },\n  {\n    \"a\": nope,\n    \"l\": [\n      {\n      }\n    ]\n  },\n  {\n    \"a\": 2\n  }\n]\n";
    let found = rows(pretty);
    assert_eq!((found.len(), &found[0], &found[2]), (3, &json!({"a": "1"}), &json!({"a": "2"})));
    let last = "[\n  {\"a\": 1},\n  {\n   \"a\": nope\n  }\n]\n";
    assert_eq!(rows(last).len(), 2);
    let within = rows("[{\"a\":1},{\"a\":nope},7,[1,[2]],x,{\"a\":2}]");
    let kept: Vec<&Value> = within.iter().map(|row| &row["_"]["_text"]).collect();
    assert_eq!(kept[1..5], [&json!("{\"a\":nope}"), &json!("7"), &json!("[1,[2]]"), &json!("x")]);
    assert_eq!((within.len(), &within[5]), (6, &json!({"a": "2"})));
    let beside = rows("{\"Records\":[{\"a\":1}],\"next\":\"x\"}\n{\"a\":2}");
    let rest = odd("members behind `Records`", ",\"next\":\"x\"}");
    assert_eq!(beside, [json!({"a": "1"}), rest, json!({"a": "2"})]);
}

#[test]
fn a_file_that_nothing_is_sure_of_is_refused() {
    for (text, why) in [
        ("[{\"a\":1},", "an array is not closed"),
        ("{\"Records\":[{\"a\":1}", "an array is not closed"),
        ("{\"Records\":[{\"a\":1}]", "an array is not closed"),
        ("[{\"a\":1},{\"a\":\"x},{\"a\":2}]", "nothing shows where the next one begins"),
        ("id,name\n1,Ada\n", "it has no object"),
        ("\"a\"\n7\n", "it has no object"),
    ] {
        let error = refused(text);
        assert!(error.contains(why), "{text}: {error}");
    }
    let keys: Vec<String> = (0..5_000).map(|n| format!("\"k{n}\":1")).collect();
    assert!(refused(&format!("{{{}}}", keys.join(","))).contains("different keys"));
    let long = format!("{{\"a\":1}}\n{{\"a\":\"{}\"}}", "x".repeat(5 << 20));
    assert!(refused(&long).contains("longer than 4194304 bytes"));
}

/// A key that comes late is a column of its own of the batch, and many keys make smaller batches.
#[test]
fn keys_may_come_late() {
    let mut text = "{\"a\":1}\n".repeat(9_000);
    text.push_str("{\"a\":2,\"b\":\"x\",\"c\":null}\n{\"b\":7}\n");
    let (keys, batches) = batches(text.as_bytes(), usize::MAX).unwrap();
    assert_eq!((keys, batches.len()), (vec!["a".to_owned()], 2));
    assert!(batches[0].late.is_empty());
    assert_eq!(batches[1].late.len(), 1, "nulls bring no column");
    assert_eq!(
        (batches[1].late[0].header.as_str(), batches[1].late[0].values.null_count()),
        ("b", 808)
    );
    assert_eq!(rows(&text).len(), 9_002);
    let wide: Vec<String> = (0..3_000).map(|n| format!("{{\"k{n}\":{n},\"a\":1}}")).collect();
    assert_eq!(rows(wide.join("\n")).len(), 3_000);
}

fn any_json() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any::<f64>().prop_filter("JSON has no others", |f| f.is_finite()).prop_map(Value::from),
        "[^\u{0}]{0,8}".prop_map(Value::from),
    ];
    leaf.prop_recursive(3, 12, 4, |inner| {
        prop_oneof![
            proptest::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
            proptest::collection::btree_map("[a-c \"\\\\]{0,3}", inner, 0..4)
                .prop_map(|map| Value::Object(map.into_iter().collect())),
        ]
    })
}

/// Objects whose keys are texts without a NUL.
fn any_objects() -> impl Strategy<Value = Vec<Value>> {
    let object = proptest::collection::btree_map("[a-d\"\\\\é\n]{1,3}", any_json(), 0..5);
    proptest::collection::vec(object.prop_map(|o| Value::Object(o.into_iter().collect())), 1..20)
}

proptest! {
    /// Whatever is written as JSON is read as that, in every layout and in whatever pieces it comes.
    #[test]
    fn objects_are_read_as_they_were_written(
        objects in any_objects(), layout in 0..4, piece in 1..40_usize
    ) {
        let lines = |text: fn(&Value) -> String| objects.iter().map(text).collect::<Vec<_>>();
        let pretty = |value: &Value| serde_json::to_string_pretty(value).unwrap();
        let text = match layout {
            0 => lines(Value::to_string).join("\n"),
            1 => lines(pretty).join("\n"),
            2 => pretty(&Value::from(objects.clone())),
            _ => json!({"Records": objects}).to_string(),
        };
        let expected: Vec<Value> = objects
            .iter()
            .map(|object| {
                let cells = object.as_object().unwrap().iter().filter(|(_, v)| !v.is_null());
                let text = |v: &Value| v.as_str().map_or_else(|| v.to_string(), str::to_owned);
                Value::Object(cells.map(|(k, v)| (k.clone(), text(v).into())).collect())
            })
            .collect();
        prop_assert_eq!(rows_in(text.as_bytes(), piece).unwrap(), expected, "{}", text);
    }

    /// No bytes make the reader panic, or differ by the pieces in which they come.
    #[test]
    fn any_bytes_are_read_or_refused(
        bytes in proptest::collection::vec(
            prop_oneof![
                any::<u8>(),
                proptest::sample::select(b"{}[]\",:\\un1-.eE \nRtfa".to_vec())
            ],
            0..200,
        ),
        head in proptest::sample::select(vec!["", "{\"a\":1}\n", "[", "{\"Records\":[", "{\"a\":"]),
        piece in 1..20_usize,
    ) {
        let bytes = [head.as_bytes(), &bytes].concat();
        let whole = rows_in(&bytes, usize::MAX).map_err(|error| error.to_string());
        let by_pieces = rows_in(&bytes, piece).map_err(|error| error.to_string());
        prop_assert_eq!(whole, by_pieces);
    }

    /// A file cut anywhere loses no object before the cut.
    #[test]
    fn a_cut_costs_what_is_behind_it(count in 1..20_usize, cut in 0..400_usize) {
        let lines: Vec<String> = (1..=count).map(|n| format!("{{\"a\":{n},\"b\":\"x\"}}\n")).collect();
        let text = lines.concat();
        let text = &text[..cut.min(text.len())];
        let whole = text.matches('\n').count().max(text.matches('}').count());
        match rows_in(text.as_bytes(), usize::MAX) {
            Ok(rows) => {
                let good = rows.iter().filter(|row| row.get("_").is_none()).count();
                prop_assert_eq!(good, whole);
            }
            Err(error) => prop_assert_eq!((whole, error.to_string().contains("no object")), (0, true)),
        }
    }
}
