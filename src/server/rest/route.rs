//! The table of routes: each with its method, its path, what it needs, and who answers. The router, what a wrong method
//! is told, where a slash too many leads, the gate, the labels of the metrics and the OpenAPI document are all made from
//! it, so that none of them can know a route that another does not.

use std::{borrow::Cow, collections::BTreeMap, future::ready};

use axum::{
    Router,
    extract::Request,
    handler::Handler,
    http::{Method, StatusCode},
    middleware,
    response::Response,
    routing::{MethodFilter, MethodRouter, on},
};
use utoipa::{
    ToSchema,
    openapi::{RefOr, Schema},
};

use super::{RestState, caller, reply};
use crate::model::Needs;

/// What an answer is about, beside what it says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Pattern(pub(super) &'static str);

/// One method at one path.
pub(super) struct Route {
    pub(super) method: Method,
    /// With its parameters in braces: `/v1/apikeys/{id}`.
    pub(super) path: &'static str,
    pub(super) needs: Needs,
    /// What it does, in a few words, for the document.
    pub(super) summary: &'static str,
    pub(super) body: Option<Shape>,
    /// Its parameters behind the question mark, each with what it means.
    pub(super) query: &'static [(&'static str, &'static str)],
    /// What it answers when all is well.
    pub(super) replies: Vec<(StatusCode, Option<Shape>)>,
    answers_head: bool,
    answer: MethodRouter<RestState>,
}

/// What is in a JSON body, for the document.
#[derive(Clone, Copy)]
pub(super) struct Shape {
    pub(super) name: fn() -> Cow<'static, str>,
    pub(super) schema: fn() -> RefOr<Schema>,
    /// Adds the shapes that it refers to.
    pub(super) parts: fn(&mut Vec<(String, RefOr<Schema>)>),
}

impl Shape {
    pub(super) fn of<T: ToSchema>() -> Shape {
        Shape { name: T::name, schema: T::schema, parts: T::schemas }
    }
}

impl Route {
    pub(super) fn get<H, T>(path: &'static str, needs: Needs, summary: &'static str, handler: H) -> Route
    where
        H: Handler<T, RestState>,
        T: 'static,
    {
        Route::new(Method::GET, path, needs, summary, on(MethodFilter::GET, handler))
    }

    pub(super) fn post<H, T>(path: &'static str, needs: Needs, summary: &'static str, handler: H) -> Route
    where
        H: Handler<T, RestState>,
        T: 'static,
    {
        Route::new(Method::POST, path, needs, summary, on(MethodFilter::POST, handler))
    }

    pub(super) fn put<H, T>(path: &'static str, needs: Needs, summary: &'static str, handler: H) -> Route
    where
        H: Handler<T, RestState>,
        T: 'static,
    {
        Route::new(Method::PUT, path, needs, summary, on(MethodFilter::PUT, handler))
    }

    pub(super) fn patch<H, T>(path: &'static str, needs: Needs, summary: &'static str, handler: H) -> Route
    where
        H: Handler<T, RestState>,
        T: 'static,
    {
        Route::new(Method::PATCH, path, needs, summary, on(MethodFilter::PATCH, handler))
    }

    pub(super) fn delete<H, T>(path: &'static str, needs: Needs, summary: &'static str, handler: H) -> Route
    where
        H: Handler<T, RestState>,
        T: 'static,
    {
        Route::new(Method::DELETE, path, needs, summary, on(MethodFilter::DELETE, handler))
    }

    fn new(
        method: Method,
        path: &'static str,
        needs: Needs,
        summary: &'static str,
        answer: MethodRouter<RestState>,
    ) -> Route {
        let (query, replies) = (&[][..], Vec::new());
        Route { method, path, needs, summary, body: None, query, replies, answers_head: false, answer }
    }

    /// Says what its request's body is.
    #[must_use]
    pub(super) fn takes<T: ToSchema>(self) -> Route {
        Route { body: Some(Shape::of::<T>()), ..self }
    }

    /// Says which parameters it reads from behind the question mark.
    #[must_use]
    pub(super) fn asks(self, query: &'static [(&'static str, &'static str)]) -> Route {
        Route { query, ..self }
    }

    /// Says what it answers.
    #[must_use]
    pub(super) fn gives<T: ToSchema>(mut self, status: StatusCode) -> Route {
        self.replies.push((status, Some(Shape::of::<T>())));
        self
    }

    /// Says that it answers without a JSON body.
    #[must_use]
    pub(super) fn gives_plain(mut self, status: StatusCode) -> Route {
        self.replies.push((status, None));
        self
    }

    /// Lets a HEAD be asked where a GET can be, as it is of probes.
    #[must_use]
    pub(super) fn with_head(self) -> Route {
        Route { answers_head: true, ..self }
    }
}

/// Makes the router of a table. What is in no route gets a 404, so it comes last when the server looks for who answers.
pub(super) fn router(table: Vec<Route>, state: &RestState) -> Router<RestState> {
    let known: Vec<(Method, &'static str)> = table.iter().map(|route| (route.method.clone(), route.path)).collect();
    let mut paths: BTreeMap<&'static str, Vec<Route>> = BTreeMap::new();
    for route in table {
        paths.entry(route.path).or_default().push(route);
    }
    let mut router = Router::new();
    for (path, routes) in paths {
        router = router.route(path, methods(path, routes, state));
    }
    router.fallback(move |request: Request| ready(unknown(&known, &request)))
}

/// All that is answered at one path. A wrong method is told so before anybody asks who is calling.
fn methods(path: &'static str, routes: Vec<Route>, state: &RestState) -> MethodRouter<RestState> {
    let mut allowed: Vec<&str> = routes.iter().map(|route| route.method.as_str()).collect();
    allowed.sort_unstable();
    let allowed = allowed.join(", ");
    let refuse = move || {
        let mut reply = reply::method_not_allowed(&allowed);
        reply.extensions_mut().insert(Pattern(path));
        ready(reply)
    };
    let mut methods = MethodRouter::new().fallback(refuse.clone());
    if !routes.iter().any(|route| route.answers_head) {
        // The HEAD that comes with every GET otherwise.
        methods = methods.head(refuse);
    }
    for route in routes {
        let gate = caller::Gate { state: state.clone(), needs: route.needs, pattern: Pattern(path) };
        methods = methods.merge(route.answer.route_layer(middleware::from_fn_with_state(gate, caller::admit)));
    }
    methods
}

/// Sends a known path with a slash behind it to where it belongs; anything else is not found.
fn unknown(known: &[(Method, &'static str)], request: &Request) -> Response {
    let uri = request.uri();
    let stripped = uri.path().strip_suffix('/').filter(|path| {
        let is_at = |(method, pattern): &(Method, &str)| method == request.method() && matches(pattern, path);
        known.iter().any(is_at)
    });
    match stripped {
        Some(path) => {
            let query = uri.query().map(|query| format!("?{query}")).unwrap_or_default();
            reply::redirect(request.method() == Method::GET, &format!("{path}{query}"))
        }
        None => reply::not_found(),
    }
}

/// Whether a path is one of a pattern: part for part, where a part in braces is any but an empty one.
fn matches(pattern: &str, path: &str) -> bool {
    let (mut pattern, mut path) = (pattern.split('/'), path.split('/'));
    loop {
        match (pattern.next(), path.next()) {
            (None, None) => return true,
            (Some(wanted), Some(part)) if wanted == part || (wanted.starts_with('{') && !part.is_empty()) => {}
            _ => return false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patterns() {
        let check = |pattern, path, expected| assert_eq!(matches(pattern, path), expected, "{pattern} {path}");
        check("/v1/status", "/v1/status", true);
        check("/v1/status", "/v1/statuses", false);
        check("/v1/apikeys/{id}", "/v1/apikeys/x", true);
        check("/v1/apikeys/{id}", "/v1/apikeys/", false);
        check("/v1/apikeys/{id}", "/v1/apikeys", false);
        check("/v1/users/{id}/confirm", "/v1/users/x/confirm", true);
        check("/v1/users/{id}/confirm", "/v1/users/x/confirm/y", false);
    }
}
