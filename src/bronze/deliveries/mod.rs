//! Complete deliveries: the objects of a folder are ingested together, in one commit, once it is complete.
//!
//! - `rule.rs`: which objects are markers, and what makes a folder complete; `manifest.rs`: what a manifest says
//! - `decide.rs`: a folder as it was listed → complete, not yet, or refused. Pure
//! - `look.rs`: the folder and its manifest, as they are now; `checksum.rs`: the bytes of its objects
//! - `work.rs`: the requests of a batch, folder by folder, and `here.rs`: as they are now; `hold.rs`: a folder that is
//!   not complete; `deliver.rs`: the commit of one that is, `delivery.rs`: what that says and demands; `late.rs`: what
//!   comes after it
//! - `waiting.rs`: the deliveries that wait, for people
//!
//! A folder is decided on as a listing shows it, and never by the events that came: they come in any order, twice or
//! not at all. S3's listing has whatever was uploaded before it, so the request for the last object of a delivery,
//! its marker included, finds it complete. The ledger has a row for the folder, in the same file as those of the
//! objects: it is complete if, and only if, the commit was made (I3), and for good (I2). Until then its objects are in
//! the ledger as waiting, and their messages may go (I1).

mod checksum;
mod decide;
mod deliver;
mod delivery;
mod here;
mod hold;
mod late;
mod look;
mod manifest;
mod rule;
mod waiting;
mod work;

use crate::ledger::folder::{WAITS_FOR, WHOLE, folder_of, id_of};

pub use delivery::DELIVERY;
pub(super) use delivery::{Delivery, Objection};
pub use rule::{Deliveries, LateObjects, Marker, Rule, marker};
pub use waiting::WaitingDelivery;
