//! Reasons: why silversmith did not ingest an object, or could not read a message, as a short word.
//!
//! The words are a contract: they stand in the objects table, in dead letters and in announcements,
//! and `dlq --reason` selects by them. A new kind of failure gets a new word; no word changes.

use std::fmt;

/// Why an object was not ingested, or a message became a dead letter.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Reason {
    /// The file is of another kind, or its header is not text in UTF-8.
    NotText,
    /// A quote is broken, and nothing shows where its record ends.
    BrokenQuote,
    /// It is no JSON, and nothing shows where its next record begins.
    NotJson,
    /// Too many of its rows do not fit.
    Rescued,
    /// Its packed bytes are wrong.
    Corrupt,
    /// It is encrypted by its writer.
    Encrypted,
    /// It is packed, and expands too much.
    Expands,
    /// A record is longer than the limit.
    RecordTooLong,
    /// A record has more fields than the limit, or the table would get too many columns.
    TooManyColumns,
    /// Another delimiter than the configured one parts the fields.
    OtherDelimiter,
    /// The first line names no columns.
    NoHeader,
    /// The file has none of the table's columns.
    OtherColumns,
    /// The file lacks a key.
    KeyMissing,
    /// The columns differ from the table's, and the configuration refuses that.
    SchemaChanged,
    /// A cell does not fit the type of its column, and the configuration refuses that.
    TypeChanged,
    /// Arrow could not represent the rows.
    NotRepresentable,
    /// The object exists and could not be read.
    Unreadable,
    /// The object did not exist any more.
    Missing,
    /// The object became another version while it was read.
    Changed,
    /// It came after its delivery was complete, and the configuration refuses that.
    Late,
    /// It is in the folder of a delivery, and the manifest does not name it.
    Surplus,
    /// The manifest of a delivery cannot be read as one, or names what is not in its folder.
    BadManifest,
    /// An object of a delivery has another size than its manifest says.
    WrongSize,
    /// An object of a delivery has other bytes than its manifest says.
    WrongChecksum,
    /// An object of a delivery has another number of rows than its manifest says.
    WrongRows,
    /// A delivery has more objects than memory is for.
    TooManyObjects,
    /// silversmith itself failed.
    Defect,
    /// An operator replayed or purged it.
    ByHand,
    /// The message, or a record of it, is no event.
    NotAnEvent,
    /// No pipeline's source matches the object.
    Unmatched,
    /// The queue moved the message by its own redrive policy.
    Redriven,
}

impl Reason {
    /// Every reason.
    pub const ALL: [Self; 31] = [
        Self::NotText,
        Self::BrokenQuote,
        Self::NotJson,
        Self::Rescued,
        Self::Corrupt,
        Self::Encrypted,
        Self::Expands,
        Self::RecordTooLong,
        Self::TooManyColumns,
        Self::OtherDelimiter,
        Self::NoHeader,
        Self::OtherColumns,
        Self::KeyMissing,
        Self::SchemaChanged,
        Self::TypeChanged,
        Self::NotRepresentable,
        Self::Unreadable,
        Self::Missing,
        Self::Changed,
        Self::Late,
        Self::Surplus,
        Self::BadManifest,
        Self::WrongSize,
        Self::WrongChecksum,
        Self::WrongRows,
        Self::TooManyObjects,
        Self::Defect,
        Self::ByHand,
        Self::NotAnEvent,
        Self::Unmatched,
        Self::Redriven,
    ];

    /// The word.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::NotText => "not-text",
            Self::BrokenQuote => "broken-quote",
            Self::NotJson => "not-json",
            Self::Rescued => "rescued",
            Self::Corrupt => "corrupt",
            Self::Encrypted => "encrypted",
            Self::Expands => "expands",
            Self::RecordTooLong => "record-too-long",
            Self::TooManyColumns => "too-many-columns",
            Self::OtherDelimiter => "other-delimiter",
            Self::NoHeader => "no-header",
            Self::OtherColumns => "other-columns",
            Self::KeyMissing => "key-missing",
            Self::SchemaChanged => "schema-changed",
            Self::TypeChanged => "type-changed",
            Self::NotRepresentable => "not-representable",
            Self::Unreadable => "unreadable",
            Self::Missing => "missing",
            Self::Changed => "changed",
            Self::Late => "late",
            Self::Surplus => "surplus",
            Self::BadManifest => "bad-manifest",
            Self::WrongSize => "wrong-size",
            Self::WrongChecksum => "wrong-checksum",
            Self::WrongRows => "wrong-rows",
            Self::TooManyObjects => "too-many-objects",
            Self::Defect => "defect",
            Self::ByHand => "by-hand",
            Self::NotAnEvent => "not-an-event",
            Self::Unmatched => "unmatched",
            Self::Redriven => "redriven",
        }
    }

    /// The reason of a word.
    ///
    /// # Errors
    /// A word that this version does not know. The caller decides whether it can go on without.
    pub fn parse(word: &str) -> Result<Self, UnknownWord> {
        let found = Self::ALL.into_iter().find(|reason| reason.as_str() == word);
        found.ok_or_else(|| UnknownWord { what: "reason", word: word.to_owned() })
    }

    /// Whether another attempt at the object may end differently without any change to it.
    pub const fn is_transient(self) -> bool {
        matches!(self, Self::Unreadable | Self::Changed)
    }
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// A stored word that this version of silversmith does not know: a newer version wrote it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("unknown {what} `{word}`, written by a newer version: upgrade silversmith")]
pub struct UnknownWord {
    /// What the word stands for.
    pub what: &'static str,
    /// The word.
    pub word: String,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_reason_is_read_back_from_its_word() {
        for reason in Reason::ALL {
            assert_eq!(Reason::parse(reason.as_str()), Ok(reason));
        }
    }

    #[test]
    fn an_unknown_word_is_an_error_that_names_it() {
        let error = Reason::parse("too-blue").unwrap_err().to_string();
        assert_eq!(
            error,
            "unknown reason `too-blue`, written by a newer version: upgrade silversmith"
        );
    }
}
