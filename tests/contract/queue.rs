//! The queue: the fake and SQS.

use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;

use silversmith::ambient::ManualAmbient;
use silversmith::queue::{EventQueue, Heartbeat, MemoryQueue, Message, Outgoing, SqsQueue};

use crate::emulator::stand::{Stand, Wish};
use crate::support::at;

/// A queue, and how its time passes.
struct Kind {
    name: &'static str,
    queue: Arc<dyn EventQueue>,
    clock: Option<Arc<ManualAmbient>>,
}

impl Kind {
    async fn pass(&self, time: Duration) {
        match &self.clock {
            Some(clock) => clock.advance(time),
            None => tokio::time::sleep(time).await,
        }
    }

    async fn receive(&self, hide: u64) -> Vec<Message> {
        let wait = Duration::from_secs(if self.clock.is_some() { 0 } else { 1 });
        self.queue.receive(wait, Duration::from_secs(hide)).await.unwrap()
    }

    async fn receive_all(&self, count: usize, hide: u64) -> Vec<Message> {
        let mut all = Vec::new();
        for _ in 0..20 {
            let some = self.receive(hide).await;
            assert!(some.len() <= 10);
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
        group: format!("g{number}"),
        deduplication: format!("d{number}"),
    }
}

async fn kinds() -> (Vec<Kind>, Vec<Stand>) {
    let clock = Arc::new(ManualAmbient::at(at(12, 0)));
    let memory = Arc::new(MemoryQueue::new(clock.clone()));
    let standard = Stand::with(Wish { notified: false, ..Wish::default() }).await;
    let fifo = Stand::with(Wish { notified: false, fifo: true, ..Wish::default() }).await;
    let sqs = |stand: &Stand| -> Arc<dyn EventQueue> {
        Arc::new(SqsQueue::new(stand.sqs.clone(), &stand.queue))
    };
    let kinds = vec![
        Kind { name: "memory", queue: memory, clock: Some(clock) },
        Kind { name: "sqs", queue: sqs(&standard), clock: None },
        Kind { name: "sqs fifo", queue: sqs(&fifo), clock: None },
    ];
    (kinds, vec![standard, fifo])
}

#[tokio::test]
async fn every_queue_keeps_the_contract() {
    let (kinds, _stands) = kinds().await;
    for kind in kinds {
        println!("queue: {}", kind.name);
        let queue = &kind.queue;
        assert!(kind.receive(30).await.is_empty());
        let sent: Vec<Outgoing> = (0..10).map(outgoing).collect();
        assert_eq!(queue.send(&sent).await.unwrap(), []);
        assert_eq!(queue.send(&[outgoing(10), outgoing(11)]).await.unwrap(), []);
        let all = kind.receive_all(12, 30).await;
        let bodies: HashSet<String> = all.iter().map(|m| m.body.clone()).collect();
        assert_eq!(bodies, (0..12).map(|n| outgoing(n).body).collect());
        assert!(all.iter().all(|m| m.receive_count == 1 && m.sent_at.is_some()));
        let described = queue.describe().await.unwrap();
        assert_eq!((described.visible, described.in_flight), (0, 12));
        assert!(kind.receive(30).await.is_empty(), "all are hidden");

        let receipts: Vec<_> = all.iter().map(|m| m.receipt.clone()).collect();
        assert_eq!(queue.delete(&receipts[..9]).await.unwrap(), []);
        assert_eq!(queue.delete(&receipts[..9]).await.unwrap(), [], "deleting twice is fine");

        // One is given back, one hidden for a moment only.
        let zero = (receipts[9].clone(), Duration::ZERO);
        let moment = (receipts[10].clone(), Duration::from_secs(1));
        assert_eq!(queue.hide(&[zero, moment]).await.unwrap(), []);
        let back = kind.receive_all(1, 30).await;
        assert_eq!((back.len(), back[0].receive_count), (1, 2));
        kind.pass(Duration::from_millis(1_500)).await;
        let again = kind.receive_all(1, 30).await;
        assert_eq!((again.len(), again[0].receive_count), (1, 2));
        assert_eq!(again[0].id, all[10].id);

        let rest = [&back[0].receipt, &again[0].receipt, &receipts[11]].map(Clone::clone);
        assert_eq!(queue.delete(&rest).await.unwrap(), []);
        assert_eq!(queue.describe().await.unwrap().messages(), 0);
    }
}

/// Messages in hand stay hidden for as long as the heartbeat goes on, and come back after it.
#[tokio::test]
async fn the_heartbeat_keeps_messages_hidden() {
    let (kinds, _stands) = kinds().await;
    for kind in kinds {
        println!("queue: {}", kind.name);
        let ambient: silversmith::ambient::SharedAmbient = match &kind.clock {
            Some(clock) => clock.clone(),
            None => Arc::new(silversmith::ambient::SystemAmbient),
        };
        let visibility = Duration::from_secs(3);
        let in_hand = Heartbeat::new(visibility, ambient);
        kind.queue.send(&(0..3).map(outgoing).collect::<Vec<_>>()).await.unwrap();
        let messages = kind.receive_all(3, 3).await;
        for message in &messages {
            in_hand.add(&message.receipt);
        }
        let mut extended = 0;
        for _ in 0..4 {
            kind.pass(Duration::from_millis(1_500)).await;
            extended += in_hand.extend(&*kind.queue).await;
            let described = kind.queue.describe().await.unwrap();
            assert_eq!((described.visible, described.in_flight), (0, 3), "{}", kind.name);
        }
        assert!(extended >= 9, "{extended}");
        assert_eq!(in_hand.extend(&*kind.queue).await, 0, "they were extended just now");
        for message in &messages {
            in_hand.remove(&message.receipt);
        }
        kind.pass(Duration::from_millis(3_500)).await;
        assert_eq!(in_hand.extend(&*kind.queue).await, 0);
        assert_eq!(kind.receive_all(3, 3).await.len(), 3, "{}", kind.name);
    }
}
