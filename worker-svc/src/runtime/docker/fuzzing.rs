//! What an engine answers, as far as it is ours to read: its JSON is read by its client.

use bollard::container::LogOutput;
use bollard::models::{ContainerInspectResponse, ContainerSummary, CreateImageInfo};
use jiff::Timestamp;
use serde::de::DeserializeOwned;

use super::labels::Labels;
use super::pull::PullTracker;
use super::{labels, logs, observe, survey};
use crate::runtime::InstanceState;

/// An answer: a byte that says of what kind, then its JSON, or what is in a frame of a log. Says whether it was understood.
///
/// # Panics
/// When a run ends before it starts, more of an image has come than there is, or a line of a log is another one than was written.
pub(crate) fn answer(bytes: &[u8]) -> bool {
    let Some((kind, bytes)) = bytes.split_first() else { return false };
    // An input's first byte says which: only ever append.
    match kind % 4 {
        0 => json(bytes).is_some_and(|inspected: ContainerInspectResponse| container(&inspected)),
        1 => json(bytes).is_some_and(|summary: ContainerSummary| listed(&summary)),
        2 => json(bytes).is_some_and(|messages: Vec<CreateImageInfo>| pull(&messages)),
        _ => log_frame(bytes),
    }
}

fn json<T: DeserializeOwned>(bytes: &[u8]) -> Option<T> {
    serde_json::from_slice(bytes).ok()
}

fn container(inspected: &ContainerInspectResponse) -> bool {
    if let InstanceState::Exited(exit) = observe::state(inspected, Timestamp::UNIX_EPOCH) {
        assert!(exit.started_at.is_none_or(|start| start <= exit.finished_at), "{exit:?} ends before it starts");
    }
    let given = inspected.config.as_ref().and_then(|config| config.labels.as_ref());
    given.is_some_and(|given| {
        labels::leased(given);
        Labels::of(given).key.is_some()
    })
}

fn listed(summary: &ContainerSummary) -> bool {
    let Some(sighting) = survey::sighting(summary) else { return false };
    assert!(sighting.key.is_some() || !sighting.is_instance, "{sighting:?} is the instance of nothing");
    sighting.key.is_some()
}

fn pull(messages: &[CreateImageInfo]) -> bool {
    let mut tracker = PullTracker::default();
    for message in messages {
        tracker.apply(message);
        let progress = tracker.progress();
        assert!(progress.downloaded_bytes <= progress.total_bytes, "{progress:?}");
        assert!(progress.layers_done <= progress.layers_total, "{progress:?}");
    }
    tracker.progress().layers_total > 0
}

fn log_frame(bytes: &[u8]) -> bool {
    let frame = LogOutput::StdOut { message: bytes.to_vec().into() };
    let Some(line) = logs::line(frame) else { return false };
    assert!(bytes.ends_with(&line.bytes), "{line:?} is not what was written");
    assert!(line.timestamp.is_some() || line.bytes == bytes, "a part of {line:?} is lost");
    line.timestamp.is_some()
}

#[cfg(test)]
mod tests {
    use davit_proto::fuzzing::corpus::{for_each_mutation, seeds, write_seed};

    use super::*;

    #[test]
    fn every_seed_of_answers_is_understood_and_no_mutation_breaks_a_promise() {
        let seeds = seeds("engine_answer");
        for seed in &seeds {
            assert!(answer(seed), "{:?}", String::from_utf8_lossy(seed));
        }
        for_each_mutation(&seeds, 400, |bytes| {
            answer(bytes);
        });
    }

    #[test]
    #[ignore = "writes fuzz/corpus/engine_answer; after a change of what is read"]
    fn the_seeds_are_written() {
        const LABELS: &str = r#"{"dev.davit.cluster":"c","dev.davit.cluster-id":"0193a5c0-1c1e-7d3a-9a53-0f5be2f0a001",
            "dev.davit.node":"0193a5c0-1c1e-7d3a-9a53-0f5be2f0a002","dev.davit.task":"0193a5c0-1c1e-7d3a-9a53-0f5be2f0a003",
            "dev.davit.attempt":"2","dev.davit.leased":"1500"}"#;
        let container = |state: &str| {
            format!(
                r#"{{"State":{{{state}}},"Config":{{"Labels":{LABELS}}},"NetworkSettings":{{"Ports":
                {{"80/tcp":[{{"HostIp":"0.0.0.0","HostPort":"49153"}}],"9/udp":null}}}}}}"#
            )
        };
        let running = container(r#""Status":"running","StartedAt":"2026-01-02T03:04:05.6Z""#);
        let exited = container(
            r#""Status":"exited","ExitCode":137,"OOMKilled":true,"Error":"e","StartedAt":"2026-01-02T03:04:05Z",
            "FinishedAt":"2026-01-02T03:04:06Z""#,
        );
        let listed = format!(
            r#"{{"Id":"a","Names":["/davit-0193a5c0-1c1e-7d3a-9a53-0f5be2f0a003-2"],"State":"running","Labels":{LABELS}}}"#
        );
        let layer = |id: &str, status: &str, current: i64| {
            format!(
                r#"{{"id":"{id}","status":"{status}","progressDetail":{{"current":{current},"total":9000000000000000000}}}}"#
            )
        };
        let large = ["a", "b", "c"].map(|id| layer(id, "Downloading", 5)).join(",");
        let pulled =
            ["Pulling fs layer", "Downloading", "Extracting", "Pull complete"].map(|status| layer("a", status, 7));
        let log = "2026-01-02T03:04:05.678Z two words\n".to_owned();
        for (kind, name, text) in [
            (0, "container-running", running),
            (0, "container-exited", exited),
            (1, "listed", listed),
            (2, "pull", format!("[{}]", pulled.join(","))),
            (2, "pull-of-more-bytes-than-can-be-counted", format!("[{large}]")),
            (3, "log", log),
        ] {
            write_seed("engine_answer", name, &[&[kind], text.as_bytes()].concat());
        }
    }
}
