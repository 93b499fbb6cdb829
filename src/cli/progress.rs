//! Progress, on stderr, for what takes over two seconds.

use std::future::Future;
use std::io::IsTerminal;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use indicatif::{ProgressBar, ProgressStyle};

use crate::ambient::{SharedAmbient, SystemAmbient, timeout};

/// How long work is silent.
const PATIENCE: Duration = Duration::from_secs(2);
/// The interval at which a terminal shows progress.
const REDRAW: Duration = Duration::from_millis(250);
/// The interval of progress lines where stderr is no terminal.
const REPEAT: Duration = Duration::from_secs(10);

/// The progress of work, in words.
#[derive(Debug, Clone)]
pub(super) struct Progress(Arc<Mutex<String>>);

impl Progress {
    /// Replaces the text.
    pub(super) fn set(&self, text: String) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = text;
    }

    fn now(&self) -> String {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

/// Awaits work that reports its progress; after two seconds, shows the progress and the elapsed time.
pub(super) async fn watched_with_progress<F: Future>(
    what: &str,
    work: impl FnOnce(Progress) -> F,
) -> F::Output {
    let progress = Progress(Arc::new(Mutex::new(what.to_owned())));
    let mut work = std::pin::pin!(work(progress.clone()));
    // A terminal lives by the machine's clock.
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
            bar.set_message(progress.now());
            if let Ok(done) = timeout(&clock, REDRAW, &mut work).await {
                bar.finish_and_clear();
                return done;
            }
        }
    }
    let mut seconds = PATIENCE.as_secs();
    loop {
        // A closed stderr is no reason to stop working.
        let now = progress.now();
        drop(super::output::say(&format!("{now}: still running after {seconds} s")));
        match timeout(&clock, REPEAT, &mut work).await {
            Ok(done) => return done,
            Err(_) => seconds += REPEAT.as_secs(),
        }
    }
}

/// Awaits work; after two seconds, shows what it is and the elapsed time.
pub(super) async fn watched<T>(what: &str, work: impl Future<Output = T>) -> T {
    watched_with_progress(what, |_| work).await
}
