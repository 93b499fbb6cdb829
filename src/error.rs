//! The kinds of error: what an operator does next.

/// What to do about an error.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// Nothing is lost and nothing is wrong with the data: run it again.
    Retry,
    /// Something outside failed in a way that may pass or not: look at the cause, then run it again.
    Look,
    /// The configuration, or what was asked for, has to be changed.
    Configuration,
    /// What is stored contradicts itself, or was changed behind silversmith's back.
    Corrupt,
    /// A defect in silversmith.
    Bug,
}

impl Kind {
    /// The next step, as a sentence for the terminal.
    pub fn next_step(self) -> &'static str {
        match self {
            Self::Retry => "Nothing is lost: run the same command again.",
            Self::Look => {
                "Nothing is lost: mend what the last line names, then run the same command again."
            }
            Self::Configuration => {
                "Change the configuration or the arguments; `silversmith check` tests the file."
            }
            Self::Corrupt => {
                "Nothing was changed. Look at `silversmith history` and `silversmith status`."
            }
            Self::Bug => "This is a defect in silversmith: please report it with the lines above.",
        }
    }
}

/// An error and its causes, in one line. A cause that only repeats what was said is left out.
pub fn chain(error: &(dyn std::error::Error + 'static)) -> String {
    causes(error).join(": ")
}

/// An error and its causes. A cause that only repeats what was said is left out.
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

/// The message without what DataFusion adds for its own developers.
pub(crate) fn plain(message: &str) -> String {
    const FOR_DEVELOPERS: &str = "\nThis issue was likely caused by a bug in DataFusion's code.";
    let end = message.find(FOR_DEVELOPERS).unwrap_or(message.len());
    message[..end].trim().to_owned()
}
