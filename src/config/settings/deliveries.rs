//! `[pipeline.deliveries]`: when a folder is complete.

use super::resolver::{Resolver, one_of};
use crate::bronze::deliveries::{Deliveries, LateObjects, Rule, marker};
use crate::config::file::DeliveriesSection;
use crate::config::memory::Memory;

/// The rule of the section; none where it is absent or wrong.
pub(super) fn deliveries(
    resolver: &mut Resolver,
    index: usize,
    glob: &str,
    section: Option<&DeliveriesSection>,
    memory: Memory,
) -> Option<Deliveries> {
    let section = section?;
    let key = |rest: &str| format!("pipeline[{index}].deliveries.{rest}");
    let late = resolver.parsed(
        &key("late_objects"),
        section.late_objects.as_deref(),
        LateObjects::default(),
        one_of(&[("ingest", LateObjects::Ingest), ("reject", LateObjects::Reject)]),
    );
    let rule = match (&section.complete_when, &section.manifest, section.count) {
        (Some(name), None, None) => {
            marker(glob, name, true).map(Rule::Marker).map_err(|why| ("complete_when", why))
        }
        (None, Some(name), None) => {
            marker(glob, name, false).map(Rule::Manifest).map_err(|why| ("manifest", why))
        }
        (None, None, Some(0)) => Err(("count", "it must be at least 1".to_owned())),
        (None, None, Some(count)) if count > memory.delivered_objects() as u64 => {
            let most = memory.delivered_objects();
            Err((
                "count",
                format!("memory is for {most} objects of one delivery: raise worker.memory"),
            ))
        }
        (None, None, Some(count)) => Ok(Rule::Count(count)),
        _ => {
            let why = "write exactly one of complete_when, manifest and count";
            resolver.say(format!("pipeline[{index}].deliveries"), why);
            return None;
        }
    };
    match rule {
        Ok(rule) => Some(Deliveries { rule, late, most_objects: memory.delivered_objects() }),
        Err((name, why)) => {
            resolver.say(key(name), why);
            None
        }
    }
}
