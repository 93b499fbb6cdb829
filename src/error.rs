//! The kinds of error: what an operator does next.

/// What an operator does about an error.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// No data was lost and the data is fine: run it again.
    Retry,
    /// A service or a file failed, perhaps not for good: fix the cause, then run it again.
    Look,
    /// The configuration or the arguments have to be changed.
    Configuration,
    /// What is stored contradicts itself, or another program changed it.
    Corrupt,
    /// A defect in silversmith.
    Bug,
}

impl Kind {
    /// The next step, as a sentence for the terminal.
    pub fn next_step(self) -> &'static str {
        match self {
            Self::Retry => "No data was lost. Rerun the command.",
            Self::Look => {
                "No data was lost. Fix the cause in the last line, then rerun the command."
            }
            Self::Configuration => {
                "Fix the configuration or the arguments. `silversmith check` tests the configuration."
            }
            Self::Corrupt => {
                "Nothing was changed. Look at `silversmith status` and `silversmith history TABLE`."
            }
            Self::Bug => "This is a defect in silversmith. Please report it with the lines above.",
        }
    }
}

/// An error and its causes, in one line. A cause that only repeats the one before is left out.
pub fn chain(error: &(dyn std::error::Error + 'static)) -> String {
    causes(error).join(": ")
}

/// An error and its causes. A cause that only repeats the one before is left out.
pub(crate) fn causes(error: &(dyn std::error::Error + 'static)) -> Vec<String> {
    let mut said: Vec<String> = Vec::new();
    let mut next = Some(error);
    while let Some(cause) = next {
        let text = plain(&cause.to_string());
        let repeats = |last: &String| {
            let rest = text.split_once(": ").map_or(text.as_str(), |(_, rest)| rest);
            last.contains(&text) || last.contains(rest)
        };
        if !said.last().is_some_and(repeats) {
            said.push(text);
        }
        next = cause.source();
    }
    said
}

/// The message without the text that DataFusion adds for its own developers.
pub(crate) fn plain(message: &str) -> String {
    const FOR_DEVELOPERS: &str = "\nThis issue was likely caused by a bug in DataFusion's code.";
    let end = message.find(FOR_DEVELOPERS).unwrap_or(message.len());
    message[..end].trim().to_owned()
}
