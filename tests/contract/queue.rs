//! The queue: the fake, the messages of an invocation, and SQS.

use std::collections::HashSet;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use silversmith::ambient::{ManualAmbient, SharedAmbient, SystemAmbient};
use silversmith::queue::{
    EventQueue, Heartbeat, InvocationQueue, Limits, MemoryQueue, Message, MessageId, Outgoing,
    SqsQueue,
};

use crate::emulator::stand::{Stand, Wish};
use crate::support::{at, real_time};

const SECOND: Duration = Duration::from_secs(1);
/// How long the suite hides what it receives.
const HIDE: Duration = Duration::from_secs(30);

/// A queue, and how its time passes.
struct Kind {
    name: &'static str,
    way: Way,
    clock: Option<Arc<ManualAmbient>>,
}

enum Way {
    /// The queue itself.
    Queue(Arc<dyn EventQueue>),
    /// AWS receives messages from a queue, and invokes a function with them.
    Invocations(Invocations),
}

/// What AWS does with a function and its queue.
struct Invocations {
    origin: Arc<MemoryQueue>,
    ambient: SharedAmbient,
    current: Mutex<(Arc<InvocationQueue>, Vec<Message>)>,
}

impl Invocations {
    fn of(origin: Arc<MemoryQueue>, ambient: SharedAmbient) -> Self {
        let none = Arc::new(InvocationQueue::new(origin.clone(), vec![], ambient.clone()));
        Self { origin, ambient, current: Mutex::new((none, vec![])) }
    }

    fn queue(&self) -> Arc<InvocationQueue> {
        self.current.lock().unwrap().0.clone()
    }

    /// Ends an invocation that has nothing left to do: what did not fail is deleted, and the function is
    /// invoked with what the queue has by then.
    async fn invoke_again(&self) {
        if self.queue().describe().await.unwrap().messages() > 0 {
            return;
        }
        let (queue, mut done) = self.current.lock().unwrap().clone();
        let failed: HashSet<MessageId> = queue.failures().into_iter().collect();
        done.retain(|message| !failed.contains(&message.id));
        let receipts: Vec<_> = done.into_iter().map(|message| message.receipt).collect();
        self.origin.delete(&receipts).await.unwrap();
        let mut messages = Vec::new();
        loop {
            let some = self.origin.receive(Duration::ZERO, HIDE).await.unwrap();
            if some.is_empty() {
                break;
            }
            messages.extend(some);
        }
        let (origin, ambient) = (self.origin.clone(), self.ambient.clone());
        let next = Arc::new(InvocationQueue::new(origin, messages.clone(), ambient));
        *self.current.lock().unwrap() = (next, messages);
    }
}

impl Kind {
    fn queue(&self) -> Arc<dyn EventQueue> {
        match &self.way {
            Way::Queue(queue) => queue.clone(),
            Way::Invocations(invocations) => invocations.queue(),
        }
    }

    fn ambient(&self) -> SharedAmbient {
        match &self.clock {
            Some(clock) => clock.clone(),
            None => Arc::new(SystemAmbient),
        }
    }

    async fn pass(&self, time: Duration) {
        match &self.clock {
            Some(clock) => clock.advance(time),
            None => real_time::sleep(time).await,
        }
    }

    /// A time that the suite hides a message for and can wait for.
    fn moment(&self) -> Duration {
        if self.clock.is_some() { 2 * HIDE } else { SECOND }
    }

    /// When a message that is released without a delay is received again.
    fn release(&self) -> Duration {
        match self.way {
            Way::Queue(_) => Duration::ZERO,
            // With the others of its batch.
            Way::Invocations(_) => HIDE,
        }
    }

    async fn receive(&self) -> Vec<Message> {
        if let Way::Invocations(invocations) = &self.way {
            invocations.invoke_again().await;
        }
        let wait = if self.clock.is_some() { Duration::ZERO } else { SECOND };
        self.queue().receive(wait, HIDE).await.unwrap()
    }

    async fn receive_all(&self, count: usize) -> Vec<Message> {
        let mut all = Vec::new();
        for _ in 0..20 {
            let some = self.receive().await;
            assert!(some.len() <= self.queue().limits().batch);
            all.extend(some);
            if all.len() >= count {
                break;
            }
        }
        all
    }
}

fn outgoing(number: usize) -> Outgoing {
    Outgoing {
        body: format!("body {number} é"),
        ordering_key: format!("g{number}"),
        deduplication_id: format!("d{number}"),
    }
}

fn in_memory() -> Vec<Kind> {
    let clock = || Arc::new(ManualAmbient::at(at(12, 0)));
    let (one, other) = (clock(), clock());
    let memory = Arc::new(MemoryQueue::new(one.clone()));
    let origin = Arc::new(MemoryQueue::new(other.clone()));
    let invocations = Way::Invocations(Invocations::of(origin, other.clone()));
    vec![
        Kind { name: "memory", way: Way::Queue(memory), clock: Some(one) },
        Kind { name: "invocation", way: invocations, clock: Some(other) },
    ]
}

async fn on_sqs() -> (Vec<Kind>, [Stand; 2]) {
    let standard = Stand::with(Wish { notified: false, ..Wish::default() }).await;
    let fifo = Stand::with(Wish { notified: false, fifo: true, ..Wish::default() }).await;
    let kind = |name, stand: &Stand| {
        let queue = Arc::new(SqsQueue::new(stand.sqs.clone(), &stand.queue));
        Kind { name, way: Way::Queue(queue), clock: None }
    };
    (vec![kind("sqs", &standard), kind("sqs fifo", &fifo)], [standard, fifo])
}

#[tokio::test]
async fn queues_in_memory_keep_the_contract() {
    for kind in in_memory() {
        keeps_the_contract(&kind).await;
        keeps_its_limits(&kind).await;
    }
}

#[tokio::test]
async fn sqs_keeps_the_contract() {
    let (kinds, _stands) = on_sqs().await;
    for kind in kinds {
        keeps_the_contract(&kind).await;
        keeps_its_limits(&kind).await;
    }
}

async fn keeps_the_contract(kind: &Kind) {
    println!("queue: {}", kind.name);
    assert!(kind.receive().await.is_empty());
    let sent: Vec<Outgoing> = (0..10).map(outgoing).collect();
    assert_eq!(kind.queue().send(&sent).await.unwrap(), []);
    assert_eq!(kind.queue().send(&[outgoing(10), outgoing(11)]).await.unwrap(), []);
    let all = kind.receive_all(12).await;
    let bodies: HashSet<String> = all.iter().map(|m| m.body.clone()).collect();
    assert_eq!(bodies, (0..12).map(|n| outgoing(n).body).collect());
    assert!(all.iter().all(|m| m.receive_count == 1 && m.sent_at.is_some()));
    let described = kind.queue().describe().await.unwrap();
    assert_eq!((described.visible, described.in_flight), (0, 12));
    assert!(kind.receive().await.is_empty(), "all are hidden");

    let receipts: Vec<_> = all.iter().map(|m| m.receipt.clone()).collect();
    assert_eq!(kind.queue().delete(&receipts[..10]).await.unwrap(), []);
    assert_eq!(kind.queue().delete(&receipts[..10]).await.unwrap(), [], "deleting twice is fine");

    // One is released, one hidden for a moment only.
    let zero = (receipts[10].clone(), Duration::ZERO);
    let moment = (receipts[11].clone(), kind.moment());
    assert_eq!(kind.queue().hide(&[zero, moment]).await.unwrap(), []);
    kind.pass(kind.release()).await;
    let back = kind.receive_all(1).await;
    assert_eq!((back.len(), &back[0].id, back[0].receive_count), (1, &all[10].id, 2));
    let deleted = kind.queue().delete(std::slice::from_ref(&back[0].receipt)).await;
    assert_eq!(deleted.unwrap(), []);
    kind.pass(kind.moment() + kind.moment() / 2).await;
    let again = kind.receive_all(1).await;
    assert_eq!((again.len(), &again[0].id, again[0].receive_count), (1, &all[11].id, 2));

    let deleted = kind.queue().delete(std::slice::from_ref(&again[0].receipt)).await;
    assert_eq!(deleted.unwrap(), []);
    assert!(kind.receive().await.is_empty());
    assert_eq!(kind.queue().describe().await.unwrap().messages(), 0);
}

/// What a backend says that it allows, it does.
async fn keeps_its_limits(kind: &Kind) {
    let limits = kind.queue().limits();
    assert!(limits.batch <= limits.in_flight);
    let body = "x".repeat(limits.body_bytes);
    let large = Outgoing { body: body.clone(), ..outgoing(100) };
    assert_eq!(kind.queue().send(&[large]).await.unwrap(), []);
    let small: Vec<Outgoing> = (101..101 + limits.batch).map(outgoing).collect();
    assert_eq!(kind.queue().send(&small).await.unwrap(), []);
    let all = kind.receive_all(1 + limits.batch).await;
    assert!(all.iter().any(|message| message.body == body), "{}: not whole", kind.name);
    // From the receive on, which was a while ago.
    let time = limits.longest_hidden - 60 * SECOND;
    let longest: Vec<_> = all.iter().map(|m| (m.receipt.clone(), time)).collect();
    for some in longest.chunks(limits.batch) {
        assert_eq!(kind.queue().hide(some).await.unwrap(), [], "{}", kind.name);
    }
    assert!(kind.receive().await.is_empty());
    for some in longest.chunks(limits.batch) {
        let receipts: Vec<_> = some.iter().map(|(receipt, _)| receipt.clone()).collect();
        assert_eq!(kind.queue().delete(&receipts).await.unwrap(), []);
    }
}

/// The fake refuses what its limits exclude, as real queues do.
#[tokio::test]
async fn the_fake_enforces_its_limits() {
    let limits = Limits { batch: 2, in_flight: 3, longest_hidden: 60 * SECOND, body_bytes: 10 };
    let queue = MemoryQueue::with(Arc::new(ManualAmbient::at(at(12, 0))), limits);
    let of = |length: usize| Outgoing { body: "x".repeat(length), ..outgoing(0) };
    let refused = queue.send(&[of(10), of(11)]).await.unwrap();
    assert_eq!((refused.len(), refused[0].index, refused[0].final_), (1, 1, true));
    queue.send(&[of(1), of(1)]).await.unwrap();
    queue.send(&[of(1), of(1)]).await.unwrap();
    let receive = async || queue.receive(Duration::ZERO, HIDE).await.unwrap();
    let first = receive().await;
    assert_eq!((first.len(), receive().await.len(), receive().await.len()), (2, 1, 0));
    let refused = queue.hide(&[(first[0].receipt.clone(), 61 * SECOND)]).await.unwrap();
    assert!(refused[0].final_);
}

/// Messages in flight stay hidden for as long as the heartbeat goes on, and come back after it. `hide` ends
/// a message of an invocation, so that none is extended there.
#[tokio::test]
async fn the_heartbeat_keeps_messages_of_the_fake_hidden() {
    keeps_hidden(&in_memory()[0]).await;
}

#[tokio::test]
async fn the_heartbeat_keeps_messages_of_sqs_hidden() {
    let (kinds, _stands) = on_sqs().await;
    for kind in kinds {
        keeps_hidden(&kind).await;
    }
}

async fn keeps_hidden(kind: &Kind) {
    println!("queue: {}", kind.name);
    let visibility = 3 * SECOND;
    let heartbeat = Heartbeat::new(visibility, kind.ambient());
    let queue = kind.queue();
    queue.send(&(0..3).map(outgoing).collect::<Vec<_>>()).await.unwrap();
    let mut messages = Vec::new();
    while messages.len() < 3 {
        messages.extend(queue.receive(SECOND, visibility).await.unwrap());
    }
    for message in &messages {
        heartbeat.add(&message.receipt);
    }
    let mut extended = 0;
    for _ in 0..4 {
        kind.pass(visibility / 2).await;
        extended += heartbeat.extend(&*queue).await;
        let described = queue.describe().await.unwrap();
        assert_eq!((described.visible, described.in_flight), (0, 3), "{}", kind.name);
    }
    assert!(extended >= 9, "{extended}");
    assert_eq!(heartbeat.extend(&*queue).await, 0, "they were extended just now");
    for message in &messages {
        heartbeat.remove(&message.receipt);
    }
    kind.pass(visibility + SECOND / 2).await;
    assert_eq!(heartbeat.extend(&*queue).await, 0);
    assert_eq!(kind.receive_all(3).await.len(), 3, "{}", kind.name);
}
