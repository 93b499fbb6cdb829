//! `check` of the tables: that they are silversmith's to write, and that their files are there and where the lake
//! says.

use super::findings::Findings;
use crate::error::chain;
use crate::lake::Table;
use crate::pipeline::{Pipeline, Wired};
use crate::telemetry::metrics::Layer;
use crate::upkeep::Target;
use crate::worker::report::counted;

pub(super) async fn files(wired: &Wired, pipeline: &Pipeline, findings: &mut Findings) {
    for target in pipeline.targets() {
        let what = format!("table {}", target.table);
        match wired.lake.find(&target.table).await {
            Ok(None) => {}
            Ok(Some(table)) => {
                if let Err(error) = wired.lake.check_writable(&table) {
                    findings.fail(what, chain(&error));
                    continue;
                }
                missing(wired, &target, &table, &what, findings).await;
            }
            Err(error) => findings.fail(what, chain(&error)),
        }
    }
}

async fn missing(
    wired: &Wired,
    target: &Target,
    table: &Table,
    what: &str,
    findings: &mut Findings,
) {
    let gone = match wired.lake.missing(table).await {
        Ok(None) => return,
        Ok(Some(gone)) => gone,
        Err(error) => return findings.fail(what, chain(&error)),
    };
    let Some(first) = gone.first() else { return };
    let cure = match target.layer {
        Layer::Silver => "restore them, or run `silversmith silver --rebuild`",
        Layer::Gold => "restore them, or change a row of silver: gold is then computed anew",
        Layer::Bronze | Layer::Ledger => {
            "restore them from a backup, or set the table to a snapshot before them and run `silversmith repair`"
        }
    };
    let files = counted(gone.len() as u64, "data file");
    findings.fail(what, format!("{files} gone, the first: {first}; {cure}"));
}
