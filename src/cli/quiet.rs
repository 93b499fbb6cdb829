//! Text that does nothing to a terminal.

/// A text without control characters that act on a terminal: keys, cells and errors quote foreign input.
pub(super) fn quiet(text: &str) -> String {
    let each = text.chars().map(|c| match c {
        '\n' => "\n".to_owned(),
        c if c.is_control() => c.escape_default().to_string(),
        c => c.to_string(),
    });
    each.collect()
}
