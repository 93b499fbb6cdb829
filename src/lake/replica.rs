//! Catalogs that read from replicas: for some seconds they may show a state from before one that was seen already.

use std::time::Duration;

use super::commit::replica_delays;
use super::position::{Position, Standing, standing};
use super::{Lake, LakeError, Table, TableName};

impl Lake {
    /// A table in a state that has `position`, which was consumed already: where this one is from before it, the
    /// catalog is asked again, and one that may lag gets time to catch up. A table that was set back stays so.
    pub async fn caught_up(
        &self,
        mut table: Table,
        position: Option<&Position>,
    ) -> Result<Table, LakeError> {
        let Some(position) = position else { return Ok(table) };
        let mut delays = std::iter::once(Duration::ZERO).chain(self.lag());
        while standing(&table, position) == Standing::Ahead {
            let Some(delay) = delays.next() else { break };
            self.ambient.sleep(delay).await;
            if let Some(now) = self.find(table.name()).await? {
                table = now;
            }
        }
        Ok(table)
    }

    /// Whether a table was set back behind a position that was consumed already, or replaced; and the state that says
    /// so, which may be newer than this one.
    pub async fn set_back(
        &self,
        table: Table,
        position: &Position,
    ) -> Result<(Table, bool), LakeError> {
        let table = self.caught_up(table, Some(position)).await?;
        let set_back = matches!(standing(&table, position), Standing::RolledBack | Standing::Ahead);
        Ok((table, set_back))
    }

    /// The table, which is known to be in the catalog.
    pub(super) async fn find_created(&self, name: &TableName) -> Result<Option<Table>, LakeError> {
        let mut delays = self.lag();
        loop {
            let found = self.find(name).await?;
            match delays.next() {
                Some(delay) if found.is_none() => self.ambient.sleep(delay).await,
                _ => return Ok(found),
            }
        }
    }

    /// The pauses between looks at a catalog that may lag; none at another.
    fn lag(&self) -> impl Iterator<Item = Duration> + use<> {
        self.catalog.may_lag().then(replica_delays).into_iter().flatten()
    }
}
