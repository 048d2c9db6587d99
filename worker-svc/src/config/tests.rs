use davit_svc_kit::config::CpuMillis;

use super::*;

fn named() -> Settings {
    Settings { name: Some("node-1".to_owned()), ..Settings::default() }
}

#[test]
fn what_is_wrong_is_told_with_its_key() {
    let cases = [
        ("manager", Settings { manager: Some("nowhere".to_owned()), ..named() }),
        ("name", Settings { name: Some("white space".to_owned()), ..named() }),
        ("address", Settings { address: Some(String::new()), ..named() }),
        ("labels", Settings { labels: Some("white space=a".parse().unwrap()), ..named() }),
        ("cpus", Settings { cpus: Some(CpuMillis(0)), ..named() }),
        ("memory", Settings { memory: Some(ByteSize(u64::MAX)), ..named() }),
        ("memory", Settings { memory: Some(ByteSize(5)), ..named() }),
        ("disk", Settings { disk: Some(ByteSize(MIN_BYTES - 1)), ..named() }),
        ("gc-period", Settings { gc_period: Some(HumanDuration(Duration::ZERO)), ..named() }),
        ("away-time", Settings { away_time: Some(HumanDuration(LONGEST_AWAY + Duration::from_secs(1))), ..named() }),
        ("image-gc-high-percent", Settings { image_gc_high_percent: Some(101), ..named() }),
        ("image-gc-low-percent", Settings { image_gc_low_percent: Some(86), ..named() }),
        ("image-max-age", Settings { image_max_age: Some(HumanDuration(Duration::from_secs(1))), ..named() }),
        ("hollow", Settings { hollow: Some(0), ..named() }),
        ("hollow", Settings { hollow: Some(MAX_HOLLOW_NODES + 1), ..named() }),
        ("hollow-failure-percent", Settings { hollow: Some(1), hollow_failure_percent: Some(f64::NAN), ..named() }),
        ("log", Settings { log: Some("a=loud".to_owned()), ..named() }),
        ("http-listen", Settings { http_listen: Some(DEFAULT_LISTEN), ..named() }),
    ];
    for (key, settings) in cases {
        let error = settings.resolve(None).unwrap_err().to_string();
        assert!(error.starts_with(&format!("{key} = ")), "{key}: {error}");
    }
}

#[test]
fn defaults_need_no_settings() {
    let config = named().resolve(None).unwrap();
    assert_eq!((config.listen, config.docker, config.process_runtime), (DEFAULT_LISTEN, DockerMode::Auto, false));
    assert_eq!(config.worker.retention, DEFAULT_RETENTION);
    assert_eq!(config.worker.port_range, Some(PortRange::DEFAULT));
}

#[test]
fn flags_win_over_the_file_and_unknown_keys_are_refused() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("worker.toml");
    std::fs::write(&path, "name = \"from-file\"\ncpus = 2\ndocker = \"off\"\n").unwrap();
    let config = named().resolve(Some(&path)).unwrap();
    assert_eq!((config.worker.name.as_str(), config.worker.offer.cpu_millis), ("node-1", Some(2000)));
    assert_eq!(config.docker, DockerMode::Off);
    std::fs::write(&path, "nam = \"x\"\n").unwrap();
    assert!(named().resolve(Some(&path)).unwrap_err().to_string().contains("nam"));
}

#[test]
fn a_range_of_ports_comes_from_the_file_too_and_a_wrong_one_is_told() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("worker.toml");
    let resolve = |text: &str| {
        std::fs::write(&path, text).unwrap();
        named().resolve(Some(&path)).map(|config| config.worker.port_range)
    };
    assert_eq!(resolve("port-range = \"40000-40009\"").unwrap(), PortRange::new(40_000, 40_009).ok());
    assert_eq!(resolve("port-range = \"none\"").unwrap(), None);
    let error = resolve("port-range = \"9-8\"").unwrap_err().to_string();
    assert!(error.contains("`9-8` is neither a range of ports such as 20000-31999"), "{error}");
}

#[test]
fn the_reserve_is_kept_back_only_where_the_amount_is_measured() {
    let measured = Resources { cpu_millis: 2000, memory_bytes: 4 << 30, disk_bytes: 100 };
    let offer = Offer { memory_bytes: Some(8 << 30), ..Offer::default() };
    let (capacity, allocatable) = offer.of(measured);
    assert_eq!(allocatable, Resources { cpu_millis: 1900, memory_bytes: 8 << 30, disk_bytes: 0 });
    assert_eq!(capacity, Resources { memory_bytes: 8 << 30, ..measured });
}

#[test]
fn hollow_nodes_do_what_they_are_told_and_there_are_none_unless_asked_for() {
    assert_eq!(named().resolve(None).unwrap().hollow, None);
    let settings = Settings {
        hollow: Some(3),
        hollow_run_time: Some(HumanDuration(Duration::from_secs(7))),
        hollow_failure_percent: Some(2.5),
        ..named()
    };
    let habits = Habits { start_for: Duration::ZERO, run_for: Some(Duration::from_secs(7)), failures_per_mille: 25 };
    assert_eq!(settings.resolve(None).unwrap().hollow, Some(Hollow { nodes: 3, habits }));
}
