//! The parts that a build may be without: the features of `Cargo.toml`.

/// A part that a build may be without.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Part {
    /// `lake.catalog = "glue:…"`.
    Glue,
    /// `lake.catalog = "s3tables:…"`.
    S3Tables,
    /// The command `lambda`.
    Lambda,
    /// Traces and metrics to a collector.
    Otlp,
}

/// Something was asked for that this build is without.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error(
    "this build has no `{0}`: cargo install silversmith --features {0}, or take a released binary"
)]
pub struct NotBuilt(&'static str);

impl Part {
    /// The feature of `Cargo.toml`, and whether this build has it.
    const fn feature(self) -> (&'static str, bool) {
        match self {
            Self::Glue => ("glue", cfg!(feature = "glue")),
            Self::S3Tables => ("s3tables", cfg!(feature = "s3tables")),
            Self::Lambda => ("lambda", cfg!(feature = "lambda")),
            Self::Otlp => ("otlp", cfg!(feature = "otlp")),
        }
    }

    /// Refuses what needs this part, where the build is without it.
    ///
    /// # Errors
    /// The part's name and how to get it.
    pub const fn needed(self) -> Result<(), NotBuilt> {
        if self.feature().1 { Ok(()) } else { Err(self.missing()) }
    }

    /// That this build is without it.
    pub const fn missing(self) -> NotBuilt {
        NotBuilt(self.feature().0)
    }
}
