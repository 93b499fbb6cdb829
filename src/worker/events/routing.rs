//! Which pipelines an object goes to. Pure.

use crate::event::Record;
use crate::wiring::Pipeline;

/// Where the records of a message go.
#[derive(Debug, Default)]
pub struct Routed<'a> {
    /// Objects, each with the place of a pipeline.
    pub wanted: Vec<(usize, &'a crate::event::Announcement)>,
    /// Objects that no pipeline wants.
    pub unmatched: Vec<&'a crate::event::Announcement>,
    /// What should be an event and is none, and why.
    pub bad: Vec<&'a str>,
    /// Records with nothing to do.
    pub nothing: usize,
}

/// An object goes to every pipeline whose glob matches; one out of a dead letter to its own only.
pub fn route<'a>(records: &'a [Record], pipelines: &[&Pipeline]) -> Routed<'a> {
    let mut routed = Routed::default();
    for record in records {
        match record {
            Record::Nothing(_) => routed.nothing += 1,
            Record::Bad(why) => routed.bad.push(why),
            Record::Created { object, pipeline: only } => {
                let uri = object.uri();
                let before = routed.wanted.len();
                for (place, pipeline) in pipelines.iter().enumerate() {
                    let chosen = only.as_ref().is_none_or(|name| *name == pipeline.settings.name);
                    if chosen && pipeline.settings.bronze.source.is_match(&uri) {
                        routed.wanted.push((place, object));
                    }
                }
                if routed.wanted.len() == before {
                    routed.unmatched.push(object);
                }
            }
        }
    }
    routed
}
