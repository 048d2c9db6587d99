//! What the fuzz targets in `fuzz/` run of all that people write and are shown: configuration files of the services, values in
//! them and on the command line, answers. The test suite runs it too, on the same seeds.

use std::fmt::{Debug, Display};
use std::path::Path;
use std::str::FromStr;

use davit_svc_kit::config::{self, ByteSize, ConfigError, CpuMillis, HumanDuration, Labels};
use manager_svc::config as manager;
use scheduler_svc::config as scheduler;
use worker_svc::config as worker;

use crate::args;
use crate::commands::spec::fuzzing::option_value;
use crate::output;

/// A configuration file: a letter that says whose (`m`, `s` or `w`), then its text. Says whether a service would start with it.
///
/// # Panics
/// When it is refused without a place in the file or a key.
pub fn settings(text: &str) -> bool {
    let Some((whose, text)) = text.split_at_checked(1) else { return false };
    let path = Path::new("davit.toml");
    let outcome = match whose {
        "m" => config::parse(path, text).and_then(manager::Config::from_settings).map(drop),
        "s" => config::parse(path, text).and_then(scheduler::Config::from_settings).map(drop),
        "w" => config::parse(path, text).and_then(|settings: worker::Settings| {
            // Not what this machine is called, nor from where it would reach a manager.
            let (name, address) = (Some("node".to_owned()), Some("10.0.0.1".to_owned()));
            let settings =
                worker::Settings { name: settings.name.or(name), address: settings.address.or(address), ..settings };
            settings.resolve(None).map(drop)
        }),
        _ => return false,
    };
    match &outcome {
        Ok(()) => {}
        Err(ConfigError::File { line, column, problem, .. }) => {
            assert!(*line > 0 && *column > 0 && !problem.is_empty(), "{outcome:?}");
            assert!(*line <= text.split('\n').count(), "{outcome:?} is not a line of the file");
        }
        Err(ConfigError::Invalid { key, problem, .. }) => {
            assert!(!key.is_empty() && !problem.is_empty(), "{outcome:?}");
        }
        Err(ConfigError::Read { .. }) => panic!("no file is read: {outcome:?}"),
    }
    outcome.is_ok()
}

/// A value, as every kind that there is. Gives as how many it is accepted.
///
/// # Panics
/// When one that is printed as it was read is read as another one.
pub fn argument(text: &str) -> usize {
    let settings = [
        survives::<HumanDuration>(text),
        survives::<ByteSize>(text),
        survives::<CpuMillis>(text),
        survives::<Labels>(text),
        survives::<worker::GivenPorts>(text),
    ];
    let amounts = [args::bytes(text), args::cpus(text)];
    assert!(amounts.iter().flatten().all(|amount| *amount > 0), "{text:?} is nothing at all");
    let time = args::duration(text);
    assert!(time.as_ref().map_or(true, |time| time.seconds >= 0 && time.nanos >= 0), "{text:?} is negative");
    let read =
        amounts.iter().flatten().count() + usize::from(time.is_ok()) + usize::from(args::key_value(text).is_ok());
    let since = args::since(text).map(|since| since.as_of(jiff::Timestamp::MAX));
    assert!(since.as_ref().map_or(true, |since| *since >= jiff::Timestamp::UNIX_EPOCH), "{text:?} is before 1970");
    let read = read + usize::from(since.is_ok());
    settings.into_iter().filter(|accepted| *accepted).count() + read + option_value(text)
}

/// What a manager answers: a byte that says of what kind, then its bytes. Says whether it is a message of that kind.
///
/// # Panics
/// When something that a terminal would obey is shown to a person, or JSON and YAML don't say the same.
pub fn answer(bytes: &[u8]) -> bool {
    output::fuzzing::answer(bytes)
}

fn survives<T: FromStr<Err: Display> + Display + PartialEq + Debug>(text: &str) -> bool {
    match text.parse::<T>() {
        Ok(value) => {
            let again = value.to_string().parse::<T>().map_err(|problem| problem.to_string());
            assert_eq!(again.as_ref(), Ok(&value), "{text:?} is printed as {:?}", value.to_string());
            true
        }
        Err(problem) => {
            assert!(!problem.to_string().is_empty(), "{text:?} is refused without a word");
            false
        }
    }
}

#[cfg(test)]
mod tests {
    use davit_proto::fuzzing::corpus::{for_each_mutation, seeds, write_seed};

    use super::*;

    #[test]
    fn every_seed_of_settings_is_accepted_and_no_mutation_breaks_a_promise() {
        let seeds = seeds("settings");
        for seed in &seeds {
            assert!(settings(&String::from_utf8_lossy(seed)), "{}", String::from_utf8_lossy(seed));
        }
        for_each_mutation(&seeds, 1000, |bytes| {
            settings(&String::from_utf8_lossy(bytes));
        });
    }

    #[test]
    fn every_seed_of_arguments_is_accepted_and_no_mutation_breaks_a_promise() {
        let seeds = seeds("argument");
        for seed in &seeds {
            assert!(argument(&String::from_utf8_lossy(seed)) > 0, "{}", String::from_utf8_lossy(seed));
        }
        for_each_mutation(&seeds, 400, |bytes| {
            argument(&String::from_utf8_lossy(bytes));
        });
    }

    #[test]
    #[ignore = "writes fuzz/corpus/settings and argument; after a change of the settings"]
    fn the_seeds_are_written() {
        let manager = "mlisten = \"127.0.0.1:7400\"\nhttp-listen = \"127.0.0.1:7401\"\nscheduler = \"http://a:7410,http://b:7410\"\n\
                       cluster = \"prod\"\nalgorithm = \"binpack\"\ndata-dir = \"/var/lib/davit\"\nstore = \"fjall\"\n\
                       heartbeat-period = \"1s\"\nlease-duration = \"10s\"\nkept-events = 1000\nlog-format = \"json\"\n\
                       log = \"info,h2=warn\"\n";
        let scheduler =
            "slisten = \"127.0.0.1:7410\"\nrecord = \"/tmp/record\"\nrecord-max-bytes = \"2MiB\"\nlog = \"info\"\n";
        let worker = "wmanager = \"http://10.0.0.1:7400\"\nname = \"node-1\"\naddress = \"10.0.0.2\"\ncpus = 1.5\nmemory = \"1GiB\"\n\
                      reserve-memory = \"64MiB\"\nport-range = \"20000-20009\"\nretention = \"1h\"\n[labels]\nzone = \"a\"\n";
        for (name, text) in [("manager", manager), ("scheduler", scheduler), ("worker", worker)] {
            write_seed("settings", name, text.as_bytes());
        }
        let arguments = [
            ("duration", "1m 30s"),
            ("duration-nanos", "1.000000001s"),
            ("since", "2026-01-02T03:04:05.000000006+01:00"),
            ("bytes", "1.5GiB"),
            ("bytes-docker", "512m"),
            ("cpus", "0.5"),
            ("cpus-millis", "1500m"),
            ("labels", "zone=a,disk=ssd"),
            ("ports", "20000-31999"),
            ("port", "8080:80/udp"),
            ("mount", "/srv/data:/data:ro"),
            ("restart", "on-failure:3"),
            ("on-node-loss", "wait:30s"),
            ("health-http", "8080/health?full=1"),
            ("health-grpc", "50051/my.Service"),
            ("prefer", "80:disk == ssd"),
            ("spread", "zone=80"),
            ("priority", "-1000"),
        ];
        for (name, text) in arguments {
            write_seed("argument", name, text.as_bytes());
        }
    }
}
