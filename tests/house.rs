//! House rules that a compiler does not check: imports run one way, and the outside is named in one place.

use std::fs;
use std::path::{Path, PathBuf};

fn sources(folder: &Path, found: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            sources(&path, found);
        } else if path.extension().is_some_and(|e| e == "rs") {
            found.push(path);
        }
    }
}

/// Each word, and the folders or files of `src/` that may say it.
const ONLY_IN: &[(&str, &[&str])] = &[
    ("iceberg::", &["lake/"]),
    ("sqlx::", &["lake/catalog/jdbc.rs"]),
    ("std::env", &["config/"]),
    ("aws_sdk_sqs", &["aws/mod.rs", "queue/sqs.rs"]),
    ("aws_sdk_eventbridge", &["aws/mod.rs", "announce/eventbridge.rs"]),
    ("aws_sigv4", &["aws/signing.rs"]),
    ("aws_types", &["aws/endpoint.rs"]),
    ("reqwest", &["aws/", "lake/catalog/rest/"]),
    ("rustls::", &["tls.rs"]),
    ("lambda_runtime", &["cli/lambda"]),
    ("axum::", &["telemetry/"]),
    ("opentelemetry", &["telemetry/"]),
    ("prometheus", &["telemetry/"]),
    ("aws_sdk_s3::", &["aws/mod.rs", "source/s3", "checkpoint/s3.rs", "lake/s3_files.rs"]),
    ("aws::service", &["aws/", "lake/catalog/", "wiring.rs"]),
    ("SqsQueue", &["queue/", "wiring.rs"]),
    ("S3Store", &["source/", "wiring.rs"]),
    ("S3Checkpoints", &["checkpoint/", "wiring.rs"]),
    ("JdbcCatalog", &["lake/catalog/", "wiring.rs"]),
    ("LocalCheckpoints", &["checkpoint/", "wiring.rs", "cli/demo"]),
    ("DirectoryStore", &["source/", "wiring.rs"]),
    ("anyhow", &["cli/"]),
    ("clap::", &["cli/", "telemetry/logs.rs"]),
    ("crate::cli", &["cli/"]),
    ("crate::wiring", &["cli/", "worker/"]),
    ("crate::worker", &["cli/", "worker/"]),
    ("crate::config", &["cli/", "config/", "wiring.rs", "worker/events"]),
    ("crate::bronze", &["cli/", "worker/", "config/", "wiring.rs"]),
    ("crate::silver", &["silver/", "cli/", "worker/", "config/", "wiring.rs"]),
    ("crate::gold", &["cli/", "worker/", "config/", "wiring.rs"]),
    ("crate::ledger", &["announce/", "bronze/", "cli/", "worker/", "dead_letters/"]),
    ("crate::announce", &["announce/", "worker/", "wiring.rs"]),
    ("EventBridge::", &["announce/", "wiring.rs"]),
    ("crate::dead_letters", &["dead_letters/", "cli/"]),
];

#[test]
fn imports_run_one_way() {
    let src = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut found = Vec::new();
    sources(&src, &mut found);
    assert!(found.len() > 40);
    let mut wrong = Vec::new();
    for path in found {
        let name = path.strip_prefix(&src).unwrap().display().to_string();
        let text = fs::read_to_string(&path).unwrap();
        for (number, line) in text.lines().enumerate() {
            let code = line.split("//").next().unwrap_or_default();
            for (word, places) in ONLY_IN {
                let said = code.match_indices(word).any(|(at, _)| {
                    !code[..at].ends_with(|c: char| c.is_alphanumeric() || c == '_')
                });
                if said && !places.iter().any(|place| name.starts_with(place)) {
                    wrong.push(format!("{name}:{}: {word}", number + 1));
                }
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}
