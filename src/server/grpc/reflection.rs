//! Reflection, so that clients without our protocol files can call: both versions of it, open to anybody.

use std::{convert::Infallible, fmt};

use http::{Request, Response};
use tonic::body::Body;
use tonic_reflection::server::Builder;
use tower::{ServiceExt, util::BoxCloneSyncService};

use crate::api::FILE_DESCRIPTOR_SET;

const V1: &str = "/grpc.reflection.v1.ServerReflection/";
const V1_ALPHA: &str = "/grpc.reflection.v1alpha.ServerReflection/";

type BoxedService = BoxCloneSyncService<Request<Body>, Response<Body>, Infallible>;

/// The reflection service. Cheap to clone.
#[derive(Clone)]
pub(super) struct Reflection {
    v1: BoxedService,
    v1_alpha: BoxedService,
}

impl fmt::Debug for Reflection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Reflection")
    }
}

impl Reflection {
    pub(super) fn new() -> Reflection {
        let builder = || {
            Builder::configure()
                .register_encoded_file_descriptor_set(FILE_DESCRIPTOR_SET)
                .register_encoded_file_descriptor_set(tonic_health::pb::FILE_DESCRIPTOR_SET)
        };
        let sound = "the descriptors were compiled into the program";
        Reflection {
            v1: BoxCloneSyncService::new(builder().build_v1().expect(sound)),
            v1_alpha: BoxCloneSyncService::new(builder().build_v1alpha().expect(sound)),
        }
    }

    /// Whether a request's path is reflection's.
    pub(super) fn is_at(path: &str) -> bool {
        path.starts_with(V1) || path.starts_with(V1_ALPHA)
    }

    pub(super) async fn answer(self, request: Request<Body>) -> Response<Body> {
        let service = if request.uri().path().starts_with(V1) { self.v1 } else { self.v1_alpha };
        match service.oneshot(request).await {
            Ok(response) => response,
            Err(never) => match never {},
        }
    }
}
