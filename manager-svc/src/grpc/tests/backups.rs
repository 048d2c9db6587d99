//! Backups, and readers that read nothing.

use davit_proto::v1;
use davit_proto::v1::cluster_service_server::ClusterService as _;
use davit_proto::v1::config_service_server::ConfigService as _;
use futures::StreamExt as _;
use tonic::{Code, Request};

use super::{Rig, reason};
use crate::grpc::{ClusterApi, ConfigApi};

#[tokio::test]
async fn a_reader_that_takes_nothing_gives_up_its_place_and_the_version_that_was_kept_for_it() {
    let rig = Rig::new().await;
    let configs = ConfigApi::new(rig.api.clone());
    for name in ["a", "b", "c", "d"] {
        let (kind, content) = (v1::ConfigKind::Config.into(), format!("{name}{}", "x".repeat(400_000)).into_bytes());
        let request = v1::CreateConfigRequest { name: name.to_owned(), kind, content, ..Default::default() };
        configs.create_config(Request::new(request)).await.unwrap();
    }
    let cluster = ClusterApi::new(rig.api.clone());
    let begin = || cluster.backup_cluster(Request::new(v1::BackupClusterRequest::default()));
    let mut slow = [begin().await.unwrap().into_inner(), begin().await.unwrap().into_inner()];
    assert!(slow[0].next().await.unwrap().is_ok());
    let refused = begin().await.err().unwrap();
    assert_eq!((refused.code(), reason(&refused).as_str()), (Code::ResourceExhausted, "TOO_MANY_BACKUPS"));

    tokio::time::pause();
    tokio::time::sleep(std::time::Duration::from_secs(61)).await;
    tokio::time::resume();
    let whole: Vec<_> = begin().await.unwrap().into_inner().collect().await;
    assert!(whole.len() > 3 && whole.iter().all(Result::is_ok));
    for slow in &mut slow {
        let last = slow.collect::<Vec<_>>().await.pop().unwrap().unwrap_err();
        assert_eq!((last.code(), reason(&last).as_str()), (Code::DeadlineExceeded, "BACKUP_TOO_SLOW"));
    }
}
