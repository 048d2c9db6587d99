//! What every Davit service needs around its core: configuration, telemetry, shutdown, clock, ids, back-off, the gRPC
//! server with health and reflection, the HTTP side port, the network, and the one table from kinds of error to gRPC codes.
//!
//! It knows nothing of the API: the services bring their own descriptors and handlers. Clocks and randomness are read
//! here and nowhere else, so that everything beyond can be replayed.

pub mod apart;
pub mod backoff;
pub mod bugs;
pub mod client;
pub mod clock;
pub mod config;
#[cfg(any(test, feature = "fuzzing"))]
pub mod fuzzing;
pub mod grpc;
pub mod http;
pub mod ids;
pub mod mark;
pub mod net;
pub mod program;
pub mod readiness;
mod ready_probe;
pub mod rng;
pub mod shutdown;
pub mod telemetry;
pub mod world;
