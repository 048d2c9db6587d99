//! The gRPC side of a service: errors to status, and the server around the handlers.

mod call_metrics;
mod cut_off;
mod error_layer;
mod explain;
mod request_body;
pub mod server;
pub mod status;

pub use error_layer::{ErrorInfoLayer, ErrorInfoService};
pub use server::{GrpcServer, MAX_REQUEST_BYTES};
pub use status::{ApiError, ErrorKind};
