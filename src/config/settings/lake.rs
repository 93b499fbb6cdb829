//! `[lake]`: the catalog, and where files go.

use std::path::{Path, PathBuf};

use super::resolver::Resolver;
use super::{CatalogSettings, LakeSettings, Location, rest, upkeep};
use crate::config::file::{LakeSection, RestSection};
use crate::features::Part;

pub(super) fn lake(resolver: &mut Resolver, section: &LakeSection, base: &Path) -> LakeSettings {
    if section.name.is_empty() {
        resolver.say("lake.name", "it is empty");
    }
    let catalog = catalog(resolver, section, base);
    let has_locations = matches!(catalog, CatalogSettings::S3Tables(_) | CatalogSettings::Rest(_));
    let warehouse = match &section.warehouse {
        Some(_) if matches!(catalog, CatalogSettings::S3Tables(_)) => {
            let why = "S3 Tables gives each table its own location: leave the key out";
            resolver.say("lake.warehouse", why);
            None
        }
        Some(text) => Some(location(resolver, "lake.warehouse", text, base)),
        None if has_locations => None,
        None => {
            let why = "it is missing: write where new tables go, a path or s3://bucket/prefix";
            resolver.say("lake.warehouse", why);
            None
        }
    };
    if let (CatalogSettings::Glue(_), Some(Location::Folder(_))) = (&catalog, &warehouse) {
        resolver.say("lake.warehouse", "tables in Glue are on S3: write s3://bucket/prefix");
    }
    let checkpoints = location(resolver, "lake.checkpoints", &section.checkpoints, base);
    let event_bus = section.event_bus.clone();
    if event_bus.as_ref().is_some_and(String::is_empty) {
        resolver
            .say("lake.event_bus", "it is empty: write the name or ARN of a bus, or leave it out");
    }
    let upkeep = upkeep::upkeep(resolver, &section.upkeep);
    let name = section.name.clone();
    LakeSettings { name, catalog, warehouse, checkpoints, event_bus, upkeep }
}

fn catalog(resolver: &mut Resolver, section: &LakeSection, base: &Path) -> CatalogSettings {
    let text = section.catalog.as_str();
    let (kind, rest) = text.split_once(':').unwrap_or((text, ""));
    if section.rest.is_some() && kind != "rest" {
        resolver.say("lake.rest", "it applies to `rest:` catalogs only: leave it out");
    }
    match (kind, rest) {
        ("sqlite", path) if !path.is_empty() && !path.contains('?') => {
            CatalogSettings::Sqlite(normal(&base.join(path.trim_start_matches("//"))))
        }
        ("postgres" | "postgresql", _) => CatalogSettings::Postgres(text.to_owned()),
        ("s3tables", arn) => {
            resolver.needs("lake.catalog", Part::S3Tables);
            if !arn.starts_with("arn:") || !arn.contains(":bucket/") {
                let why = "write s3tables:arn:aws:s3tables:<region>:<account>:bucket/<name>";
                resolver.say("lake.catalog", why);
            }
            CatalogSettings::S3Tables(arn.to_owned())
        }
        ("glue", id) => {
            resolver.needs("lake.catalog", Part::Glue);
            CatalogSettings::Glue(id.to_owned())
        }
        ("rest", uri) => {
            let section = section.rest.as_ref();
            CatalogSettings::Rest(rest::rest(resolver, uri, section.unwrap_or(&NO_REST)))
        }
        _ => {
            let why = "write sqlite:<path>, postgres://user@host/database, s3tables:<table bucket ARN>, glue:<catalog id> or rest:https://…";
            resolver.say("lake.catalog", why);
            CatalogSettings::Sqlite(PathBuf::new())
        }
    }
}

/// What applies where there is no `[lake.rest]`.
const NO_REST: RestSection = RestSection {
    warehouse: None,
    auth: None,
    oauth2_server: None,
    scope: None,
    signing_name: None,
};

fn location(resolver: &mut Resolver, key: &str, text: &str, base: &Path) -> Location {
    if let Some(rest) = text.strip_prefix("s3://") {
        let (bucket, prefix) = rest.split_once('/').unwrap_or((rest, ""));
        if bucket.is_empty() {
            resolver.say(key, "write s3://bucket/prefix");
        }
        let prefix = prefix.trim_matches('/').to_owned();
        return Location::S3 { bucket: bucket.to_owned(), prefix };
    }
    if text.contains("://") {
        resolver.say(key, "write a path or s3://bucket/prefix");
    } else if text.contains(['#', '?']) {
        resolver.say(key, "other engines cannot read paths with # or ?: choose another path");
    }
    Location::Folder(normal(&base.join(text)))
}

/// The path without `.` and `..`, by its text alone.
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
