//! What build.rs generated, in modules nested as the packages are, which is how its parts refer to each other.

#![allow(
    missing_debug_implementations,
    unreachable_pub,
    clippy::all,
    clippy::pedantic,
    clippy::allow_attributes_without_reason,
    reason = "generated code"
)]

pub mod ensign {
    pub mod v1beta1 {
        tonic::include_proto!("ensign.v1beta1");
    }
}

pub mod mimetype {
    pub mod v1beta1 {
        tonic::include_proto!("mimetype.v1beta1");
    }
}

pub mod region {
    pub mod v1beta1 {
        tonic::include_proto!("region.v1beta1");
    }
}
