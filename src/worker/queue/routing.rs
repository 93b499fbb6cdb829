//! Which pipelines an object goes to. Pure.

use globset::GlobSet;

use crate::event::{ObjectEvent, Record};

/// What a pipeline ingests.
#[derive(Debug, Clone)]
pub(super) struct Route {
    /// The pipeline.
    pub(super) name: String,
    /// Which objects are its.
    pub(super) source: GlobSet,
    /// Which objects say something of its deliveries.
    pub(super) markers: GlobSet,
}

/// Where the records of a message go.
#[derive(Debug, Default)]
pub(super) struct Routed<'a> {
    /// Objects, each with the index of a route.
    pub(super) objects: Vec<(usize, &'a ObjectEvent)>,
    /// Objects that match no route.
    pub(super) unmatched: Vec<&'a ObjectEvent>,
    /// Objects of replayed dead letters that match no route any more. They are dead-lettered again,
    /// whatever is configured: the message is all that is left of them.
    pub(super) unmatched_replays: Vec<&'a ObjectEvent>,
    /// Why records that should be events are none.
    pub(super) bad: Vec<&'a str>,
    /// Records with nothing to do.
    pub(super) nothing: usize,
}

/// An object goes to every route whose glob matches; one of a dead letter to its own route only, as long
/// as there is a route of that name.
pub(super) fn route<'a>(records: &'a [Record], routes: &[Route]) -> Routed<'a> {
    let mut routed = Routed::default();
    for record in records {
        match record {
            Record::Nothing(_) => routed.nothing += 1,
            Record::Bad(why) => routed.bad.push(why),
            Record::Created { object, pipeline } => {
                let known = |name: &&String| routes.iter().any(|route| route.name == **name);
                let only = pipeline.as_ref().filter(known);
                let (uri, before) = (object.uri(), routed.objects.len());
                for (index, route) in routes.iter().enumerate() {
                    let chosen = only.is_none_or(|name| *name == route.name);
                    if chosen && (route.source.is_match(&uri) || route.markers.is_match(&uri)) {
                        routed.objects.push((index, object));
                    }
                }
                if routed.objects.len() == before {
                    match pipeline {
                        Some(_) => routed.unmatched_replays.push(object),
                        None => routed.unmatched.push(object),
                    }
                }
            }
        }
    }
    routed
}

#[cfg(test)]
mod tests {
    use globset::{Glob, GlobSetBuilder};

    use super::*;

    fn to(name: &str, glob: &str) -> Route {
        let mut source = GlobSetBuilder::new();
        source.add(Glob::new(glob).unwrap());
        Route { name: name.into(), source: source.build().unwrap(), markers: GlobSet::empty() }
    }

    fn created(key: &str, pipeline: Option<&str>) -> Record {
        let object = ObjectEvent {
            bucket: "raw".into(),
            key: key.into(),
            etag: None,
            version_id: None,
            size: None,
            sequencer: None,
            event_time: None,
            again: None,
            replayed: false,
        };
        Record::Created { object, pipeline: pipeline.map(str::to_owned) }
    }

    #[test]
    fn an_object_goes_to_every_route_that_matches_and_a_replay_to_its_own() {
        let routes = [to("csv", "s3://raw/**/*.csv"), to("orders", "s3://raw/orders/**")];
        let indexes = |record: Record| -> Vec<usize> {
            route(&[record], &routes).objects.iter().map(|(index, _)| *index).collect()
        };
        assert_eq!(indexes(created("orders/1.csv", None)), [0, 1]);
        assert_eq!(indexes(created("orders/1.csv", Some("orders"))), [1]);
        assert_eq!(indexes(created("orders/1.csv", Some("an old name"))), [0, 1]);
        assert_eq!(indexes(created("orders/1.json", None)), [1]);
    }

    #[test]
    fn a_marker_goes_to_the_routes_whose_deliveries_it_is_about() {
        let mut routes = [to("csv", "s3://raw/**/*.csv"), to("orders", "s3://raw/orders/*.csv")];
        routes[1].markers = to("", "s3://raw/orders/_SUCCESS").source;
        let records = [created("orders/_SUCCESS", None), created("other/_SUCCESS", None)];
        let routed = route(&records, &routes);
        assert_eq!(routed.objects.iter().map(|(index, _)| *index).collect::<Vec<_>>(), [1]);
        assert_eq!(routed.unmatched[0].key, "other/_SUCCESS");
    }

    #[test]
    fn every_record_is_accounted_for() {
        let routes = [to("csv", "s3://raw/**/*.csv")];
        let records = [
            created("1.csv", None),
            created("1.json", None),
            created("2.json", Some("csv")),
            Record::Nothing("a test event"),
            Record::Bad("no key".into()),
        ];
        let routed = route(&records, &routes);
        assert_eq!(routed.objects.len(), 1);
        assert_eq!(routed.unmatched[0].key, "1.json");
        assert_eq!(routed.unmatched_replays[0].key, "2.json");
        assert_eq!((routed.bad, routed.nothing), (vec!["no key"], 1));
    }
}
