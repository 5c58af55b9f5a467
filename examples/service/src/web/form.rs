//! What people send with a form of ours.

use std::sync::Arc;

use axum::body::Body;
use axum::extract::{Form, FromRequest, FromRequestParts, Request};
use axum::http::{Response, StatusCode};
use serde::Deserialize;
use serde::de::DeserializeOwned;

use super::auth::Who;
use super::{App, plain};
use crate::Role;

/// The fields of a form, and who may send it.
pub(super) trait Fields: DeserializeOwned {
    /// The least role.
    const LEAST: Role;
}

/// A form that somebody may send, and that comes from a page which they loaded: a page elsewhere does not know
/// the key.
pub(super) struct Sent<T> {
    pub(super) who: Who,
    pub(super) given: T,
}

#[derive(Deserialize)]
struct Keyed<T> {
    key: String,
    #[serde(flatten)]
    given: T,
}

impl<T: Fields> FromRequest<Arc<App>> for Sent<T> {
    type Rejection = Response<Body>;

    async fn from_request(request: Request, app: &Arc<App>) -> Result<Self, Self::Rejection> {
        let (mut parts, body) = request.into_parts();
        let who = axum::Extension::<Who>::from_request_parts(&mut parts, app).await;
        let axum::Extension(who) = who.map_err(|_| plain(StatusCode::UNAUTHORIZED, "sign in"))?;
        if who.role < T::LEAST {
            return Err(plain(StatusCode::FORBIDDEN, "this token may look, not do this"));
        }
        let form = Form::<Keyed<T>>::from_request(Request::from_parts(parts, body), app).await;
        let Form(Keyed { key, given }) =
            form.map_err(|error| plain(StatusCode::BAD_REQUEST, error.to_string()))?;
        if key != app.auth().form_key(&who) {
            let reason = "the form is too old; go back and load the page again";
            return Err(plain(StatusCode::FORBIDDEN, reason));
        }
        Ok(Sent { who, given })
    }
}
