//! Documents made from the code: keys, variables, commands.

use silversmith::config::environment::{self, Variable};
use silversmith::config::reference::{self, Absent, Form, Key, SECTIONS};
use silversmith::config::{Problem, parse};

use super::{read, root};
use crate::cli::Folder;

const BEGIN: &str =
    "<!-- made from the code: SILVERSMITH_BLESS=1 cargo test --all-features docs:: -->\n";
const END: &str = "<!-- end -->\n";

/// Whether the files are rewritten instead of compared.
fn blessed() -> bool {
    #[allow(clippy::disallowed_methods, reason = "the test suite's own setting")]
    std::env::var("SILVERSMITH_BLESS").is_ok_and(|value| value == "1")
}

/// The part of a document that is made from the code is what the code says.
fn agrees(file: &str, made: &str) {
    let text = read(file);
    let (before, rest) = text.split_once(BEGIN).unwrap_or_else(|| panic!("{file} has no {BEGIN}"));
    let (found, after) = rest.split_once(END).unwrap_or_else(|| panic!("{file} has no {END}"));
    if blessed() {
        std::fs::write(root().join(file), format!("{before}{BEGIN}{made}{END}{after}")).unwrap();
        return;
    }
    let differs = found.lines().zip(made.lines()).find(|(found, made)| found != made);
    assert!(
        found == made,
        "{file} is not what the code says: run SILVERSMITH_BLESS=1 cargo test --all-features docs::\n{differs:?}"
    );
}

fn form(form: Form) -> String {
    match form {
        Form::Text => "string".to_owned(),
        Form::Integer => "integer".to_owned(),
        Form::Boolean => "boolean".to_owned(),
        Form::Size => "size, as `\"256MiB\"`".to_owned(),
        Form::Duration => "duration, as `\"2s\"`".to_owned(),
        Form::Texts => "list of strings".to_owned(),
        Form::TableName => "`\"namespace.table\"`".to_owned(),
        Form::OneOf(words) => {
            words.iter().map(|word| format!("`\"{word}\"`")).collect::<Vec<_>>().join(", ")
        }
    }
}

fn absent(absent: Absent) -> String {
    match absent {
        Absent::Required => "**required**".to_owned(),
        Absent::Off => "none".to_owned(),
        Absent::Value(value) => format!("`{value}`"),
        Absent::Depends(words) => words.to_owned(),
    }
}

#[test]
fn the_configuration_is_documented() {
    let mut made = String::new();
    for section in SECTIONS {
        made.push_str(&format!("\n### `{}`\n\n{}\n\n", section.header, section.about));
        made.push_str("| key | type | default | meaning |\n|---|---|---|---|\n");
        for Key { name, form: of, absent: without, meaning } in section.keys {
            made.push_str(&format!(
                "| `{}` | {} | {} | {meaning} |\n",
                name.replace('*', "<name>"),
                form(*of),
                absent(*without)
            ));
        }
    }
    made.push('\n');
    agrees("docs/configuration.md", &made);
}

#[test]
fn the_environment_is_documented() {
    let mut made = String::from("\n| variable | read by | value | unset | meaning |\n");
    made.push_str("|---|---|---|---|---|\n");
    for Variable { name, reader, form, absent, meaning } in environment::ALL {
        let names: Vec<String> = name.split(", ").map(|name| format!("`{name}`")).collect();
        let (names, reader) = (names.join(", "), reader.name());
        made.push_str(&format!("| {names} | {reader} | {form} | {absent} | {meaning} |\n"));
    }
    made.push('\n');
    agrees("docs/environment.md", &made);
}

/// The commands that a help text lists.
fn commands(help: &str) -> Vec<String> {
    let listed = help.lines().skip_while(|line| *line != "Commands:").skip(1);
    let listed = listed.take_while(|line| !line.is_empty());
    let names = listed.filter_map(|line| line.strip_prefix("  ")?.split(' ').next());
    names.filter(|name| !name.is_empty() && *name != "help").map(str::to_owned).collect()
}

/// The help of a command and of all below it.
fn helps(folder: &Folder, command: &[String], made: &mut String) {
    let args: Vec<&str> = command.iter().map(String::as_str).chain(["--help"]).collect();
    let help = folder.stdout(&args);
    let lines: Vec<&str> = help.lines().map(str::trim_end).collect();
    let (level, name) = ("#".repeat(2 + command.len().saturating_sub(1)), command.join(" "));
    let heading = format!("silversmith {name}");
    made.push_str(&format!("\n{level} {}\n\n```text\n{}\n```\n", heading.trim(), lines.join("\n")));
    for below in commands(&help) {
        helps(folder, &[command, &[below]].concat(), made);
    }
}

#[test]
fn every_command_is_documented() {
    let mut made = String::new();
    helps(&Folder::new(""), &[], &mut made);
    assert!(made.matches("```text").count() > 15, "{made}");
    made.push('\n');
    agrees("docs/cli.md", &made);
}

/// A configuration as keys and TOML values.
type Settings = Vec<(&'static str, &'static str)>;

fn base(source: &[(&'static str, &'static str)], catalog: &'static str) -> Settings {
    let files = if source[0].0 == "source.queue" { "\"s3://raw/*.csv\"" } else { "\"raw/*.csv\"" };
    let common = [
        ("lake.name", "\"lake\""),
        ("lake.catalog", catalog),
        ("lake.warehouse", "\"warehouse\""),
        ("lake.checkpoints", "\"checkpoints\""),
        ("pipeline.name", "\"orders\""),
        ("pipeline.source", files),
        ("pipeline.bronze.table", "\"bronze.orders\""),
        ("pipeline.silver.table", "\"silver.orders\""),
        ("pipeline.silver.keys", "[\"id\"]"),
        ("pipeline.silver.expect.name", "\"positive\""),
        ("pipeline.silver.expect.sql", "\"id > 0\""),
        ("pipeline.gold.table", "\"gold.orders\""),
        ("pipeline.gold.sql", "\"SELECT count(*) AS n FROM silver\""),
    ];
    common.into_iter().chain(source.iter().copied()).collect()
}

/// Configurations that between them allow every key.
fn bases() -> Vec<Settings> {
    let folder = [("source.directory", "\"raw\"")];
    let queues = [("source.queue", "\"https://sqs/a\""), ("source.dlq", "\"https://sqs/b\"")];
    let rest = |auth: &'static str| {
        let mut settings = base(&folder, "\"rest:https://example.org\"");
        settings.push(("lake.rest.auth", auth));
        settings
    };
    let mut deliveries = base(&folder, "\"sqlite:catalog.db\"");
    deliveries.push(("pipeline.deliveries.count", "2"));
    vec![
        base(&folder, "\"sqlite:catalog.db\""),
        deliveries,
        base(&queues, "\"sqlite:catalog.db\""),
        rest("\"oauth2\""),
        rest("\"sigv4\""),
    ]
}

fn resolved(settings: &Settings) -> Result<String, Vec<Problem>> {
    let mut file = String::new();
    for section in SECTIONS {
        let keys: Vec<_> = section
            .keys
            .iter()
            .filter_map(|key| settings.iter().find(|(name, _)| *name == key.name))
            .collect();
        if !keys.is_empty() {
            file.push_str(&format!("{}\n", section.header));
        }
        for (name, value) in keys {
            file.push_str(&format!("{} = {value}\n", name.rsplit('.').next().unwrap()));
        }
    }
    parse(&file, root()).map(|settings| format!("{settings:?}"))
}

/// The settings with one key set or, with none, left out.
fn with(settings: &Settings, name: &'static str, value: Option<&'static str>) -> Settings {
    let others = settings.iter().copied().filter(|(key, _)| *key != name);
    others.chain(value.map(|value| (name, value))).collect()
}

/// A default in the table is the default in the code, and what is required is missed.
#[test]
fn documented_defaults_are_those_of_the_code() {
    let bases = bases();
    for settings in &bases {
        resolved(settings).unwrap();
    }
    for key in reference::keys() {
        match key.absent {
            Absent::Required => {
                let without = with(&bases[0], key.name, None);
                assert!(resolved(&without).is_err(), "{} is not missed", key.name);
            }
            Absent::Value(value) => {
                let same = bases.iter().any(|settings| {
                    let set = resolved(&with(settings, key.name, Some(value)));
                    set.is_ok() && set == resolved(&with(settings, key.name, None))
                });
                assert!(same, "{} = {value} is not the default", key.name);
            }
            Absent::Off | Absent::Depends(_) => {}
        }
    }
}

/// Each key of the table is read: a value of another type is an error. And each word of a choice is one.
#[test]
fn documented_types_are_those_of_the_code() {
    let bases = bases();
    for key in reference::keys().filter(|key| !key.name.contains('*')) {
        let wrong = match key.form {
            Form::Integer | Form::Boolean | Form::Texts => "\"x\"",
            Form::Size | Form::Duration => "\"soon\"",
            Form::TableName => "\"a table\"",
            Form::OneOf(_) => "\"another\"",
            Form::Text => "1",
        };
        for settings in &bases {
            let problems = resolved(&with(settings, key.name, Some(wrong)));
            assert!(problems.is_err(), "{} = {wrong} is accepted", key.name);
        }
        let Form::OneOf(words) = key.form else { continue };
        for word in words {
            let value: &'static str = Box::leak(format!("\"{word}\"").into_boxed_str());
            let accepted = |settings| resolved(&with(settings, key.name, Some(value))).is_ok();
            assert!(bases.iter().any(accepted), "{} = {value} is refused", key.name);
        }
    }
}
