//! A call of `grpc.health.v1.Health/Check`.

use std::net::SocketAddr;

use tonic::transport::Endpoint;
use tonic_health::pb::HealthCheckRequest;
use tonic_health::pb::health_check_response::ServingStatus;
use tonic_health::pb::health_client::HealthClient;

use super::OutputEnd;

pub(super) async fn check(at: SocketAddr, service: &str) -> Result<(), String> {
    let unreachable = |error: tonic::transport::Error| {
        // tonic says only "transport error"; the cause is in its sources.
        let mut cause: &dyn std::error::Error = &error;
        while let Some(source) = cause.source() {
            cause = source;
        }
        format!("can't connect to {at}: {cause}")
    };
    let endpoint = Endpoint::from_shared(format!("http://{at}")).map_err(unreachable)?;
    let mut client = HealthClient::new(endpoint.connect().await.map_err(unreachable)?);
    let request = HealthCheckRequest { service: service.to_owned() };
    match client.check(request).await {
        Ok(answer) => match answer.into_inner().status() {
            ServingStatus::Serving => Ok(()),
            status => Err(format!("answered {}", status.as_str_name())),
        },
        Err(status) => {
            let code = format!("{:?}", status.code());
            // `NotFound` as it is written in the protocol: `NOT_FOUND`.
            let code = code.char_indices().fold(String::new(), |mut code, (at, letter)| {
                if at > 0 && letter.is_ascii_uppercase() {
                    code.push('_');
                }
                code.push(letter.to_ascii_uppercase());
                code
            });
            let mut message = OutputEnd::default();
            message.push(status.message().as_bytes());
            Err(match message.line().as_str() {
                "" => format!("answered {code}"),
                line => format!("answered {code}: {line}"),
            })
        }
    }
}
