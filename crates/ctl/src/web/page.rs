//! The page's files, which hold nothing of anybody's: whoever can connect may have them.

use axum::http::header;
use axum::response::IntoResponse;
use axum::routing::{MethodRouter, get};

/// Each file's path, type and text.
pub(crate) const FILES: [(&str, &str, &str); 11] = [
    ("/", HTML, include_str!("page/index.html")),
    ("/page.css", CSS, include_str!("page/page.css")),
    ("/icon.svg", "image/svg+xml", include_str!("page/icon.svg")),
    ("/main.js", JS, include_str!("page/main.js")),
    ("/element.js", JS, include_str!("page/element.js")),
    ("/feed.js", JS, include_str!("page/feed.js")),
    ("/state.js", JS, include_str!("page/state.js")),
    ("/words.js", JS, include_str!("page/words.js")),
    ("/chart.js", JS, include_str!("page/chart.js")),
    ("/sessions.js", JS, include_str!("page/sessions.js")),
    ("/detail.js", JS, include_str!("page/detail.js")),
];

/// Serves one of them.
pub(crate) fn file<S>(kind: &'static str, text: &'static str) -> MethodRouter<S>
where
    S: Clone + Send + Sync + 'static,
{
    get(move || async move { ([(header::CONTENT_TYPE, kind)], text).into_response() })
}

const HTML: &str = "text/html; charset=utf-8";
const CSS: &str = "text/css; charset=utf-8";
const JS: &str = "text/javascript; charset=utf-8";
