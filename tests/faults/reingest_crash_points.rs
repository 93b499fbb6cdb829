//! A crash between any two effects of reading an object again: its rows are there once, whole, old or new (I2, I3).

use std::sync::Arc;
use std::time::Duration;

use globset::{Glob, GlobSet};

use super::crash_points::{Merges, Remains};
use crate::support::faulty::Fuse;
use crate::support::{CUSTOMERS, World};

const ROWS: &str = "SELECT id, name FROM bronze.customers ORDER BY id";
const SILVER: &str = "SELECT id, name FROM silver.customers ORDER BY id";
const OLD: [&str; 4] = ["1|a", "2|NA", "3|c", "91|ghost"];
const NEW: [&str; 3] = ["1|a", "2|null", "3|c"];

fn corrected() -> String {
    format!("{CUSTOMERS}[pipeline.csv]\ncomment = \"9\"\nnull_values = [\"\", \"NA\"]\n")
}

/// An object that was misread, and another beside it, in bronze and in silver.
async fn misread() -> Remains {
    let remains = Remains::of(Merges::COPY_ON_WRITE);
    let put = |name: &str, text: &str, minute| {
        remains.raw.put(&format!("raw/{name}.csv"), text, crate::support::at(11, minute));
    };
    put("1", "id,name,updated\n1,a,1\n91,ghost,1\n2,NA,1\n", 0);
    put("2", "id,name,updated\n3,c,1\n", 1);
    let world = remains.process_as(CUSTOMERS, &Fuse::counting());
    world.bronze().await;
    world.silver().await;
    assert_eq!(world.sql(SILVER).await, OLD);
    remains
}

async fn correct(world: &World) {
    let first = GlobSet::builder().add(Glob::new("raw/1.csv").unwrap()).build().unwrap();
    world.ambient.advance(Duration::from_secs(1));
    world.pipeline().bronze.read_again("raw/", &first, |_| {}).await.unwrap();
    world.silver().await;
}

/// Reads again; it dies where the fuse blows.
async fn life(remains: &Remains, fuse: &Arc<Fuse>) {
    let world = remains.process_as(&corrected(), fuse);
    tokio::select! {
        () = correct(&world) => {}
        () = fuse.blown() => {}
    }
}

/// What a new process finds, and what it makes of it.
async fn ends_right(remains: &Remains, case: &str) {
    let world = remains.process_as(&corrected(), &Fuse::counting());
    let rows = world.sql(ROWS).await;
    assert!(rows == OLD || rows == NEW, "{case}: {rows:?}");
    world.bronze().await;
    world.silver().await;
    let silver = world.sql(SILVER).await;
    assert_eq!(silver, rows, "{case}: silver follows bronze");
    correct(&world).await;
    assert_eq!(world.sql(ROWS).await, NEW, "{case}");
    assert_eq!(world.sql(SILVER).await, NEW, "{case}");
}

#[tokio::test]
async fn a_crash_at_any_effect_leaves_an_object_read_once() {
    let counted = misread().await;
    let fuse = Fuse::counting();
    life(&counted, &fuse).await;
    ends_right(&counted, "no crash").await;
    let effects = fuse.effects();
    assert!(effects > 15, "{effects} effects");
    for done in [false, true] {
        for effect in 0..effects {
            let remains = misread().await;
            life(&remains, &Fuse::blowing(effect, done)).await;
            ends_right(&remains, &format!("effect {effect} of {effects}, done: {done}")).await;
        }
    }
}
