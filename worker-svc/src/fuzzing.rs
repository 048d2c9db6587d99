//! What the fuzz targets in `fuzz/` run of the worker. The bodies live beside the code that they try, so that the test suite
//! runs them too, on the same seeds.

use crate::local_store;
pub use crate::session::fuzzing::message;
use crate::{grpc, lease, runtime};

/// Something that is on disk, or comes through a supervisor's socket: a byte that says what, then its bytes.
///
/// # Panics
/// When what was read is not the same after it was written and read again.
pub fn record(bytes: &[u8]) {
    accepts(bytes);
}

/// What a Docker engine answers: a byte that says of what kind, then its bytes.
///
/// # Panics
/// When a run ends before it starts, more of an image has come than there is, or a line of a log is another one than was written.
pub fn engine_answer(bytes: &[u8]) {
    runtime::docker::fuzzing::answer(bytes);
}

/// As [`record`]. Says whether the bytes were accepted.
fn accepts(bytes: &[u8]) -> bool {
    let Some((kind, bytes)) = bytes.split_first() else { return false };
    match kind % 7 {
        0 => local_store::fuzzing::record(bytes),
        1 => local_store::fuzzing::key(bytes),
        2 => lease::fuzzing::line(bytes),
        3 => runtime::process::fuzzing::accepts(bytes),
        4 => grpc::fuzzing::page(bytes),
        5 => local_store::fuzzing::image(bytes),
        _ => local_store::fuzzing::image_key(bytes),
    }
}

#[cfg(test)]
mod tests {
    use davit_proto::fuzzing::corpus::{for_each_mutation, seeds, write_seed};
    use davit_proto::v1;
    use prost::Message as _;

    use super::*;

    #[test]
    fn every_seed_of_records_is_accepted_and_no_mutation_breaks_a_promise() {
        let seeds = seeds("worker_record");
        for seed in &seeds {
            assert!(accepts(seed), "{:?}", String::from_utf8_lossy(seed));
        }
        for_each_mutation(&seeds, 400, record);
    }

    #[test]
    #[ignore = "writes seeds of fuzz/corpus/worker_record; after a change of what is on disk"]
    fn the_seeds_are_written() {
        const ID: &str = "0193a5c0-1c1e-7d3a-9a53-0f5be2f0a111";
        let texts = [
            ("lease", vec![2], format!("{ID} 00000000000000012000\n")),
            (
                "process-spec",
                vec![3, 0],
                r#"{"version":1,"command":["sleep","1"],"env":[["A","b"]],"working_dir":"/w","stop_signal":"SIGINT",
                "stop_grace_millis":1500,"log_max_bytes":1000,"log_max_files":3,"lease":"/l"}"#
                    .to_owned(),
            ),
            (
                "process-start",
                vec![3, 1],
                r#"{"version":1,"boot_id":"b","supervisor":{"pid":7,"start_time":70},"leader":{"pid":8,"start_time":71},
                "started_at":"2026-01-02T03:04:05Z"}"#
                    .to_owned(),
            ),
            (
                "process-exit",
                vec![3, 2],
                r#"{"version":1,"exit_code":137,"error":"e","started_at":"2026-01-02T03:04:05Z",
                "finished_at":"2026-01-02T03:04:06.5Z"}"#
                    .to_owned(),
            ),
            ("process-reply", vec![3, 3], r#"{"failed":{"passing":true,"message":"m"}}"#.to_owned()),
            ("process-log", vec![3, 4], "2026-01-02T03:04:05.678Z stdout F text".to_owned()),
            ("process-stop", vec![3, 5], "stop SIGTERM 1500\n".to_owned()),
            ("process-beyond", vec![3, 5], "beyond 1 20\n".to_owned()),
            ("process-head", vec![3, 6], "1 20".to_owned()),
            ("process-name", vec![3, 7], format!("davit-{ID}-3")),
        ];
        for (name, kinds, text) in texts {
            write_seed("worker_record", name, &[kinds.as_slice(), text.as_bytes()].concat());
        }
        let page = v1::ListLocalTasksRequest { page_size: 5, page_token: format!("{ID}/3") };
        write_seed("worker_record", "page", &[&[4], page.encode_to_vec().as_slice()].concat());
    }
}
