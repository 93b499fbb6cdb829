//! Values that are not in the form of their key, and keys that are missing: all of them, where a parser stops at the
//! first one.

use toml::{Table, Value};

use super::reference::{self, Absent, Form, Key};

/// Sections that have to be there, by the table that has them.
const NEEDED: [(&str, &str); 2] = [("", "lake"), ("pipeline", "bronze")];

/// Keys of which not every text is right.
const MEANING: [&str; 3] = [".sql", ".source", ".catalog"];
/// In a section that was not there: no key has this name.
const SEEN: &str = " missing";

/// The path of a key, and what is wrong with its value.
pub(super) type Wrong = (String, String);

/// Finds what is wrong, and takes out values that are in another form, so that the rest can be looked at.
pub(super) fn take_wrong(file: &mut Table) -> Vec<Wrong> {
    let mut wrong = Vec::new();
    walk(file, &Path::default(), &mut wrong);
    wrong
}

/// Takes out a key, wherever it is in a list of tables.
pub(super) fn remove(table: &mut Table, path: &str) {
    let Some((first, rest)) = path.split_once('.') else {
        table.remove(path);
        return;
    };
    match table.get_mut(first) {
        Some(Value::Table(inner)) => remove(inner, rest),
        Some(Value::Array(items)) => {
            for inner in items.iter_mut().filter_map(Value::as_table_mut) {
                remove(inner, rest);
            }
        }
        _ => {}
    }
}

/// A path with the indices of lists, for the line in the file, and without, for what is known of the key.
#[derive(Debug, Default)]
struct Path {
    located: String,
    plain: String,
}

impl Path {
    fn below(&self, name: &str) -> Self {
        let below = |path: &str| match path {
            "" => name.to_owned(),
            path => format!("{path}.{name}"),
        };
        Self { located: below(&self.located), plain: below(&self.plain) }
    }

    fn item(&self, index: usize) -> Self {
        Self { located: format!("{}[{index}]", self.located), plain: self.plain.clone() }
    }
}

fn walk(table: &mut Table, at: &Path, wrong: &mut Vec<Wrong>) {
    let mut bad = Vec::new();
    for (name, value) in table.iter_mut() {
        let path = at.below(name);
        match value {
            Value::Table(inner) => walk(inner, &path, wrong),
            Value::Array(items) if items.iter().any(Value::is_table) => {
                let tables = items.iter_mut().enumerate();
                for (index, item) in tables.filter_map(|(at, v)| Some((at, v.as_table_mut()?))) {
                    walk(item, &path.item(index), wrong);
                }
            }
            value => {
                if let Some(key) = known(&path.plain).filter(|key| !fits(key.form, value)) {
                    let is = value.type_str();
                    let why =
                        format!("it is {} {is}: write {name} = {}", article(is), example(key));
                    wrong.push((path.located, why));
                    bad.push(name.clone());
                }
            }
        }
    }
    for name in bad {
        table.remove(&name);
    }
    missing(table, at, wrong);
}

/// Finds keys that are missing, and puts a value there, so that the rest can be looked at.
fn missing(table: &mut Table, at: &Path, wrong: &mut Vec<Wrong>) {
    let of_form: Vec<String> = wrong.iter().map(|(path, _)| path.clone()).collect();
    for key in reference::keys().filter(|key| key.absent == Absent::Required) {
        let Some((section, name)) = key.name.rsplit_once('.') else { continue };
        let needed = NEEDED
            .iter()
            .find(|(above, needed)| *above == at.plain && at.below(needed).plain == section);
        let (path, into) = match needed {
            _ if section == at.plain => (at.below(name), &mut *table),
            // A section that is there is checked by itself.
            Some((_, needed)) if table.get(*needed).is_none_or(|v| v.get(SEEN).is_some()) => {
                let section = table.entry(*needed).or_insert_with(|| {
                    Value::Table(Table::from_iter([(SEEN.to_owned(), Value::Boolean(true))]))
                });
                let Value::Table(section) = section else { continue };
                (at.below(needed).below(name), section)
            }
            _ => continue,
        };
        if into.contains_key(name) {
            continue;
        }
        if !of_form.contains(&path.located) {
            let why = format!("it is missing: write {name} = {}", example(key));
            wrong.push((path.located.clone(), why));
        }
        if let Some(value) = placeholder(key, &path.located) {
            into.insert(name.to_owned(), value);
        }
    }
}

/// A value that is right in itself, and that no other key has.
fn placeholder(key: &Key, located: &str) -> Option<Value> {
    let unique: String =
        located.chars().map(|c| if c.is_ascii_alphanumeric() { c } else { '_' }).collect();
    match key.form {
        Form::TableName => Some(Value::String(format!("missing.{unique}"))),
        Form::Texts => Some(Value::Array(vec![Value::String(unique)])),
        Form::Text if !MEANING.iter().any(|name| key.name.ends_with(name)) => {
            Some(Value::String(unique))
        }
        _ => None,
    }
}

/// What is known of a key. A name that the user chooses is a `*`.
fn known(path: &str) -> Option<&'static Key> {
    reference::keys().find(|key| match key.name.split_once('*') {
        None => key.name == path,
        Some((before, after)) => {
            let chosen = path.strip_prefix(before).and_then(|rest| rest.strip_suffix(after));
            chosen.is_some_and(|chosen| !chosen.is_empty() && !chosen.contains('.'))
        }
    })
}

fn fits(form: Form, value: &Value) -> bool {
    match form {
        Form::Integer => value.is_integer(),
        Form::Boolean => value.is_bool(),
        Form::Texts => value.as_array().is_some_and(|items| items.iter().all(Value::is_str)),
        Form::Text | Form::Size | Form::Duration | Form::TableName | Form::OneOf(_) => {
            value.is_str()
        }
    }
}

/// A value in the form of a key.
fn example(key: &Key) -> String {
    match key.form {
        Form::Text => "\"…\"".to_owned(),
        Form::Integer => "10".to_owned(),
        Form::Boolean => "true".to_owned(),
        Form::Size => "\"256MiB\"".to_owned(),
        Form::Duration => "\"2s\"".to_owned(),
        Form::Texts => "[\"…\"]".to_owned(),
        Form::TableName => "\"namespace.table\"".to_owned(),
        Form::OneOf(words) => format!("{:?}", words.first().unwrap_or(&"…")),
    }
}

fn article(noun: &str) -> &'static str {
    if noun.starts_with(['a', 'e', 'i', 'o', 'u']) { "an" } else { "a" }
}
