//! Whether a directory may become a worker's, before anything is written into it.

use std::fs;
use std::io;
use std::path::Path;

use super::{CLUSTER, Error, LEASE, LOCK, NODE_ID, ROOM, STORE, unfinished};

/// What runtimes keep in a data directory.
const OF_RUNTIMES: [&str; 2] = ["guard", "processes"];
/// What a file system puts into its own root.
const NOT_OURS_BUT_FINE: &str = "lost+found";
/// What tells a manager's store.
const OF_A_MANAGER: [&str; 2] = ["fjall", "mark"];

/// Refuses a directory with something in it and nothing that tells a worker. One with a node's id is a worker's, whatever else
/// somebody keeps there. One with a worker's records and no id is refused too: whoever lost it would join as another node in silence.
pub(super) fn check(path: &Path) -> Result<(), Error> {
    let found = entries(path).map_err(|source| Error::Io { path: path.to_owned(), source })?;
    if found.iter().any(|name| name == NODE_ID) {
        return Ok(());
    }
    let foreign = |problem: String| Err(Error::Foreign { path: path.to_owned(), problem });
    if OF_A_MANAGER.iter().all(|name| found.iter().any(|one| one == name)) {
        return foreign("it is a manager's store".to_owned());
    }
    if let Some(stranger) = found.iter().find(|name| !is_before_the_id(name) && !is_of_a_node(name)) {
        return foreign(format!("it holds `{stranger}`"));
    }
    match found.into_iter().find(|name| is_of_a_node(name)) {
        Some(found) => Err(Error::NoId { path: path.to_owned(), found }),
        None => Ok(()),
    }
}

/// What is there before a worker has an id, also of one that was killed then.
fn is_before_the_id(name: &str) -> bool {
    [LOCK, NOT_OURS_BUT_FINE].contains(&name) || Path::new(name) == unfinished(Path::new(NODE_ID))
}

/// What only a worker with an id makes.
fn is_of_a_node(name: &str) -> bool {
    [CLUSTER, LEASE, STORE, ROOM].contains(&name)
        || Path::new(name) == unfinished(Path::new(CLUSTER))
        || OF_RUNTIMES.contains(&name)
}

/// What is in a directory, by name.
fn entries(path: &Path) -> io::Result<Vec<String>> {
    let names = fs::read_dir(path)?.map(|entry| Ok(entry?.file_name().to_string_lossy().into_owned()));
    let mut names: Vec<String> = names.collect::<io::Result<_>>()?;
    names.sort();
    Ok(names)
}

#[cfg(test)]
mod tests {
    use davit_svc_kit::ids::SeededSource;

    use super::super::DataDir;
    use super::*;

    fn opened(path: &Path) -> Result<DataDir, Error> {
        DataDir::open(path, &SeededSource::new(1))
    }

    fn with(names: &[&str]) -> tempfile::TempDir {
        let directory = tempfile::tempdir().unwrap();
        for name in names {
            fs::write(directory.path().join(name), "as it was").unwrap();
        }
        directory
    }

    #[test]
    fn a_directory_with_something_else_in_it_is_left_alone() {
        let managers: &[&str] = &["fjall", "lock", "mark"];
        for (names, told) in [
            (&["letters.txt"][..], "is no worker's data directory: it holds `letters.txt`; use another --data-dir"),
            (&["lost+found", "manager"], "it holds `manager`"),
            (&["cluster", "store", "zebra"], "it holds `zebra`"),
            (managers, "it is a manager's store; use another --data-dir"),
        ] {
            let directory = with(names);
            let error = opened(directory.path()).unwrap_err();
            assert!(matches!(error, Error::Foreign { .. }), "{names:?}: {error}");
            assert!(error.to_string().contains(told), "{names:?}: {error}");
            assert!(error.to_string().contains(directory.path().to_str().unwrap()), "{error}");
            assert_eq!(entries(directory.path()).unwrap(), names, "something was written into it");
            for name in names {
                assert_eq!(fs::read_to_string(directory.path().join(name)).unwrap(), "as it was");
            }
        }
    }

    #[test]
    fn an_empty_file_system_and_what_a_killed_worker_left_are_no_strangers() {
        for names in [&["lost+found"][..], &["lock", "node-id.new"], &["lock"], &[]] {
            opened(with(names).path()).unwrap();
        }
    }

    #[test]
    fn records_without_an_id_are_left_alone_and_no_new_node_begins_there() {
        for (names, told) in [
            (&["cluster", "lease", "processes", "store"][..], "cluster"),
            (&["lock", "lost+found", "store"], "store"),
            (&["guard", "lock"], "guard"),
            (&["lock", "room"], "room"),
            (&["cluster.new", "lock", "node-id.new"], "cluster.new"),
        ] {
            let directory = with(names);
            let error = opened(directory.path()).unwrap_err();
            assert!(matches!(&error, Error::NoId { found, .. } if found == told), "{names:?}: {error}");
            assert!(error.to_string().contains("no node-id: restore that, or empty"), "{error}");
            assert_eq!(entries(directory.path()).unwrap(), names, "something was written into it");
        }
    }

    #[test]
    fn a_worker_that_was_here_before_is_not_driven_out_by_a_file_of_somebody_else() {
        let directory = tempfile::tempdir().unwrap();
        drop(opened(directory.path()).unwrap());
        fs::write(directory.path().join("notes.txt"), "").unwrap();
        opened(directory.path()).unwrap();
    }
}
