//! Statements on their way to the lake, and their rows on their way out.

use datafusion::prelude::SessionContext;

use super::output::{Format, print_stream};
use super::progress::watched;
use crate::merge::History;
use crate::pipeline::Wired;
use crate::sql::SqlError;
use crate::sql::keys::TableKeys;
use crate::sql::session::session_with_keys;
use crate::sql::statement::{Asked, plan};

/// The lake that is asked.
#[derive(Debug, Clone, Copy)]
pub(super) struct Asking<'a> {
    pub(super) wired: &'a Wired,
    /// Bytes that a query may use.
    pub(super) memory: usize,
}

impl Asking<'_> {
    /// A session, which knows the keys of silver.
    pub(super) fn session(&self) -> Result<SessionContext, SqlError> {
        let silver = self.wired.pipelines.iter().filter_map(|p| p.settings.silver.as_ref());
        // A history has several rows for each key.
        let keyed = silver.filter(|silver| silver.rules.history == History::None);
        let keys = keyed.map(|silver| (silver.rules.table.clone(), silver.rules.keys.clone()));
        session_with_keys(self.memory, TableKeys(keys.collect()))
    }

    /// Prints the rows of a statement. Returns how many there were.
    pub(super) async fn answer(&self, asked: Asked, format: Format) -> anyhow::Result<usize> {
        let context = self.session()?;
        let rows = async {
            let rows = plan(&self.wired.lake, &context, asked).await?.execute_stream().await?;
            Ok::<_, anyhow::Error>(rows)
        };
        let rows = watched("query", Box::pin(rows)).await?;
        watched("query", print_stream(rows, format)).await
    }
}
