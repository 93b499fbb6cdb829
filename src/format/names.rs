//! Column names: what a header says → names that SQL takes without quotes.

use std::collections::HashSet;

/// The table's names for a header: lower-cased, anything but `[a-z0-9_]` → `_`, a leading `_`
/// prefixed with `c` (names with a leading `_` are silversmith's own), an empty one called
/// `column_N`, a long one cut off, clashes numbered `_2`, `_3`, ….
pub fn column_names<'a>(header: impl IntoIterator<Item = &'a str>) -> Vec<String> {
    let header: Vec<&str> = header.into_iter().collect();
    let mut taken = HashSet::new();
    // A header that is a plain name already keeps it, wherever it stands: otherwise the same two columns
    // in another order would swap their names.
    let as_is: Vec<bool> = header
        .iter()
        .enumerate()
        .map(|(index, original)| {
            one(original, index) == *original && taken.insert((*original).to_owned())
        })
        .collect();
    let mut name = |(index, original): (usize, &&str)| {
        if as_is[index] {
            return (*original).to_owned();
        }
        let name = one(original, index);
        let mut unique = name.clone();
        let mut number = 2;
        while !taken.insert(unique.clone()) {
            unique = format!("{name}_{number}");
            number += 1;
        }
        unique
    };
    header.iter().enumerate().map(&mut name).collect()
}

/// The longest name, before a number is added: Glue takes 255 characters.
const LONGEST: usize = 240;

fn one(original: &str, index: usize) -> String {
    let name: String = original
        .trim()
        .chars()
        .take(LONGEST)
        .flat_map(char::to_lowercase)
        .take(LONGEST)
        .map(|c| if c.is_ascii_lowercase() || c.is_ascii_digit() { c } else { '_' })
        .collect();
    if name.is_empty() {
        format!("column_{}", index + 1)
    } else if name.starts_with('_') {
        format!("c{name}")
    } else {
        name
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn names_are_made_plain_and_unique() {
        let header =
            ["Customer ID", "customer_id", "E-Mail", "", "_rescued", "é", "customer id", " x "];
        assert_eq!(
            column_names(header),
            [
                "customer_id_2",
                "customer_id",
                "e_mail",
                "column_4",
                "c_rescued",
                "c_",
                "customer_id_3",
                "x"
            ]
        );
    }

    proptest! {
        #[test]
        fn any_header_gives_plain_unique_names(header in proptest::collection::vec(".{0,12}", 0..20)) {
            let names = column_names(header.iter().map(String::as_str));
            prop_assert_eq!(names.len(), header.len());
            prop_assert_eq!(names.iter().collect::<HashSet<_>>().len(), names.len());
            for name in names {
                prop_assert!(!name.starts_with('_') && !name.is_empty());
                prop_assert!(name.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'_'));
            }
        }
    }
}
