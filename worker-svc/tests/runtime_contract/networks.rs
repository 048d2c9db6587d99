//! Networks in which containers of a node find each other by name.

use std::collections::HashMap;
use std::sync::Arc;

use bollard::models::Network;
use bollard::query_parameters::ListNetworksOptionsBuilder;
use davit_core::spec::{
    ContainerNetwork, ContainerSpec, Mount, MountSource, Port, PortProtocol, Probe, RuntimeSpec, StopPolicy, TaskSpec,
};
use worker_svc::runtime::{AttemptSpec, ErrorKind, Owner};

use crate::docker::{Docker, container, engine, program};
use crate::harness::{Bench, check, new_key};

/// Serves its own words over HTTP until it is stopped.
const SERVER: &str =
    "mkdir -p /tmp/www; echo $WORDS > /tmp/www/index.html; echo ready; exec busybox httpd -f -p 80 -h /tmp/www";

fn in_network(network: &str, aliases: &[&str], mut spec: ContainerSpec) -> ContainerSpec {
    let aliases = aliases.iter().map(|&alias| alias.to_owned()).collect();
    spec.network = Some(ContainerNetwork { name: network.to_owned(), aliases });
    spec
}

fn server(aliases: &[&str], words: &str) -> TaskSpec {
    let script = SERVER.replace("mkdir", "busybox mkdir");
    let mut spec = in_network("shop", aliases, program(&["busybox", "sh", "-c", &script]));
    spec.env.insert("WORDS".to_owned(), words.to_owned());
    container(spec)
}

/// What a container of the network gets from an address; empty for nothing.
async fn fetched(bench: &Bench, network: &str, address: &str) -> String {
    let script = format!("busybox wget -q -O - http://{address}/ 2> /dev/null");
    let spec = in_network(network, &[], program(&["busybox", "sh", "-c", &script]));
    let (key, _) = bench.run(container(spec)).await;
    let output = bench.output(key).await;
    bench.runtime.remove(key).await.unwrap();
    output.trim().to_owned()
}

async fn networks_of(owner: &Owner) -> Vec<Network> {
    let filter = HashMap::from([("label".to_owned(), vec![format!("dev.davit.node={}", owner.node_id)])]);
    let options = ListNetworksOptionsBuilder::new().filters(&filter).build();
    engine().await.list_networks(Some(options)).await.unwrap()
}

#[tokio::test]
async fn containers_find_each_other_by_name_in_their_network_and_nowhere_else() {
    check(Docker::new().await, |bench| async move {
        bench.runtime.list().await.unwrap();
        let mut spec = server(&["web", "shop_web"], "hello");
        if let RuntimeSpec::Container(container) = &mut spec.runtime {
            container.hostname = "front".to_owned();
        }
        let (web, _) = bench.start(spec).await;
        bench.until_printed(web, "ready").await;
        assert_eq!(fetched(&bench, "shop", "front").await, "hello", "it is known as it calls itself");
        assert_eq!(fetched(&bench, "shop", "web").await, "hello");
        assert_eq!(fetched(&bench, "shop", "shop_web").await, "hello");
        assert_eq!(fetched(&bench, "other", "web").await, "", "another app's network is another network");
        let names: Vec<_> = networks_of(&bench.owner).await.into_iter().filter_map(|network| network.name).collect();
        assert_eq!(names, [format!("davit-{}-shop", bench.owner.node_id)], "the other one is gone with its container");
    })
    .await;
}

#[tokio::test]
async fn a_name_that_several_have_resolves_to_all_of_them_while_one_is_replaced() {
    check(Docker::new().await, |bench| async move {
        let addresses = |count| {
            let bench = Arc::clone(&bench);
            async move {
                let script = "busybox nslookup web 127.0.0.11";
                let spec = in_network("shop", &[], program(&["busybox", "sh", "-c", script]));
                let (key, _) = bench.run(container(spec)).await;
                let output = bench.output(key).await;
                let answer = output.split("Name:").skip(1).map(|part| part.matches("Address").count());
                assert_eq!(answer.sum::<usize>(), count, "{output}");
                bench.runtime.remove(key).await.unwrap();
            }
        };
        let (first, _) = bench.start(server(&["web"], "old")).await;
        let (second, _) = bench.start(server(&["web"], "old")).await;
        addresses(2).await;
        let (third, _) = bench.start(server(&["web"], "new")).await;
        bench.until_printed(third, "ready").await;
        for old in [first, second] {
            bench.runtime.stop(old, &StopPolicy::default(), None).await.unwrap();
        }
        addresses(1).await;
        assert_eq!(fetched(&bench, "shop", "web").await, "new");
    })
    .await;
}

#[tokio::test]
async fn one_network_is_made_however_many_come_at_once_and_it_goes_with_the_last() {
    check(Docker::new().await, |bench| async move {
        bench.runtime.list().await.unwrap();
        let specs = (0..8).map(|_| in_network("shop", &["many"], program(&["busybox", "sleep", "600"])));
        let created: Vec<_> = futures::future::join_all(specs.map(|spec| bench.create(container(spec)))).await;
        assert_eq!(networks_of(&bench.owner).await.len(), 1);
        for attempt in &created[1..] {
            bench.runtime.remove(attempt.key).await.unwrap();
        }
        assert_eq!(networks_of(&bench.owner).await.len(), 1, "one is still to be started in it");
        bench.runtime.start(created[0].key).await.unwrap();
        bench.runtime.remove(created[0].key).await.unwrap();
        assert_eq!(networks_of(&bench.owner).await.len(), 0);
    })
    .await;
}

#[tokio::test]
async fn of_a_container_that_the_engine_refuses_to_create_no_network_is_left() {
    check(Docker::new().await, |bench| async move {
        bench.runtime.list().await.unwrap();
        let mut spec = in_network("shop", &["web"], program(&["busybox", "sleep", "600"]));
        let source = MountSource::Bind("/nowhere/to/be/found".to_owned());
        spec.mounts.push(Mount { source, target: "/data".to_owned(), read_only: false });
        let attempt = AttemptSpec {
            key: new_key(),
            spec: Arc::new(container(spec)),
            ports: [].into(),
            env: Vec::new(),
            files: Vec::new(),
        };
        let refused = bench.runtime.create(&attempt).await;
        assert_eq!(refused.unwrap_err().kind(), ErrorKind::Permanent);
        assert_eq!(networks_of(&bench.owner).await.len(), 0);
    })
    .await;
}

#[tokio::test]
async fn a_network_that_somebody_removed_before_the_start_is_made_again() {
    check(Docker::new().await, |bench| async move {
        let spec = in_network("shop", &["web"], program(&["busybox", "sleep", "600"]));
        let attempt = bench.create(container(spec)).await;
        let network = networks_of(&bench.owner).await.remove(0);
        engine().await.remove_network(&network.id.unwrap()).await.unwrap();
        bench.runtime.start(attempt.key).await.unwrap();
        assert_eq!(networks_of(&bench.owner).await.len(), 1);
    })
    .await;
}

#[tokio::test]
async fn what_a_worker_left_behind_is_swept_by_the_next_and_what_is_in_use_stays() {
    check(Docker::new().await, |bench| async move {
        let used = bench.create(container(in_network("used", &[], program(&["busybox", "sleep", "600"])))).await;
        let left = bench.create(container(in_network("left", &[], program(&["busybox", "sleep", "600"])))).await;
        // By somebody else than the worker, which is gone.
        let name = left.key.container_name();
        engine()
            .await
            .remove_container(&name, None::<bollard::query_parameters::RemoveContainerOptions>)
            .await
            .unwrap();
        assert_eq!(networks_of(&bench.owner).await.len(), 2);
        let next = bench.kind_runtime();
        next.list().await.unwrap();
        let names: Vec<_> = networks_of(&bench.owner).await.into_iter().filter_map(|network| network.name).collect();
        assert_eq!(names, [format!("davit-{}-used", bench.owner.node_id)]);
        next.start(used.key).await.unwrap();
        next.remove(used.key).await.unwrap();
        assert_eq!(networks_of(&bench.owner).await.len(), 0);
    })
    .await;
}

#[tokio::test]
async fn ports_are_published_and_probes_reach_a_container_in_a_network() {
    check(Docker::new().await, |bench| async move {
        let mut spec = server(&["web"], "hello");
        if let RuntimeSpec::Container(container) = &mut spec.runtime {
            container.ports = vec![Port { container_port: 80, protocol: PortProtocol::Tcp, host_port: None }];
        }
        let (key, started) = bench.start(spec).await;
        let http = Probe::Http { port: 80, path: "/".to_owned(), headers: std::collections::BTreeMap::new() };
        bench.until_healthy(key, &http).await;
        let host_port = started.ports[0].host_port;
        tokio::net::TcpStream::connect(("127.0.0.1", host_port)).await.unwrap();
    })
    .await;
}
