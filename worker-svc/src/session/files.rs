//! Gets what files of attempts hold from the manager.

use davit_core::file::FileContent;
use davit_core::id::NodeId;
use davit_proto::convert::attempt_ref_to_proto;
use davit_proto::v1;
use davit_proto::v1::worker_session_service_client::WorkerSessionServiceClient;
use tonic::Code;
use tonic::transport::Channel;

use crate::agent::FileRequest;
use crate::runtime::Error;

/// Asks, and passes the answer on.
pub(super) async fn fetch(mut client: WorkerSessionServiceClient<Channel>, node_id: NodeId, request: FileRequest) {
    let FileRequest { key, digest, mut answer } = request;
    let attempt = Some(attempt_ref_to_proto(key));
    let asked = v1::FetchFileRequest { node_id: node_id.to_string(), attempt, digest: digest.to_string() };
    let answered = tokio::select! {
        answered = client.fetch_file(asked) => answered,
        // Nobody waits for it any more.
        () = answer.closed() => return,
    };
    let action = "get configs and secrets";
    let content = match answered {
        Ok(response) => {
            let content = FileContent::new(response.into_inner().content);
            let is_it = content.digest() == digest;
            let reason = || format!("what the manager sent is not {digest}");
            if is_it { Ok(content) } else { Err(Error::Unanswered { action, reason: reason() }) }
        }
        Err(status) if status.code() == Code::NotFound => {
            Err(Error::Rejected { action, message: status.message().to_owned() })
        }
        Err(status) => Err(Error::Unanswered { action, reason: status.message().to_owned() }),
    };
    // Nobody to tell is no problem.
    let _ = answer.send(content);
}
