//! Answers that are no success: always JSON, as the clients retry what they cannot read.

use axum::Json;
use axum::extract::State;
use axum::http::{HeaderMap, Method, StatusCode, Uri};
use axum::response::{IntoResponse, Response};
use serde_json::json;

use crate::{Remark, Shared};

/// A refusal.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Fault {
    pub(crate) status: StatusCode,
    /// Twirp's word for it.
    pub(crate) code: &'static str,
    pub(crate) message: String,
}

impl Fault {
    pub(crate) fn new(status: StatusCode, code: &'static str, message: impl Into<String>) -> Self {
        Fault { status, code, message: message.into() }
    }

    pub(crate) fn bad(message: impl Into<String>) -> Self {
        Fault::new(StatusCode::BAD_REQUEST, "invalid_argument", message)
    }

    pub(crate) fn unauthorized() -> Self {
        Fault::new(StatusCode::UNAUTHORIZED, "unauthenticated", "no token of a running job")
    }

    pub(crate) fn forbidden(message: impl Into<String>) -> Self {
        Fault::new(StatusCode::FORBIDDEN, "permission_denied", message)
    }

    pub(crate) fn missing(message: impl Into<String>) -> Self {
        Fault::new(StatusCode::NOT_FOUND, "not_found", message)
    }

    pub(crate) fn taken(message: impl Into<String>) -> Self {
        Fault::new(StatusCode::CONFLICT, "already_exists", message)
    }

    pub(crate) fn too_large(message: impl Into<String>) -> Self {
        Fault::new(StatusCode::PAYLOAD_TOO_LARGE, "out_of_range", message)
    }
}

impl From<trainyard_blob::Error> for Fault {
    fn from(error: trainyard_blob::Error) -> Self {
        match error {
            trainyard_blob::Error::Taken => Fault::taken(error.to_string()),
            // 400 is not tried again: a full disk does not get better in 35 seconds.
            other => Fault::new(StatusCode::BAD_REQUEST, "internal", other.to_string()),
        }
    }
}

impl From<std::io::Error> for Fault {
    fn from(error: std::io::Error) -> Self {
        Fault::new(StatusCode::BAD_REQUEST, "internal", error.to_string())
    }
}

impl From<tokio::task::JoinError> for Fault {
    fn from(error: tokio::task::JoinError) -> Self {
        Fault::new(StatusCode::INTERNAL_SERVER_ERROR, "internal", error.to_string())
    }
}

impl IntoResponse for Fault {
    fn into_response(self) -> Response {
        // `code` and `msg` for twirp, `message` for the REST clients.
        let body = json!({"code": self.code, "msg": self.message, "message": self.message});
        (self.status, Json(body)).into_response()
    }
}

/// What nobody serves.
pub(crate) async fn unknown(
    State(inner): State<Shared>,
    method: Method,
    uri: Uri,
    headers: HeaderMap,
) -> Fault {
    let Some(grant) = inner.access.of_headers(&headers) else { return Fault::unauthorized() };
    unserved(&inner, &grant, &format!("{method} {}", uri.path()))
}

/// A route that nobody serves, named in the run.
pub(crate) fn unserved(inner: &crate::Inner, grant: &crate::Grant, route: &str) -> Fault {
    (inner.sink)(Remark {
        run: grant.run,
        node: grant.node,
        kind: "warning",
        text: format!("{route} is not served here: the call got 404"),
    });
    Fault::missing(format!("Not Found: {route} is not served by Trainyard"))
}

/// The API takes JSON whatever it is called, as the forge's does; assets are what they are called.
pub(crate) async fn json_by_default(mut request: axum::extract::Request) -> axum::extract::Request {
    let path = request.uri().path();
    if path.starts_with("/api/") && !path.contains("/assets") {
        let json = axum::http::HeaderValue::from_static("application/json");
        request.headers_mut().insert("content-type", json);
    }
    request
}

/// Refusals of the framework are plain text; clients retry for half a minute what is no JSON.
pub(crate) async fn as_json(response: Response) -> Response {
    let status = response.status();
    let kind = response.headers().get("content-type").and_then(|v| v.to_str().ok());
    let plain = kind.is_none_or(|k| k.starts_with("text/plain"));
    let asks = response.headers().contains_key("www-authenticate");
    if !(status.is_client_error() || status.is_server_error()) || !plain || asks {
        return response;
    }
    let text = axum::body::to_bytes(response.into_body(), 4096).await.unwrap_or_default();
    let text = match text.is_empty() {
        true => status.canonical_reason().unwrap_or("refused").to_owned(),
        false => String::from_utf8_lossy(&text).into_owned(),
    };
    Fault::new(status, "malformed", text).into_response()
}
