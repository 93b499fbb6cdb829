//! Collects what is wrong with a configuration, so that all of it is reported at once.

use std::str::FromStr;
use std::time::Duration;

use bytesize::ByteSize;

use crate::features::Part;
use crate::lake::{PartitionField, TableName};

/// A key and what is wrong with its value.
pub(in crate::config) type Wrong = (String, String);

pub(super) struct Resolver {
    pub(super) wrong: Vec<Wrong>,
}

impl Resolver {
    pub(super) fn say(&mut self, key: impl Into<String>, why: impl Into<String>) {
        self.wrong.push((key.into(), why.into()));
    }

    /// Refuses a key whose value needs a part that this build is without.
    pub(super) fn needs(&mut self, key: &str, part: Part) {
        if let Err(missing) = part.needed() {
            self.say(key, missing.to_string());
        }
    }

    /// The value; or the default, after a problem was recorded.
    pub(super) fn parsed<T>(
        &mut self,
        key: &str,
        text: Option<&str>,
        default: T,
        parse: impl Fn(&str) -> Result<T, String>,
    ) -> T {
        match text.map(parse) {
            None => default,
            Some(Ok(value)) => value,
            Some(Err(why)) => {
                self.say(key, why);
                default
            }
        }
    }

    /// The partition fields; none where the key is absent.
    pub(super) fn partition_by(
        &mut self,
        key: &str,
        texts: Option<&[String]>,
    ) -> Option<Vec<PartitionField>> {
        let mut fields: Vec<PartitionField> = Vec::new();
        for text in texts? {
            match text.parse::<PartitionField>() {
                Ok(field) if fields.contains(&field) => {
                    self.say(key, format!("`{field}` is there twice"))
                }
                Ok(field) => fields.push(field),
                Err(error) => self.say(key, error.to_string()),
            }
        }
        Some(fields)
    }

    pub(super) fn table(&mut self, key: &str, text: &str) -> TableName {
        match TableName::from_str(text) {
            Ok(name) => name,
            Err(error) => {
                self.say(key, error.to_string());
                TableName::new("wrong", "wrong")
            }
        }
    }
}

pub(super) fn bytes(text: &str) -> Result<u64, String> {
    match ByteSize::from_str(text) {
        Ok(size) if size.as_u64() > 0 => Ok(size.as_u64()),
        _ => Err(format!("`{text}` is not a size: write 256MiB, 1GiB, …")),
    }
}

pub(super) fn duration(text: &str) -> Result<Duration, String> {
    humantime::parse_duration(text)
        .map_err(|_| format!("`{text}` is not a duration: write 500ms, 2s, 1m, …"))
}

pub(super) fn one_of<T: Copy>(choices: &[(&str, T)]) -> impl Fn(&str) -> Result<T, String> {
    move |text| {
        let found = choices.iter().find(|(name, _)| *name == text);
        found.map(|(_, value)| *value).ok_or_else(|| {
            let names: Vec<String> =
                choices.iter().map(|(name, _)| format!("\"{name}\"")).collect();
            format!("`{text}` is not one of {}", names.join(", "))
        })
    }
}
