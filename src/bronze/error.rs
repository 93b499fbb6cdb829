//! What stops a step of bronze.

use crate::checkpoint::CheckpointError;
use crate::error::Kind;
use crate::lake::LakeError;
use crate::source::ReadError;

/// A failure that concerns more than one object.
#[derive(Debug, thiserror::Error)]
pub enum BronzeError {
    /// A table.
    #[error(transparent)]
    Lake(#[from] LakeError),
    /// The raw store.
    #[error(transparent)]
    Source(#[from] ReadError),
    /// A checkpoint.
    #[error(transparent)]
    Checkpoint(#[from] CheckpointError),
    /// Some objects could not be read; the others are ingested.
    #[error(
        "{count} of {listed} listed objects could not be read, the others are ingested; the first: {error}"
    )]
    Postponed {
        /// How many.
        count: usize,
        /// Of how many.
        listed: usize,
        /// The error of the first.
        error: String,
    },
}

impl BronzeError {
    /// What an operator does next.
    pub fn kind(&self) -> Kind {
        match self {
            Self::Lake(error) => error.kind(),
            Self::Source(_) | Self::Postponed { .. } => Kind::Look,
            Self::Checkpoint(error) => error.kind(),
        }
    }
}
