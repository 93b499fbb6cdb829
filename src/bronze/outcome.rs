//! How an object of a batch ends.

use std::collections::BTreeSet;

use tokio::task::JoinError;

use super::BronzeError;
use crate::error::chain;
use crate::format::FormatError;
use crate::lake::LakeError;
use crate::ledger::ObjectOutcome;
use crate::reason::Reason;
use crate::source::{ObjectId, RawObject, ReadError};

/// How an object of a batch ended, once the batch is committed: durable, unless it was postponed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ObjectEnd {
    /// Its rows are in bronze.
    Ingested,
    /// Its rows were in bronze before.
    Known,
    /// It is there, and waits for its delivery to be complete. Then it is ingested without another request.
    Waiting,
    /// It was not ingested, and the ledger says why.
    Failed {
        /// The ledger's word for it.
        outcome: ObjectOutcome,
        /// Why.
        reason: Reason,
        /// The error in full.
        error: String,
    },
    /// The raw store failed at it. The ledger says nothing about it.
    Postponed {
        /// The error in full.
        error: String,
    },
}

impl ObjectEnd {
    /// The word in metrics: a contract.
    pub const fn as_str(&self) -> &'static str {
        match self {
            Self::Ingested => "ingested",
            Self::Known => "duplicate",
            Self::Waiting => ObjectOutcome::Waiting.as_str(),
            Self::Failed { outcome, .. } => outcome.as_str(),
            Self::Postponed { .. } => "postponed",
        }
    }

    /// Whether its rows are in bronze.
    pub const fn is_in_bronze(&self) -> bool {
        matches!(self, Self::Ingested | Self::Known)
    }

    /// What a failure of the raw store means for the object that it was reading.
    fn of_source(error: &ReadError) -> Self {
        let (outcome, reason) = match error {
            ReadError::Store { .. } => return Self::Postponed { error: chain(error) },
            ReadError::Missing(_) => (ObjectOutcome::Missing, Reason::Missing),
            ReadError::Changed(_) => (ObjectOutcome::Missing, Reason::Changed),
            ReadError::Unreadable { .. } => (ObjectOutcome::Rejected, Reason::Unreadable),
        };
        Self::Failed { outcome, reason, error: chain(error) }
    }

    /// What an error of the format means. A failure of the raw store may be inside.
    fn of_format(uri: &str, error: FormatError) -> Self {
        let error = match error {
            FormatError::Read(error) => match error.downcast::<ReadError>() {
                Ok(error) => return Self::of_source(&error),
                Err(error) => FormatError::Read(error),
            },
            error => error,
        };
        let (outcome, reason) = (ObjectOutcome::Rejected, error.reason());
        Self::Failed { outcome, reason, error: format!("{uri}: {}", chain(&error)) }
    }

    fn of_panic(uri: &str, panic: &JoinError) -> Self {
        let error = format!("{uri}: silversmith failed while reading it: {panic}");
        Self::Failed { outcome: ObjectOutcome::Rejected, reason: Reason::Defect, error }
    }
}

/// Why reading a batch goes no further at one of its objects.
#[derive(Debug)]
pub(super) enum Stop {
    /// For this object; the others go on.
    Object {
        /// Which.
        id: ObjectId,
        /// Its size in bytes, as far as it is known.
        size: Option<u64>,
        /// How it ended.
        end: ObjectEnd,
    },
    /// The batch has the object version already: its end is that one's.
    Repeated(ObjectId),
    /// The table lacks these columns, which cells of an object go to: the batch is read again with them.
    Needs(BTreeSet<String>),
    /// For the whole batch: nothing is known about any of its objects.
    Batch(BronzeError),
}

impl Stop {
    /// At an object whose identity is known.
    pub(super) fn at(object: &RawObject, end: ObjectEnd) -> Self {
        Self::Object { id: object.id.clone(), size: Some(object.size), end }
    }

    /// The raw store failed at an object.
    pub(super) fn source(id: ObjectId, size: u64, error: &ReadError) -> Self {
        Self::Object { id, size: Some(size), end: ObjectEnd::of_source(error) }
    }

    /// The format refused an object.
    pub(super) fn format(object: &RawObject, error: FormatError) -> Self {
        Self::at(object, ObjectEnd::of_format(&object.id.uri, error))
    }

    /// What a thread that read an object has returned.
    pub(super) fn joined<T>(
        object: &RawObject,
        joined: Result<Result<T, FormatError>, JoinError>,
    ) -> Result<T, Self> {
        match joined {
            Ok(Ok(value)) => Ok(value),
            Ok(Err(error)) => Err(Self::format(object, error)),
            Err(panic) => Err(Self::at(object, ObjectEnd::of_panic(&object.id.uri, &panic))),
        }
    }
}

impl From<LakeError> for Stop {
    fn from(error: LakeError) -> Self {
        Self::Batch(error.into())
    }
}
