//! Why a worker, or a round of it, did not succeed.

use crate::announce::AnnounceError;
use crate::bronze::BronzeError;
use crate::gold::GoldError;
use crate::queue::QueueError;
use crate::silver::SilverError;

/// Why a worker, or a round of it, did not succeed.
#[derive(Debug, thiserror::Error)]
pub enum WorkerError {
    /// Bronze.
    #[error("pipeline {pipeline}, bronze")]
    Bronze {
        /// The pipeline.
        pipeline: String,
        /// Why.
        #[source]
        source: BronzeError,
    },
    /// Silver.
    #[error("pipeline {pipeline}, silver")]
    Silver {
        /// The pipeline.
        pipeline: String,
        /// Why.
        #[source]
        source: SilverError,
    },
    /// Gold.
    #[error("pipeline {pipeline}, gold")]
    Gold {
        /// The pipeline.
        pipeline: String,
        /// Why.
        #[source]
        source: GoldError,
    },
    /// Commits could not be announced.
    #[error("pipeline {pipeline}, announcements")]
    Announce {
        /// The pipeline.
        pipeline: String,
        /// Why.
        #[source]
        source: AnnounceError,
    },
    /// The queue.
    #[error(transparent)]
    Queue(#[from] QueueError),
    /// A task ended that goes on until the worker stops.
    #[error(
        "a worker task exited unexpectedly ({0}). Restart the worker; in-flight messages will be redelivered"
    )]
    TaskEnded(String),
    /// There is no queue and no folder to watch.
    #[error(
        "nothing to watch: `run` needs source.queue or source.directory; `silversmith bronze` lists S3 without events"
    )]
    NothingToWatch,
}
