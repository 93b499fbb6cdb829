//! The order in which gold tables are refreshed: each after those that it is computed from.

use std::collections::HashSet;

use super::GoldSettings;
use crate::lake::TableName;

/// Gold tables, each after those that it reads; otherwise in the order given.
///
/// # Errors
/// Tables that are computed from one another in a circle, in that order.
pub fn in_order<'a>(all: &[&'a GoldSettings]) -> Result<Vec<&'a GoldSettings>, Vec<TableName>> {
    let mut left = all.to_vec();
    let mut ordered = Vec::with_capacity(left.len());
    while !left.is_empty() {
        let waiting: HashSet<&TableName> = left.iter().map(|gold| &gold.table).collect();
        let is_due = |gold: &&GoldSettings| !gold.sources().any(|source| waiting.contains(source));
        let (due, rest): (Vec<_>, Vec<_>) = left.iter().copied().partition(is_due);
        if due.is_empty() {
            return Err(circle(&rest));
        }
        ordered.extend(due);
        left = rest;
    }
    Ok(ordered)
}

/// A circle among tables of which each reads another one.
fn circle(all: &[&GoldSettings]) -> Vec<TableName> {
    let mut path: Vec<&GoldSettings> = all.first().copied().into_iter().collect();
    while let Some(last) = path.last() {
        let source = last.sources().find_map(|source| all.iter().find(|g| g.table == *source));
        let Some(source) = source else { break };
        if let Some(begun) = path.iter().position(|gold| gold.table == source.table) {
            path.drain(..begun);
            break;
        }
        path.push(source);
    }
    path.iter().map(|gold| gold.table.clone()).collect()
}

/// Of gold tables in order, those that are computed from any of these tables, by way of others, too.
pub fn downstream<'a>(
    ordered: &[&'a GoldSettings],
    tables: impl IntoIterator<Item = TableName>,
) -> Vec<&'a GoldSettings> {
    let mut moved: HashSet<TableName> = tables.into_iter().collect();
    let mut found = Vec::new();
    for gold in ordered {
        if gold.sources().any(|source| moved.contains(source)) {
            moved.insert(gold.table.clone());
            found.push(*gold);
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    fn gold(table: &str, reads: &[&str]) -> GoldSettings {
        GoldSettings {
            pipeline: "p".into(),
            silver: None,
            reads: reads.iter().map(|table| table.parse().unwrap()).collect(),
            table: table.parse().unwrap(),
            sql: String::new(),
            partition_by: None,
            memory: 0,
        }
    }

    fn names(all: &[&GoldSettings]) -> Vec<String> {
        all.iter().map(|gold| gold.table.to_string()).collect()
    }

    #[test]
    fn each_comes_after_what_it_is_computed_from() {
        let (a, b) = (gold("g.a", &["g.c", "s.x"]), gold("g.b", &["s.y"]));
        let (c, d) = (gold("g.c", &["g.b"]), gold("g.d", &["s.x"]));
        let ordered = in_order(&[&a, &b, &c, &d]).unwrap();
        assert_eq!(names(&ordered), ["g.b", "g.d", "g.c", "g.a"]);
        let of = |table: &str| names(&downstream(&ordered, [table.parse().unwrap()]));
        assert_eq!(of("s.y"), ["g.b", "g.c", "g.a"]);
        assert_eq!(of("s.x"), ["g.d", "g.a"]);
        assert_eq!(of("s.z"), Vec::<String>::new());
    }

    #[test]
    fn a_circle_is_named() {
        let (a, b, c) = (gold("g.a", &["g.b"]), gold("g.b", &["g.c"]), gold("g.c", &["g.b"]));
        let circle = in_order(&[&a, &b, &c]).unwrap_err();
        assert_eq!(circle, ["g.b".parse().unwrap(), "g.c".parse().unwrap()]);
        let own = gold("g.a", &["g.a"]);
        assert_eq!(in_order(&[&own]).unwrap_err().len(), 1);
    }
}
