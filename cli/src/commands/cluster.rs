//! `davit cluster`: the cluster as a whole.

use davit_proto::v1;

use crate::client::{Manager, call, no_content};
use crate::error::Error;
use crate::output::{self, Output};

pub(super) async fn run(manager: &Manager, output: &Output) -> Result<(), Error> {
    let answer = manager.repeat(async || manager.cluster().get_cluster(call(v1::GetClusterRequest {})).await).await?;
    let cluster = answer.cluster.ok_or_else(|| no_content("cluster"))?;
    output.object(&cluster, |palette| output::cluster(&cluster, palette))
}
