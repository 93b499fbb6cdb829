//! Sessions with bounded memory; what does not fit is spilled to disk.

use std::sync::Arc;

use datafusion::execution::context::SQLOptions;
use datafusion::execution::runtime_env::RuntimeEnvBuilder;
use datafusion::prelude::{DataFrame, SessionConfig, SessionContext};

use super::SqlError;
use super::keys::TableKeys;

/// Bytes of memory for each partition that a query works on at the same time.
const PARTITION: usize = 32 * 1024 * 1024;
/// Bytes that a sort sets apart for merging what it spilled, in each of its partitions, at most.
const MERGED: usize = 10 * 1024 * 1024;

/// The schema of what a session registers: no namespace of a lake has this name.
const OF_SESSION: &str = "(session)";

/// A session that may use `memory` bytes for what it holds.
pub fn session(memory: usize) -> Result<SessionContext, SqlError> {
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    of(memory, of_cores(memory, cores))
}

/// The same, which knows the columns that identify the rows of tables.
pub fn session_with_keys(memory: usize, keys: TableKeys) -> Result<SessionContext, SqlError> {
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    of(memory, of_cores(memory, cores).with_extension(Arc::new(keys)))
}

/// The configuration on a machine with so many cores. With one partition DataFusion would plan other joins, which
/// cannot spill.
fn of_cores(memory: usize, cores: usize) -> SessionConfig {
    let partitions = cores.min(memory / PARTITION).max(2);
    SessionConfig::new().with_batch_size(8 * 1024).with_target_partitions(partitions)
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
    // What each partition of a sort sets apart is taken before the first row: all of it must fit.
    let merged = MERGED.min(memory / (4 * config.target_partitions()));
    let config = config
        .with_sort_spill_reservation_bytes(merged)
        // What messages and `information_schema` show.
        .with_default_catalog_and_schema("lake", OF_SESSION)
        // As in the tables: Iceberg strings are Utf8, times are UTC.
        .set_bool("datafusion.sql_parser.map_string_types_to_utf8view", false)
        .with_information_schema(true);
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

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use arrow::array::{Int64Array, RecordBatch};
    use datafusion::datasource::MemTable;
    use datafusion::physical_plan::ExecutionPlanProperties;

    use super::*;

    /// However many cores a machine has: a sort in little memory spills, and does not fail.
    #[tokio::test]
    async fn a_sort_fits_into_little_memory_on_many_cores() {
        const MEMORY: usize = 16 * 1024 * 1024;
        let rows = |first: i64| {
            let numbers = Arc::new(Int64Array::from_iter_values((first..first + 8_000).rev()));
            RecordBatch::try_from_iter([("n", numbers as _)]).unwrap()
        };
        let some = |part: i64| (part * 100..part * 100 + 100).map(|of| rows(of * 8_000)).collect();
        let parts: [Vec<_>; 2] = [some(0), some(1)];
        let schema = parts[0][0].schema();
        for cores in [1, 64] {
            let context = of(MEMORY, of_cores(MEMORY, cores)).unwrap();
            let table = MemTable::try_new(schema.clone(), parts.to_vec()).unwrap();
            context.register_table("t", Arc::new(table)).unwrap();
            let frame = query(&context, "a test", "SELECT n FROM t ORDER BY n DESC").await.unwrap();
            let plan = frame.clone().create_physical_plan().await.unwrap();
            assert_eq!(plan.output_partitioning().partition_count(), 1);
            let sorted = frame.collect().await.unwrap();
            assert_eq!(sorted.iter().map(RecordBatch::num_rows).sum::<usize>(), 1_600_000);
        }
    }
}
