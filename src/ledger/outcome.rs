//! How an attempt at an object version ended.

use std::fmt;

use crate::reason::UnknownWord;

/// How an attempt at an object version ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ObjectOutcome {
    /// Its rows (or none, if it has none) are in bronze. Final.
    Ingested,
    /// It was read and cannot be ingested; the reason says why.
    Rejected,
    /// It did not exist any more, or was another version, when silversmith read it.
    Missing,
    /// silversmith passes over it: it was missing and the configuration allows that, or an operator
    /// purged it.
    Skipped,
    /// An operator asked for another attempt.
    Replayed,
    /// It is there, and its delivery is not complete: it is ingested with the others. Not final.
    Waiting,
}

impl ObjectOutcome {
    const ALL: [Self; 6] = [
        Self::Ingested,
        Self::Rejected,
        Self::Missing,
        Self::Skipped,
        Self::Replayed,
        Self::Waiting,
    ];

    /// The word in the table: a contract.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Ingested => "ingested",
            Self::Rejected => "rejected",
            Self::Missing => "missing",
            Self::Skipped => "skipped",
            Self::Replayed => "replayed",
            Self::Waiting => "waiting",
        }
    }

    /// The outcome of a word.
    ///
    /// # Errors
    /// A word that this version does not know. Whether the object's rows are in bronze is unknown then,
    /// so nothing may be decided about it (I2).
    pub fn parse(word: &str) -> Result<Self, UnknownWord> {
        let found = Self::ALL.into_iter().find(|outcome| outcome.as_str() == word);
        found.ok_or_else(|| UnknownWord { what: "outcome", word: word.to_owned() })
    }
}

impl fmt::Display for ObjectOutcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_outcome_is_read_back_from_its_word_and_no_other() {
        for outcome in ObjectOutcome::ALL {
            assert_eq!(ObjectOutcome::parse(outcome.as_str()), Ok(outcome));
        }
        let error = ObjectOutcome::parse("superseded").unwrap_err().to_string();
        assert!(error.contains("`superseded`") && error.contains("upgrade"), "{error}");
    }
}
