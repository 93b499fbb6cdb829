//! `${NAME}` in the values of the file: what differs between deployments (queue URLs, buckets) comes from the
//! environment, and one file serves them all.

use serde::Deserialize;
use toml::Value;

use super::file::File;
use super::{Problem, keys};

/// The file with its variables replaced.
///
/// # Errors
/// Each variable that is not set, with its line.
pub(super) fn expanded(
    text: &str,
    lookup: impl Fn(&str) -> Option<String>,
) -> Result<File, Vec<Problem>> {
    let syntax = |error: toml::de::Error| vec![keys::syntax(text, &error)];
    let mut value = Value::Table(toml::from_str(text).map_err(syntax)?);
    let mut problems = Vec::new();
    walk(&mut value, "", &mut |key, text_value| match replaced(text_value, &lookup) {
        Ok(new) => *text_value = new,
        Err(why) => problems.push(keys::located(text, key, why)),
    });
    if problems.is_empty() { File::deserialize(value).map_err(syntax) } else { Err(problems) }
}

fn walk(value: &mut Value, key: &str, visit: &mut impl FnMut(&str, &mut String)) {
    match value {
        Value::String(text) => visit(key, text),
        Value::Array(items) => {
            for (index, item) in items.iter_mut().enumerate() {
                // A list of texts is one key; a list of tables has keys of its own.
                let key = if item.is_table() { format!("{key}[{index}]") } else { key.to_owned() };
                walk(item, &key, visit);
            }
        }
        Value::Table(table) => {
            for (name, item) in table.iter_mut() {
                let key = if key.is_empty() { name.clone() } else { format!("{key}.{name}") };
                walk(item, &key, visit);
            }
        }
        _ => {}
    }
}

/// A text with its variables replaced, once: the value of a variable is not expanded again.
fn replaced(text: &str, lookup: &impl Fn(&str) -> Option<String>) -> Result<String, String> {
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some((before, after)) = rest.split_once("${") {
        let Some((name, after)) = after.split_once('}') else {
            return Err("`${` has no `}`: write ${NAME}".to_owned());
        };
        let value =
            lookup(name).ok_or_else(|| format!("the environment variable {name:?} is not set"))?;
        out.push_str(before);
        out.push_str(&value);
        rest = after;
    }
    out.push_str(rest);
    Ok(out)
}

#[cfg(test)]
mod tests {
    use super::replaced;

    #[test]
    fn variables_are_replaced_once_and_none_is_missing() {
        let lookup = |name: &str| match name {
            "A" => Some("one".to_owned()),
            "B" => Some("${A}".to_owned()),
            _ => None,
        };
        assert_eq!(replaced("no variable, $A, {A}", &lookup), Ok("no variable, $A, {A}".into()));
        assert_eq!(replaced("${A}/${A}x", &lookup), Ok("one/onex".into()));
        assert_eq!(replaced("${B}", &lookup), Ok("${A}".into()));
        assert!(replaced("${C}", &lookup).unwrap_err().contains("\"C\" is not set"));
        assert!(replaced("${A", &lookup).is_err());
    }
}
