//! A table, pinned to a snapshot or to a list of files, as DataFusion reads it: columns are pruned, files and row groups
//! are left out that a filter excludes, files are spread over partitions, rows are streamed.

use std::any::Any;
use std::sync::Arc;

use arrow::array::{RecordBatch, RecordBatchOptions};
use arrow::datatypes::{Schema, SchemaRef};
use async_trait::async_trait;
use datafusion::catalog::{Session, TableProvider};
use datafusion::error::{DataFusionError, Result};
use datafusion::execution::{SendableRecordBatchStream, TaskContext};
use datafusion::logical_expr::{Expr, TableProviderFilterPushDown, TableType};
use datafusion::physical_plan::ExecutionPlan;
use datafusion::physical_plan::stream::RecordBatchStreamAdapter;
use datafusion::physical_plan::streaming::{PartitionStream, StreamingTableExec};
use futures::TryStreamExt;
use iceberg::expr::{Bind, BoundPredicate};
use iceberg::spec::{PrimitiveType, SchemaRef as SchemaRefIceberg, Transform, Type};

use super::pushdown::{self, Condition};
use super::scan::FileTask;
use crate::lake::error::Doing;
use crate::lake::{Lake, LakeError, SnapshotId, Table, TableSchema};

/// See the module.
#[derive(Debug)]
pub struct LakeTable {
    lake: Lake,
    table: Table,
    schema: TableSchema,
    files: Files,
    /// The schema without field ids: plans compare schemas, and ids are of no interest there.
    plain: SchemaRef,
}

#[derive(Debug)]
enum Files {
    /// Those of a snapshot, or of the current one.
    Of(Option<SnapshotId>),
    These(Vec<FileTask>),
}

impl LakeTable {
    /// The table as of `snapshot`, with its schema then, or as of now.
    pub fn at(lake: &Lake, table: &Table, snapshot: Option<SnapshotId>) -> Result<Self, LakeError> {
        let schema = match snapshot {
            Some(id) => lake.schema_at(table, id)?,
            None => table.schema().clone(),
        };
        Ok(Self::of(lake, table, schema, Files::Of(snapshot)))
    }

    /// These files only, under a schema.
    pub fn of_files(lake: &Lake, table: &Table, schema: TableSchema, files: Vec<FileTask>) -> Self {
        Self::of(lake, table, schema, Files::These(files))
    }

    fn of(lake: &Lake, table: &Table, schema: TableSchema, files: Files) -> Self {
        let plain = plain(schema.arrow());
        Self { lake: lake.clone(), table: table.clone(), schema, files, plain }
    }

    /// The files that may hold a row of the result.
    async fn files(&self, conditions: &[Condition]) -> Result<Vec<FileTask>, LakeError> {
        let snapshot = match &self.files {
            Files::Of(snapshot) => *snapshot,
            Files::These(files) => return Ok(files.clone()),
        };
        // Bounds are of the columns that have these names now: a name may have been another column's.
        let now = self.table.schema();
        let is_same = |name: &str| now.id_of(name) == self.schema.id_of(name);
        let mut bounds = pushdown::bounds(conditions);
        bounds.retain(|bounds| is_same(&bounds.column));
        self.lake.files_of(&self.table, snapshot, &bounds).await
    }

    /// What rows of the result meet, for the reader of the files.
    fn predicate(&self, conditions: &[Condition]) -> Result<Option<BoundPredicate>, LakeError> {
        let predicate = pushdown::predicate(conditions, |name| self.is_in_files(name));
        let bound = predicate.map(|predicate| predicate.bind(self.schema.iceberg().clone(), true));
        bound.transpose().doing(self.table.name(), "planning a scan")
    }

    /// Whether the reader compares a column with what files say in it. It does not widen what older files have, and
    /// takes a column that a file lacks for null, where the table takes the value of a partition, or a default.
    fn is_in_files(&self, name: &str) -> bool {
        let metadata = self.table.metadata();
        let Some(id) = self.schema.id_of(name) else { return false };
        let kind = |schema: &SchemaRefIceberg| {
            schema.field_by_id(id).map(|field| field.field_type.as_ref().clone())
        };
        let Some(field) = self.schema.iceberg().field_by_id(id) else { return false };
        let is_long = *field.field_type == Type::Primitive(PrimitiveType::Long);
        // Another program may have removed the schema that says that it was widened.
        let knows_all = metadata.schemas_iter().count() > metadata.current_schema_id() as usize;
        let own = Some(field.field_type.as_ref().clone());
        let mut specs = metadata.partition_specs_iter().flat_map(|spec| spec.fields());
        (knows_all || !is_long)
            && metadata.schemas_iter().filter_map(kind).all(|kind| Some(kind) == own)
            && field.initial_default.is_none()
            && !specs.any(|of| of.source_id == id && of.transform == Transform::Identity)
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

    /// A filter that leaves out files, row groups or rows; DataFusion filters again.
    fn supports_filters_pushdown(
        &self,
        filters: &[&Expr],
    ) -> Result<Vec<TableProviderFilterPushDown>> {
        let support = |filter: &&Expr| match pushdown::is_usable(filter) {
            true => TableProviderFilterPushDown::Inexact,
            false => TableProviderFilterPushDown::Unsupported,
        };
        Ok(filters.iter().map(support).collect())
    }

    async fn scan(
        &self,
        state: &dyn Session,
        projection: Option<&Vec<usize>>,
        filters: &[Expr],
        limit: Option<usize>,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        let external = |error: LakeError| DataFusionError::External(Box::new(error));
        let conditions = pushdown::conditions(filters);
        let mut files = self.files(&conditions).await.map_err(external)?;
        if let Some(predicate) = self.predicate(&conditions).map_err(external)? {
            files.iter_mut().for_each(|file| file.only(&predicate));
        }
        let schema = match projection {
            Some(columns) => Arc::new(self.plain.project(columns)?),
            None => self.plain.clone(),
        };
        let count = state.config().target_partitions().min(files.len()).max(1);
        let mut shares = vec![Vec::new(); count];
        for (index, file) in files.into_iter().enumerate() {
            shares[index % count].push(file);
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
