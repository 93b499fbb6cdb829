//! `[source]`: a queue, a folder, or listings of S3.

use std::path::Path;
use std::time::Duration;

use super::lake::normal;
use super::resolver::{Resolver, duration, one_of};
use super::{OnUnmatched, QueueSettings, SourceSettings};
use crate::config::file::SourceSection;

pub(super) fn source(
    resolver: &mut Resolver,
    section: &SourceSection,
    base: &Path,
) -> SourceSettings {
    let on_unmatched = resolver.parsed(
        "source.on_unmatched",
        section.on_unmatched.as_deref(),
        OnUnmatched::Skip,
        one_of(&[("skip", OnUnmatched::Skip), ("dead-letter", OnUnmatched::DeadLetter)]),
    );
    match (&section.directory, &section.queue) {
        (Some(_), Some(_)) => {
            resolver.say("source.queue", "objects come from a queue or from a directory, not both");
            SourceSettings::Listing
        }
        (Some(directory), None) => {
            let why = "it applies to source.queue only: leave it out";
            refuse(resolver, section, &["dlq", "visibility"], why);
            let settle = section.settle.as_deref();
            let settle = resolver.parsed("source.settle", settle, Duration::from_secs(1), duration);
            SourceSettings::Directory { directory: normal(&base.join(directory)), settle }
        }
        (None, Some(queue)) => {
            refuse(
                resolver,
                section,
                &["settle"],
                "it applies to source.directory only: leave it out",
            );
            SourceSettings::Queue(queues(resolver, section, queue, on_unmatched))
        }
        (None, None) => {
            let why = "it needs source.queue or source.directory, and neither is set";
            refuse(resolver, section, &["dlq", "visibility", "settle"], why);
            SourceSettings::Listing
        }
    }
}

/// Reports the keys that do not apply to this kind of source.
fn refuse(resolver: &mut Resolver, section: &SourceSection, keys: &[&str], why: &str) {
    for (key, given) in [
        ("dlq", section.dlq.is_some()),
        ("visibility", section.visibility.is_some()),
        ("settle", section.settle.is_some()),
    ] {
        if given && keys.contains(&key) {
            resolver.say(format!("source.{key}"), why);
        }
    }
}

/// SQS hides a message for 12 hours at most.
const LONGEST: Duration = Duration::from_secs(12 * 3_600);
/// Less, and a heartbeat that is a little late loses messages.
const SHORTEST: Duration = Duration::from_secs(5);

fn queues(
    resolver: &mut Resolver,
    section: &SourceSection,
    queue: &str,
    on_unmatched: OnUnmatched,
) -> QueueSettings {
    let visibility = section.visibility.as_deref();
    let visibility =
        resolver.parsed("source.visibility", visibility, Duration::from_secs(60), duration);
    if !(SHORTEST..=LONGEST).contains(&visibility) {
        resolver.say("source.visibility", "it must be from 5s to 12h");
    }
    url(resolver, "source.queue", queue);
    let dlq = section.dlq.clone().unwrap_or_default();
    match &section.dlq {
        None => {
            resolver.say("source.dlq", "it is missing: write the URL of the queue for dead letters")
        }
        Some(dlq) => {
            url(resolver, "source.dlq", dlq);
            if queue.ends_with(".fifo") != dlq.ends_with(".fifo") {
                let why = "source.queue and source.dlq must both be FIFO or both be standard";
                resolver.say("source.dlq", why);
            }
            if queue == dlq {
                resolver.say("source.dlq", "it is the same queue as source.queue: use another one");
            }
        }
    }
    QueueSettings { queue: queue.to_owned(), dlq, visibility, on_unmatched }
}

fn url(resolver: &mut Resolver, key: &str, url: &str) {
    if !url.starts_with("https://") && !url.starts_with("http://") {
        let why = "write the queue's URL, https://sqs.<region>.amazonaws.com/<account>/<name>";
        resolver.say(key, why);
    }
}
