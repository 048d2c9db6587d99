//! What the fuzz targets in `fuzz/` run of the manager. The bodies live beside the code that they try, so that the test suite
//! runs them too, on the same seeds.

pub use crate::grpc::fuzzing::{request, session};
pub use crate::placer::fuzzing::answer;
pub use crate::store::fuzzing::record;
