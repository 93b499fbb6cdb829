//! Exit codes, and the hints of all commands.

use std::fmt;
use std::io::Write;
use std::process::ExitCode;

use super::left::LeftBehind;
use super::quiet::quiet;
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
use crate::sql::{self, SqlError};
use crate::upkeep::UpkeepError;
use crate::wiring::WiringError;
use crate::worker::WorkerError;

/// The arguments make no sense together, or name something that does not exist.
#[derive(Debug)]
pub(super) struct Usage(pub(super) String);

impl fmt::Display for Usage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for Usage {}

/// The kind of an error, by the first cause that has one.
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
            .or_else(|| cause.downcast_ref::<UpkeepError>().map(UpkeepError::kind))
            .or_else(|| cause.downcast_ref::<SqlError>().map(SqlError::kind))
            .or_else(|| cause.downcast_ref::<LakeError>().map(LakeError::kind))
            .or_else(|| cause.downcast_ref::<CheckpointError>().map(CheckpointError::kind))
            .or_else(|| cause.downcast_ref::<WiringError>().map(WiringError::kind))
            .or_else(|| cause.downcast_ref::<WorkerError>().and_then(own_kind))
            .or_else(|| cause.downcast_ref::<CatalogError>().map(CatalogError::kind));
        if let Some(kind) = known {
            return kind;
        }
    }
    Kind::Look
}

fn own_kind(error: &WorkerError) -> Option<Kind> {
    // The others have a cause with a kind.
    matches!(error, WorkerError::NothingToWatch).then_some(Kind::Configuration)
}

/// Whether the reader of the output has gone away (`silversmith sql … | head`), which is no failure.
fn is_closed_pipe(error: &anyhow::Error) -> bool {
    error.chain().any(|cause| {
        cause
            .downcast_ref::<std::io::Error>()
            .is_some_and(|e| e.kind() == std::io::ErrorKind::BrokenPipe)
    })
}

/// The next step, where it is more exact than that of the kind.
fn hint(error: &anyhow::Error) -> Option<&'static str> {
    error.chain().find_map(|cause| {
        if let Some(WiringError::NoLake(_)) = cause.downcast_ref() {
            return Some("To use another configuration, pass --config.");
        }
        let queue = matches!(cause.downcast_ref(), Some(WorkerError::Queue(_)));
        if queue || cause.is::<QueueError>() {
            return Some(
                "No data was lost. Test source.queue and source.dlq with `silversmith check`, then rerun the command.",
            );
        }
        if cause.is::<LeftBehind>() {
            return Some(
                "The rest is done. `silversmith status` counts what stands; see `silversmith objects --failed` and `silversmith quarantine list`. With --lenient this is no failure.",
            );
        }
        if cause.is::<NotBuilt>() {
            return Some("Install a build that has it, or leave out what asks for it.");
        }
        if cause.is::<Usage>() {
            return Some("Run `silversmith help` to see the available commands.");
        }
        match cause.downcast_ref() {
            Some(SqlError::NoTable { .. }) => {
                return Some("List the tables with `silversmith sql 'SHOW TABLES'`.");
            }
            Some(error @ (SqlError::Sql { what, .. } | SqlError::NotAllowed { what, .. }))
                if what == sql::WHAT && error.kind() == Kind::Configuration =>
            {
                return Some(
                    "Fix the query. `silversmith sql 'DESCRIBE namespace.table'` lists the columns of a table.",
                );
            }
            _ => {}
        }
        match lake_error(cause)? {
            error @ LakeError::Iceberg { doing: "reading its metadata", .. }
                if causes(error).iter().any(|cause| cause.contains("NoSuchKey")) =>
            {
                Some(
                    "The catalog names a table whose files are missing. Restore them, or start with another catalog or lake.name.",
                )
            }
            LakeError::NotFound(_) => Some(
                "Write the name as namespace.table. `silversmith status` lists the pipelines; a table is created with its first rows.",
            ),
            LakeError::NoSnapshot { .. } => {
                Some("Run `silversmith history TABLE` to list the snapshots of the table.")
            }
            LakeError::RolledBack { .. } => Some(
                "Nothing was changed. If the rollback was a mistake, set the table to that snapshot again; otherwise run `silversmith repair`. `silversmith status` and `silversmith objects` still work.",
            ),
            _ => None,
        }
    })
}

/// The table's error inside a step's error, which is transparent and so no cause of its own.
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
    if let Some(UpkeepError::Lake(error)) = cause.downcast_ref() {
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
    match error.is::<LeftBehind>() {
        true => format!("left behind: {said}\n{next}\n"),
        false => format!("error: {said}\n{next}\n"),
    }
}

pub(super) fn failed(error: &anyhow::Error) -> ExitCode {
    if is_closed_pipe(error) {
        return ExitCode::SUCCESS;
    }
    // With stderr closed, too, there is no one left to read it.
    drop(std::io::stderr().write_all(message(error).as_bytes()));
    match kind(error) {
        _ if error.is::<LeftBehind>() => ExitCode::from(3),
        Kind::Configuration => ExitCode::from(2),
        _ => ExitCode::from(1),
    }
}
