//! Progress, on stderr, for what takes over two seconds.

use std::future::Future;
use std::io::IsTerminal;
use std::time::Duration;

use indicatif::{ProgressBar, ProgressStyle};

/// Silence before anything is said.
const PATIENCE: Duration = Duration::from_secs(2);
/// How often a log, which nobody watches, is told.
const REPEAT: Duration = Duration::from_secs(10);

/// Awaits work; when it takes long, says what is being done and for how long.
pub(super) async fn watched<T>(what: &str, work: impl Future<Output = T>) -> T {
    let mut work = std::pin::pin!(work);
    if let Ok(done) = tokio::time::timeout(PATIENCE, &mut work).await {
        return done;
    }
    if std::io::stderr().is_terminal() {
        let bar = ProgressBar::new_spinner();
        if let Ok(style) = ProgressStyle::with_template("{spinner} {msg}, {elapsed}") {
            bar.set_style(style);
        }
        bar.set_message(what.to_owned());
        bar.enable_steady_tick(Duration::from_millis(120));
        let done = work.await;
        bar.finish_and_clear();
        return done;
    }
    let mut seconds = PATIENCE.as_secs();
    loop {
        // A closed stderr is no reason to stop working.
        let told = super::output::say(&format!("{what}: still at it after {seconds} s"));
        drop(told);
        match tokio::time::timeout(REPEAT, &mut work).await {
            Ok(done) => return done,
            Err(_) => seconds += REPEAT.as_secs(),
        }
    }
}
