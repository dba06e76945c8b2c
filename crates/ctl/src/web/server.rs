//! The HTTP side: a few paths, few connections, little time.

use std::convert::Infallible;
use std::path::{self, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::{Body, Bytes};
use axum::extract::{Path, State};
use axum::http::{StatusCode, header};
use axum::middleware::from_fn_with_state;
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use bip324_control::{Code, Detail};
use futures_util::stream;
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::sleep;

use super::feed::{Feed, Reader};
use super::gate::{self, Gate};
use super::page;
use crate::client::{Client, Error};
use crate::exit;

/// Answers until it is dropped.
pub(crate) async fn serve(listener: TcpListener, gate: Gate, feed: Arc<Feed>, socket: PathBuf) {
    let service = TowerToHyperService::new(router(gate, feed, socket));
    let connections = Arc::new(Semaphore::new(CONNECTIONS));
    loop {
        // The next ones wait in the kernel's queue.
        let Ok(permit) = Arc::clone(&connections).acquire_owned().await else { return };
        let Ok((stream, _)) = listener.accept().await else {
            // No descriptors, say. Others may become free.
            sleep(PAUSE).await;
            continue;
        };
        tokio::spawn(converse(stream, service.clone(), permit));
    }
}

async fn converse(
    stream: TcpStream,
    service: TowerToHyperService<Router>,
    _permit: OwnedSemaphorePermit,
) {
    let mut http = http1::Builder::new();
    http.timer(TokioTimer::new()).header_read_timeout(PATIENCE).max_buf_size(REQUEST);
    // How it ended concerns nobody.
    let _ = http.serve_connection(TokioIo::new(stream), service).await;
}

fn router(gate: Gate, feed: Arc<Feed>, socket: PathBuf) -> Router {
    let shared = Shared {
        feed,
        socket,
        streams: Arc::new(Semaphore::new(STREAMS)),
        questions: Arc::new(Semaphore::new(QUESTIONS)),
    };
    let data = Router::new()
        .route("/feed", get(stream_feed))
        .route("/session/{id}", get(session))
        .route_layer(from_fn_with_state(gate.clone(), gate::guard_data))
        .with_state(shared);
    page::FILES
        .iter()
        .fold(data, |router, (path, kind, text)| router.route(path, page::file(kind, text)))
        .layer(from_fn_with_state(gate, gate::guard))
}

#[derive(Clone, Debug)]
struct Shared {
    feed: Arc<Feed>,
    socket: PathBuf,
    streams: Arc<Semaphore>,
    questions: Arc<Semaphore>,
}

/// A JSON object a line, for as long as the browser stays: see [`super::world`].
async fn stream_feed(State(shared): State<Shared>) -> Response {
    let Ok(permit) = Arc::clone(&shared.streams).try_acquire_owned() else {
        return busy("As many pages are open as are served at a time.\n");
    };
    let reader = shared.feed.read();
    let lines = stream::unfold((reader, permit), |(mut reader, permit)| async {
        let line = Reader::next(&mut reader).await?;
        Some((Ok::<Bytes, Infallible>(line), (reader, permit)))
    });
    ([(header::CONTENT_TYPE, "application/x-ndjson")], Body::from_stream(lines)).into_response()
}

/// What the control socket says of one session.
async fn session(State(shared): State<Shared>, Path(id): Path<u64>) -> Response {
    let Ok(_permit) = shared.questions.try_acquire() else {
        return busy("Too many questions at a time.\n");
    };
    match detail(&shared.socket, id).await {
        Ok(detail) => match serde_json::to_vec(&detail) {
            Ok(json) => ([(header::CONTENT_TYPE, "application/json")], json).into_response(),
            Err(_) => StatusCode::INTERNAL_SERVER_ERROR.into_response(),
        },
        Err(error) => {
            let gone = matches!(&error, Error::Refused(r) if r.code == Code::NoSuchSession);
            let status = if gone { StatusCode::NOT_FOUND } else { StatusCode::BAD_GATEWAY };
            (status, format!("{}\n", exit::Error::Client(error).line())).into_response()
        }
    }
}

async fn detail(socket: &path::Path, id: u64) -> Result<Detail, Error> {
    Client::connect(socket).await?.session(id).await
}

fn busy(text: &'static str) -> Response {
    (StatusCode::SERVICE_UNAVAILABLE, [(header::RETRY_AFTER, "2")], text).into_response()
}

/// Connections at a time.
const CONNECTIONS: usize = 64;
/// Of these, pages that follow what happens.
const STREAMS: usize = 24;
/// Questions at a time that are passed on to the daemon.
const QUESTIONS: usize = 4;
/// Time for a request's head to arrive, the next one's on the same connection too.
const PATIENCE: Duration = Duration::from_secs(10);
/// Bytes of a request's head at most.
const REQUEST: usize = 16 * 1024;
/// After an accept that failed.
const PAUSE: Duration = Duration::from_millis(100);
