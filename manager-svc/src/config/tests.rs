use super::*;

fn problem_of(settings: Settings) -> String {
    Config::from_settings(settings).unwrap_err().to_string()
}

#[test]
fn no_settings_are_the_defaults() {
    assert_eq!(Config::from_settings(Settings::default()).unwrap(), Config::default());
}

#[test]
fn a_cluster_that_nobody_named_is_held_against_no_backup() {
    assert_eq!(Config::default().named_cluster(), None);
    let settings = Settings { cluster: Some("davit".to_owned()), ..Settings::default() };
    assert_eq!(Config::from_settings(settings).unwrap().named_cluster(), Some("davit"));
}

#[test]
fn a_wrong_setting_is_named() {
    let base = Settings::default;
    for (key, settings) in [
        ("cluster", Settings { cluster: Some("no spaces".to_owned()), ..base() }),
        ("algorithm", Settings { algorithm: Some(String::new()), ..base() }),
        ("heartbeat-period", Settings { heartbeat_period: Some(HumanDuration(Duration::ZERO)), ..base() }),
        ("lease-duration", Settings { lease_duration: Some(HumanDuration(Duration::from_secs(2))), ..base() }),
        ("begin-timeout", Settings { begin_timeout: Some(HumanDuration(Duration::ZERO)), ..base() }),
        ("restart-grace", Settings { restart_grace: Some(HumanDuration(Duration::from_secs(601))), ..base() }),
        ("max-tasks", Settings { max_tasks: Some(0), ..base() }),
        ("max-spec-bytes", Settings { max_spec_bytes: Some(ByteSize(0)), ..base() }),
        ("kept-events", Settings { kept_events: Some(0), ..base() }),
        ("kept-event-bytes", Settings { kept_event_bytes: Some(ByteSize(0)), ..base() }),
        ("scheduler", Settings { scheduler: Some("::::".to_owned()), ..base() }),
        ("scheduler", Settings { scheduler: Some("http://127.0.0.1:7410, ::::".to_owned()), ..base() }),
        ("scheduler", Settings { scheduler: Some(" ".to_owned()), ..base() }),
        ("http-listen", Settings { http_listen: Some(Config::default().listen), ..base() }),
        ("log", Settings { log: Some("a=b=c".to_owned()), ..base() }),
    ] {
        let problem = problem_of(settings);
        assert!(problem.contains(key), "{key}: {problem}");
    }
}
