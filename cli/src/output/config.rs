//! Configs and secrets for people; not what they hold.

use comfy_table::Cell;
use davit_proto::v1;
use jiff::Timestamp;

use super::describe::Lines;
use super::style::Palette;
use super::table::{render, since};
use super::text::{human_bytes, short_digest};

/// Configs or secrets, one a line.
#[must_use]
pub fn configs_table(configs: &[v1::Config], now: Timestamp, palette: Palette) -> String {
    let rows = configs.iter().map(|config| {
        let newest = config.versions.first().cloned().unwrap_or_default();
        let state = if config.deleting { "being deleted" } else { "" };
        vec![
            Cell::new(&config.name),
            Cell::new(short_digest(&newest.digest)),
            Cell::new(human_bytes(newest.size_bytes)),
            Cell::new(config.versions.len()),
            Cell::new(&config.app),
            Cell::new(since(newest.create_time.as_ref(), now)),
            Cell::new(state),
        ]
    });
    render(&["NAME", "NEWEST", "SIZE", "VERSIONS", "APP", "AGE", "DETAIL"], rows, palette)
}

/// All that is known of a config or a secret.
#[must_use]
pub fn config(config: &v1::Config, now: Timestamp) -> String {
    let mut lines = Lines::default();
    let kind = match config.kind() {
        v1::ConfigKind::Secret => "Secret",
        v1::ConfigKind::Config | v1::ConfigKind::Unspecified => "Config",
    };
    lines.add(kind, &config.name);
    lines.add("App", &config.app);
    lines.add("Detail", if config.deleting { "goes when nothing refers to it any more" } else { "" });
    lines.add_pairs("Labels", &config.labels);
    for version in &config.versions {
        let (size, age) = (human_bytes(version.size_bytes), since(version.create_time.as_ref(), now));
        lines.add("Version", format!("{} ({size}, {age} ago)", version.digest));
    }
    lines.finish()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_newest_version_is_told_and_how_many_there_are() {
        let version = |digit: &str| v1::ConfigVersion {
            digest: format!("sha256:{}", digit.repeat(64)),
            size_bytes: 2048,
            create_time: None,
        };
        let shown = v1::Config {
            name: "web.conf".to_owned(),
            app: "shop".to_owned(),
            versions: vec![version("a"), version("b")],
            ..Default::default()
        };
        let table = configs_table(std::slice::from_ref(&shown), Timestamp::UNIX_EPOCH, Palette::new(false));
        let row: Vec<&str> = table.lines().nth(1).unwrap_or_default().split_whitespace().collect();
        assert_eq!(row[..2], ["web.conf", "sha256:aaaaaaaaaaaa"], "{table}");
        assert!(row.contains(&"2") && row.contains(&"shop"), "{table}");
        let all = config(&shown, Timestamp::UNIX_EPOCH);
        assert!(all.contains(&"b".repeat(64)) && all.starts_with("Config"), "{all}");
    }
}
