//! What makes a folder complete, and which of its objects say so.

use globset::{Glob, GlobBuilder, GlobSet, GlobSetBuilder};

/// How the folders of a pipeline become complete.
#[derive(Debug, Clone)]
pub struct Deliveries {
    /// What makes a folder complete.
    pub rule: Rule,
    /// What becomes of an object that comes after that.
    pub late: LateObjects,
    /// Objects of one delivery that memory is for.
    pub most_objects: usize,
}

/// What makes a folder complete.
#[derive(Debug, Clone)]
pub enum Rule {
    /// An object of this name.
    Marker(Marker),
    /// All objects that the object of this name lists.
    Manifest(Marker),
    /// This many objects.
    Count(u64),
}

/// What becomes of an object that comes after its delivery was complete.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum LateObjects {
    /// It is ingested by itself: nothing that was sent is left out.
    #[default]
    Ingest,
    /// It is rejected, until an operator replays it.
    Reject,
}

/// An object that says something of its folder, and is no data.
#[derive(Debug, Clone)]
pub struct Marker {
    /// Its name, as it was written.
    pub name: String,
    /// The URIs that it may have.
    pub uris: GlobSet,
}

/// The marker of this name in the folders of a pipeline's source. `*` in the name is any text where it may be a `glob`.
///
/// # Errors
/// Why there is none.
pub fn marker(source: &str, name: &str, glob: bool) -> Result<Marker, String> {
    if name.trim().is_empty() {
        return Err("it is empty: write the name of the object, such as _SUCCESS".to_owned());
    }
    if name.contains('/') {
        return Err(format!("`{name}` has a `/`: write the name within the folder"));
    }
    if glob && name.chars().all(|c| c == '*') {
        return Err(format!("`{name}` matches every object: none would be data"));
    }
    let (folders, last) = match last_slash(source) {
        Some(slash) => source.split_at(slash + 1),
        None => ("", source),
    };
    if last.contains('}') && !last.contains('{') {
        return Err(
            "pipeline.source ends within { … / … }: write it so that no `/` is in braces".into()
        );
    }
    // `raw/**` is any file of any folder below.
    let folders = if last == "**" { format!("{folders}**/") } else { folders.to_owned() };
    let name_glob = if glob { name.to_owned() } else { globset::escape(name) };
    let compiled =
        GlobBuilder::new(&format!("{folders}{name_glob}")).literal_separator(true).build();
    let set = |glob: Glob| GlobSetBuilder::new().add(glob).build();
    let uris =
        compiled.and_then(set).map_err(|error| format!("it is not a glob: {}", error.kind()))?;
    Ok(Marker { name: name.to_owned(), uris })
}

/// The last `/` of a glob that is not within a bracket.
fn last_slash(glob: &str) -> Option<usize> {
    let mut depth = 0_usize;
    let mut last = None;
    for (at, c) in glob.char_indices() {
        match c {
            '{' => depth += 1,
            '}' => depth = depth.saturating_sub(1),
            '/' if depth == 0 => last = Some(at),
            _ => {}
        }
    }
    last
}

impl Deliveries {
    /// The object that says that a folder is complete; none where its objects are counted.
    pub fn marker(&self) -> Option<&Marker> {
        match &self.rule {
            Rule::Marker(marker) | Rule::Manifest(marker) => Some(marker),
            Rule::Count(_) => None,
        }
    }

    /// Whether an object is a marker, or a manifest, and so no data.
    pub fn is_marker(&self, uri: &str) -> bool {
        self.marker().is_some_and(|marker| marker.uris.is_match(uri))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn matches(source: &str, name: &str, uri: &str) -> bool {
        marker(source, name, true).unwrap().uris.is_match(uri)
    }

    #[test]
    fn a_marker_is_looked_for_in_the_folders_of_the_source() {
        let source = "s3://zone/raw/**/*.csv";
        assert!(matches(source, "_SUCCESS", "s3://zone/raw/1/_SUCCESS"));
        assert!(matches(source, "_SUCCESS", "s3://zone/raw/_SUCCESS"));
        assert!(!matches(source, "_SUCCESS", "s3://zone/other/_SUCCESS"));
        assert!(!matches(source, "_SUCCESS", "s3://zone/raw/1/_SUCCESS.csv"));
        assert!(matches(source, "*.done", "s3://zone/raw/1/today.done"));
        assert!(matches("raw/**", "_SUCCESS", "raw/1/2/_SUCCESS"));
        assert!(matches("raw/*/*.{csv,json}", "_SUCCESS", "raw/1/_SUCCESS"));
        assert!(!matches("raw/*/*.csv", "_SUCCESS", "raw/1/2/_SUCCESS"));
        assert!(matches("{a,b/c}/*.csv", "_SUCCESS", "b/c/_SUCCESS"));
        assert!(matches("*.csv", "_SUCCESS", "_SUCCESS"));
    }

    #[test]
    fn a_name_that_is_no_glob_is_taken_as_it_is() {
        let uris = marker("raw/*.csv", "[list]*.json", false).unwrap().uris;
        assert!(uris.is_match("raw/[list]*.json") && !uris.is_match("raw/l.json"));
    }

    #[test]
    fn a_name_that_is_no_name_is_refused() {
        for name in ["", "  ", "a/b", "*", "**", "[", "{a"] {
            assert!(marker("raw/*.csv", name, true).is_err(), "{name}");
        }
    }
}
