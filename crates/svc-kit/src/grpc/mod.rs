//! The gRPC side of a service: errors to status, and the server around the handlers.

pub mod status;
