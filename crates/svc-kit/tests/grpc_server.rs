//! A real server on a free port: what every Davit service promises without writing a line for it.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "helpers of tests fail the test")]

use std::convert::Infallible;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use davit_svc_kit::client;
use davit_svc_kit::grpc::server::ServeError;
use davit_svc_kit::grpc::{GrpcServer, Limits};
use davit_svc_kit::readiness::Readiness;
use davit_svc_kit::shutdown::Shutdown;
use http_body_util::BodyExt as _;
use tokio::net::TcpListener;
use tokio::task::{JoinHandle, JoinSet};
use tokio_stream::StreamExt;
use tonic::body::Body;
use tonic::server::NamedService;
use tonic::transport::Channel;
use tonic::{Code, Request, Status};
use tonic_health::pb::HealthCheckRequest;
use tonic_health::pb::health_check_response::ServingStatus;
use tonic_health::pb::health_client::HealthClient;
use tonic_reflection::pb::v1::ServerReflectionRequest;
use tonic_reflection::pb::v1::server_reflection_client::ServerReflectionClient;
use tonic_reflection::pb::v1::server_reflection_request::MessageRequest;
use tonic_reflection::pb::v1::server_reflection_response::MessageResponse;
use tonic_types::StatusExt;

/// Long enough for any machine; only a hang reaches it.
const HANG: Duration = Duration::from_secs(60);

/// A service that reads its request and never answers. It counts the requests that it has read.
#[derive(Clone, Default)]
struct Never(Arc<AtomicUsize>);

impl NamedService for Never {
    const NAME: &'static str = "test.Never";
}

impl tower::Service<http::Request<Body>> for Never {
    type Response = http::Response<Body>;
    type Error = Infallible;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, Infallible>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: http::Request<Body>) -> Self::Future {
        let count = Arc::clone(&self.0);
        Box::pin(async move {
            // As every handler: the whole request first.
            match request.into_body().collect().await {
                Ok(_) => {
                    count.fetch_add(1, Ordering::SeqCst);
                    std::future::pending().await
                }
                Err(status) => Ok(status.into_http()),
            }
        })
    }
}

struct Running {
    address: String,
    channel: Channel,
    readiness: Readiness,
    shutdown: Shutdown,
    never: Never,
    server: JoinHandle<Result<(), ServeError>>,
}

impl Running {
    async fn start(drain_deadline: Duration) -> Self {
        Self::start_with(drain_deadline, Limits::default()).await
    }

    async fn start_with(drain_deadline: Duration, limits: Limits) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap().to_string();
        let (readiness, shutdown, never) = (Readiness::new(), Shutdown::new(), Never::default());
        let server = GrpcServer::builder()
            .service(never.clone())
            .readiness(readiness.clone())
            .drain_deadline(drain_deadline)
            .limits(limits);
        let server = tokio::spawn(server.serve(listener, shutdown.clone()));
        let channel = client::endpoint(&address).unwrap().connect().await.unwrap();
        Self { address, channel, readiness, shutdown, never, server }
    }

    fn health(&self) -> HealthClient<Channel> {
        HealthClient::new(self.channel.clone())
    }

    async fn stops(self) {
        self.shutdown.trigger();
        tokio::time::timeout(HANG, self.server).await.expect("the server hangs").unwrap().unwrap();
    }
}

fn overall() -> HealthCheckRequest {
    HealthCheckRequest { service: String::new() }
}

fn reason(status: &Status) -> String {
    status.get_error_details().error_info().expect("no ErrorInfo").reason.clone()
}

#[tokio::test]
async fn health_follows_readiness_and_watches_do_not_hold_up_the_stop() {
    let running = Running::start(HANG * 10).await;
    let mut health = running.health();
    let first = health.check(overall()).await.unwrap().into_inner();
    assert_eq!(first.status(), ServingStatus::NotServing);

    let mut watch = health.watch(overall()).await.unwrap().into_inner();
    assert_eq!(watch.next().await.unwrap().unwrap().status(), ServingStatus::NotServing);
    running.readiness.set_ready();
    assert_eq!(watch.next().await.unwrap().unwrap().status(), ServingStatus::Serving);
    running.readiness.set_not_ready("the store can't be written");
    assert_eq!(watch.next().await.unwrap().unwrap().status(), ServingStatus::NotServing);

    let readiness = running.readiness.clone();
    running.stops().await;
    assert!(!readiness.is_ready());
}

#[tokio::test]
async fn a_stream_that_never_ends_is_cut_after_the_deadline() {
    let running = Running::start(Duration::from_millis(50)).await;
    let (requests, stream) = tokio::sync::mpsc::channel(1);
    let mut reflection = ServerReflectionClient::new(running.channel.clone());
    let open = tokio_stream::wrappers::ReceiverStream::new(stream);
    let mut answers = reflection.server_reflection_info(open).await.unwrap().into_inner();

    let list = MessageRequest::ListServices(String::new());
    requests.send(ServerReflectionRequest { host: String::new(), message_request: Some(list) }).await.unwrap();
    let Some(MessageResponse::ListServicesResponse(listed)) = answers.next().await.unwrap().unwrap().message_response
    else {
        panic!("no list of services")
    };
    let names: Vec<_> = listed.service.into_iter().map(|service| service.name).collect();
    for name in
        ["grpc.health.v1.Health", "grpc.reflection.v1.ServerReflection", "grpc.reflection.v1alpha.ServerReflection"]
    {
        assert!(names.iter().any(|listed| listed == name), "{name} is not in {names:?}");
    }

    running.stops().await;
    let end = tokio::time::timeout(HANG, answers.next()).await.expect("the connection was not cut");
    assert!(!matches!(end, Some(Ok(_))), "{end:?}");
    drop(requests);
}

#[tokio::test]
async fn the_error_types_can_be_looked_up() {
    let running = Running::start(HANG).await;
    let mut reflection = ServerReflectionClient::new(running.channel.clone());
    let symbol = MessageRequest::FileContainingSymbol("google.rpc.ErrorInfo".to_owned());
    let ask = ServerReflectionRequest { host: String::new(), message_request: Some(symbol) };
    let mut answers = reflection.server_reflection_info(tokio_stream::once(ask)).await.unwrap().into_inner();
    let answer = answers.next().await.unwrap().unwrap().message_response;
    assert!(matches!(answer, Some(MessageResponse::FileDescriptorResponse(_))), "{answer:?}");
}

#[tokio::test]
async fn an_unknown_method_is_named() {
    let running = Running::start(HANG).await;
    let mut client = tonic::client::Grpc::new(running.channel.clone());
    client.ready().await.unwrap();
    let codec = tonic_prost::ProstCodec::<HealthCheckRequest, HealthCheckRequest>::default();
    let path = http::uri::PathAndQuery::from_static("/no.such.Service/Method");
    let status = client.unary(Request::new(overall()), path, codec).await.unwrap_err();
    assert_eq!(status.code(), Code::Unimplemented);
    assert_eq!(reason(&status), "UNKNOWN_METHOD");
    assert!(status.message().contains("/no.such.Service/Method"), "{status:?}");
}

#[tokio::test]
async fn a_message_that_is_too_large_is_answered_each_time() {
    let running = Running::start(HANG).await;
    let mut health = running.health();
    for megabytes in [5, 12, 5, 5, 12, 5] {
        let request = HealthCheckRequest { service: "x".repeat(megabytes << 20) };
        let status = health.check(request).await.unwrap_err();
        assert_eq!(status.code(), Code::ResourceExhausted, "{status:?}");
        assert_eq!(reason(&status), "MESSAGE_TOO_LARGE");
    }
}

#[tokio::test]
async fn an_unreadable_message_is_the_callers_mistake() {
    let running = Running::start(HANG).await;
    let mut client = tonic::client::Grpc::new(running.channel.clone());
    client.ready().await.unwrap();
    // Field 1 of the health request is text; a number in its place is unreadable.
    let codec = tonic_prost::ProstCodec::<tonic_types::pb::Status, HealthCheckRequest>::default();
    let path = http::uri::PathAndQuery::from_static("/grpc.health.v1.Health/Check");
    let bad = tonic_types::pb::Status { code: 1, message: String::new(), details: Vec::new() };
    let status = client.unary(Request::new(bad), path, codec).await.unwrap_err();
    assert_eq!(status.code(), Code::InvalidArgument, "{status:?}");
    assert_eq!(reason(&status), "MALFORMED_MESSAGE");
}

#[tokio::test]
async fn a_service_that_is_not_there_is_not_found_with_a_reason() {
    let running = Running::start(HANG).await;
    let status = running.health().check(HealthCheckRequest { service: "x".to_owned() }).await.unwrap_err();
    assert_eq!((status.code(), reason(&status).as_str()), (Code::NotFound, "NOT_FOUND"));
}

#[tokio::test]
async fn a_deadline_that_passes_is_called_so() {
    let running = Running::start(HANG).await;
    let mut client = tonic::client::Grpc::new(running.channel.clone());
    client.ready().await.unwrap();
    let codec = tonic_prost::ProstCodec::<HealthCheckRequest, HealthCheckRequest>::default();
    let path = http::uri::PathAndQuery::from_static("/test.Never/Wait");
    let mut request = Request::new(overall());
    // The client has a timer of its own by this, which is a little later than the server's.
    request.metadata_mut().insert("grpc-timeout", "500m".parse().unwrap());
    let status = client.unary(request, path, codec).await.unwrap_err();
    assert_eq!(status.code(), Code::DeadlineExceeded, "{status:?}");
    assert_eq!(reason(&status), "DEADLINE_EXCEEDED");
}

#[tokio::test]
async fn health_is_told_by_service_name() {
    let running = Running::start(HANG).await;
    running.readiness.set_ready();
    let request = HealthCheckRequest { service: Never::NAME.to_owned() };
    let mut watch = running.health().watch(request).await.unwrap().into_inner();
    while watch.next().await.unwrap().unwrap().status() != ServingStatus::Serving {}
}

#[tokio::test]
async fn calls_are_counted_by_method_and_code_and_made_up_methods_share_a_name() {
    let metrics = davit_svc_kit::http::install_metrics().unwrap();
    let running = Running::start(HANG).await;
    running.health().check(overall()).await.unwrap();
    running.health().check(HealthCheckRequest { service: "x".to_owned() }).await.unwrap_err();
    let mut watch = running.health().watch(overall()).await.unwrap().into_inner();
    watch.next().await.unwrap().unwrap();
    drop(watch);
    let mut client = tonic::client::Grpc::new(running.channel.clone());
    client.ready().await.unwrap();
    let codec = tonic_prost::ProstCodec::<HealthCheckRequest, HealthCheckRequest>::default();
    let path = http::uri::PathAndQuery::from_static("/grpc.health.v1.Health/MadeUp");
    client.unary(Request::new(overall()), path, codec).await.unwrap_err();
    // A call may reach its caller a little before it is counted.
    let counted = async {
        for (method, code) in [
            ("grpc.health.v1.Health/Check", "OK"),
            ("grpc.health.v1.Health/Check", "NOT_FOUND"),
            ("grpc.health.v1.Health/Watch", "CANCELLED"),
            ("unknown", "UNIMPLEMENTED"),
        ] {
            let line = format!("davit_grpc_requests_total{{method=\"{method}\",code=\"{code}\"}}");
            while !metrics.render().contains(&line) {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        }
    };
    tokio::time::timeout(HANG, counted).await.unwrap_or_else(|_| panic!("{}", metrics.render()));
    let text = metrics.render();
    assert!(text.contains("davit_grpc_request_seconds_count{method=\"grpc.health.v1.Health/Check\"}"), "{text}");
    assert!(!text.contains("MadeUp"), "{text}");
}

/// A call of the service that never answers.
async fn wait_for_never(channel: Channel, text: String) -> Status {
    let mut client = tonic::client::Grpc::new(channel);
    client.ready().await.unwrap();
    let codec = tonic_prost::ProstCodec::<HealthCheckRequest, HealthCheckRequest>::default();
    let path = http::uri::PathAndQuery::from_static("/test.Never/Wait");
    client.unary(Request::new(HealthCheckRequest { service: text }), path, codec).await.unwrap_err()
}

/// Waits until a call of the service that never answers finds a place there.
async fn there_is_room(running: &Running, bytes: usize) {
    let room = async {
        loop {
            let call = wait_for_never(running.channel.clone(), "x".repeat(bytes));
            if tokio::time::timeout(Duration::from_millis(300), call).await.is_err() {
                return;
            }
        }
    };
    tokio::time::timeout(HANG, room).await.expect("there is no room");
}

#[tokio::test]
async fn calls_beyond_the_limit_are_refused_with_a_time_to_come_back_and_health_still_answers() {
    let running = Running::start_with(HANG, Limits { calls: 2, ..Limits::default() }).await;
    let mut calls = JoinSet::new();
    for _ in 0..3 {
        calls.spawn(wait_for_never(running.channel.clone(), String::new()));
    }
    let status = tokio::time::timeout(HANG, calls.join_next()).await.expect("nothing is refused").unwrap().unwrap();
    assert_eq!((status.code(), reason(&status).as_str()), (Code::ResourceExhausted, "TOO_MANY_CALLS"));
    assert!(status.get_details_retry_info().unwrap().retry_delay.is_some());
    running.health().check(overall()).await.unwrap();
    // Callers that go make room.
    calls.shutdown().await;
    there_is_room(&running, 0).await;
}

#[tokio::test]
async fn what_one_connection_asks_beyond_its_share_waits_and_others_are_not_held_up() {
    /// So many calls of one connection are worked on at once.
    const SHARE: usize = 256;
    let running = Running::start(HANG).await;
    let mut calls = JoinSet::new();
    for _ in 0..SHARE + 20 {
        calls.spawn(wait_for_never(running.channel.clone(), String::new()));
    }
    let full = async {
        while running.never.0.load(Ordering::SeqCst) < SHARE {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(HANG, full).await.expect("it has less than its share");
    let mut health = running.health();
    let waiting = tokio::spawn(async move { health.check(overall()).await.map(drop) });
    let other = client::endpoint(&running.address).unwrap().connect().await.unwrap();
    for _ in 0..20 {
        HealthClient::new(other.clone()).check(overall()).await.unwrap();
    }
    assert_eq!(running.never.0.load(Ordering::SeqCst), SHARE, "it has more than its share");
    assert!(!waiting.is_finished() && calls.try_join_next().is_none(), "what waits is not refused");
    calls.shutdown().await;
    tokio::time::timeout(HANG, waiting).await.expect("it waits for ever").unwrap().unwrap();
}

#[tokio::test]
async fn streams_beyond_the_limit_are_refused_with_a_time_to_come_back() {
    let running = Running::start_with(HANG, Limits { streams: 1, ..Limits::default() }).await;
    let open = || async {
        let (requests, stream) = tokio::sync::mpsc::channel::<ServerReflectionRequest>(1);
        let open = tokio_stream::wrappers::ReceiverStream::new(stream);
        let answers = ServerReflectionClient::new(running.channel.clone()).server_reflection_info(open).await;
        (requests, answers)
    };
    let (_requests, answers) = open().await;
    let _answers = answers.unwrap();
    let status = open().await.1.unwrap_err();
    assert_eq!((status.code(), reason(&status).as_str()), (Code::ResourceExhausted, "TOO_MANY_STREAMS"));
    assert!(status.get_details_retry_info().unwrap().retry_delay.is_some());
}

#[tokio::test]
async fn connections_beyond_the_limit_are_closed_at_once() {
    let running = Running::start_with(HANG, Limits { connections: 1, ..Limits::default() }).await;
    running.health().check(overall()).await.unwrap();
    let second = client::endpoint(&running.address).unwrap().connect_lazy();
    let status = HealthClient::new(second).check(overall()).await.unwrap_err();
    assert!(status.get_details_error_info().is_none(), "{status:?} is no answer of the server");
    running.health().check(overall()).await.unwrap();
}

#[tokio::test]
async fn requests_beyond_the_bytes_that_may_be_held_are_refused_until_others_are_done() {
    let running = Running::start_with(HANG, Limits { request_bytes: 3 << 20, ..Limits::default() }).await;
    let mut calls = JoinSet::new();
    for _ in 0..2 {
        calls.spawn(wait_for_never(running.channel.clone(), "x".repeat(2 << 20)));
    }
    let status = tokio::time::timeout(HANG, calls.join_next()).await.expect("nothing is refused").unwrap().unwrap();
    assert_eq!((status.code(), reason(&status).as_str()), (Code::ResourceExhausted, "TOO_MANY_REQUEST_BYTES"));
    assert!(status.get_details_retry_info().unwrap().retry_delay.is_some());
    calls.shutdown().await;
    there_is_room(&running, 2 << 20).await;
}
