//! Sessions with bounded memory; what does not fit is spilled to disk.

use datafusion::execution::context::SQLOptions;
use datafusion::execution::runtime_env::RuntimeEnvBuilder;
use datafusion::prelude::{DataFrame, SessionConfig, SessionContext};

use super::SqlError;

/// A session that may use `memory` bytes for what it holds.
pub fn session(memory: usize) -> Result<SessionContext, SqlError> {
    of(memory, SessionConfig::new().with_batch_size(8 * 1024))
}

/// A session for queries row by row: `threads` of them read at a time, so many rows each.
pub fn streaming_session(
    memory: usize,
    threads: usize,
    rows: usize,
) -> Result<SessionContext, SqlError> {
    of(memory, SessionConfig::new().with_batch_size(rows).with_target_partitions(threads))
}

fn of(memory: usize, config: SessionConfig) -> Result<SessionContext, SqlError> {
    let config = config
        // As in the tables: Iceberg strings are Utf8, times are UTC.
        .set_bool("datafusion.sql_parser.map_string_types_to_utf8view", false)
        .with_information_schema(false);
    let runtime = RuntimeEnvBuilder::new()
        .with_memory_limit(memory, 1.0)
        .build_arc()
        .map_err(|e| SqlError::of("setting up the query", e))?;
    Ok(SessionContext::new_with_config_rt(config, runtime))
}

/// Plans one query; a statement that changes anything is refused.
pub async fn query(context: &SessionContext, what: &str, sql: &str) -> Result<DataFrame, SqlError> {
    let read_only =
        SQLOptions::new().with_allow_ddl(false).with_allow_dml(false).with_allow_statements(false);
    context.sql_with_options(sql, read_only).await.map_err(|e| SqlError::of(what, e))
}
