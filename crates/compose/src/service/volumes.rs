//! `volumes` and `tmpfs`.

use std::collections::BTreeMap;

use super::Declared;
use crate::error::quoted;
use crate::keys;
use crate::model::{Mount, MountSource, Tmpfs};
use crate::read::{Context, Fields, Item};
use crate::tree::Value;
use crate::units::parse_bytes;

/// One place in the container.
enum Place {
    Mount(Mount),
    Tmpfs(Tmpfs),
}

impl Place {
    fn target(&self) -> &str {
        match self {
            Self::Mount(mount) => &mount.target,
            Self::Tmpfs(tmpfs) => &tmpfs.target,
        }
    }
}

/// Reads `volumes` and `tmpfs`. Of two for one place in the container a later file's stays.
pub(super) fn mounts(fields: &mut Fields, declared: &Declared, cx: &mut Context<'_>) -> (Vec<Mount>, Vec<Tmpfs>) {
    let mut places: BTreeMap<String, (Place, Item)> = BTreeMap::new();
    let volumes = fields.take("volumes").map(|item| item.items(cx)).unwrap_or_default();
    let tmpfs = fields.take("tmpfs").map(|item| item.one_or_more(cx)).unwrap_or_default();
    let volumes = volumes.into_iter().map(|item| (item, false));
    for (item, is_tmpfs) in volumes.chain(tmpfs.into_iter().map(|item| (item, true))) {
        let here = item.place();
        let place = if is_tmpfs { item.parsed(tmpfs_entry, cx).map(Place::Tmpfs) } else { volume(item, declared, cx) };
        let Some(place) = place else { continue };
        let target = place.target().trim_end_matches('/').to_owned();
        if let Some((_, first)) = places.get(&target)
            && first.at().file == here.at().file
        {
            here.bad(format!("{} is mounted already in line {}", quoted(place.target()), first.at().line), cx);
            continue;
        }
        places.insert(target, (place, here));
    }
    let (mut mounts, mut memory) = (Vec::new(), Vec::new());
    for (place, _) in places.into_values() {
        match place {
            Place::Mount(mount) => mounts.push(mount),
            Place::Tmpfs(tmpfs) => memory.push(tmpfs),
        }
    }
    (mounts, memory)
}

fn volume(item: Item, declared: &Declared, cx: &mut Context<'_>) -> Option<Place> {
    if matches!(item.node.value, Value::Map(_)) {
        return long(item.fields(keys::SERVICE_VOLUME, cx)?, declared, cx);
    }
    let mount = item.parsed(short, cx)?;
    if let MountSource::Volume(name) = &mount.source
        && !declared.volumes.contains(name)
    {
        item.unknown("volume", name, cx);
        return None;
    }
    Some(Place::Mount(mount))
}

const ANONYMOUS: &str = "a volume without a name would be left behind with every task; give it a name, or use `tmpfs`";
const RELATIVE: &str = "is not an absolute path of the node: nodes don't have your directory. Use a config for a file, a named volume, or \
                        a path that each node has";

fn short(text: &str) -> Result<Mount, String> {
    let parts: Vec<_> = text.split(':').collect();
    let (source, target, options) = match parts[..] {
        [_] => return Err(format!("is refused: {ANONYMOUS}")),
        [source, target] => (source, target, ""),
        [source, target, options] => (source, target, options),
        _ => return Err("can't be read; write `SOURCE:TARGET`, or `SOURCE:TARGET:ro`".to_owned()),
    };
    let mut read_only = false;
    for option in options.split(',').filter(|option| !option.is_empty()) {
        match option {
            "ro" => read_only = true,
            "rw" | "consistent" | "cached" | "delegated" => {}
            "z" | "Z" => return Err(format!("has the option `{option}`: labels of files on nodes are not changed")),
            "nocopy" => return Err("has the option `nocopy`: a new volume starts with what the image has".to_owned()),
            other => return Err(format!("has the option {}; known are `ro` and `rw`", quoted(other))),
        }
    }
    Ok(Mount { source: source_of(source)?, target: checked_target(target)?, read_only })
}

fn source_of(source: &str) -> Result<MountSource, String> {
    if source.starts_with('/') {
        return Ok(MountSource::Bind(source.to_owned()));
    }
    if source.starts_with(['.', '~']) || source.contains('/') {
        return Err(format!("{RELATIVE}: {}", quoted(source)));
    }
    if source.is_empty() { Err(format!("is refused: {ANONYMOUS}")) } else { Ok(MountSource::Volume(source.to_owned())) }
}

fn checked_target(target: &str) -> Result<String, String> {
    if target == "/" {
        return Err("would take the place of the whole container".to_owned());
    }
    if target.starts_with('/') && !target.contains('\0') && !target.split('/').any(|part| part == "..") {
        Ok(target.to_owned())
    } else {
        Err(format!("goes to {}, which is not an absolute path in the container", quoted(target)))
    }
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    Volume,
    Bind,
    Tmpfs,
}

fn long(mut fields: Fields, declared: &Declared, cx: &mut Context<'_>) -> Option<Place> {
    const KINDS: [(&str, Kind); 3] = [("volume", Kind::Volume), ("bind", Kind::Bind), ("tmpfs", Kind::Tmpfs)];
    let kind = fields.needed("type", cx).and_then(|item| item.one_of(&KINDS, cx));
    let target = fields.needed("target", cx);
    let target = target.and_then(|item| item.parsed(|text| checked_target(text).map_err(|why| format!(": {why}")), cx));
    let read_only = fields.take("read_only").and_then(|item| item.boolean(cx)).unwrap_or_default();
    if let Some(item) = fields.take("consistency") {
        item.text(cx);
    }
    let mut source = None;
    let mut size_bytes = None;
    match kind {
        Some(Kind::Volume) => {
            options(&mut fields, "volume", cx);
            source = named_volume(&mut fields, declared, cx);
        }
        Some(Kind::Bind) => {
            options(&mut fields, "bind", cx);
            source = fields.needed("source", cx).and_then(|item| {
                item.parsed(
                    |text| if text.starts_with('/') { Ok(MountSource::Bind(text.to_owned())) } else { Err(RELATIVE) },
                    cx,
                )
            });
        }
        Some(Kind::Tmpfs) => size_bytes = options(&mut fields, "tmpfs", cx),
        None => return None,
    }
    fields.finish(cx);
    let target = target?;
    match kind? {
        Kind::Tmpfs => Some(Place::Tmpfs(Tmpfs { target, size_bytes })),
        Kind::Volume | Kind::Bind => Some(Place::Mount(Mount { source: source?, target, read_only })),
    }
}

fn named_volume(fields: &mut Fields, declared: &Declared, cx: &mut Context<'_>) -> Option<MountSource> {
    let written =
        fields.take("source").filter(|item| !matches!(&item.node.value, Value::Text(text) if text.is_empty()));
    let Some(item) = written else {
        fields.bad(&format!("a `source` is needed: {ANONYMOUS}"), cx);
        return None;
    };
    let name = item.text(cx)?.to_owned();
    if !declared.volumes.contains(&name) {
        item.unknown("volume", &name, cx);
        return None;
    }
    Some(MountSource::Volume(name))
}

/// Reads the options of one kind of mount; gives the size of a tmpfs.
fn options(fields: &mut Fields, kind: &str, cx: &mut Context<'_>) -> Option<u64> {
    let section = match kind {
        "volume" => keys::VOLUME_OPTIONS,
        "bind" => keys::BIND_OPTIONS,
        _ => keys::TMPFS_OPTIONS,
    };
    let mut options = fields.take(kind)?.fields(section, cx)?;
    let size = options.take("size").and_then(|item| item.bytes(cx)).filter(|&size| size > 0);
    if let Some(item) = options.take("create_host_path") {
        item.boolean(cx);
    }
    options.finish(cx);
    size
}

/// Reads `/run:size=64m`.
fn tmpfs_entry(text: &str) -> Result<Tmpfs, String> {
    let (target, options) = text.split_once(':').unwrap_or((text, ""));
    if !target.starts_with('/') && target.contains('=') {
        return Err("is no path: within `[` and `]` a comma ends an item; put quotes around one with several options"
            .to_owned());
    }
    let target = checked_target(target)?;
    let mut size_bytes = None;
    for option in options.split(',').filter(|option| !option.is_empty()) {
        match option.split_once('=') {
            Some(("size", size)) => {
                let size = parse_bytes(size).map_err(|error| format!("has a size that {error}"))?;
                size_bytes = Some(size).filter(|&size| size > 0);
            }
            _ if option == "rw" => {}
            _ => return Err(format!("has the option {}; only `size` is known", quoted(option))),
        }
    }
    Ok(Tmpfs { target, size_bytes })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn short_forms_are_read() {
        let data =
            |read_only| Mount { source: MountSource::Volume("data".to_owned()), target: "/d".to_owned(), read_only };
        assert_eq!(short("data:/d"), Ok(data(false)));
        assert_eq!(short("data:/d:ro"), Ok(data(true)));
        assert_eq!(short("data:/d:rw,cached"), Ok(data(false)));
        let socket = MountSource::Bind("/var/run/docker.sock".to_owned());
        assert_eq!(short("/var/run/docker.sock:/s").map(|mount| mount.source), Ok(socket));
        for text in [
            "/data",
            "./a:/b",
            "~/a:/b",
            "a/b:/c",
            "a:b",
            "a:/",
            "a:/b:x",
            "a:/b:z",
            "a:/b:ro:x",
            ":/b",
            "a:/b/../c",
            "",
        ] {
            assert!(short(text).is_err(), "{text}");
        }
    }

    #[test]
    fn memory_file_systems_have_a_size() {
        let size = |text| tmpfs_entry(text).map(|tmpfs| tmpfs.size_bytes);
        assert_eq!(size("/run"), Ok(None));
        assert_eq!(size("/run:size=64m"), Ok(Some(64 << 20)));
        assert!(size("/run:mode=755").is_err());
        assert!(size("run").is_err());
        assert!(size("mode=1777").is_err_and(|error| error.contains("quotes")));
    }
}
