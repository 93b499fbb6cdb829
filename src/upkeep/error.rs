//! What can go wrong with upkeep.

use crate::error::Kind;
use crate::lake::LakeError;
use crate::sql::SqlError;

/// Why a table could not be looked after. It is as it was before, or as the last step left it.
#[derive(Debug, thiserror::Error)]
pub enum UpkeepError {
    /// A table.
    #[error(transparent)]
    Lake(#[from] LakeError),
    /// Sorting.
    #[error(transparent)]
    Sql(#[from] SqlError),
}

impl UpkeepError {
    /// Whether a table says itself that its files stay: that is no failure.
    pub fn keeps_all(&self) -> bool {
        matches!(self, Self::Lake(LakeError::KeepsAll { .. }))
    }

    /// What an operator does next.
    pub fn kind(&self) -> Kind {
        match self {
            Self::Lake(error) => error.kind(),
            Self::Sql(error) => error.kind(),
        }
    }
}
