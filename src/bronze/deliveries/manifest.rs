//! What a manifest says: the objects of its folder, with what each of them has to be. Pure, and made for untrusted
//! input.
//!
//! It is a JSON list of keys or of entries, an object with such a list as `files` or `entries`, or text with a key on
//! each line. The manifests that Redshift's UNLOAD writes are among them.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry as Slot;
use std::fmt;

use percent_encoding::percent_decode_str;
use serde::Deserialize;
use serde::de::{
    DeserializeSeed, Deserializer, Error as _, IgnoredAny, MapAccess, SeqAccess, Visitor,
};

use super::folder_of;

/// Bytes of a manifest, at most.
pub(super) const MOST_BYTES: u64 = 8 * 1024 * 1024;
/// Characters of a key that an error shows.
const SHOWN: usize = 200;

/// The objects that a manifest lists.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Manifest {
    /// By URI.
    pub(super) entries: BTreeMap<String, Entry>,
    /// How many others it lists, which are not of this pipeline.
    pub(super) others: usize,
}

/// What a manifest says of an object.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Entry {
    /// The URI if the key is percent-encoded, which it does not say.
    pub(super) decoded: Option<String>,
    /// Bytes.
    pub(super) size: Option<u64>,
    /// Rows.
    pub(super) rows: Option<u64>,
    /// A hash of the bytes.
    pub(super) checksum: Option<Checksum>,
}

/// A hash of an object's bytes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Checksum {
    /// MD5.
    Md5([u8; 16]),
    /// SHA-256.
    Sha256([u8; 32]),
}

#[derive(Deserialize)]
#[serde(
    untagged,
    expecting = "a key, or an object with `key`, `url` or `path`; numbers are whole and positive"
)]
enum Item {
    Key(String),
    Entry(Box<Fields>),
}

#[derive(Default, Deserialize)]
struct Fields {
    key: Option<String>,
    url: Option<String>,
    path: Option<String>,
    #[serde(alias = "bytes")]
    size: Option<u64>,
    rows: Option<u64>,
    md5: Option<String>,
    sha256: Option<String>,
    /// Redshift's.
    meta: Option<Meta>,
}

#[derive(Deserialize)]
struct Meta {
    content_length: Option<u64>,
    record_count: Option<u64>,
}

impl Manifest {
    /// Reads a manifest of a folder. Of what it lists, only `is_data` is of this pipeline: `most` objects, at most.
    ///
    /// # Errors
    /// Why it cannot be used.
    pub(super) fn parse(
        bytes: &[u8],
        folder: &str,
        most: usize,
        is_data: impl Fn(&str) -> bool,
    ) -> Result<Self, String> {
        let bytes = bytes.strip_prefix(b"\xEF\xBB\xBF").unwrap_or(bytes);
        let text = std::str::from_utf8(bytes).map_err(|_| "it is not UTF-8".to_owned())?;
        let mut manifest = Self::default();
        let mut add = |item: Item| manifest.add(item, folder, most, &is_data);
        match text.trim_start().chars().next() {
            Some('[' | '{') => each_of_json(text, add)?,
            None => {
                return Err("it is empty: a delivery of nothing has the manifest []".to_owned());
            }
            Some(_) => {
                let lines = text.lines().map(str::trim).filter(|line| !line.is_empty());
                for line in lines {
                    add(Item::Key(line.to_owned()))?;
                }
            }
        }
        Ok(manifest)
    }

    fn add(
        &mut self,
        item: Item,
        folder: &str,
        most: usize,
        is_data: impl Fn(&str) -> bool,
    ) -> Result<(), String> {
        let (key, mut entry) = item.read()?;
        entry.decoded = decoded(&key, folder);
        // The folder in it may be encoded, too.
        let uri = resolved(&key, folder)
            .or_else(|| entry.decoded.clone())
            .ok_or_else(|| format!("`{}` is not in the folder {folder}", shown(&key)))?;
        if !is_data(&uri) && !entry.decoded.as_deref().is_some_and(is_data) {
            self.others += 1;
            return Ok(());
        }
        match self.entries.entry(uri) {
            Slot::Vacant(slot) => drop(slot.insert(entry)),
            Slot::Occupied(slot) if *slot.get() == entry => {}
            Slot::Occupied(slot) => {
                return Err(format!("it says two things of `{}`", shown(slot.key())));
            }
        }
        match self.entries.len() > most {
            true => Err(format!("it lists more than {most} objects: raise worker.memory")),
            false => Ok(()),
        }
    }
}

/// Each item of a list, or of the list in an object, one after the other: all of them at once would take many times
/// the bytes of the manifest (I7).
fn each_of_json(text: &str, mut add: impl FnMut(Item) -> Result<(), String>) -> Result<(), String> {
    let mut refused = None;
    let mut json = serde_json::Deserializer::from_str(text);
    let each = Items(|item| {
        add(item).map_err(|why| {
            refused = Some(why);
            "refused"
        })
    });
    let read = json.deserialize_any(each).and_then(|()| json.end());
    match (refused, read) {
        (Some(why), _) => Err(why),
        (None, Err(error)) => Err(format!("it is not a list of files: {error}")),
        (None, Ok(())) => Ok(()),
    }
}

/// Hands on what it reads.
struct Items<F>(F);

impl<'de, F: FnMut(Item) -> Result<(), &'static str>> Visitor<'de> for Items<F> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a list of files, or an object with one as `files` or `entries`")
    }

    fn visit_seq<A: SeqAccess<'de>>(mut self, mut items: A) -> Result<(), A::Error> {
        while let Some(item) = items.next_element()? {
            (self.0)(item).map_err(A::Error::custom)?;
        }
        Ok(())
    }

    fn visit_map<A: MapAccess<'de>>(self, mut fields: A) -> Result<(), A::Error> {
        let mut each = Some(self);
        while let Some(name) = fields.next_key::<String>()? {
            match name.as_str() {
                "files" | "entries" => match each.take() {
                    Some(each) => fields.next_value_seed(List(each))?,
                    None => return Err(A::Error::custom("it has two lists of files")),
                },
                _ => drop(fields.next_value::<IgnoredAny>()?),
            }
        }
        match each {
            None => Ok(()),
            Some(_) => Err(A::Error::custom("it has neither `files` nor `entries`")),
        }
    }
}

/// A list, and nothing else.
struct List<F>(Items<F>);

impl<'de, F: FnMut(Item) -> Result<(), &'static str>> DeserializeSeed<'de> for List<F> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, list: D) -> Result<(), D::Error> {
        list.deserialize_seq(self.0)
    }
}

impl Item {
    fn read(self) -> Result<(String, Entry), String> {
        let fields = match self {
            Self::Key(key) => return Ok((key, Entry::default())),
            Self::Entry(fields) => *fields,
        };
        let named = [fields.key, fields.url, fields.path].into_iter().flatten();
        let [key] = <[String; 1]>::try_from(named.collect::<Vec<_>>())
            .map_err(|_| "an entry has not exactly one of `key`, `url` and `path`".to_owned())?;
        let wrong = |what: &str| {
            format!("`{what}` of `{}` is not a hash as hexadecimal digits", shown(&key))
        };
        let checksum = match (&fields.sha256, &fields.md5) {
            (Some(hex), _) => Some(Checksum::Sha256(bytes_of(hex).ok_or_else(|| wrong("sha256"))?)),
            (None, Some(hex)) => Some(Checksum::Md5(bytes_of(hex).ok_or_else(|| wrong("md5"))?)),
            (None, None) => None,
        };
        let meta = fields.meta.as_ref();
        let size = fields.size.or_else(|| meta?.content_length);
        let rows = fields.rows.or_else(|| meta?.record_count);
        Ok((key, Entry { decoded: None, size, rows, checksum }))
    }
}

/// The URI of a key: of a name in the folder, or of a whole key or URI of an object in the folder.
fn resolved(key: &str, folder: &str) -> Option<String> {
    let name = match key.rfind('/') {
        None => key,
        Some(_) => match key.strip_prefix("./") {
            Some(name) => name,
            None => key.strip_prefix(folder).or_else(|| {
                let (_, in_bucket) = folder.strip_prefix("s3://")?.split_once('/')?;
                key.strip_prefix('/').unwrap_or(key).strip_prefix(in_bucket)
            })?,
        },
    };
    let is_name = !matches!(name, "" | "." | "..") && !name.contains(['/', '\0']);
    is_name.then(|| format!("{folder}{name}"))
}

/// The same of a key that is percent-encoded; none where that makes no difference.
fn decoded(key: &str, folder: &str) -> Option<String> {
    if !key.contains('%') {
        return None;
    }
    let plain = percent_decode_str(key).decode_utf8().ok()?;
    let uri = resolved(&plain, folder).filter(|uri| folder_of(uri) == folder)?;
    (plain != key).then_some(uri)
}

fn bytes_of<const N: usize>(hex: &str) -> Option<[u8; N]> {
    let hex = hex.trim().as_bytes();
    if hex.len() != 2 * N {
        return None;
    }
    let mut bytes = [0; N];
    for (byte, digits) in bytes.iter_mut().zip(hex.chunks(2)) {
        let digit = |at: usize| char::from(*digits.get(at)?).to_digit(16);
        *byte = u8::try_from(digit(0)? * 16 + digit(1)?).ok()?;
    }
    Some(bytes)
}

fn shown(key: &str) -> String {
    key.chars().take(SHOWN).collect()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const FOLDER: &str = "s3://zone/raw/1/";

    fn parse(text: &str) -> Result<Manifest, String> {
        Manifest::parse(text.as_bytes(), FOLDER, 3, |uri| uri.ends_with(".csv"))
    }

    fn uris(text: &str) -> Vec<String> {
        parse(text).unwrap().entries.into_keys().collect()
    }

    #[test]
    fn a_manifest_is_read_in_every_form() {
        let both = ["s3://zone/raw/1/a.csv", "s3://zone/raw/1/b.csv"];
        assert_eq!(uris("a.csv\r\n\n  b.csv \n"), both);
        assert_eq!(uris("\u{feff}[\"a.csv\", \"./b.csv\"]"), both);
        assert_eq!(uris(r#"{"files": ["raw/1/a.csv", "s3://zone/raw/1/b.csv"]}"#), both);
        assert_eq!(
            uris(r#" {"entries": [{"url": "/raw/1/a.csv"}, {"path": "b.csv"}], "v": 1}"#),
            both
        );
        assert_eq!(uris(r#"["a.csv", {"key": "b.csv"}, "a.csv"]"#), both, "twice is once");
    }

    #[test]
    fn what_it_says_of_an_object_is_read() {
        let manifest = parse(
            r#"[{"key": "a.csv", "size": 3, "rows": 2, "md5": "D41D8CD98F00B204E9800998ECF8427E"},
                {"url": "b.csv", "meta": {"content_length": 7, "record_count": 1}}]"#,
        );
        let entries: Vec<Entry> = manifest.unwrap().entries.into_values().collect();
        assert_eq!((entries[0].size, entries[0].rows), (Some(3), Some(2)));
        assert!(matches!(entries[0].checksum, Some(Checksum::Md5(bytes)) if bytes[0] == 0xd4));
        assert_eq!((entries[1].size, entries[1].rows), (Some(7), Some(1)));
    }

    #[test]
    fn nothing_and_what_is_not_of_the_pipeline_is_no_object() {
        for text in ["[]", r#"{"entries": []}"#, "README.txt\n_SUCCESS", "manifest.json"] {
            let manifest = parse(text).unwrap();
            let others = text.lines().filter(|line| line.contains(['R', '_', 'm'])).count();
            assert_eq!((manifest.entries.len(), manifest.others), (0, others), "{text}");
        }
    }

    #[test]
    fn a_percent_encoded_key_may_be_meant_as_it_is_or_decoded() {
        let manifest = parse("a%20b.csv\nc%2e.csv\n").unwrap();
        let of = |name: &str| manifest.entries[&format!("{FOLDER}{name}")].decoded.clone();
        assert_eq!(of("a%20b.csv"), Some(format!("{FOLDER}a b.csv")));
        assert_eq!(of("c%2e.csv"), Some(format!("{FOLDER}c..csv")));
        let folder = "s3://zone/raw/day=1/";
        let whole = Manifest::parse(b"raw/day%3D1/a.csv", folder, 3, |_| true).unwrap();
        assert_eq!(whole.entries.into_keys().collect::<Vec<_>>(), [format!("{folder}a.csv")]);
    }

    #[test]
    fn what_leads_out_of_the_folder_is_refused() {
        for key in [
            "../a.csv",
            "..",
            ".",
            "",
            "2/a.csv",
            "raw/2/a.csv",
            "raw/1/2/a.csv",
            "raw/1/../2/a.csv",
            "s3://other/raw/1/a.csv",
            "/a.csv",
            "./../a.csv",
            "raw/1/",
        ] {
            let text = serde_json::json!([key]).to_string();
            assert!(parse(&text).unwrap_err().contains("not in the folder"), "{key}");
        }
        // A slash that is encoded is none in a key: and decoded, it is no key of the folder.
        assert_eq!(
            parse("..%2Fa.csv").unwrap().entries.into_values().next().unwrap().decoded,
            None
        );
    }

    #[test]
    fn what_is_no_manifest_is_refused() {
        for text in [
            "",
            " \n\n",
            "[1]",
            "{}",
            r#"{"files": {}}"#,
            r#"{"files": [], "entries": []}"#,
            "[\"a.csv\"",
            "[{}]",
            r#"[{"key": "a.csv", "url": "a.csv"}]"#,
            r#"[{"key": "a.csv", "size": -1}]"#,
            r#"[{"key": "a.csv", "size": 1.5}]"#,
            r#"[{"key": "a.csv", "size": 99999999999999999999}]"#,
            r#"[{"key": "a.csv", "md5": "12"}]"#,
            r#"[{"key": "a.csv", "sha256": "zz"}]"#,
            r#"["a.csv", {"key": "a.csv", "size": 1}]"#,
            r#"["1.csv", "2.csv", "3.csv", "4.csv"]"#,
        ] {
            assert!(parse(text).is_err(), "{text}");
        }
        assert!(Manifest::parse(b"\xff", FOLDER, 3, |_| true).is_err());
    }

    proptest! {
        #[test]
        fn no_manifest_panics_or_names_what_is_not_in_its_folder(text in "\\PC{0,60}|[\\[{\"a./%2s3:]{0,40}") {
            if let Ok(manifest) = Manifest::parse(text.as_bytes(), FOLDER, 100, |_| true) {
                for (uri, entry) in manifest.entries {
                    prop_assert_eq!(folder_of(&uri), FOLDER);
                    prop_assert!(entry.decoded.is_none_or(|uri| folder_of(&uri) == FOLDER));
                }
            }
        }
    }
}
