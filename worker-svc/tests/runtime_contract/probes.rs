//! Probes of real containers and processes.

use std::collections::BTreeMap;
use std::time::Duration;

use bollard::query_parameters::TopOptions;
use davit_core::spec::{Probe, ProcessSpec, RuntimeSpec, TaskSpec};
use worker_svc::runtime::Probed;

use crate::docker::{Docker, container, engine, program};
use crate::harness::{Script, Shows, check, exec, task};
use crate::process::Process;

fn http(port: u16, path: &str) -> Probe {
    Probe::Http { port, path: path.to_owned(), headers: BTreeMap::new() }
}

fn failing(problem: &str) -> Probed {
    Probed::Failing(problem.to_owned())
}

#[tokio::test]
async fn a_container_is_probed_at_its_own_address_without_a_published_port() {
    check(Docker::new().await, |bench| async move {
        let server = program(&["busybox", "httpd", "-f", "-p", "8080", "-h", "/etc"]);
        let (key, _) = bench.start(container(server)).await;
        bench.until_healthy(key, &Probe::Tcp { port: 8080 }).await;
        assert_eq!(bench.probe(key, &http(8080, "/no-such-file")).await, failing("answered 404"));
        let refused = bench.probe(key, &Probe::Tcp { port: 8081 }).await;
        assert!(matches!(&refused, Probed::Failing(problem) if problem.contains("refused")), "{refused:?}");
        // It is served from then on.
        let write = exec(&["busybox", "sh", "-c", "echo ok > /etc/health"]);
        assert_eq!(bench.probe(key, &write).await, Probed::Healthy);
        assert_eq!(bench.probe(key, &http(8080, "/health")).await, Probed::Healthy);
    })
    .await;
}

#[tokio::test]
async fn a_command_in_a_container_has_what_the_container_has_and_its_output_is_told() {
    check(Docker::new().await, |bench| async move {
        let mut spec = program(&["busybox", "sleep", "600"]);
        spec.env.insert("GREETING".to_owned(), "hello davit".to_owned());
        (spec.working_dir, spec.user) = ("/tmp".to_owned(), "1000".to_owned());
        let (key, _) = bench.start(container(spec)).await;
        let told = exec(&["busybox", "sh", "-c", "echo $GREETING; pwd; busybox id -u; exit 7"]);
        assert_eq!(bench.probe(key, &told).await, failing("returned 7: hello davit /tmp 1000"));
        // Its errors are of another stream, and come in no certain order with its output.
        let told = exec(&["busybox", "sh", "-c", "echo $GREETING >&2; exit 7"]);
        assert_eq!(bench.probe(key, &told).await, failing("returned 7: hello davit"));
        let Probed::Failing(missing) = bench.probe(key, &exec(&["no-such-program"])).await else { panic!() };
        assert!(missing.contains("no-such-program"), "{missing}");
        let long = exec(&["busybox", "sh", "-c", "busybox seq 100000; exit 1"]);
        let Probed::Failing(long) = bench.probe(key, &long).await else { panic!() };
        assert!(long.ends_with("99999 100000") && long.len() < 300, "{long}");
    })
    .await;
}

#[tokio::test]
async fn a_command_that_takes_too_long_is_ended_with_what_it_began() {
    check(Docker::new().await, |bench| async move {
        let (key, _) = bench.start(bench.kind.spec(Script::Run)).await;
        let hangs = exec(&["busybox", "sh", "-c", "echo begun; busybox sleep 599 & busybox sleep 599"]);
        let late = bench.runtime.probe(key, &hangs, Duration::from_millis(500)).await.unwrap();
        assert_eq!(late, failing("did not end within 0.5 s: begun"));
        let until_gone = async {
            loop {
                let top = engine().await.top_processes(&key.container_name(), None::<TopOptions>).await.unwrap();
                let processes = top.processes.unwrap_or_default();
                if !processes.iter().flatten().any(|column| column.contains("sleep 599")) {
                    return;
                }
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        };
        tokio::time::timeout(Duration::from_secs(20), until_gone).await.unwrap();
        assert_eq!(bench.probe(key, &Shows::Healthy.command()).await, Probed::Healthy);
    })
    .await;
}

fn process(command: &[&str]) -> ProcessSpec {
    ProcessSpec::new(command.iter().map(|&word| word.to_owned()).collect())
}

fn of(process: ProcessSpec) -> TaskSpec {
    task(RuntimeSpec::Process(process))
}

#[tokio::test]
async fn a_process_is_probed_at_this_machines_own_address() {
    check(Process::new(), |bench| async move {
        // Nobody else gets it in the moment between.
        let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let listens = format!("127.0.0.1:{port}");
        let (key, _) = bench.start(of(process(&["/bin/busybox", "httpd", "-f", "-p", &listens, "-h", "/"]))).await;
        bench.until_healthy(key, &Probe::Tcp { port }).await;
        assert_eq!(bench.probe(key, &http(port, "/etc/hostname")).await, Probed::Healthy);
        assert_eq!(bench.probe(key, &http(port, "/no/such")).await, failing("answered 404"));
    })
    .await;
}

#[tokio::test]
async fn a_command_beside_a_process_has_its_environment_and_directory_and_nothing_of_the_workers() {
    check(Process::new(), |bench| async move {
        let mut spec = process(&["/bin/busybox", "sleep", "600"]);
        spec.env.insert("GREETING".to_owned(), "hello davit".to_owned());
        spec.working_dir = "/usr/bin".to_owned();
        let (key, _) = bench.start(of(spec)).await;
        let script = "echo $GREETING; pwd; echo ${CARGO_MANIFEST_DIR:-none} $DAVIT_ATTEMPT >&2; exit 7";
        let Probed::Failing(told) = bench.probe(key, &exec(&["/bin/busybox", "sh", "-c", script])).await else {
            panic!()
        };
        let words: Vec<_> = told.split(' ').collect();
        // The two streams are read side by side.
        for word in ["hello", "/usr/bin", "none", key.to_string().as_str()] {
            assert!(words.contains(&word), "{word}: {told}");
        }
        let Probed::Failing(missing) = bench.probe(key, &exec(&["/no-such-program"])).await else { panic!() };
        assert!(missing.starts_with("can't be run"), "{missing}");
    })
    .await;
}

#[tokio::test]
async fn a_command_beside_a_process_that_takes_too_long_is_ended_with_what_it_began() {
    check(Process::new(), |bench| async move {
        let (key, _) = bench.start(bench.kind.spec(Script::Run)).await;
        let hangs = exec(&["/bin/busybox", "sh", "-c", "busybox sleep 600 & echo $!; wait"]);
        let late = bench.runtime.probe(key, &hangs, Duration::from_millis(500)).await.unwrap();
        let Probed::Failing(late) = late else { panic!("{late:?}") };
        let child = late.strip_prefix("did not end within 0.5 s: ").unwrap();
        while !crate::process::ended(child) {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    })
    .await;
}
