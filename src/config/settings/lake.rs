//! `[lake]`: the catalog, and where files go.

use std::path::{Path, PathBuf};

use super::resolver::Resolver;
use super::{CatalogSettings, LakeSettings, Place};
use crate::config::file::LakeSection;

pub(super) fn lake(resolver: &mut Resolver, section: &LakeSection, base: &Path) -> LakeSettings {
    if section.name.is_empty() {
        resolver.say("lake.name", "it is empty");
    }
    let catalog = match section.catalog.split_once(':') {
        Some(("sqlite", path)) if !path.is_empty() && !path.contains('?') => {
            CatalogSettings::Sqlite(normal(&base.join(path.trim_start_matches("//"))))
        }
        Some(("postgres" | "postgresql", _)) => CatalogSettings::Postgres(section.catalog.clone()),
        Some((kind @ ("rest" | "s3tables" | "glue"), _)) => {
            resolver.say("lake.catalog", format!("`{kind}:` catalogs are not built yet"));
            CatalogSettings::Sqlite(PathBuf::new())
        }
        _ => {
            resolver.say("lake.catalog", "write sqlite:<path> or postgres://user@host/database");
            CatalogSettings::Sqlite(PathBuf::new())
        }
    };
    let warehouse = place(resolver, "lake.warehouse", &section.warehouse, base);
    let checkpoints = place(resolver, "lake.checkpoints", &section.checkpoints, base);
    LakeSettings { name: section.name.clone(), catalog, warehouse, checkpoints }
}

fn place(resolver: &mut Resolver, key: &str, text: &str, base: &Path) -> Place {
    if let Some(rest) = text.strip_prefix("s3://") {
        let (bucket, prefix) = rest.split_once('/').unwrap_or((rest, ""));
        if bucket.is_empty() {
            resolver.say(key, "write s3://bucket/prefix");
        }
        let prefix = prefix.trim_matches('/').to_owned();
        return Place::S3 { bucket: bucket.to_owned(), prefix };
    }
    if text.contains("://") {
        resolver.say(key, "write a path or s3://bucket/prefix");
    } else if text.contains(['#', '?']) {
        resolver.say(key, "other engines cannot read paths with # or ?");
    }
    Place::Folder(normal(&base.join(text)))
}

/// The path without `.` and `..`, as far as that can be told without looking.
pub(super) fn normal(path: &Path) -> PathBuf {
    let mut out = PathBuf::new();
    for part in path.components() {
        match part {
            std::path::Component::CurDir => {}
            std::path::Component::ParentDir => {
                out.pop();
            }
            part => out.push(part),
        }
    }
    out
}
