//! A row-wise query in which a row that fails is set aside, and all others go on: one cell never stops a table.
//!
//! DataFusion plans the query. Its filters and projections are run here, batch by batch; a batch that fails is
//! halved until the rows that fail stand alone.

use std::any::Any;
use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};

use arrow::array::{ArrayRef, AsArray, BooleanArray, RecordBatch, RecordBatchOptions};
use arrow::datatypes::{Int64Type, SchemaRef};
use arrow::error::ArrowError;
use datafusion::error::{DataFusionError, Result};
use datafusion::execution::TaskContext;
use datafusion::physical_expr::{EquivalenceProperties, PhysicalExpr};
use datafusion::physical_plan::coalesce_partitions::CoalescePartitionsExec;
use datafusion::physical_plan::coop::CooperativeExec;
use datafusion::physical_plan::execution_plan::{Boundedness, EmissionType};
use datafusion::physical_plan::filter::{FilterExec, batch_filter};
use datafusion::physical_plan::projection::{ProjectionExec, ProjectionExpr};
use datafusion::physical_plan::repartition::RepartitionExec;
use datafusion::physical_plan::stream::RecordBatchStreamAdapter;
use datafusion::physical_plan::streaming::StreamingTableExec;
use datafusion::physical_plan::{
    DisplayAs, DisplayFormatType, ExecutionPlan, ExecutionPlanProperties, PlanProperties,
    SendableRecordBatchStream, execute_stream,
};
use datafusion::prelude::DataFrame;
use futures::{StreamExt, stream};

use super::select::MEETS;
use super::times::Times;

/// Rows that are named; more are only counted.
const NAMED: usize = 5;

/// The rows on which a query failed.
#[derive(Debug, Clone, Default)]
pub struct SetAside {
    rows: Arc<Mutex<FailedRows>>,
    /// Those that were not taken yet, where they are asked for.
    whole: Option<Arc<Mutex<Vec<FailedRow>>>>,
}

/// See [`SetAside`].
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct FailedRows {
    /// How many.
    pub count: u64,
    /// Some of them: file, row, and what failed, without the text of a cell.
    pub named: Vec<String>,
    /// When the objects that they come from were modified.
    pub times: Times,
}

/// A row on which a query failed.
#[derive(Debug, Clone)]
pub struct FailedRow {
    /// The row, as the query reads it.
    pub row: RecordBatch,
    /// What failed.
    pub why: String,
}

impl SetAside {
    /// What is set aside is kept until it is taken. For each batch that is read one is delivered then, perhaps an empty
    /// one: between two, no more rows are kept than a batch has.
    pub fn keeping() -> Self {
        Self { whole: Some(Arc::default()), ..Self::default() }
    }

    /// What was set aside since it was last taken, where it is kept.
    pub fn take(&self) -> Vec<FailedRow> {
        let Some(whole) = &self.whole else { return vec![] };
        std::mem::take(&mut *whole.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// What was set aside so far.
    pub fn rows(&self) -> FailedRows {
        self.rows.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn add(&self, row: &RecordBatch, error: &DataFusionError) {
        if let Some(whole) = &self.whole {
            let why = error.find_root().to_string();
            let why = why.lines().next().unwrap_or_default().to_owned();
            let failed = FailedRow { row: row.clone(), why };
            whole.lock().unwrap_or_else(PoisonError::into_inner).push(failed);
        }
        let mut failed = self.rows.lock().unwrap_or_else(PoisonError::into_inner);
        failed.count += 1;
        failed.times.add(row, 0);
        if failed.named.len() < NAMED {
            let why = without_values(&error.find_root().to_string());
            failed.named.push(format!("{}: {why}", named(row, 0)));
        }
    }
}

/// A row by its file and its number there.
pub fn named(batch: &RecordBatch, row: usize) -> String {
    let uri = batch.column_by_name("_source_uri").and_then(|c| c.as_string_opt::<i32>());
    let number = batch.column_by_name("_source_row");
    let number = number.and_then(|c| c.as_primitive_opt::<Int64Type>());
    let uri = uri.map_or("an unknown file", |uri| uri.value(row));
    format!("{uri} row {}", number.map(|number| number.value(row)).unwrap_or_default())
}

/// An error's text without what is in quotes: that is the text of a cell.
fn without_values(text: &str) -> String {
    let line = text.lines().next().unwrap_or_default();
    let parts = line.split('\'').enumerate();
    parts.map(|(index, part)| if index % 2 == 0 { part } else { "'…'" }).collect()
}

/// Runs a row-wise query: what `aside` has afterwards is missing in its rows.
///
/// # Errors
/// The query fails on no row at all, or for a reason that is not in the rows.
pub async fn execute(query: DataFrame, aside: &SetAside) -> Result<SendableRecordBatchStream> {
    let context = Arc::new(query.task_ctx());
    let plan = query.create_physical_plan().await?;
    let plan = match Tolerant::of(&plan, aside) {
        Some(tolerant) => {
            // An error in a constant is nothing that a row could be blamed for.
            tolerant.run(RecordBatch::new_empty(tolerant.source.schema()), false)?;
            Arc::new(tolerant)
        }
        None => plan,
    };
    execute_stream(plan, context)
}

/// What is done with a batch.
#[derive(Debug, Clone)]
enum Step {
    Filter { predicate: Arc<dyn PhysicalExpr>, columns: Option<Vec<usize>> },
    Project { columns: Vec<ProjectionExpr>, schema: SchemaRef },
}

impl Step {
    /// `forgiving`: a row on which an expectation fails does not meet it.
    fn run(&self, batch: RecordBatch, forgiving: bool) -> Result<RecordBatch> {
        match self {
            Self::Filter { predicate, columns } => {
                let kept = batch_filter(&batch, predicate)?;
                match columns {
                    Some(columns) => Ok(kept.project(columns)?),
                    None => Ok(kept),
                }
            }
            Self::Project { columns, schema } => {
                let rows = batch.num_rows();
                let values = columns
                    .iter()
                    .map(|column| {
                        let value = column.expr.evaluate(&batch);
                        match value.and_then(|value| value.into_array(rows)) {
                            Err(_) if forgiving && column.alias.starts_with(MEETS) => {
                                Ok(Arc::new(BooleanArray::from(vec![false; rows])) as ArrayRef)
                            }
                            value => value,
                        }
                    })
                    .collect::<Result<Vec<_>>>()?;
                let options = RecordBatchOptions::new().with_row_count(Some(rows));
                Ok(RecordBatch::try_new_with_options(schema.clone(), values, &options)?)
            }
        }
    }
}

/// A scan, and what is done with each of its batches.
#[derive(Debug, Clone)]
struct Tolerant {
    source: Arc<dyn ExecutionPlan>,
    /// The first one first.
    steps: Arc<[Step]>,
    aside: SetAside,
    properties: Arc<PlanProperties>,
}

impl Tolerant {
    /// A plan of a scan, filters and projections; none for any other.
    fn of(plan: &Arc<dyn ExecutionPlan>, aside: &SetAside) -> Option<Self> {
        let (mut at, mut steps) = (plan, vec![]);
        while !at.as_any().is::<StreamingTableExec>() {
            let node = at.as_any();
            if at.fetch().is_some() {
                return None;
            }
            if let Some(project) = node.downcast_ref::<ProjectionExec>() {
                let (columns, schema) = (project.expr().to_vec(), at.schema());
                steps.push(Step::Project { columns, schema });
            } else if let Some(filter) = node.downcast_ref::<FilterExec>() {
                let columns = filter.projection().as_ref().map(|columns| columns.to_vec());
                steps.push(Step::Filter { predicate: filter.predicate().clone(), columns });
            } else if !node.is::<RepartitionExec>()
                && !node.is::<CoalescePartitionsExec>()
                && !node.is::<CooperativeExec>()
            {
                return None;
            }
            let children = at.children();
            let [child] = children.as_slice() else { return None };
            at = *child;
        }
        steps.reverse();
        Some(Self::new(at.clone(), plan.schema(), steps.into(), aside.clone()))
    }

    fn new(
        source: Arc<dyn ExecutionPlan>,
        schema: SchemaRef,
        steps: Arc<[Step]>,
        aside: SetAside,
    ) -> Self {
        let properties = PlanProperties::new(
            EquivalenceProperties::new(schema),
            source.output_partitioning().clone(),
            EmissionType::Incremental,
            Boundedness::Bounded,
        );
        Self { source, steps, aside, properties: Arc::new(properties) }
    }

    fn run(&self, batch: RecordBatch, forgiving: bool) -> Result<RecordBatch> {
        self.steps.iter().try_fold(batch, |batch, step| step.run(batch, forgiving))
    }

    /// The query's rows of a batch, in parts; what fails is set aside.
    fn rows(&self, batch: RecordBatch, rows: &mut Vec<Result<RecordBatch>>) {
        let alone = batch.num_rows() == 1;
        let mut done = self.run(batch.clone(), false);
        if alone && done.as_ref().is_err_and(is_of_a_row) {
            done = self.run(batch.clone(), true);
        }
        match done {
            Err(error) if !is_of_a_row(&error) => rows.push(Err(error)),
            Err(error) if alone => self.aside.add(&batch, &error),
            Err(_) => {
                let half = batch.num_rows() / 2;
                self.rows(batch.slice(0, half), rows);
                self.rows(batch.slice(half, batch.num_rows() - half), rows);
            }
            Ok(some) if some.num_rows() > 0 => rows.push(Ok(some)),
            Ok(_) => {}
        }
    }
}

/// Whether the values of a row can be the cause.
fn is_of_a_row(error: &DataFusionError) -> bool {
    match error.find_root() {
        DataFusionError::ArrowError(error, _) => !matches!(
            **error,
            ArrowError::MemoryError(_) | ArrowError::IoError(..) | ArrowError::SchemaError(_)
        ),
        DataFusionError::Execution(_) => true,
        _ => false,
    }
}

impl DisplayAs for Tolerant {
    fn fmt_as(&self, _: DisplayFormatType, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {} steps", self.name(), self.steps.len())
    }
}

impl ExecutionPlan for Tolerant {
    fn name(&self) -> &'static str {
        "Tolerant"
    }

    fn as_any(&self) -> &dyn Any {
        self
    }

    fn properties(&self) -> &Arc<PlanProperties> {
        &self.properties
    }

    fn children(&self) -> Vec<&Arc<dyn ExecutionPlan>> {
        vec![&self.source]
    }

    fn with_new_children(
        self: Arc<Self>,
        mut children: Vec<Arc<dyn ExecutionPlan>>,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        match children.pop() {
            Some(source) => {
                let (steps, aside) = (self.steps.clone(), self.aside.clone());
                Ok(Arc::new(Self::new(source, self.schema(), steps, aside)))
            }
            None => Ok(self),
        }
    }

    fn execute(
        &self,
        partition: usize,
        context: Arc<TaskContext>,
    ) -> Result<SendableRecordBatchStream> {
        let this = self.clone();
        let batches = self.source.execute(partition, context)?.flat_map(move |batch| {
            let mut rows = Vec::new();
            match batch {
                Ok(batch) => this.rows(batch, &mut rows),
                Err(error) => rows.push(Err(error)),
            }
            if rows.is_empty() && this.aside.whole.is_some() {
                rows.push(Ok(RecordBatch::new_empty(this.schema())));
            }
            stream::iter(rows)
        });
        Ok(Box::pin(RecordBatchStreamAdapter::new(self.schema(), batches)))
    }
}

#[cfg(test)]
mod tests {
    use arrow::array::{ArrayRef, Int64Array, StringArray};
    use datafusion::catalog::streaming::StreamingTable;
    use datafusion::physical_plan::streaming::PartitionStream;
    use futures::TryStreamExt;

    use super::super::select::{BRONZE, Rowwise};
    use super::super::session::session;
    use super::*;

    /// Delivers one batch.
    #[derive(Debug)]
    struct One(SchemaRef, RecordBatch);

    impl PartitionStream for One {
        fn schema(&self) -> &SchemaRef {
            &self.0
        }

        fn execute(&self, _: Arc<TaskContext>) -> SendableRecordBatchStream {
            let rows = stream::iter([Ok(self.1.clone())]);
            Box::pin(RecordBatchStreamAdapter::new(self.0.clone(), rows))
        }
    }

    fn bronze() -> RecordBatch {
        let texts = ["1", "2", "abc", "4", "5", "x", "7"];
        let numbers = Int64Array::from_iter_values(1..=texts.len() as i64);
        RecordBatch::try_from_iter([
            ("n", Arc::new(StringArray::from(texts.to_vec())) as ArrayRef),
            ("_source_uri", Arc::new(StringArray::from(vec!["raw/1.csv"; texts.len()]))),
            ("_source_row", Arc::new(numbers)),
        ])
        .unwrap()
    }

    async fn run(select: &str) -> Result<(Vec<i64>, FailedRows)> {
        let (batch, context) = (bronze(), session(64 * 1024 * 1024).unwrap());
        let one = Arc::new(One(batch.schema(), batch.clone()));
        let table = StreamingTable::try_new(batch.schema(), vec![one]).unwrap();
        context.register_table(BRONZE, Arc::new(table)).unwrap();
        let kept = ["_source_uri", "_source_row"].map(str::to_owned);
        let rowwise = Rowwise::parse("it", Some(select), Some("n = '7'")).unwrap();
        let query = rowwise.query(&context, &batch.schema(), &kept, &[]).await.unwrap();
        let aside = SetAside::default();
        let rows: Vec<RecordBatch> = execute(query, &aside).await?.try_collect().await?;
        let number = |batch: &RecordBatch| -> Vec<i64> {
            let rows = batch.column_by_name("_source_row").unwrap();
            rows.as_primitive::<Int64Type>().values().to_vec()
        };
        Ok((rows.iter().flat_map(number).collect(), aside.rows()))
    }

    #[tokio::test]
    async fn rows_that_fail_are_set_aside_by_file_and_row() {
        for select in [
            "SELECT CAST(n AS INT) AS n FROM bronze",
            "SELECT n FROM bronze WHERE CAST(n AS INT) > 0",
            "SELECT 10 / CAST(b.n AS INT) AS n FROM bronze b WHERE upper(n) <> ''",
        ] {
            let (rows, failed) = run(select).await.unwrap();
            assert_eq!(rows, [1, 2, 4, 5, 7], "{select}");
            assert_eq!(failed.count, 2, "{select}");
            let why = "Cast error: Cannot cast string '…' to value of Int32 type";
            let row = |number| format!("raw/1.csv row {number}: Arrow error: {why}");
            assert_eq!(failed.named, [row(3), row(6)], "{select}");
        }
    }

    #[tokio::test]
    async fn what_no_row_causes_is_an_error() {
        assert!(run("SELECT CAST('abc' AS INT) AS n FROM bronze").await.is_err());
    }
}
