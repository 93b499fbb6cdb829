//! What `check` found.

/// What was tested, and what was found.
#[derive(Default)]
pub(super) struct Findings {
    /// Result, what, found.
    pub(super) lines: Vec<[String; 3]>,
    /// Whether something failed.
    pub(super) failed: bool,
}

impl Findings {
    pub(super) fn ok(&mut self, what: impl Into<String>, found: impl Into<String>) {
        self.lines.push(["ok".to_owned(), what.into(), found.into()]);
    }

    pub(super) fn warn(&mut self, what: impl Into<String>, found: impl Into<String>) {
        self.lines.push(["warning".to_owned(), what.into(), found.into()]);
    }

    pub(super) fn fail(&mut self, what: impl Into<String>, found: impl Into<String>) {
        self.failed = true;
        self.lines.push(["failed".to_owned(), what.into(), found.into()]);
    }
}
