//! A crash between any two effects of a replay, or of a rebuild, under other rules: no row is lost, and none is in
//! quarantine twice.

use std::sync::Arc;

use super::crash_points::{Merges, Remains};
use crate::support::faulty::Fuse;
use crate::support::{CUSTOMERS, World};

const SILVER: &str = "SELECT id, amount FROM silver.customers ORDER BY id";

fn at_least(amount: i32) -> String {
    let expect = format!("name = \"enough\"\nsql = \"amount >= {amount}\"\n");
    format!("{CUSTOMERS}[[pipeline.silver.expect]]\n{expect}")
}

/// Three rows in quarantine, under a rule that is too strict.
async fn refused() -> Remains {
    let remains = Remains::of(Merges::COPY_ON_WRITE);
    let text = "id,amount,updated\n1,10,1\n1,7,2\n2,3,1\n3,1,1\n";
    remains.raw.put("raw/1.csv", text, crate::support::at(11, 0));
    let world = remains.process_as(&at_least(10), &Fuse::counting());
    world.bronze().await;
    world.silver().await;
    assert_eq!(world.sql(SILVER).await, ["1|10"]);
    assert_eq!(world.quarantine().await.len(), 3);
    remains
}

#[derive(Debug, Clone, Copy)]
enum By {
    Replay,
    Rebuild,
}

/// A rule of now, and what it leaves in silver and in quarantine.
struct Now {
    least: i32,
    silver: &'static [&'static str],
    refused: &'static [&'static str],
}

const SOME: Now = Now { least: 3, silver: &["1|7", "2|3"], refused: &["enough|raw/1.csv|4"] };
const ALL: Now = Now { least: 1, silver: &["1|7", "2|3", "3|1"], refused: &[] };

async fn correct(world: &World, by: By) {
    let silver = world.pipeline().silver.as_ref().unwrap();
    match by {
        By::Replay => drop(silver.replay(None).await.unwrap()),
        By::Rebuild => drop(silver.rebuild().await.unwrap()),
    }
}

/// It dies where the fuse blows.
async fn life(remains: &Remains, by: By, now: &Now, fuse: &Arc<Fuse>) {
    let world = remains.process_as(&at_least(now.least), fuse);
    tokio::select! {
        () = correct(&world, by) => {}
        () = fuse.blown() => {}
    }
}

/// What a new process makes of it. `repeated`: what was cut short is done again.
async fn ends_right(remains: &Remains, by: By, now: &Now, repeated: bool, case: &str) {
    let world = remains.process_as(&at_least(now.least), &Fuse::counting());
    world.silver().await;
    let (silver, refused) = (world.sql(SILVER).await, world.quarantine().await);
    let (before, after) = (silver == ["1|10"], silver == now.silver);
    assert!(before || after, "{case}: all of it or nothing: {silver:?}");
    // A row is in one of them at least.
    assert!(after || refused.len() == 3, "{case}: {refused:?}");
    if repeated {
        correct(&world, by).await;
    }
    correct(&world, By::Replay).await;
    assert_eq!(world.sql(SILVER).await, now.silver, "{case}");
    assert_eq!(world.quarantine().await, now.refused, "{case}");
    assert!(world.silver().await.snapshots.is_empty(), "{case}: nothing is left to do");
}

async fn crashes(by: By, now: &Now) {
    let counted = refused().await;
    let fuse = Fuse::counting();
    life(&counted, by, now, &fuse).await;
    ends_right(&counted, by, now, false, "no crash").await;
    let effects = fuse.effects();
    assert!(effects > 5, "{effects} effects");
    for done in [false, true] {
        for effect in 0..effects {
            let remains = refused().await;
            life(&remains, by, now, &Fuse::blowing(effect, done)).await;
            let case = format!("{by:?}: effect {effect} of {effects}, done: {done}");
            ends_right(&remains, by, now, (effect % 2 == 0) != done, &case).await;
        }
    }
}

#[tokio::test]
async fn a_replay_that_is_cut_short_loses_and_doubles_no_row() {
    crashes(By::Replay, &SOME).await;
}

#[tokio::test]
async fn a_rebuild_that_is_cut_short_is_completed() {
    crashes(By::Rebuild, &SOME).await;
}

#[tokio::test]
async fn a_rebuild_that_is_cut_short_and_leaves_nothing_in_quarantine_is_completed() {
    crashes(By::Rebuild, &ALL).await;
}
