//! The gRPC side of a service: errors to status, and the server around the handlers.

pub mod admission;
mod call_metrics;
mod cut_off;
mod deadline;
mod error_layer;
mod explain;
mod outgrown;
mod request_body;
pub mod server;
pub mod status;

pub use admission::Limits;
pub use deadline::Deadline;
pub use error_layer::{ErrorInfoLayer, ErrorInfoService};
pub use server::{GrpcServer, MAX_REQUEST_BYTES};
pub use status::{ApiError, ErrorKind, VIOLATIONS_LEFT_OUT};
