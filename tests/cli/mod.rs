//! The command line: what users see, by snapshot; exit codes; the pipe.

mod commands;
mod configuration;
mod init;
mod maintenance;
mod memory;
mod queries;
mod shell;
mod telemetry;

use std::io::Write;
use std::process::{Command, Output, Stdio};

/// A folder with a configuration, and the binary run in it.
pub struct Folder {
    folder: tempfile::TempDir,
}

impl Folder {
    pub fn new(config: &str) -> Self {
        let folder = Self { folder: tempfile::tempdir().unwrap() };
        std::fs::create_dir(folder.folder.path().join("raw")).unwrap();
        folder.write("silversmith.toml", config);
        folder
    }

    /// A pipeline of orders, with further lines for `[source]` and `[pipeline.batch]`.
    pub fn config(source: &str, batch: &str) -> String {
        format!(
            r#"[lake]
name        = "lake"
catalog     = "sqlite:lake/catalog.db"
warehouse   = "lake/warehouse"
checkpoints = "lake/checkpoints"

[source]
directory = "raw"
{source}

[[pipeline]]
name   = "orders"
source = "raw/**/*.csv"

[pipeline.batch]
{batch}

[pipeline.bronze]
table = "bronze.orders"

[pipeline.silver]
table    = "silver.orders"
keys     = ["id"]
order_by = ["updated"]

[[pipeline.gold]]
table = "gold.orders"
sql   = "SELECT count(*) AS n FROM silver"
"#
        )
    }

    pub fn path(&self) -> &std::path::Path {
        self.folder.path()
    }

    pub fn write(&self, name: &str, text: &str) {
        let path = self.path().join(name);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, text).unwrap();
    }

    pub fn command(&self, args: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_silversmith"));
        command.args(args).current_dir(self.path()).env_remove("RUST_LOG");
        command
    }

    pub fn output(&self, args: &[&str]) -> Output {
        self.command(args).output().unwrap()
    }

    /// Runs a command that must succeed.
    pub fn run(&self, args: &[&str]) -> Output {
        let output = self.output(args);
        let stderr = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "silversmith {args:?}: {}\n{stderr}", output.status);
        output
    }

    pub fn stdout(&self, args: &[&str]) -> String {
        String::from_utf8(self.run(args).stdout).unwrap()
    }

    /// The stdout of a command that must succeed, with a text on its stdin.
    pub fn piped(&self, text: &str, args: &[&str]) -> String {
        let mut command = self.command(args);
        let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
        child.stdin.take().unwrap().write_all(text.as_bytes()).unwrap();
        let output = child.wait_with_output().unwrap();
        assert!(output.status.success(), "silversmith {args:?}: {}", output.status);
        String::from_utf8(output.stdout).unwrap()
    }

    /// Exit code, stdout and stderr, with what differs from run to run replaced.
    pub fn seen(&self, args: &[&str]) -> String {
        let output = self.output(args);
        let text = format!(
            "exit {}\n--- stdout\n{}--- stderr\n{}",
            output.status.code().unwrap_or(-1),
            String::from_utf8_lossy(&output.stdout),
            String::from_utf8_lossy(&output.stderr),
        );
        let real = std::fs::canonicalize(self.path()).unwrap();
        text.replace(env!("CARGO_BIN_EXE_silversmith"), "silversmith")
            .replace(&real.display().to_string(), "[folder]")
            .replace(&self.path().display().to_string(), "[folder]")
    }
}

/// Settings for snapshots: ids, times, versions and widths that differ from run to run.
pub fn redacted() -> insta::Settings {
    let mut settings = insta::Settings::clone_current();
    settings.set_prepend_module_to_snapshot(false);
    for (pattern, with) in [
        (r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}", "[uuid]"),
        (r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?Z", "[time]"),
        (r"\b\d+-\d{19}\b", "[version]"),
        (r"\b\d{15,19}\b", "[id]"),
        (r"\b[0-9a-f]{16}\b", "[hash]"),
        (r"Done in \d+\.\d s", "Done in [seconds]"),
        // Progress, on a slow machine.
        (r"[^\n]*: still running after \d+ s\n", ""),
        (r" +\|", " |"),
        (r"-{3,}\+", "---+"),
    ] {
        settings.add_filter(pattern, with);
    }
    settings
}
