//! The tables that a gold table is computed from, as they are at one moment, and its positions in them.

use super::{COMPUTED, GoldSettings, SOURCE};
use crate::lake::position::{Position, has_same_rows};
use crate::lake::{Lake, LakeError, Properties, Snapshot, Table, TableName, properties};

/// Whether all sources are there.
pub(super) enum Found {
    All(Sources),
    /// This one is not, or has no rows yet.
    Missing(TableName),
}

/// The sources of a gold table. See the module.
#[derive(Debug)]
pub(super) struct Sources {
    all: Vec<Source>,
}

#[derive(Debug)]
pub(super) struct Source {
    pub(super) table: Table,
    pub(super) tip: Snapshot,
    /// Of its position.
    prefix: String,
}

impl Sources {
    /// Loads them. SUBTLE: one after the other: a commit to one in between is in none of the others, and moves that
    /// one, so the next refresh comes.
    pub(super) async fn find(lake: &Lake, settings: &GoldSettings) -> Result<Found, LakeError> {
        let mut all = Vec::new();
        for name in settings.sources() {
            let table = lake.find(name).await?;
            let Some((tip, table)) = table.and_then(|table| Some((table.current()?, table))) else {
                return Ok(Found::Missing(name.clone()));
            };
            let prefix = match Some(name) == settings.silver.as_ref() {
                true => COMPUTED.to_owned(),
                false => format!("{SOURCE}{name}"),
            };
            all.push(Source { table, tip, prefix });
        }
        Ok(Found::All(Self { all }))
    }

    pub(super) fn of(&self, name: &TableName) -> Option<&Source> {
        self.all.iter().find(|source| source.table.name() == name)
    }

    /// Whether gold was computed from the rows that they have now.
    pub(super) fn unchanged_since(&self, gold: &Table) -> Result<bool, LakeError> {
        for source in &self.all {
            let computed = gold.position(&source.prefix)?;
            if !computed.is_some_and(|position| has_same_rows(&source.table, &position)) {
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// Writes the positions of a gold table that was computed from them.
    pub(super) fn note_positions(&self, own: &mut Properties) {
        for Source { table, tip, prefix } in &self.all {
            properties::set_position(own, prefix, &Position::of(table, tip));
        }
    }
}
