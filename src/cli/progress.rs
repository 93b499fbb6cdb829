//! Progress, on stderr, for what takes over two seconds.

use std::future::Future;
use std::io::IsTerminal;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use indicatif::{ProgressBar, ProgressStyle};

use crate::ambient::{SharedAmbient, SystemAmbient, timeout};

/// Silence before anything is said.
const PATIENCE: Duration = Duration::from_secs(2);
/// How often the line on a terminal is written again.
const REDRAW: Duration = Duration::from_millis(250);
/// How often a log gets a line.
const REPEAT: Duration = Duration::from_secs(10);

/// What is told of the work while it goes on.
#[derive(Debug, Clone)]
pub(super) struct Told(Arc<Mutex<String>>);

impl Told {
    /// From now on, this is said.
    pub(super) fn tell(&self, text: String) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = text;
    }

    fn now(&self) -> String {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

/// Awaits work that tells how far it has come; when it takes long, says what is being done and for how long.
pub(super) async fn watched_telling<F: Future>(
    what: &str,
    work: impl FnOnce(Told) -> F,
) -> F::Output {
    let told = Told(Arc::new(Mutex::new(what.to_owned())));
    let mut work = std::pin::pin!(work(told.clone()));
    // The terminal lives by the machine's clock.
    let clock: SharedAmbient = Arc::new(SystemAmbient);
    if let Ok(done) = timeout(&clock, PATIENCE, &mut work).await {
        return done;
    }
    if std::io::stderr().is_terminal() {
        let bar = ProgressBar::new_spinner();
        if let Ok(style) = ProgressStyle::with_template("{spinner} {msg}, {elapsed}") {
            bar.set_style(style);
        }
        bar.enable_steady_tick(Duration::from_millis(120));
        loop {
            bar.set_message(told.now());
            if let Ok(done) = timeout(&clock, REDRAW, &mut work).await {
                bar.finish_and_clear();
                return done;
            }
        }
    }
    let mut seconds = PATIENCE.as_secs();
    loop {
        // A closed stderr is no reason to stop working.
        drop(super::output::say(&format!("{}: still at it after {seconds} s", told.now())));
        match timeout(&clock, REPEAT, &mut work).await {
            Ok(done) => return done,
            Err(_) => seconds += REPEAT.as_secs(),
        }
    }
}

/// Awaits work; when it takes long, says what is being done and for how long.
pub(super) async fn watched<T>(what: &str, work: impl Future<Output = T>) -> T {
    watched_telling(what, |_| work).await
}
