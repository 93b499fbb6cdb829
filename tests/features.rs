//! What a build is without, it refuses by name: the same test for every set of features, on the program alone.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test that cannot go on fails by panicking"
)]

use std::path::{Path, PathBuf};
use std::process::Command;

/// What the program says and how it exits, with a configuration of its own.
fn silversmith(config: &str, args: &[&str], environment: &[(&str, &str)]) -> (i32, String) {
    let folder = Folder::new();
    std::fs::write(folder.0.join("silversmith.toml"), config).unwrap();
    let mut command = Command::new(env!("CARGO_BIN_EXE_silversmith"));
    command.args(args).current_dir(&folder.0).env_clear().envs(environment.iter().copied());
    // Nothing is asked of the machine, or of the network, about AWS.
    command.env("AWS_EC2_METADATA_DISABLED", "true");
    let output = command.output().unwrap();
    (output.status.code().unwrap(), String::from_utf8(output.stderr).unwrap())
}

/// A folder that is gone at the end of a test.
struct Folder(PathBuf);

impl Folder {
    fn new() -> Self {
        let temporary = Path::new(env!("CARGO_TARGET_TMPDIR"));
        let test = std::thread::current().name().unwrap().to_owned();
        let folder = temporary.join(format!("{test}-{}", std::process::id()));
        std::fs::create_dir_all(&folder).unwrap();
        Self(folder)
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        drop(std::fs::remove_dir_all(&self.0));
    }
}

fn on(catalog: &str) -> String {
    format!(
        "[lake]\nname = \"lake\"\ncatalog = \"{catalog}\"\ncheckpoints = \"lake/checkpoints\"\n\n\
         [source]\ndirectory = \"raw\"\n\n[[pipeline]]\nname = \"orders\"\nsource = \"raw/*.csv\"\n\n\
         [pipeline.bronze]\ntable = \"bronze.orders\"\n"
    )
}

/// Whether a part is refused, by name, with what to do and with exit code 2, or else gets further.
fn refused_unless(built: bool, name: &str, (code, said): (i32, String)) {
    let refusal =
        format!("this build has no `{name}`: cargo install silversmith --features {name}");
    assert_eq!(said.contains(&refusal), !built, "{said}");
    if !built {
        assert_eq!(code, 2, "{said}");
    }
}

const ARN: &str = "arn:aws:s3tables:eu-west-1:123456789012:bucket/lake";

#[test]
fn catalogs() {
    // The configuration is refused before anything is reached; with the part, for want of a region.
    let s3tables = silversmith(&on(&format!("s3tables:{ARN}")), &["status"], &[]);
    if !cfg!(feature = "s3tables") {
        assert!(s3tables.1.contains("silversmith.toml:3: `lake.catalog`: "), "{}", s3tables.1);
    }
    refused_unless(cfg!(feature = "s3tables"), "s3tables", s3tables);
    let config = on("glue:").replace("checkpoints =", "warehouse = \"s3://b/lake\"\ncheckpoints =");
    refused_unless(cfg!(feature = "glue"), "glue", silversmith(&config, &["status"], &[]));
}

#[test]
fn the_command_lambda() {
    let config = on("sqlite:lake/catalog.db");
    refused_unless(cfg!(feature = "lambda"), "lambda", silversmith(&config, &["lambda"], &[]));
}

#[test]
fn a_collector() {
    let config = on("sqlite:lake/catalog.db");
    let there = [("OTEL_EXPORTER_OTLP_ENDPOINT", "http://127.0.0.1:9")];
    refused_unless(cfg!(feature = "otlp"), "otlp", silversmith(&config, &["status"], &there));
}
