//! Who is answered: requests that name this server, come from its own page and know its token.
//!
//! The token is what keeps other users of the machine out, who can all connect to the port. It is
//! in the fragment of the page's address, which browsers send to nobody; the page hands it over in
//! a header, which other pages cannot make a browser do. Host and origin are looked at as well: a
//! page of another name that was led to this address (DNS rebinding) reads nothing.

use std::net::{IpAddr, SocketAddr};

use axum::extract::{Request, State};
use axum::http::header::{self, HeaderName, HeaderValue};
use axum::http::{HeaderMap, Method, StatusCode};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};

/// What a request is measured by.
#[derive(Clone, Debug)]
pub(crate) struct Gate {
    listen: SocketAddr,
    token: String,
}

impl Gate {
    pub(crate) fn new(listen: SocketAddr, token: String) -> Self {
        Self { listen, token }
    }

    /// The address for a browser.
    pub(crate) fn url(&self) -> String {
        format!("http://{}/#{}", self.listen, self.token)
    }

    /// Whether `host`, a Host header, means this server: its address, or `localhost`. Where it
    /// listens on every address, any address will do, for only names can be led astray.
    fn is_named(&self, host: &str) -> bool {
        let port = format!(":{}", self.listen.port());
        let name = match host.strip_suffix(&port) {
            Some(name) => name,
            // What browsers leave out.
            None if self.listen.port() == 80 => host,
            None => return false,
        };
        let ours = self.listen.ip();
        let anywhere = ours.is_unspecified();
        if name.eq_ignore_ascii_case("localhost") {
            return anywhere || ours.is_loopback();
        }
        let address = name.strip_prefix('[').and_then(|name| name.strip_suffix(']'));
        address.unwrap_or(name).parse().is_ok_and(|ip: IpAddr| anywhere || ours == ip)
    }

    fn objection(&self, method: &Method, headers: &HeaderMap) -> Option<Refusal> {
        let mut hosts = headers.get_all(header::HOST).iter();
        let host = match (hosts.next().map(HeaderValue::to_str), hosts.next()) {
            (Some(Ok(host)), None) if self.is_named(host) => host,
            _ => return Some(Refusal::Host),
        };
        if method != Method::GET && method != Method::HEAD {
            return Some(Refusal::Method);
        }
        let origin = headers.get(header::ORIGIN);
        if origin.is_some_and(|origin| origin.as_bytes() != format!("http://{host}").as_bytes()) {
            return Some(Refusal::Origin);
        }
        None
    }

    fn objection_to_data(&self, headers: &HeaderMap) -> Option<Refusal> {
        if headers.get(SEC_FETCH_SITE).is_some_and(|site| site != "same-origin") {
            return Some(Refusal::Origin);
        }
        let given = headers.get(header::AUTHORIZATION).map(HeaderValue::as_bytes);
        let token = given.and_then(|given| given.strip_prefix(b"Bearer "));
        if !token.is_some_and(|token| same(token, self.token.as_bytes())) {
            return Some(Refusal::Token);
        }
        None
    }
}

/// Before everything: refuses what is not meant for this server, and gives every answer its headers.
pub(crate) async fn guard(State(gate): State<Gate>, request: Request, next: Next) -> Response {
    let mut response = match gate.objection(request.method(), request.headers()) {
        Some(refusal) => refusal.into_response(),
        None => next.run(request).await,
    };
    for (name, value) in HEADERS {
        response.headers_mut().insert(name, HeaderValue::from_static(value));
    }
    response
}

/// Before everything that is not the page itself.
pub(crate) async fn guard_data(State(gate): State<Gate>, request: Request, next: Next) -> Response {
    match gate.objection_to_data(request.headers()) {
        Some(refusal) => refusal.into_response(),
        None => next.run(request).await,
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Refusal {
    Host,
    Method,
    Origin,
    Token,
}

impl IntoResponse for Refusal {
    fn into_response(self) -> Response {
        let (status, text) = match self {
            Self::Host => (
                StatusCode::MISDIRECTED_REQUEST,
                "This server answers to its own address and to localhost, with its own port.\n",
            ),
            Self::Method => {
                let allowed = [(header::ALLOW, "GET, HEAD")];
                return (StatusCode::METHOD_NOT_ALLOWED, allowed, "Read only.\n").into_response();
            }
            Self::Origin => (StatusCode::FORBIDDEN, "For its own page alone.\n"),
            Self::Token => (
                StatusCode::UNAUTHORIZED,
                "The address that `bip324ctl web` printed when it started is needed.\n",
            ),
        };
        (status, text).into_response()
    }
}

/// Compares in a time that does not tell where they differ.
fn same(one: &[u8], other: &[u8]) -> bool {
    let differences = one.iter().zip(other).fold(0, |sum, (a, b)| sum | (a ^ b));
    one.len() == other.len() && differences == 0
}

const SEC_FETCH_SITE: HeaderName = HeaderName::from_static("sec-fetch-site");

/// Of every answer.
const HEADERS: [(HeaderName, &str); 7] = [
    (
        header::CONTENT_SECURITY_POLICY,
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; \
         connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'; \
         require-trusted-types-for 'script'; trusted-types 'none'",
    ),
    (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
    (header::X_FRAME_OPTIONS, "DENY"),
    (header::REFERRER_POLICY, "no-referrer"),
    (header::CACHE_CONTROL, "no-store"),
    (HeaderName::from_static("cross-origin-opener-policy"), "same-origin"),
    (HeaderName::from_static("cross-origin-resource-policy"), "same-origin"),
];

#[cfg(test)]
mod tests {
    use super::*;

    fn gate(listen: &str) -> Gate {
        Gate::new(listen.parse().unwrap(), "secret".to_owned())
    }

    #[test]
    fn only_its_own_names_are_answered() {
        for (listen, host, is) in [
            ("127.0.0.1:1326", "127.0.0.1:1326", true),
            ("127.0.0.1:1326", "localhost:1326", true),
            ("127.0.0.1:1326", "LOCALHOST:1326", true),
            ("127.0.0.1:1326", "127.0.0.1", false),
            ("127.0.0.1:1326", "127.0.0.1:1327", false),
            ("127.0.0.1:1326", "127.0.0.2:1326", false),
            ("127.0.0.1:1326", "[::1]:1326", false),
            ("127.0.0.1:1326", "evil.example:1326", false),
            ("127.0.0.1:1326", "localhost.evil.example:1326", false),
            ("127.0.0.1:1326", "", false),
            ("127.0.0.1:80", "127.0.0.1", true),
            ("127.0.0.1:80", "localhost:80", true),
            ("127.0.0.1:80", "localhost:8080", false),
            ("[::1]:1326", "[::1]:1326", true),
            ("[::1]:1326", "localhost:1326", true),
            ("192.0.2.1:1326", "192.0.2.1:1326", true),
            ("192.0.2.1:1326", "localhost:1326", false),
            ("0.0.0.0:1326", "192.0.2.1:1326", true),
            ("0.0.0.0:1326", "localhost:1326", true),
            ("[::]:1326", "[2001:db8::1]:1326", true),
            ("[::]:1326", "evil.example:1326", false),
        ] {
            assert_eq!(gate(listen).is_named(host), is, "{host} of {listen}");
        }
    }

    #[test]
    fn tokens_are_the_same_whole_or_not_at_all() {
        assert!(same(b"secret", b"secret"));
        for other in ["", "secre", "secrets", "Secret"] {
            assert!(!same(other.as_bytes(), b"secret"), "{other}");
        }
    }
}
