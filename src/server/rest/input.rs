//! What handlers are given: the body as the type that they ask for, and what is in the path and behind it.

use std::{collections::HashMap, convert::Infallible};

use axum::{
    body::Body,
    extract::{FromRequest, FromRequestParts, Query, RawPathParams, Request},
    http::{StatusCode, request::Parts},
};
use serde::de::DeserializeOwned;

use super::{body, reply::Refusal};
use crate::model::Ulid;

/// What the body of some request is read as.
pub(super) trait RequestBody: DeserializeOwned + Send {
    /// What a client is told whose body can't be read.
    const MALFORMED: &'static str = "could not parse request";
}

/// The body of a request. It is read when it is asked for, after the caller is known.
#[derive(Debug)]
pub(super) struct Input<T>(pub(super) T);

impl<S: Send + Sync, T: RequestBody> FromRequest<S> for Input<T> {
    type Rejection = Refusal;

    async fn from_request(request: Request<Body>, _: &S) -> Result<Input<T>, Refusal> {
        let (parts, body) = request.into_parts();
        let read = body::read(&parts.headers, body).await;
        read.and_then(|bytes| body::parse(&bytes)).map(Input).map_err(|error| error.refusal(T::MALFORMED))
    }
}

/// The identifier in a path; `None` when what stands there is none. In any case, and with zeros, it is one.
#[derive(Debug, Clone, Copy)]
pub(super) struct PathId(pub(super) Option<Ulid>);

/// The text in a path.
#[derive(Debug, Clone)]
pub(super) struct PathText(pub(super) String);

impl<S: Send + Sync> FromRequestParts<S> for PathId {
    type Rejection = Infallible;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<PathId, Infallible> {
        let PathText(text) = PathText::from_request_parts(parts, state).await?;
        Ok(PathId(Ulid::parse_lenient(&text).ok()))
    }
}

impl<S: Send + Sync> FromRequestParts<S> for PathText {
    type Rejection = Infallible;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<PathText, Infallible> {
        // What is not text once it has been decoded is nothing that we know.
        let text = match RawPathParams::from_request_parts(parts, state).await {
            Ok(parameters) => parameters.iter().next().map(|(_, text)| text.to_owned()),
            Err(_) => None,
        };
        Ok(PathText(text.unwrap_or_default()))
    }
}

/// The parameters behind the question mark.
#[derive(Debug, Default)]
pub(super) struct Parameters(HashMap<String, String>);

impl Parameters {
    /// A text; empty when there is none.
    pub(super) fn text(&self, name: &str) -> &str {
        self.0.get(name).map_or("", String::as_str)
    }

    /// A number; zero when there is none.
    pub(super) fn number(&self, name: &str) -> Result<i32, Refusal> {
        match self.text(name) {
            "" => Ok(0),
            text => text.parse().map_err(|_| unreadable()),
        }
    }

    /// Yes or no; no when it does not say.
    pub(super) fn flag(&self, name: &str) -> Result<bool, Refusal> {
        match self.text(name) {
            "" | "0" | "f" | "F" | "false" | "FALSE" | "False" => Ok(false),
            "1" | "t" | "T" | "true" | "TRUE" | "True" => Ok(true),
            _ => Err(unreadable()),
        }
    }
}

fn unreadable() -> Refusal {
    Refusal::new(StatusCode::BAD_REQUEST, "could not parse query")
}

impl<S: Send + Sync> FromRequestParts<S> for Parameters {
    type Rejection = Refusal;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Parameters, Refusal> {
        let read = Query::<Vec<(String, String)>>::from_request_parts(parts, state).await.map_err(|_| unreadable())?;
        let mut parameters = HashMap::new();
        for (name, value) in read.0 {
            // The first of several counts.
            parameters.entry(name).or_insert(value);
        }
        Ok(Parameters(parameters))
    }
}
