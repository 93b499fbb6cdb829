//! Which rows of a source come in. Pure.
//!
//! A row is judged by itself, so what comes in is a function of the set of rows (I5): a refused row is to the merge as
//! if it were not there, whatever came before or after it. The first rule that a row breaks decides.

use std::collections::BTreeMap;

use arrow::array::{Array, AsArray, BooleanArray, RecordBatch};
use arrow::compute::filter_record_batch;
use arrow::error::ArrowError;

use super::known::Known;
use super::{Counts, MergeError, MergeRules};
use crate::sql::expect::{Expectation, OnFail};
use crate::sql::select::{MEETS, MISFIT, SOURCE, UNORDERED};
use crate::sql::times::Times;
use crate::sql::tolerant::named;

/// The rule that refuses a row on which the SQL fails.
pub const SQL: &str = "sql";
/// The rule that refuses a row of which a cell of the key or the order was rescued.
pub const RESCUED: &str = "rescued";
/// The rule that refuses a delete without an order.
pub const NO_ORDER: &str = "delete-without-order";

/// Why a row is refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Refusal {
    /// A cell of its key or its order was rescued.
    Rescued,
    /// It deletes its key, and does not say when.
    NoOrder,
    /// It does not meet the expectation with this number.
    Unmet(usize),
}

impl Refusal {
    /// The rule's name, and the reason.
    pub(super) fn said(self, expectations: &[Expectation]) -> (String, String) {
        let (rule, reason) = match self {
            Self::Rescued => {
                (RESCUED, "a cell of its key or of order_by does not fit its type".to_owned())
            }
            Self::NoOrder => (NO_ORDER, "it deletes its key, and order_by is null".to_owned()),
            Self::Unmet(number) => match expectations.get(number) {
                Some(unmet) => (unmet.name.as_str(), format!("not so: {}", unmet.sql)),
                None => (SQL, String::new()),
            },
        };
        (rule.to_owned(), reason)
    }
}

/// What is said of the rows of a batch.
#[derive(Debug, Default)]
pub(super) struct Judged {
    /// Rows that are refused, with the reason.
    pub(super) refused: BTreeMap<usize, Refusal>,
    /// Rows that come in all the same, with the expectation that they do not meet.
    warned: Vec<usize>,
}

/// Judges the rows of a query.
pub(super) fn judge(batch: &RecordBatch, expectations: &[Expectation]) -> Judged {
    let mut judged = Judged::default();
    let mut refuse = |rows: Vec<usize>, why: Refusal| {
        for row in rows {
            judged.refused.entry(row).or_insert(why);
        }
    };
    refuse(rows_with(batch, MISFIT, true), Refusal::Rescued);
    refuse(rows_with(batch, UNORDERED, true), Refusal::NoOrder);
    for (number, expectation) in expectations.iter().enumerate() {
        let unmet = rows_with(batch, &format!("{MEETS}{number}"), false);
        for row in unmet {
            match expectation.on_fail {
                OnFail::Warn if judged.refused.contains_key(&row) => {}
                OnFail::Warn => judged.warned.push(number),
                OnFail::Quarantine | OnFail::Fail => {
                    judged.refused.entry(row).or_insert(Refusal::Unmet(number));
                }
            }
        }
    }
    judged
}

/// The rows of which a column of flags has this value.
fn rows_with(batch: &RecordBatch, name: &str, value: bool) -> Vec<usize> {
    let Some(flags) = batch.column_by_name(name).and_then(|c| c.as_boolean_opt()) else {
        return vec![];
    };
    let count = if value { flags.true_count() } else { flags.false_count() };
    if count == 0 {
        return vec![];
    }
    (0..flags.len()).filter(|row| flags.is_valid(*row) && flags.value(*row) == value).collect()
}

/// Lets rows in, and counts those that it refuses.
pub(super) struct Screen<'a> {
    expectations: &'a [Expectation],
    /// The only rows that count.
    only: Option<&'a Known>,
    rescued: u64,
    unordered: u64,
    unmet: Vec<u64>,
    /// The first row that does not meet an expectation, by its number.
    first: BTreeMap<usize, String>,
    /// Of the rows that are refused.
    pub(super) times: Times,
}

impl<'a> Screen<'a> {
    pub(super) fn new(rules: &'a MergeRules, only: Option<&'a Known>) -> Self {
        let expectations = rules.rows.expectations();
        Self {
            expectations,
            only,
            rescued: 0,
            unordered: 0,
            unmet: vec![0; expectations.len()],
            first: BTreeMap::new(),
            times: Times::default(),
        }
    }

    /// The rows that come in.
    pub(super) fn pass(&mut self, mut batch: RecordBatch) -> Result<RecordBatch, ArrowError> {
        if let Some(only) = self.only {
            batch = filter_record_batch(&batch, &only.among(&batch, SOURCE))?;
        }
        let judged = judge(&batch, self.expectations);
        for number in &judged.warned {
            self.unmet[*number] += 1;
        }
        if judged.refused.is_empty() {
            return Ok(batch);
        }
        for (row, refusal) in &judged.refused {
            self.times.add(&batch, *row);
            match refusal {
                Refusal::Rescued => self.rescued += 1,
                Refusal::NoOrder => self.unordered += 1,
                Refusal::Unmet(number) => {
                    self.unmet[*number] += 1;
                    self.first.entry(*number).or_insert_with(|| named(&batch, *row));
                }
            }
        }
        let stays = (0..batch.num_rows()).map(|row| Some(!judged.refused.contains_key(&row)));
        filter_record_batch(&batch, &stays.collect::<BooleanArray>())
    }

    /// Counts what it refused.
    ///
    /// # Errors
    /// [`MergeError::Unmet`] where an expectation that holds up the merge is not met.
    pub(super) fn count(&self, rules: &MergeRules, counts: &mut Counts) -> Result<(), MergeError> {
        (counts.misfits, counts.unordered) = (self.rescued, self.unordered);
        let unmet = self.expectations.iter().enumerate().zip(&self.unmet);
        for ((number, expectation), rows) in unmet.filter(|(_, rows)| **rows > 0) {
            match expectation.on_fail {
                OnFail::Quarantine => counts.unmet += rows,
                OnFail::Warn => counts.warned += rows,
                OnFail::Fail => {
                    return Err(MergeError::Unmet {
                        table: rules.table.clone(),
                        name: expectation.name.clone(),
                        rows: *rows,
                        first: self.first.get(&number).cloned().unwrap_or_default(),
                    });
                }
            }
        }
        Ok(())
    }

    /// The expectations that rows do not meet and come in all the same, with their number of rows.
    pub(super) fn warnings(&self) -> impl Iterator<Item = (&str, u64)> {
        let unmet = self.expectations.iter().zip(&self.unmet);
        let unmet = unmet.filter(|(e, rows)| e.on_fail == OnFail::Warn && **rows > 0);
        unmet.map(|(expectation, rows)| (expectation.name.as_str(), *rows))
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use arrow::array::ArrayRef;

    use super::*;

    #[test]
    fn the_first_rule_decides_and_a_warning_refuses_nothing() {
        let flags = |flags: [Option<bool>; 5]| -> ArrayRef {
            Arc::new(flags.into_iter().collect::<BooleanArray>())
        };
        let (yes, no) = (Some(true), Some(false));
        let batch = RecordBatch::try_from_iter([
            (MISFIT, flags([yes, no, no, no, no])),
            (UNORDERED, flags([yes, yes, no, no, no])),
            ("__silversmith_meets_0", flags([no, no, no, no, yes])),
            ("__silversmith_meets_1", flags([no, no, no, yes, None])),
        ])
        .unwrap();
        let expectation = |name, on_fail| Expectation::parse(name, "x > 0", on_fail).unwrap();
        let expectations = [expectation("a", OnFail::Warn), expectation("b", OnFail::Quarantine)];
        let judged = judge(&batch, &expectations);
        let refused = [(0, Refusal::Rescued), (1, Refusal::NoOrder), (2, Refusal::Unmet(1))];
        assert_eq!(judged.refused, BTreeMap::from(refused));
        assert_eq!(judged.warned, [0, 0], "rows 2 and 3, each judged by itself");
        let said = Refusal::Unmet(1).said(&expectations);
        assert_eq!(said, ("b".to_owned(), "not so: x > 0".to_owned()));
    }
}
