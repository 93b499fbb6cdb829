//! Which pipelines an object goes to. Pure.

use crate::event::Record;
use crate::pipeline::Pipeline;

/// Where the records of a message go.
#[derive(Debug, Default)]
pub struct Routed<'a> {
    /// Objects, each with the place of a pipeline.
    pub wanted: Vec<(usize, &'a crate::event::ObjectEvent)>,
    /// Objects that no pipeline wants.
    pub unmatched: Vec<&'a crate::event::ObjectEvent>,
    /// Objects out of dead letters that no pipeline wants any more: they are told again, whatever is
    /// configured, for nobody else knows of them.
    pub homeless: Vec<&'a crate::event::ObjectEvent>,
    /// What should be an event and is none, and why.
    pub bad: Vec<&'a str>,
    /// Records with nothing to do.
    pub nothing: usize,
}

/// An object goes to every pipeline whose glob matches; one out of a dead letter to its own only, as
/// long as there is a pipeline of that name.
pub fn route<'a>(records: &'a [Record], pipelines: &[&Pipeline]) -> Routed<'a> {
    let mut routed = Routed::default();
    for record in records {
        match record {
            Record::Nothing(_) => routed.nothing += 1,
            Record::Bad(why) => routed.bad.push(why),
            Record::Created { object, pipeline: only } => {
                let uri = object.uri();
                let named = |name: &&String| {
                    pipelines.iter().any(|pipeline| pipeline.settings.name == **name)
                };
                let letter = only.is_some();
                let only = only.as_ref().filter(named);
                let before = routed.wanted.len();
                for (place, pipeline) in pipelines.iter().enumerate() {
                    let chosen = only.is_none_or(|name| *name == pipeline.settings.name);
                    if chosen && pipeline.settings.bronze.source.is_match(&uri) {
                        routed.wanted.push((place, object));
                    }
                }
                if routed.wanted.len() == before {
                    let lost = if letter { &mut routed.homeless } else { &mut routed.unmatched };
                    lost.push(object);
                }
            }
        }
    }
    routed
}
