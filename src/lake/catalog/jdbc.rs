//! SQLite and Postgres, on the tables of Iceberg's JDBC catalog (`org.apache.iceberg.jdbc.JdbcUtil`),
//! so that PyIceberg's `SqlCatalog`, Spark's JDBC catalog and silversmith open one lake by name.

use std::str::FromStr;
use std::time::Duration;

use async_trait::async_trait;
use sqlx::any::{AnyConnectOptions, AnyPoolOptions};
use sqlx::{AnyPool, Row};

use super::{Catalog, CatalogError, Entry, Pointer, Proposal, Swap, Token};
use crate::error::Kind;
use crate::lake::TableName;

/// The statements that create the two tables; each is harmless when repeated.
const CREATE_TABLES: [&str; 2] = [
    "CREATE TABLE IF NOT EXISTS iceberg_tables (
        catalog_name VARCHAR(255) NOT NULL,
        table_namespace VARCHAR(255) NOT NULL,
        table_name VARCHAR(255) NOT NULL,
        metadata_location VARCHAR(1000),
        previous_metadata_location VARCHAR(1000),
        iceberg_type VARCHAR(5),
        PRIMARY KEY (catalog_name, table_namespace, table_name))",
    "CREATE TABLE IF NOT EXISTS iceberg_namespace_properties (
        catalog_name VARCHAR(255) NOT NULL,
        namespace VARCHAR(255) NOT NULL,
        property_key VARCHAR(255) NOT NULL,
        property_value VARCHAR(1000),
        PRIMARY KEY (catalog_name, namespace, property_key))",
];

/// Queries that succeed where the two tables exist.
const PROBES: [&str; 2] = [
    "SELECT catalog_name FROM iceberg_tables WHERE 1 = 0",
    "SELECT catalog_name FROM iceberg_namespace_properties WHERE 1 = 0",
];

/// How long a connection may take: a slower answer counts as none.
const ACQUIRE_TIMEOUT: Duration = Duration::from_secs(10);

/// A JDBC-style catalog; the token is the metadata location itself.
#[derive(Debug)]
pub struct JdbcCatalog {
    pool: AnyPool,
    name: String,
    shown: String,
}

impl JdbcCatalog {
    /// Connects, and creates the catalog's tables where they are missing.
    ///
    /// `url` is `sqlite:<path>` or `postgres://…`; `name` is the catalog's name, part of every primary key.
    pub async fn connect(url: &str, name: &str) -> Result<Self, CatalogError> {
        sqlx::any::install_default_drivers();
        let shown = without_password(url);
        let sqlite = url.starts_with("sqlite:");
        let failed =
            |message: String| CatalogError::unanswered(&shown, "connect", message, Kind::Look);
        let url =
            if sqlite && !url.contains('?') { format!("{url}?mode=rwc") } else { url.to_owned() };
        let options = AnyConnectOptions::from_str(&url).map_err(|e| failed(e.to_string()))?;
        let pool = AnyPoolOptions::new()
            .max_connections(if sqlite { 1 } else { 4 })
            .acquire_timeout(ACQUIRE_TIMEOUT)
            .connect_with(options)
            .await
            .map_err(|e| failed(e.to_string()))?;
        let catalog = Self { pool, name: name.to_owned(), shown };
        catalog.create_missing_tables().await?;
        catalog.add_missing_column().await?;
        Ok(catalog)
    }

    /// Probes first: a client that only reads needs no right to create, and waits for no writer.
    async fn create_missing_tables(&self) -> Result<(), CatalogError> {
        let mut missing = false;
        for probe in PROBES {
            missing |= sqlx::query(probe).fetch_optional(&self.pool).await.is_err();
        }
        if !missing {
            return Ok(());
        }
        for statement in CREATE_TABLES {
            match sqlx::query(statement).execute(&self.pool).await {
                Ok(_) => {}
                // In Postgres two concurrent IF NOT EXISTS may collide: then the table exists.
                Err(error) if is_unique_violation(&error) => {}
                Err(error) => return Err(self.failed("create its tables", &error)),
            }
        }
        Ok(())
    }

    /// Catalogs of the first JDBC layout have no `iceberg_type`.
    async fn add_missing_column(&self) -> Result<(), CatalogError> {
        let probe = "SELECT iceberg_type FROM iceberg_tables WHERE 1 = 0";
        if sqlx::query(probe).fetch_optional(&self.pool).await.is_ok() {
            return Ok(());
        }
        let added = sqlx::query("ALTER TABLE iceberg_tables ADD COLUMN iceberg_type VARCHAR(5)")
            .execute(&self.pool)
            .await;
        match added {
            Ok(_) => Ok(()),
            // Another client was faster, or something is wrong: a second probe decides.
            Err(error) => match sqlx::query(probe).fetch_optional(&self.pool).await {
                Ok(_) => Ok(()),
                Err(_) => Err(self.failed("add column iceberg_type to its tables", &error)),
            },
        }
    }

    fn failed(&self, doing: &'static str, error: &sqlx::Error) -> CatalogError {
        CatalogError::unanswered(&self.shown, doing, error.to_string(), Kind::Retry)
    }

    async fn ensure_namespace(&self, namespace: &str) -> Result<(), CatalogError> {
        let done = sqlx::query(
            "INSERT INTO iceberg_namespace_properties (catalog_name, namespace, property_key, property_value)
             SELECT CAST($1 AS VARCHAR(255)), CAST($2 AS VARCHAR(255)), 'exists', 'true' WHERE NOT EXISTS (
                SELECT 1 FROM iceberg_namespace_properties WHERE catalog_name = $1 AND namespace = $2)",
        )
        .bind(&self.name)
        .bind(namespace)
        .execute(&self.pool)
        .await;
        match done {
            Ok(_) => Ok(()),
            Err(error) if is_unique_violation(&error) => Ok(()),
            Err(error) => Err(self.failed("create the namespace", &error)),
        }
    }
}

#[async_trait]
impl Catalog for JdbcCatalog {
    async fn load(&self, table: &TableName) -> Result<Option<Entry>, CatalogError> {
        let row = sqlx::query(
            "SELECT metadata_location FROM iceberg_tables
             WHERE catalog_name = $1 AND table_namespace = $2 AND table_name = $3
               AND (iceberg_type IS NULL OR iceberg_type = 'TABLE')",
        )
        .bind(&self.name)
        .bind(table.namespace())
        .bind(table.table())
        .fetch_optional(&self.pool)
        .await
        .map_err(|e| self.failed("load a table", &e))?;
        row.map(|row| {
            let location: String = row.try_get(0).map_err(|e| self.failed("load a table", &e))?;
            let pointer = Pointer { token: Token(location.clone()), metadata_location: location };
            Ok(Entry { pointer, metadata: None })
        })
        .transpose()
    }

    async fn create(&self, table: &TableName, first: &Proposal) -> Result<Swap, CatalogError> {
        self.ensure_namespace(table.namespace()).await?;
        let done = sqlx::query(
            "INSERT INTO iceberg_tables
                (catalog_name, table_namespace, table_name, metadata_location, iceberg_type)
             VALUES ($1, $2, $3, $4, 'TABLE')",
        )
        .bind(&self.name)
        .bind(table.namespace())
        .bind(table.table())
        .bind(&first.metadata_location)
        .execute(&self.pool)
        .await;
        match done {
            Ok(_) => Ok(Swap::Swapped),
            Err(error) if is_unique_violation(&error) => Ok(Swap::Refused),
            Err(error) => Err(self.failed("create a table", &error)),
        }
    }

    async fn swap(
        &self,
        table: &TableName,
        base: &Pointer,
        next: &Proposal,
    ) -> Result<Swap, CatalogError> {
        let done = sqlx::query(
            "UPDATE iceberg_tables SET metadata_location = $1, previous_metadata_location = $2
             WHERE catalog_name = $3 AND table_namespace = $4 AND table_name = $5
               AND metadata_location = $2",
        )
        .bind(&next.metadata_location)
        .bind(&base.token.0)
        .bind(&self.name)
        .bind(table.namespace())
        .bind(table.table())
        .execute(&self.pool)
        .await
        .map_err(|e| self.failed("swap a table's metadata", &e))?;
        Ok(if done.rows_affected() == 1 { Swap::Swapped } else { Swap::Refused })
    }

    async fn tables(&self) -> Result<Vec<TableName>, CatalogError> {
        let rows = sqlx::query(
            "SELECT table_namespace, table_name FROM iceberg_tables
             WHERE catalog_name = $1 AND (iceberg_type IS NULL OR iceberg_type = 'TABLE')
             ORDER BY table_namespace, table_name",
        )
        .bind(&self.name)
        .fetch_all(&self.pool)
        .await
        .map_err(|e| self.failed("list tables", &e))?;
        rows.iter()
            .map(|row| {
                let namespace: String = row.try_get(0)?;
                let table: String = row.try_get(1)?;
                Ok(TableName::new(namespace, table))
            })
            .collect::<Result<_, sqlx::Error>>()
            .map_err(|e| self.failed("list tables", &e))
    }
}

fn is_unique_violation(error: &sqlx::Error) -> bool {
    error.as_database_error().is_some_and(|e| e.is_unique_violation())
}

/// The URL for messages: everything between `:` and `@` of the authority is a secret.
fn without_password(url: &str) -> String {
    let Some((scheme, rest)) = url.split_once("://") else { return url.to_owned() };
    // A password may hold any character, also a slash: everything before the last @ is the login.
    match rest.rsplit_once('@') {
        Some((login, host)) => {
            let user = login.split(':').next().unwrap_or_default();
            format!("{scheme}://{user}@{host}")
        }
        None => url.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::without_password;

    #[test]
    fn a_password_is_never_shown() {
        assert_eq!(without_password("postgres://me:secret@db:5432/x"), "postgres://me@db:5432/x");
        assert_eq!(without_password("postgres://me:se@cret@db/x"), "postgres://me@db/x");
        assert_eq!(without_password("postgres://me:se/cret@db/x"), "postgres://me@db/x");
        assert_eq!(without_password("sqlite:lake/catalog.db"), "sqlite:lake/catalog.db");
    }
}
