//! A service of HTTP that answers by a script, for answers that no emulator gives.

use std::sync::{Arc, Mutex};

use axum::Router;
use axum::extract::Request;
use axum::http::StatusCode;

/// A request: its path with the query, then its header `x-amz-target`, where it has one.
type Asked = String;

/// See the module.
pub struct Answering {
    pub url: String,
    asked: Arc<Mutex<Vec<Asked>>>,
}

impl Answering {
    /// `script` has the number of a request, from 0 on, and the request.
    pub async fn with(
        script: impl Fn(usize, &str) -> (u16, &'static str) + Clone + Send + Sync + 'static,
    ) -> Self {
        let asked = Arc::new(Mutex::new(vec![]));
        let noted = asked.clone();
        let answer = move |request: Request| answer(noted.clone(), script.clone(), request);
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let router = Router::new().fallback(answer);
        tokio::spawn(async move { axum::serve(listener, router).await });
        Self { url, asked }
    }

    /// What was asked for, in order.
    pub fn requests(&self) -> Vec<Asked> {
        self.asked.lock().unwrap().clone()
    }
}

async fn answer(
    noted: Arc<Mutex<Vec<Asked>>>,
    script: impl Fn(usize, &str) -> (u16, &'static str),
    request: Request,
) -> (StatusCode, &'static str) {
    let target = request.headers().get("x-amz-target").map(|v| v.to_str().unwrap());
    let asked = format!("{} {}", request.uri(), target.unwrap_or_default());
    // All of the body is read: a client that is answered sooner sees a broken connection.
    axum::body::to_bytes(request.into_body(), 1 << 20).await.unwrap();
    let nth = {
        let mut noted = noted.lock().unwrap();
        noted.push(asked.clone());
        noted.len() - 1
    };
    let (status, body) = script(nth, &asked);
    (StatusCode::from_u16(status).unwrap(), body)
}
