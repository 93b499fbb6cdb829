//! Exit codes and hints, in one place.

use std::fmt;
use std::io::Write;
use std::process::ExitCode;

use super::output::quiet;
use crate::bronze::BronzeError;
use crate::checkpoint::CheckpointError;
use crate::config::ConfigError;
use crate::error::{Kind, causes};
use crate::features::NotBuilt;
use crate::gold::GoldError;
use crate::lake::LakeError;
use crate::lake::catalog::CatalogError;
use crate::queue::QueueError;
use crate::silver::SilverError;
use crate::sql::SqlError;
use crate::wiring::WiringError;
use crate::worker::WorkerError;

/// The command was asked for something that makes no sense.
#[derive(Debug)]
pub(super) struct Usage(pub(super) String);

impl fmt::Display for Usage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for Usage {}

/// What kind of error this is, by the first cause that knows.
fn kind(error: &anyhow::Error) -> Kind {
    for cause in error.chain() {
        if cause.is::<ConfigError>() || cause.is::<Usage>() || cause.is::<NotBuilt>() {
            return Kind::Configuration;
        }
        let known = cause
            .downcast_ref::<BronzeError>()
            .map(BronzeError::kind)
            .or_else(|| cause.downcast_ref::<SilverError>().map(SilverError::kind))
            .or_else(|| cause.downcast_ref::<GoldError>().map(GoldError::kind))
            .or_else(|| cause.downcast_ref::<SqlError>().map(SqlError::kind))
            .or_else(|| cause.downcast_ref::<LakeError>().map(LakeError::kind))
            .or_else(|| cause.downcast_ref::<CheckpointError>().map(CheckpointError::kind))
            .or_else(|| cause.downcast_ref::<WiringError>().map(WiringError::kind))
            .or_else(|| cause.downcast_ref::<WorkerError>().and_then(own_kind));
        if let Some(kind) = known {
            return kind;
        }
        if let Some(error) = cause.downcast_ref::<CatalogError>() {
            return error.kind;
        }
    }
    Kind::Look
}

fn own_kind(error: &WorkerError) -> Option<Kind> {
    // The others have a cause that knows.
    matches!(error, WorkerError::NothingToWatch).then_some(Kind::Configuration)
}

/// A reader of ours that has gone away (`silversmith sql … | head`) is no failure.
fn is_closed_pipe(error: &anyhow::Error) -> bool {
    error.chain().any(|cause| {
        cause
            .downcast_ref::<std::io::Error>()
            .is_some_and(|e| e.kind() == std::io::ErrorKind::BrokenPipe)
    })
}

/// The next step, where it can be told more exactly than by the kind.
fn hint(error: &anyhow::Error) -> Option<&'static str> {
    error.chain().find_map(|cause| {
        if let Some(WiringError::NoLake(_)) = cause.downcast_ref() {
            return Some("Or name another configuration with --config.");
        }
        let queue = matches!(cause.downcast_ref(), Some(WorkerError::Queue(_)));
        if queue || cause.is::<QueueError>() {
            return Some(
                "Nothing is lost. `silversmith check` tries source.queue and source.dlq; then run the same command again.",
            );
        }
        if cause.is::<NotBuilt>() {
            return Some("Install a build that has it, or leave out what asks for it.");
        }
        if cause.is::<Usage>() {
            return Some("`silversmith help` shows what can be asked for.");
        }
        match lake_error(cause)? {
            error @ LakeError::Iceberg { doing: "reading its metadata", .. }
                if causes(error).iter().any(|cause| cause.contains("NoSuchKey")) =>
            {
                Some(
                    "The catalog names a table whose files are gone: restore them, or begin with another catalog or lake.name.",
                )
            }
            LakeError::NotFound(_) => Some(
                "Write it as namespace.table; `silversmith status` shows the pipelines, and a table is made when its first rows come.",
            ),
            LakeError::NoSnapshot { .. } => {
                Some("`silversmith history TABLE` lists the snapshots that there are.")
            }
            LakeError::RolledBack { .. } => Some(
                "Nothing was changed. Set the table to that snapshot again, if the rollback was not meant; otherwise name a new bronze table. `silversmith status` and `objects` still show what is known.",
            ),
            _ => None,
        }
    })
}

/// The table's trouble within a step's: a step's own error says the same, and is no cause of its own.
fn lake_error<'a>(cause: &'a (dyn std::error::Error + 'static)) -> Option<&'a LakeError> {
    if let Some(BronzeError::Lake(error)) = cause.downcast_ref() {
        return Some(error);
    }
    if let Some(SilverError::Lake(error)) = cause.downcast_ref() {
        return Some(error);
    }
    if let Some(GoldError::Lake(error)) = cause.downcast_ref() {
        return Some(error);
    }
    if let Some(SqlError::Lake(error)) = cause.downcast_ref() {
        return Some(error);
    }
    cause.downcast_ref()
}

/// The message: what happened, the causes, what to do next.
pub(super) fn message(error: &anyhow::Error) -> String {
    let said = quiet(&causes(error.as_ref()).join("\n  caused by: "));
    let next = hint(error).unwrap_or_else(|| kind(error).next_step());
    format!("error: {said}\n{next}\n")
}

pub(super) fn failed(error: &anyhow::Error) -> ExitCode {
    if is_closed_pipe(error) {
        return ExitCode::SUCCESS;
    }
    // Nobody is left to be told when stderr is closed, too.
    let told = std::io::stderr().write_all(message(error).as_bytes());
    drop(told);
    match kind(error) {
        Kind::Configuration => ExitCode::from(2),
        _ => ExitCode::from(1),
    }
}
