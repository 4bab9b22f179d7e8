//! The document that describes the REST API, made from the table of routes: `/openapi.json`.

use std::sync::OnceLock;

use axum::{
    http::{Method, StatusCode},
    response::Response,
};
use utoipa::{
    PartialSchema,
    openapi::{
        ComponentsBuilder, ContentBuilder, HttpMethod, InfoBuilder, OpenApiBuilder, Paths, Ref, RefOr, Required,
        ResponseBuilder, Schema,
        path::{Operation, OperationBuilder, ParameterBuilder, ParameterIn},
        request_body::RequestBodyBuilder,
        security::{ApiKey, ApiKeyValue, HttpAuthScheme, HttpBuilder, SecurityRequirement, SecurityScheme},
    },
};

use super::{
    reply::{self, ErrorBody},
    route::{Route, Shape},
};
use crate::model::{Needs, Permission};

const JSON: &str = "application/json";

/// Shapes that are no objects of ours, and stand where they are used.
const INLINE: [&str; 2] = ["Vec", "Value"];

pub(super) fn routes() -> Vec<Route> {
    vec![
        Route::get("/openapi.json", Needs::Nothing, "This document", document)
            .gives::<serde_json::Value>(StatusCode::OK),
    ]
}

async fn document() -> Response {
    static DOCUMENT: OnceLock<String> = OnceLock::new();
    let text = DOCUMENT.get_or_init(|| describe(&super::table()));
    reply::with_type(StatusCode::OK, reply::JSON, text.clone())
}

/// The document of a table.
pub(super) fn describe(table: &[Route]) -> String {
    let mut paths = Paths::new();
    let mut parts = Vec::new();
    add(&mut parts, &Shape::of::<ErrorBody<'_>>());
    for route in table {
        let shapes = route.body.iter().chain(route.replies.iter().filter_map(|(_, shape)| shape.as_ref()));
        shapes.for_each(|shape| add(&mut parts, shape));
        paths.add_path_operation(route.path, vec![method(&route.method)], operation(route));
    }
    let mut components = ComponentsBuilder::new();
    for (name, schema) in parts {
        components = components.schema(name, schema);
    }
    let bearer = HttpBuilder::new().scheme(HttpAuthScheme::Bearer).bearer_format("JWT").build();
    let cookie = ApiKey::Cookie(ApiKeyValue::new("access_token"));
    let components = components
        .security_scheme("bearer", SecurityScheme::Http(bearer))
        .security_scheme("cookie", SecurityScheme::ApiKey(cookie))
        .build();
    let info = InfoBuilder::new()
        .title("Ensign")
        .version(env!("CARGO_PKG_VERSION"))
        .description(Some("Accounts, organizations, projects and keys of an Ensign server."))
        .build();
    let document = OpenApiBuilder::new().info(info).paths(paths).components(Some(components)).build();
    document.to_json().expect("a description has text keys and no failing parts")
}

/// Adds a shape, and those that it refers to.
fn add(parts: &mut Vec<(String, RefOr<Schema>)>, shape: &Shape) {
    let name = (shape.name)();
    if !INLINE.contains(&name.as_ref()) {
        parts.push((name.into_owned(), (shape.schema)()));
    }
    (shape.parts)(parts);
}

fn operation(route: &Route) -> Operation {
    let mut operation =
        OperationBuilder::new().summary(Some(route.summary)).operation_id(Some(name(route))).tag(tag(route.path));
    for part in route.path.split('/').filter_map(|part| part.strip_prefix('{')?.strip_suffix('}')) {
        let parameter = ParameterBuilder::new().name(part).parameter_in(ParameterIn::Path).required(Required::True);
        operation = operation.parameter(parameter.schema(Some(String::schema())));
    }
    for (name, meaning) in route.query {
        let parameter = ParameterBuilder::new().name(*name).parameter_in(ParameterIn::Query);
        operation = operation.parameter(parameter.description(Some(*meaning)).schema(Some(String::schema())));
    }
    if let Some(shape) = &route.body {
        let body = RequestBodyBuilder::new().required(Some(Required::True)).content(JSON, content(shape));
        operation = operation.request_body(Some(body.build()));
    }
    for (status, shape) in &route.replies {
        let mut response = ResponseBuilder::new().description(status.canonical_reason().unwrap_or_default());
        if let Some(shape) = shape {
            response = response.content(JSON, content(shape));
        }
        operation = operation.response(status.as_str(), response.build());
    }
    let error =
        ResponseBuilder::new().description("What went wrong").content(JSON, content(&Shape::of::<ErrorBody<'_>>()));
    for requirement in security(route.needs) {
        operation = operation.security(requirement);
    }
    operation.response("default", error.build()).build()
}

/// What a caller has to show. The permissions that are asked for stand where OAuth has its scopes.
fn security(needs: Needs) -> Vec<SecurityRequirement> {
    let names = |permissions: &[Permission]| permissions.iter().map(|one| one.name()).collect::<Vec<_>>();
    let alternatives = match needs {
        Needs::Nothing => return Vec::new(),
        Needs::SignedIn => vec![Vec::new()],
        Needs::All(permissions) => vec![names(permissions)],
        Needs::Any(permissions) => permissions.iter().map(|one| names(&[*one])).collect(),
    };
    let require = |scheme: &str, names: &[&str]| SecurityRequirement::new(scheme, names.iter().copied());
    let schemes = ["bearer", "cookie"].into_iter();
    schemes.flat_map(|scheme| alternatives.iter().map(move |names| require(scheme, names))).collect()
}

fn content(shape: &Shape) -> utoipa::openapi::Content {
    let name = (shape.name)();
    let schema =
        if INLINE.contains(&name.as_ref()) { (shape.schema)() } else { RefOr::Ref(Ref::from_schema_name(name)) };
    ContentBuilder::new().schema(Some(schema)).build()
}

fn method(method: &Method) -> HttpMethod {
    match method.as_str() {
        "POST" => HttpMethod::Post,
        "PUT" => HttpMethod::Put,
        "PATCH" => HttpMethod::Patch,
        "DELETE" => HttpMethod::Delete,
        _ => HttpMethod::Get,
    }
}

/// A name for an operation, from its method and path: `get_v1_apikeys_id`.
fn name(route: &Route) -> String {
    let path = route.path.replace(|letter: char| !letter.is_ascii_alphanumeric(), "_");
    let parts: Vec<&str> = path.split('_').filter(|part| !part.is_empty()).collect();
    format!("{}_{}", route.method.as_str().to_lowercase(), parts.join("_"))
}

/// What a path is about: the part behind the version.
fn tag(path: &str) -> &str {
    let mut parts = path.split('/').filter(|part| !part.is_empty());
    match (parts.next(), parts.next()) {
        (Some("v1" | "api"), Some(resource)) => resource,
        _ => "server",
    }
}
