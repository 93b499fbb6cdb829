//! The configuration: `silversmith.toml` as written ([`mod@file`]) → settings, resolved and checked
//! ([`settings`]). The rest of the program sees only settings. Only this folder reads the environment
//! ([`environment`]). Keys and variables are tables ([`reference`](mod@reference), [`environment::ALL`]); the
//! documentation is generated from them.

pub mod environment;
pub mod file;
mod forms;
mod keys;
pub mod memory;
pub mod reference;
pub mod settings;
mod variables;

use std::collections::HashSet;
use std::fmt;
use std::path::Path;

use serde::Deserialize;

pub use settings::Settings;

/// Reads and resolves a configuration file.
///
/// # Errors
/// Every problem of the file at once, each with its line and key. Nothing was changed.
pub fn load(path: &Path) -> Result<Settings, ConfigError> {
    let shown = || path.display().to_string();
    let failed = |source| ConfigError::Read { path: shown(), source };
    let text = std::fs::read_to_string(path).map_err(failed)?;
    let base = path.parent().filter(|p| !p.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let base = std::path::absolute(base).map_err(failed)?;
    parse(&text, &base).map_err(|problems| ConfigError::Problems(shown(), problems))
}

/// Resolves a configuration that was fetched from `uri`; its paths are relative to the working folder.
///
/// # Errors
/// As [`load`].
pub fn fetched(uri: &str, text: &str) -> Result<Settings, ConfigError> {
    let base = std::path::absolute(".")
        .map_err(|source| ConfigError::Read { path: uri.to_owned(), source })?;
    parse(text, &base).map_err(|problems| ConfigError::Problems(uri.to_owned(), problems))
}

/// Resolves the text of a configuration file whose paths are relative to `base`.
pub fn parse(text: &str, base: &Path) -> Result<Settings, Vec<Problem>> {
    let unknown = keys::check(text)?;
    let mut file: file::File = match toml::from_str(text) {
        Ok(file) if unknown.is_empty() => file,
        parsed => return Err(all_problems(text, base, unknown, parsed.err())),
    };
    // Wrong types are reported with their line by now; values from outside cannot change a type.
    if text.contains("${") {
        file = variables::expanded(text, environment::named)?;
    }
    settings::resolve(file, base).map_err(|wrong| {
        wrong.into_iter().map(|(key, why)| keys::located(text, &key, why)).collect()
    })
}

/// What is wrong with a file that has unknown keys, or that cannot be parsed for `error`: the whole of it.
fn all_problems(
    text: &str,
    base: &Path,
    unknown: Vec<(String, Problem)>,
    error: Option<toml::de::Error>,
) -> Vec<Problem> {
    let located = |(key, why): (String, String)| keys::located(text, &key, why);
    let mut rest: toml::Table = toml::from_str(text).unwrap_or_default();
    let (mut problems, mut named) = (Vec::new(), HashSet::new());
    for (path, problem) in unknown {
        forms::remove(&mut rest, &path);
        problems.push(problem);
    }
    let parsed = |rest: &toml::Table| file::File::deserialize(toml::Value::Table(rest.clone()));
    if parsed(&rest).is_err() {
        let wrong = forms::take_wrong(&mut rest);
        named.extend(wrong.iter().map(|(key, _)| key.clone()));
        problems.extend(wrong.into_iter().map(located));
    }
    match parsed(&rest) {
        // What is read from the environment is not looked at before the rest is right.
        Ok(file) if !text.contains("${") => {
            let more = settings::resolve(file, base).err().unwrap_or_default();
            let is_new = |(key, _): &(String, String)| !named.contains(key);
            problems.extend(more.into_iter().filter(is_new).map(located));
        }
        _ if problems.is_empty() => {
            problems.extend(error.map(|error| keys::syntax(text, &error)));
        }
        _ => {}
    }
    problems.sort_by_key(|problem| problem.line);
    problems
}

/// Something wrong with the file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problem {
    /// The line, from 1; where the key is not in the file, that of the nearest table above it.
    pub line: usize,
    /// What is wrong, the key included.
    pub message: String,
}

/// Why there is no configuration.
#[derive(Debug)]
pub enum ConfigError {
    /// The file cannot be read.
    Read {
        /// Which.
        path: String,
        /// Why.
        source: std::io::Error,
    },
    /// It has problems.
    Problems(String, Vec<Problem>),
}

impl fmt::Display for ConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Read { path, source } => write!(
                f,
                "configuration {path} cannot be read: {source}; `silversmith init FILE.csv` writes a first one"
            ),
            Self::Problems(path, problems) => {
                for (index, problem) in problems.iter().enumerate() {
                    if index > 0 {
                        f.write_str("\n")?;
                    }
                    write!(f, "{path}:{}: {}", problem.line, problem.message)?;
                }
                Ok(())
            }
        }
    }
}

impl std::error::Error for ConfigError {}
