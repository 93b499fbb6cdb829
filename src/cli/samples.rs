//! The samples of `init`: which files, in which folder, and what they are called.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use anyhow::Context;

use super::exit::Usage;

/// Files of a folder that are read, at most.
const READ: usize = 5;
/// Entries of a folder that are looked at, at most.
const LOOKED_AT: usize = 10_000;

/// Files of one feed.
#[derive(Debug)]
pub(super) struct Samples {
    /// At least one.
    pub(super) files: Vec<PathBuf>,
    /// The folder that has all of them, absolute.
    pub(super) folder: PathBuf,
}

impl Samples {
    /// Of files, or of one folder: those of the ending that most of its files have.
    pub(super) fn of(named: &[PathBuf]) -> anyhow::Result<Self> {
        if let [one] = named
            && one.to_string_lossy().starts_with("s3://")
        {
            let why =
                format!("{} is on S3: copy a file or two to here, and name them", one.display());
            return Err(Usage(why).into());
        }
        let (files, folder) = match named {
            [folder] if folder.is_dir() => (in_folder(folder)?, std::path::absolute(folder)?),
            files => {
                if let Some(folder) = files.iter().find(|file| file.is_dir()) {
                    let why =
                        format!("{} is a folder; name one folder, or files", folder.display());
                    return Err(Usage(why).into());
                }
                (files.to_vec(), above(files)?)
            }
        };
        if files.is_empty() {
            let why = format!("{} has no files", folder.display());
            return Err(Usage(why).into());
        }
        Ok(Self { files, folder })
    }
}

/// The folder that all of these files are in, or below.
fn above(files: &[PathBuf]) -> anyhow::Result<PathBuf> {
    let mut folders = files.iter().map(|file| {
        let file = std::path::absolute(file)?;
        Ok(file.parent().unwrap_or(Path::new("/")).to_owned())
    });
    let first: std::io::Result<PathBuf> = folders.next().unwrap_or_else(|| Ok("/".into()));
    let mut above = first?;
    for folder in folders {
        let folder = folder?;
        while !folder.starts_with(&above) && above.pop() {}
    }
    Ok(above)
}

/// Some files in a folder or below, spread over all of one kind in the order of their names.
fn in_folder(folder: &Path) -> anyhow::Result<Vec<PathBuf>> {
    let (mut left, mut looked) = (vec![folder.to_owned()], 0);
    let mut by_ending: BTreeMap<String, Vec<PathBuf>> = BTreeMap::new();
    while let Some(folder) = left.pop() {
        let entries = std::fs::read_dir(&folder).with_context(|| folder.display().to_string())?;
        for entry in entries {
            let path = entry?.path();
            looked += 1;
            let name = path.file_name().map(|name| name.to_string_lossy().into_owned());
            let Some(name) = name.filter(|name| !name.starts_with(['.', '_'])) else { continue };
            if looked > LOOKED_AT {
                continue;
            }
            if path.is_dir() {
                left.push(path);
            } else if let Some((_, ending)) = name.split_once('.') {
                by_ending.entry(ending.to_lowercase()).or_default().push(path);
            }
        }
    }
    let most = by_ending.into_values().max_by_key(Vec::len);
    let mut files = most.unwrap_or_default();
    files.sort();
    let step = files.len().div_ceil(READ).max(1);
    Ok(files.into_iter().step_by(step).collect())
}

/// What a feed is called: by its file without numbers and dates, else by its folder.
pub(super) fn subject(stem: &str, folder: &Path) -> String {
    let words = |text: &str| -> String {
        let is_word = |word: &&str| word.chars().any(|c| !c.is_ascii_digit()) && !is_time(word);
        let split = text.split(['-', '_', '.', ' ', '=']);
        split.filter(|word| !word.is_empty()).filter(is_word).collect::<Vec<_>>().join("_")
    };
    let named = words(stem);
    if !named.is_empty() {
        return named;
    }
    let folders = folder.components().rev().map(|part| part.as_os_str().to_string_lossy());
    // `year=2026` says which files, and not what they are.
    let folders = folders.filter(|name| !name.contains('='));
    let named = folders.map(|name| words(&name)).find(|name| !name.is_empty() && name != "/");
    named.unwrap_or_else(|| stem.to_owned())
}

/// A time as part of a name: `20260101T1200`, `12h`.
fn is_time(word: &str) -> bool {
    let digits = word.chars().filter(char::is_ascii_digit).count();
    digits > 0 && word.chars().all(|c| c.is_ascii_digit() || "THMSZthmsz".contains(c))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_feed_is_named_for_what_it_is_and_not_for_a_day() {
        for (stem, folder, name) in [
            ("orders", "/x/raw", "orders"),
            ("2026-11-01", "/x/raw/orders", "orders"),
            ("orders_2026-11-01", "/x/raw", "orders"),
            ("2026-11-01T12_30_Order lines", "/x/raw", "Order_lines"),
            ("part-0001", "/x/clicks/year=2026/month=01", "part"),
            ("000", "/x/clicks/2026/01", "clicks"),
            ("000", "/x/clicks/year=2026/month=01", "clicks"),
            ("20260101T120000Z", "/x/visits", "visits"),
            ("7", "/", "7"),
        ] {
            assert_eq!(subject(stem, Path::new(folder)), name, "{stem} in {folder}");
        }
    }

    #[test]
    fn a_folder_is_sampled_by_the_kind_of_most_of_its_files() {
        let folder = tempfile::tempdir().unwrap();
        std::fs::create_dir(folder.path().join("a")).unwrap();
        for number in 0..12 {
            std::fs::write(folder.path().join(format!("a/{number:02}.csv.gz")), "").unwrap();
        }
        for other in ["notes.txt", "_SUCCESS", ".hidden.csv", "README"] {
            std::fs::write(folder.path().join(other), "").unwrap();
        }
        let samples = Samples::of(&[folder.path().to_owned()]).unwrap();
        let names: Vec<_> = samples.files.iter().map(|f| f.file_name().unwrap()).collect();
        assert_eq!(names, ["00.csv.gz", "03.csv.gz", "06.csv.gz", "09.csv.gz"]);
        assert_eq!(samples.folder, std::path::absolute(folder.path()).unwrap());
        let two = [folder.path().join("a/01.csv.gz"), folder.path().join("notes.txt")];
        assert_eq!(Samples::of(&two).unwrap().folder, samples.folder);
        let nowhere = tempfile::tempdir().unwrap();
        assert!(Samples::of(&[nowhere.path().to_owned()]).is_err());
    }
}
