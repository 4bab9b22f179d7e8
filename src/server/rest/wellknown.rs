//! How tokens can be verified, for those who want to.

use axum::{extract::State, http::StatusCode, response::Response};
use serde_json::json;

use super::{RestState, reply, route::Route};
use crate::model::Needs;

pub(super) fn routes() -> Vec<Route> {
    vec![
        Route::get("/.well-known/jwks.json", Needs::Nothing, "The keys that tokens verify against", jwks)
            .gives::<serde_json::Value>(StatusCode::OK),
        Route::get("/.well-known/openid-configuration", Needs::Nothing, "Where those keys are", openid)
            .gives::<serde_json::Value>(StatusCode::OK),
    ]
}

/// `GET /.well-known/jwks.json`: the public keys.
async fn jwks(State(state): State<RestState>) -> Response {
    reply::json(StatusCode::OK, &state.identity.jwks())
}

/// `GET /.well-known/openid-configuration`: where the public keys are. The endpoints of an OpenID provider that this
/// server does not have are there and empty, because clients of the Ensign API expect the names.
async fn openid(State(state): State<RestState>) -> Response {
    let origin = state.identity.issuer_origin();
    let document = json!({
        "issuer": format!("{origin}/"),
        "authorization_endpoint": "",
        "token_endpoint": "",
        "device_authorization_endpoint": "",
        "userinfo_endpoint": "",
        "mfa_challenge_endpoint": "",
        "jwks_uri": format!("{origin}/.well-known/jwks.json"),
        "registration_endpoint": "",
        "revocation_endpoint": "",
        "scopes_supported": ["openid", "profile", "email"],
        "response_types_supported": ["token", "id_token"],
        "code_challenge_methods_supported": ["S256", "plain"],
        "response_modes_supported": ["query", "fragment", "form_post"],
        "subject_types_supported": ["public"],
        "id_token_signing_alg_values_supported": ["EdDSA"],
        "token_endpoint_auth_methods_supported": ["client_secret_basic", "client_secret_post"],
        "claims_supported": ["aud", "email", "exp", "iat", "iss", "sub"],
        "request_uri_parameter_supported": false,
    });
    reply::json(StatusCode::OK, &document)
}
