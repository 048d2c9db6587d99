//! Davit's protobuf messages and services, and their conversion to and from domain types.
//!
//! Generated types are used at the edge only: [`convert`] turns requests into domain types and reports every violation with
//! its field path, and turns domain types into responses. Nothing behind the edge sees a protobuf message.

mod codec;
pub mod convert;
#[cfg(any(test, feature = "fuzzing"))]
pub mod fuzzing;
mod redacted;

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

/// The largest message to or from a scheduler, in bytes. Tasks to place are counted in groups of like ones, so a million of them
/// are some kilobytes; what is large is 10,000 nodes with the tasks of each that may be stopped, up to 120 MB. No larger, as
/// whoever says that so much follows has the receiver set it aside.
pub const MAX_SCHEDULER_MESSAGE_BYTES: usize = 128 << 20;

/// The package's name, as clients see it.
pub const PACKAGE: &str = "davit.v1";
