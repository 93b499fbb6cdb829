//! A table, pinned to a snapshot or to a list of files, as DataFusion reads it: columns are pruned,
//! files are spread over partitions, rows are streamed.

use std::any::Any;
use std::sync::Arc;

use arrow::array::{RecordBatch, RecordBatchOptions};
use arrow::datatypes::{Schema, SchemaRef};
use async_trait::async_trait;
use datafusion::catalog::{Session, TableProvider};
use datafusion::error::{DataFusionError, Result};
use datafusion::execution::{SendableRecordBatchStream, TaskContext};
use datafusion::logical_expr::{Expr, TableType};
use datafusion::physical_plan::ExecutionPlan;
use datafusion::physical_plan::stream::RecordBatchStreamAdapter;
use datafusion::physical_plan::streaming::{PartitionStream, StreamingTableExec};
use futures::TryStreamExt;

use super::scan::FileTask;
use crate::lake::{Lake, LakeError, SnapshotId, Table, TableSchema};

/// See the module.
#[derive(Debug)]
pub struct LakeTable {
    lake: Lake,
    table: Table,
    schema: TableSchema,
    files: Vec<FileTask>,
    /// The schema without field ids: plans compare schemas, and ids are of no interest there.
    plain: SchemaRef,
}

impl LakeTable {
    /// The table as of `snapshot`, with its schema then, or as of now.
    pub async fn at(
        lake: &Lake,
        table: &Table,
        snapshot: Option<SnapshotId>,
    ) -> Result<Self, LakeError> {
        let schema = match snapshot {
            Some(id) => lake.schema_at(table, id)?,
            None => table.schema().clone(),
        };
        let files = lake.files_of(table, snapshot, &[]).await?;
        Ok(Self::of_files(lake, table, schema, files))
    }

    /// These files only, under a schema.
    pub fn of_files(lake: &Lake, table: &Table, schema: TableSchema, files: Vec<FileTask>) -> Self {
        let plain = plain(schema.arrow());
        Self { lake: lake.clone(), table: table.clone(), schema, files, plain }
    }
}

/// The schema without the metadata of its fields, every column nullable.
pub(crate) fn plain(schema: &Schema) -> SchemaRef {
    let fields = schema
        .fields()
        .iter()
        .map(|field| field.as_ref().clone().with_metadata(Default::default()).with_nullable(true));
    Arc::new(Schema::new(fields.collect::<Vec<_>>()))
}

#[async_trait]
impl TableProvider for LakeTable {
    fn as_any(&self) -> &dyn Any {
        self
    }

    fn schema(&self) -> SchemaRef {
        self.plain.clone()
    }

    fn table_type(&self) -> TableType {
        TableType::Base
    }

    async fn scan(
        &self,
        state: &dyn Session,
        projection: Option<&Vec<usize>>,
        _filters: &[Expr],
        limit: Option<usize>,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        let schema = match projection {
            Some(columns) => Arc::new(self.plain.project(columns)?),
            None => self.plain.clone(),
        };
        let count = state.config().target_partitions().min(self.files.len()).max(1);
        let mut shares = vec![Vec::new(); count];
        for (index, file) in self.files.iter().enumerate() {
            shares[index % count].push(file.clone());
        }
        let partitions = shares
            .into_iter()
            .map(|files| -> Arc<dyn PartitionStream> {
                Arc::new(Share {
                    lake: self.lake.clone(),
                    table: self.table.clone(),
                    table_schema: self.schema.clone(),
                    files,
                    schema: schema.clone(),
                })
            })
            .collect();
        let plan = StreamingTableExec::try_new(schema, partitions, None, None, false, limit)?;
        Ok(Arc::new(plan))
    }
}

/// The files of one partition of the plan.
#[derive(Debug)]
struct Share {
    lake: Lake,
    table: Table,
    table_schema: TableSchema,
    files: Vec<FileTask>,
    schema: SchemaRef,
}

impl PartitionStream for Share {
    fn schema(&self) -> &SchemaRef {
        &self.schema
    }

    fn execute(&self, _context: Arc<TaskContext>) -> SendableRecordBatchStream {
        let columns: Vec<String> = self.schema.fields().iter().map(|f| f.name().clone()).collect();
        let schema = self.schema.clone();
        let rows = self
            .lake
            .read_files(&self.table, &self.table_schema, self.files.clone(), &columns, 1)
            .map_err(|e| DataFusionError::External(Box::new(e)))
            .and_then(move |batch| {
                let schema = schema.clone();
                async move {
                    let rows = RecordBatchOptions::new().with_row_count(Some(batch.num_rows()));
                    let columns = batch.columns().to_vec();
                    Ok(RecordBatch::try_new_with_options(schema, columns, &rows)?)
                }
            });
        Box::pin(RecordBatchStreamAdapter::new(self.schema.clone(), rows))
    }
}
