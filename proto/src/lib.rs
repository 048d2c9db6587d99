//! Davit's protobuf messages and services, and their conversion to and from domain types.
//!
//! Generated types are used at the edge only: [`convert`] turns requests into domain types and reports every violation with
//! its field path, and turns domain types into responses. Nothing behind the edge sees a protobuf message.

pub mod convert;
#[cfg(any(test, feature = "fuzzing"))]
pub mod fuzzing;

/// Messages, clients and servers of package `davit.v1`; documented in the `.proto` files.
#[allow(missing_docs, unreachable_pub, clippy::all, clippy::disallowed_methods, unused_qualifications)]
pub mod v1 {
    tonic::include_proto!("davit.v1");
}

/// Records of a manager's store: package `davit.store.v1`, which is not part of the API. Documented in the `.proto` files.
#[allow(missing_docs, unreachable_pub, clippy::all, unused_qualifications)]
pub mod store_v1 {
    include!(concat!(env!("OUT_DIR"), "/store/davit.store.v1.rs"));
}

/// All messages and services of `davit.v1`, for server reflection.
pub const FILE_DESCRIPTOR_SET: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/davit.v1.bin"));

/// The package's name, as clients see it.
pub const PACKAGE: &str = "davit.v1";
