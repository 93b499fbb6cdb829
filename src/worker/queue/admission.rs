//! Back-pressure: how many messages are in flight, and which part of them each lane may have.
//!
//! 1. Every lane has a share: the objects and bytes of two batches, one in work and one gathered.
//! 2. While every lane has room for all that may arrive, receives run side by side.
//! 3. While some lanes have no room for a receive and others have, one receive at a time goes on, after a
//!    pause: enough to find the messages of the others, and little of a full lane's backlog.
//! 4. Objects for a full lane wait in the lane's overflow, a quarter of its share. Once that is full, a
//!    message is released with a growing delay, and the pause before the next receive doubles. A message
//!    that finds room enters with all of its objects.
//! 5. Receiving stops while no lane has room for a receive, or while the queue allows no more messages in
//!    flight.
//!
//! So an object is never dispatched late because of another lane, and a lane that is stuck keeps nothing
//! but its own objects away. Dead letters without a pipeline have a share of their own; it bounds the
//! bodies in memory, and receives none.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use chrono::{DateTime, Utc};
use tokio::sync::Notify;

use crate::ambient::SharedAmbient;

/// The pause before a receive while a lane is full.
const PAUSE: Duration = Duration::from_secs(1);
/// The longest pause, after receives in a row that brought something to release.
const LONGEST_PAUSE: Duration = Duration::from_secs(60);
/// The overflow of a lane is this part of its share.
const OVERFLOW: u64 = 4;

/// How much of something a lane may have in flight.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Share {
    /// Objects.
    pub(super) objects: usize,
    /// Their bytes as they are stored.
    pub(super) bytes: u64,
}

/// What is in flight, and its bounds. See the module.
#[derive(Debug)]
pub(super) struct Admission {
    batch: usize,
    in_flight: usize,
    /// Of each pipeline, and the last one of dead letters.
    shares: Vec<Share>,
    state: Mutex<State>,
    freed: Notify,
    ambient: SharedAmbient,
}

#[derive(Debug)]
struct State {
    /// Messages in flight.
    messages: usize,
    /// Messages that receives under way may bring.
    expected: usize,
    lanes: Vec<Share>,
    pause: Duration,
    /// While a lane is full, the next receive begins at this time.
    next: DateTime<Utc>,
    /// Whether something was refused since the last receive began.
    refused: bool,
}

/// The answer to a receive that wants to begin.
enum Answer {
    Begin(Reservation),
    Later(Duration),
    Full,
}

impl Admission {
    /// `batch`: messages that a receive may bring; `in_flight`: messages at a time. The shares of the
    /// pipelines by their index, and the one of dead letters.
    pub(super) fn new(
        batch: usize,
        in_flight: usize,
        pipelines: &[Share],
        dead_letters: Share,
        ambient: SharedAmbient,
    ) -> Arc<Self> {
        let shares: Vec<Share> = pipelines.iter().copied().chain([dead_letters]).collect();
        let lanes = vec![Share { objects: 0, bytes: 0 }; shares.len()];
        let next = ambient.now();
        let (messages, expected, refused) = (0, 0, false);
        let state = State { messages, expected, lanes, pause: PAUSE, next, refused };
        let (state, freed) = (Mutex::new(state), Notify::new());
        Arc::new(Self { batch, in_flight, shares, state, freed, ambient })
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The share of the pipeline with this index.
    pub(super) fn lane(self: &Arc<Self>, index: usize) -> LaneShare {
        LaneShare { admission: self.clone(), lane: index }
    }

    /// The share of dead letters without a pipeline.
    pub(super) fn dead_letters(self: &Arc<Self>) -> LaneShare {
        self.lane(self.shares.len() - 1)
    }

    /// Whether no message is in flight; receives may be under way.
    pub(super) fn is_empty(&self) -> bool {
        self.lock().messages == 0
    }

    /// Waits until a receive may begin, and keeps room for all that it may bring.
    pub(super) async fn reserve(self: &Arc<Self>) -> Reservation {
        loop {
            // Before the look: what is freed after it ends the wait.
            let freed = self.freed.notified();
            match self.may_begin() {
                Answer::Begin(reservation) => return reservation,
                Answer::Full => freed.await,
                Answer::Later(pause) => tokio::select! {
                    () = freed => {}
                    () = self.ambient.sleep(pause) => {}
                },
            }
        }
    }

    fn may_begin(self: &Arc<Self>) -> Answer {
        let now = self.ambient.now();
        let mut state = self.lock();
        let arriving = state.expected + self.batch;
        if state.messages + arriving > self.in_flight {
            return Answer::Full;
        }
        let all = self.shares.iter().zip(&state.lanes);
        let has_room = |(share, lane): (&Share, &Share), more: usize| {
            // An object larger than the share is accepted alone: it would never come otherwise.
            lane.objects + more <= share.objects && lane.bytes < share.bytes
        };
        if all.clone().all(|lane| has_room(lane, arriving)) {
            state.pause = PAUSE;
        } else {
            let pipelines = self.shares.len() - 1;
            // One that has room for a part of a receive only would release the rest, for long.
            let someone_has_room = all.take(pipelines).any(|lane| has_room(lane, arriving));
            if !someone_has_room || state.expected > 0 {
                return Answer::Full;
            }
            if let Some(left) = (state.next - now).to_std().ok().filter(|left| !left.is_zero()) {
                return Answer::Later(left);
            }
            state.pause = match std::mem::take(&mut state.refused) {
                true => (state.pause * 2).min(LONGEST_PAUSE),
                false => PAUSE,
            };
            state.next = now + state.pause;
        }
        state.expected += self.batch;
        Answer::Begin(Reservation { admission: self.clone(), left: self.batch })
    }
}

/// Room for what a receive may bring; what is left of it is freed when this is dropped.
#[derive(Debug)]
pub(super) struct Reservation {
    admission: Arc<Admission>,
    left: usize,
}

impl Reservation {
    /// A message that the receive brought: from now on it counts as one in flight.
    pub(super) fn admit(&mut self) -> Admitted {
        let reserved = self.left.min(1);
        self.left -= reserved;
        let mut state = self.admission.lock();
        state.expected -= reserved;
        state.messages += 1;
        Admitted(self.admission.clone())
    }
}

impl Drop for Reservation {
    fn drop(&mut self) {
        self.admission.lock().expected -= self.left;
        self.admission.freed.notify_waiters();
    }
}

/// A message in flight, until this is dropped.
#[derive(Debug)]
pub(super) struct Admitted(Arc<Admission>);

impl Drop for Admitted {
    fn drop(&mut self) {
        self.0.lock().messages -= 1;
        self.0.freed.notify_waiters();
    }
}

/// The share of one lane.
#[derive(Debug, Clone)]
pub(super) struct LaneShare {
    admission: Arc<Admission>,
    lane: usize,
}

impl LaneShare {
    /// Whether the objects of a message may enter. `false`: the lane and its overflow are full.
    pub(super) fn accepts(&self) -> bool {
        let share = self.admission.shares[self.lane];
        let mut state = self.admission.lock();
        let lane = &state.lanes[self.lane];
        let full = lane.objects >= share.objects + share.objects / OVERFLOW as usize
            || lane.bytes >= share.bytes.saturating_add(share.bytes / OVERFLOW);
        state.refused |= full;
        !full
    }

    /// An object of so many bytes enters.
    pub(super) fn enter(&self, bytes: u64) -> Place {
        // No more than a batch: one huge object, or one that claims to be, does not fill the lane.
        let bytes = bytes.min(self.admission.shares[self.lane].bytes / 2);
        let mut state = self.admission.lock();
        let lane = &mut state.lanes[self.lane];
        lane.objects += 1;
        lane.bytes += bytes;
        Place { share: self.clone(), bytes }
    }
}

/// An object in a lane, until this is dropped.
#[derive(Debug)]
pub(super) struct Place {
    share: LaneShare,
    bytes: u64,
}

impl Drop for Place {
    fn drop(&mut self) {
        let LaneShare { admission, lane } = &self.share;
        {
            let mut state = admission.lock();
            let lane = &mut state.lanes[*lane];
            lane.objects -= 1;
            lane.bytes -= self.bytes;
        }
        admission.freed.notify_waiters();
    }
}

#[cfg(test)]
mod tests {
    use futures::FutureExt;

    use super::*;
    use crate::ambient::ManualAmbient;

    /// Two pipelines with room for two receives each, and dead letters.
    fn two_lanes() -> (Arc<ManualAmbient>, Arc<Admission>) {
        let clock = Arc::new(ManualAmbient::at(DateTime::UNIX_EPOCH));
        let share = Share { objects: 20, bytes: 100 };
        (clock.clone(), Admission::new(10, 1_000, &[share, share], share, clock))
    }

    fn begin(admission: &Arc<Admission>) -> Option<Reservation> {
        admission.reserve().now_or_never()
    }

    /// Fills a lane and its overflow.
    fn fill(lane: &LaneShare) -> Vec<Place> {
        (0..25).map(|_| lane.enter(1)).collect()
    }

    #[tokio::test(start_paused = true)]
    async fn receives_begin_while_every_lane_has_room_for_what_they_may_bring() {
        let (_, admission) = two_lanes();
        let (first, second) = (begin(&admission).unwrap(), begin(&admission).unwrap());
        assert!(begin(&admission).is_none(), "20 objects may arrive in one lane");
        drop(first);
        drop(begin(&admission).unwrap());
        drop(second);
        let _large = admission.lane(0).enter(1_000);
        let _larger = admission.lane(0).enter(1_000);
        let _one = begin(&admission).expect("the other lane has room");
        assert!(begin(&admission).is_none(), "one at a time: the first lane has its bytes");
    }

    /// Between a receive and the end of its messages, each of them is counted all the time.
    #[test]
    fn a_reservation_is_handed_over_with_the_messages() {
        let (_, admission) = two_lanes();
        let counted = |admission: &Admission| {
            let state = admission.lock();
            (state.expected, state.messages)
        };
        let mut room = begin(&admission).unwrap();
        let messages: Vec<Admitted> = (0..3).map(|_| room.admit()).collect();
        assert_eq!(counted(&admission), (7, 3));
        drop(room);
        assert_eq!(counted(&admission), (0, 3));
        drop(messages);
        assert!(admission.is_empty());
    }

    #[test]
    fn messages_in_flight_are_bounded() {
        let (_, admission) = two_lanes();
        let small = Admission::new(
            10,
            15,
            &admission.shares,
            admission.shares[0],
            admission.ambient.clone(),
        );
        let mut room = begin(&small).unwrap();
        assert!(begin(&small).is_none());
        let messages: Vec<Admitted> = (0..6).map(|_| room.admit()).collect();
        drop(room);
        assert!(begin(&small).is_none());
        drop(messages);
        assert!(begin(&small).is_some());
    }

    #[tokio::test(start_paused = true)]
    async fn while_a_lane_is_full_one_receive_at_a_time_goes_on_after_a_pause() {
        let (clock, admission) = two_lanes();
        let places = fill(&admission.lane(0));
        let one = begin(&admission).expect("the other lane has room");
        assert!(begin(&admission).is_none(), "one at a time");
        drop(one);
        assert!(begin(&admission).is_none(), "after a pause");
        clock.advance(PAUSE);
        assert!(begin(&admission).is_some());
        // What had to be refused makes the pauses longer.
        clock.advance(PAUSE);
        assert!(begin(&admission).is_some());
        assert!(!admission.lane(0).accepts());
        for pause in [2, 4, 8, 16, 32, 60, 60].map(Duration::from_secs) {
            clock.advance(LONGEST_PAUSE);
            assert!(begin(&admission).is_some());
            assert!(!admission.lane(0).accepts());
            clock.advance(pause - Duration::from_millis(1));
            assert!(begin(&admission).is_none(), "{pause:?}");
        }
        drop(places);
        assert!(begin(&admission).is_some(), "at once: the lane has room again");
    }

    /// Else the objects of a single pipeline were released for a quarter of an hour, in good health.
    #[tokio::test(start_paused = true)]
    async fn a_receive_waits_until_a_lane_has_room_for_all_of_it() {
        let (clock, admission) = two_lanes();
        let lanes = [admission.lane(0), admission.lane(1)];
        let mut places: Vec<Place> = lanes
            .iter()
            .flat_map(|lane| (0..11).map(|_| lane.enter(1)).collect::<Vec<_>>())
            .collect();
        clock.advance(LONGEST_PAUSE);
        assert!(begin(&admission).is_none(), "nine of ten would have room");
        drop(places.pop());
        assert!(begin(&admission).is_some());
    }

    #[tokio::test(start_paused = true)]
    async fn receiving_stops_while_every_lane_is_full() {
        let (clock, admission) = two_lanes();
        let (first, second) = (fill(&admission.lane(0)), fill(&admission.lane(1)));
        clock.advance(LONGEST_PAUSE);
        assert!(begin(&admission).is_none(), "whatever room dead letters have");
        drop(second);
        assert!(begin(&admission).is_some());
        drop(first);
        let letters = fill(&admission.dead_letters());
        clock.advance(LONGEST_PAUSE);
        let one = begin(&admission).expect("pipelines have room");
        assert!(begin(&admission).is_none(), "one at a time: dead letters cannot be sent");
        drop((one, letters));
    }
}
