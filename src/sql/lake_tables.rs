//! The tables of the lake as a query names them: `namespace.table`, found when the query is planned.

use std::any::Any;
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use async_trait::async_trait;
use datafusion::catalog::{SchemaProvider, TableProvider};
use datafusion::error::DataFusionError;
use datafusion::prelude::SessionContext;

use super::SqlError;
use crate::lake::read::provider::LakeTable;
use crate::lake::{Lake, LakeError, TableName};

/// Edits by which a name may differ from the one that was meant.
const ALIKE: usize = 3;
/// Names that are suggested at most.
const SUGGESTED: usize = 3;

/// The namespaces of a lake, as a session has them.
#[derive(Debug, Clone)]
pub(super) struct LakeTables {
    lake: Lake,
    /// Tables that were looked for in vain.
    missed: Arc<Mutex<Vec<TableName>>>,
}

impl LakeTables {
    pub(super) fn new(lake: &Lake) -> Self {
        Self { lake: lake.clone(), missed: Arc::default() }
    }

    /// Registers namespaces, each with the tables that it lists; a query may name others, too.
    pub(super) fn register(
        &self,
        context: &SessionContext,
        namespaces: BTreeMap<String, Vec<String>>,
    ) -> Result<(), DataFusionError> {
        let catalog = context.state().config_options().catalog.default_catalog.clone();
        let Some(catalog) = context.catalog(&catalog) else { return Ok(()) };
        for (namespace, listed) in namespaces {
            let all = self.clone();
            let schema = Namespace { all, namespace: namespace.clone(), listed };
            catalog.register_schema(&namespace, Arc::new(schema))?;
        }
        Ok(())
    }

    /// The error of a query that could not be planned: where a table was missed, that is why.
    pub(super) async fn why(&self, error: SqlError) -> SqlError {
        let missed = self.missed.lock().unwrap_or_else(PoisonError::into_inner).first().cloned();
        match missed {
            Some(name) => self.no_table(&name.to_string()).await,
            None => error,
        }
    }

    /// There is no table of this name; others may have been meant.
    pub(super) async fn no_table(&self, name: &str) -> SqlError {
        match self.lake.tables().await {
            Ok(tables) => SqlError::NoTable { name: name.to_owned(), alike: alike(name, &tables) },
            // The catalog that is asked for tables may refuse to list them.
            Err(_) => SqlError::NoTable { name: name.to_owned(), alike: vec![] },
        }
    }
}

/// The tables whose names are most like this one; those of that very name in another namespace first.
fn alike(name: &str, tables: &[TableName]) -> Vec<String> {
    let name = name.to_lowercase();
    let own = name.rsplit('.').next().unwrap_or_default();
    let distance = |table: &TableName| {
        let whole = table.to_string().to_lowercase();
        let last = table.table().to_lowercase();
        let parts = strsim::damerau_levenshtein(own, &last);
        match name.contains('.') {
            // The right name in the wrong namespace is near, too.
            true => strsim::damerau_levenshtein(&name, &whole).min(parts + 2),
            false => parts,
        }
    };
    let mut near: Vec<_> =
        tables.iter().map(|table| (distance(table), table.to_string())).collect();
    near.retain(|(distance, _)| *distance <= ALIKE.min(own.len() / 2));
    near.sort();
    near.into_iter().take(SUGGESTED).map(|(_, table)| table).collect()
}

/// One namespace.
#[derive(Debug)]
struct Namespace {
    all: LakeTables,
    namespace: String,
    /// What `information_schema` shows.
    listed: Vec<String>,
}

#[async_trait]
impl SchemaProvider for Namespace {
    fn as_any(&self) -> &dyn Any {
        self
    }

    fn table_names(&self) -> Vec<String> {
        self.listed.clone()
    }

    fn table_exist(&self, name: &str) -> bool {
        self.listed.iter().any(|listed| listed == name)
    }

    async fn table(&self, name: &str) -> Result<Option<Arc<dyn TableProvider>>, DataFusionError> {
        let name = TableName::new(self.namespace.clone(), name);
        let lake = &self.all.lake;
        let failed = |error: LakeError| DataFusionError::External(Box::new(error));
        let Some(table) = lake.find(&name).await.map_err(failed)? else {
            let mut missed = self.all.missed.lock().unwrap_or_else(PoisonError::into_inner);
            missed.push(name);
            return Ok(None);
        };
        Ok(Some(Arc::new(LakeTable::at(lake, &table, None).map_err(failed)?)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_that_was_meant_is_near() {
        let tables = ["bronze.orders", "bronze.orders_objects", "silver.orders", "gold.by_day"];
        let tables: Vec<TableName> = tables.iter().map(|table| table.parse().unwrap()).collect();
        assert_eq!(alike("orders", &tables), ["bronze.orders", "silver.orders"]);
        assert_eq!(alike("sliver.orders", &tables)[0], "silver.orders");
        assert_eq!(alike("silver.ordres", &tables)[0], "silver.orders");
        assert_eq!(alike("gold.byday", &tables), ["gold.by_day"]);
        assert_eq!(alike("customers", &tables), Vec::<String>::new());
    }
}
