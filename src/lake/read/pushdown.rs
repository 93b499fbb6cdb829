//! Filters of a query as conditions that a scan can use: bounds, by which files are left out, and a predicate, by which
//! row groups and rows are. What is not understood is left to the query. Pure.

use std::cmp::Ordering;

use arrow::array::ArrayRef;
use datafusion::common::ScalarValue;
use datafusion::logical_expr::expr::InList;
use datafusion::logical_expr::{Between, BinaryExpr, Expr, Operator};
use iceberg::expr::{Predicate, Reference};
use iceberg::spec::Datum;

use super::scan::{Bounds, datum};

/// Terms inside of each other that are read: a filter with more is left to the query, which bounds its stack itself.
const DEPTH: usize = 64;
/// Values of which a row is compared with each; beyond them with the least and the greatest.
const VALUES: usize = 20;

/// Whether a scan can use a filter.
pub(super) fn is_usable(filter: &Expr) -> bool {
    condition(filter, DEPTH).is_some()
}

/// What a scan can use of filters.
pub(super) fn conditions(filters: &[Expr]) -> Vec<Condition> {
    filters.iter().filter_map(|filter| condition(filter, DEPTH)).collect()
}

/// What bounds the rows that meet all of these conditions.
pub(super) fn bounds(conditions: &[Condition]) -> Vec<Bounds> {
    conditions.iter().flat_map(Condition::bounds).collect()
}

/// A predicate that every row of the result meets; none without conditions. `is_sure` says for a column whether the
/// reader of files finds in each what the table has in it now.
pub(super) fn predicate(
    conditions: &[Condition],
    is_sure: impl Fn(&str) -> bool,
) -> Option<Predicate> {
    let sure = conditions.iter().filter(|c| c.columns().iter().all(|column| is_sure(column)));
    sure.map(Condition::predicate).reduce(Predicate::and)
}

/// What rows have to meet, of columns without casts.
pub(super) enum Condition {
    /// A value between two, which may be open. A null is in no range.
    Range {
        column: String,
        least: Option<ScalarValue>,
        greatest: Option<ScalarValue>,
    },
    /// One of some values.
    OneOf {
        column: String,
        values: Vec<ScalarValue>,
    },
    All(Vec<Condition>),
    Any(Vec<Condition>),
}

fn condition(filter: &Expr, depth: usize) -> Option<Condition> {
    let depth = depth.checked_sub(1)?;
    match filter {
        Expr::BinaryExpr(BinaryExpr { left, op, right }) => match (&**left, op, &**right) {
            (left, Operator::And, right) => {
                Some(Condition::All(vec![condition(left, depth)?, condition(right, depth)?]))
            }
            (left, Operator::Or, right) => {
                Some(Condition::Any(vec![condition(left, depth)?, condition(right, depth)?]))
            }
            (Expr::Column(column), op, Expr::Literal(value, _)) => {
                compared(&column.name, *op, value)
            }
            (Expr::Literal(value, _), op, Expr::Column(column)) => {
                compared(&column.name, op.swap()?, value)
            }
            _ => None,
        },
        Expr::Between(Between { expr, negated: false, low, high }) => {
            let (Expr::Column(column), Some(least), Some(greatest)) =
                (&**expr, literal(low), literal(high))
            else {
                return None;
            };
            let (least, greatest) = (Some(least), Some(greatest));
            Some(Condition::Range { column: column.name.clone(), least, greatest })
        }
        Expr::InList(InList { expr, list, negated: false }) => {
            let Expr::Column(column) = &**expr else { return None };
            let values = list.iter().map(literal).collect::<Option<Vec<_>>>()?;
            let column = column.name.clone();
            (!values.is_empty()).then_some(Condition::OneOf { column, values })
        }
        _ => None,
    }
}

fn compared(column: &str, op: Operator, value: &ScalarValue) -> Option<Condition> {
    value_of(value)?;
    let (column, value) = (column.to_owned(), value.clone());
    // A bound that is not reached itself is as good for leaving things out.
    match op {
        Operator::Eq => Some(Condition::OneOf { column, values: vec![value] }),
        Operator::Gt | Operator::GtEq => {
            Some(Condition::Range { column, least: Some(value), greatest: None })
        }
        Operator::Lt | Operator::LtEq => {
            Some(Condition::Range { column, least: None, greatest: Some(value) })
        }
        _ => None,
    }
}

/// A value that files can be compared with.
fn literal(expr: &Expr) -> Option<ScalarValue> {
    let Expr::Literal(value, _) = expr else { return None };
    value_of(value).map(|_| value.clone())
}

fn array(value: &ScalarValue) -> Option<ArrayRef> {
    value.to_array().ok()
}

fn value_of(value: &ScalarValue) -> Option<Datum> {
    datum(&array(value)?)
}

impl Condition {
    fn columns(&self) -> Vec<&str> {
        match self {
            Self::Range { column, .. } | Self::OneOf { column, .. } => vec![column],
            Self::All(some) | Self::Any(some) => some.iter().flat_map(Self::columns).collect(),
        }
    }

    fn bounds(&self) -> Vec<Bounds> {
        match self {
            Self::Range { column, least, greatest } => vec![Bounds {
                column: column.clone(),
                least: least.as_ref().and_then(array),
                greatest: greatest.as_ref().and_then(array),
            }],
            Self::All(some) => bounds(some),
            // From the least to the greatest of the values of one column; what is open has no bounds.
            Self::OneOf { .. } | Self::Any(_) => {
                let choice = self.any_of();
                let hull = choice.and_then(|(column, values)| hull(column, values.into_iter()));
                hull.into_iter().collect()
            }
        }
    }

    /// The column and the values, where it is a choice between values of one column.
    fn any_of(&self) -> Option<(&str, Vec<&ScalarValue>)> {
        match self {
            Self::OneOf { column, values } => Some((column, values.iter().collect())),
            Self::Any(some) => {
                let mut choices = some.iter().map(Self::any_of);
                let (column, mut values) = choices.next()??;
                for choice in choices {
                    let (other, more) = choice?;
                    if other != column {
                        return None;
                    }
                    values.extend(more);
                }
                Some((column, values))
            }
            Self::Range { .. } | Self::All(_) => None,
        }
    }

    fn predicate(&self) -> Predicate {
        let all = |some: &[Self], with: fn(Predicate, Predicate) -> Predicate| {
            some.iter().map(Self::predicate).reduce(with).unwrap_or(Predicate::AlwaysTrue)
        };
        match self {
            Self::Range { column, least, greatest } => {
                let end = |end: &Option<ScalarValue>| end.as_ref().and_then(value_of);
                within(column, end(least), end(greatest))
            }
            Self::OneOf { column, values } if values.len() > VALUES => {
                let hull = hull(column, values.iter());
                let (least, greatest) = hull.map_or((None, None), |b| (b.least, b.greatest));
                let end = |end: Option<ArrayRef>| end.as_ref().and_then(datum);
                within(column, end(least), end(greatest))
            }
            Self::OneOf { column, values } => {
                Reference::new(column.clone()).is_in(values.iter().filter_map(value_of))
            }
            Self::All(some) => all(some, Predicate::and),
            Self::Any(some) => all(some, Predicate::or),
        }
    }
}

fn within(column: &str, least: Option<Datum>, greatest: Option<Datum>) -> Predicate {
    let of = || Reference::new(column.to_owned());
    let above = least.map(|least| of().greater_than_or_equal_to(least));
    let below = greatest.map(|greatest| of().less_than_or_equal_to(greatest));
    above.into_iter().chain(below).reduce(Predicate::and).unwrap_or(Predicate::AlwaysTrue)
}

fn hull<'a>(column: &str, values: impl Iterator<Item = &'a ScalarValue> + Clone) -> Option<Bounds> {
    let by = |a: &&ScalarValue, b: &&ScalarValue| a.partial_cmp(b).unwrap_or(Ordering::Equal);
    let (least, greatest) = values.clone().min_by(by).zip(values.max_by(by))?;
    Some(Bounds { column: column.to_owned(), least: array(least), greatest: array(greatest) })
}

#[cfg(test)]
mod tests {
    use arrow::array::AsArray;
    use arrow::datatypes::Int64Type;
    use datafusion::prelude::{col, lit};

    use super::*;

    fn ends(filters: &[Expr]) -> Vec<(String, Option<i64>, Option<i64>)> {
        let number = |end: &ArrayRef| end.as_primitive::<Int64Type>().value(0);
        bounds(&conditions(filters))
            .into_iter()
            .map(|b| (b.column, b.least.as_ref().map(number), b.greatest.as_ref().map(number)))
            .collect()
    }

    #[test]
    fn conditions_bound_their_columns() {
        let bound = |least, greatest| vec![("a".to_owned(), least, greatest)];
        let a = || col("a");
        for (filter, expected) in [
            (a().eq(lit(3_i64)), bound(Some(3), Some(3))),
            (a().gt(lit(3_i64)), bound(Some(3), None)),
            (lit(3_i64).gt(a()), bound(None, Some(3))),
            (a().between(lit(1_i64), lit(3_i64)), bound(Some(1), Some(3))),
            (a().in_list(vec![lit(5_i64), lit(1_i64)], false), bound(Some(1), Some(5))),
            (a().eq(lit(5_i64)).or(a().eq(lit(1_i64))), bound(Some(1), Some(5))),
            (a().eq(lit(5_i64)).or(col("b").eq(lit(1_i64))), vec![]),
            (a().gt(lit(5_i64)).or(a().eq(lit(1_i64))), vec![]),
        ] {
            assert!(is_usable(&filter), "{filter}");
            assert_eq!(ends(std::slice::from_ref(&filter)), expected, "{filter}");
            assert!(predicate(&conditions(&[filter]), |_| true).is_some());
        }
        let both = a().gt_eq(lit(1_i64)).and(col("b").lt(lit(2_i64)));
        assert_eq!(
            ends(&[both]),
            [("a".to_owned(), Some(1), None), ("b".to_owned(), None, Some(2))]
        );
    }

    #[test]
    fn what_is_not_understood_is_left_to_the_query() {
        for filter in [
            col("a").not_eq(lit(1_i64)),
            col("a").in_list(vec![lit(1_i64)], true),
            col("a").eq(col("b")),
            col("a").eq(lit(1.5)),
            col("a").eq(lit(ScalarValue::Int64(None))),
            col("a").is_null(),
            col("a").eq(lit(1_i64)).or(col("a").is_null()),
            (col("a") + lit(1_i64)).eq(lit(1_i64)),
        ] {
            assert!(!is_usable(&filter), "{filter}");
            assert!(predicate(&conditions(&[filter]), |_| true).is_none());
        }
        let of_a = conditions(&[col("a").eq(lit(1_i64))]);
        assert!(predicate(&of_a, |column| column != "a").is_none());
    }

    #[test]
    fn long_filters_cost_little() {
        let many = |count: i64| col("a").in_list((0..count).map(lit).collect(), false);
        let shown = |filter| predicate(&conditions(&[filter]), |_| true).unwrap().to_string();
        assert_eq!(shown(many(10_000)), "(a >= 0) AND (a <= 9999)");
        assert!(shown(many(20)).contains("IN"), "few values are each compared");
        let term = |n: i64| col("a").eq(lit(n));
        let chain = |count: i64| (1..count).map(term).fold(term(0), Expr::or);
        assert!(is_usable(&chain(60)));
        assert!(!is_usable(&chain(5_000)), "the stack is bounded");
    }
}
