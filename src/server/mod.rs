//! To be described.

mod auth;
mod call;
mod error;
#[cfg_attr(not(test), expect(dead_code, reason = "the server that these belong to is not assembled yet"))]
mod grpc;
#[cfg_attr(not(test), expect(dead_code, reason = "the server that these belong to is not assembled yet"))]
mod lifecycle;
#[cfg_attr(not(test), expect(dead_code, reason = "the server that these belong to is not assembled yet"))]
mod rest;
