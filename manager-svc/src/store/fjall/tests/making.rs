//! Stores that were being made when the process, or the machine, ended.

use std::fs::Permissions;
use std::os::unix::fs::PermissionsExt as _;

use davit_core::id::Revision;

use super::super::super::tests::{some_history, sorted};
use super::damage::{Outcomes, contents, copy, files};
use super::*;

/// A closed store to which nothing was ever committed.
fn new_store() -> tempfile::TempDir {
    let dir = tempfile::tempdir().unwrap();
    drop(open(dir.path()));
    dir
}

/// Such a store that was not put in its place yet, with this mark, if any.
fn not_in_its_place(mark: Option<&[u8]>) -> tempfile::TempDir {
    let dir = new_store();
    std::fs::rename(dir.path().join("fjall"), dir.path().join("fjall.new")).unwrap();
    std::fs::remove_file(dir.path().join("mark")).unwrap();
    if let Some(mark) = mark {
        std::fs::write(dir.path().join("mark"), mark).unwrap();
    }
    dir
}

/// Opens it; it must be empty, and all that was begun in its place or gone.
fn is_new(dir: &Path, what: &str) {
    let loaded = load(&open(dir)).unwrap();
    assert_eq!((loaded.revision, loaded.tasks.len()), (Revision(0), 0), "{what}");
    let mut names: Vec<_> = std::fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    names.sort();
    assert_eq!(names, ["fjall", "lock", "mark"], "{what}");
}

/// Commits something, and finds it again.
fn is_good_for_use(dir: &Path) {
    let store = open(dir);
    for batch in some_history().1 {
        commit(&store, &batch);
    }
    drop(store);
    assert_eq!(load(&open(dir)).unwrap().revision, Revision(16));
}

#[test]
fn a_store_that_was_half_made_is_made_anew_wherever_that_ended() {
    let whole = not_in_its_place(None);
    let engine = whole.path().join("fjall.new");
    let made = files(&engine);
    assert!(made.len() > 10, "{made:?}");
    let half_made = |keeps: &dyn Fn(&Path) -> bool| {
        let dir = copy(whole.path());
        for file in made.iter().filter(|file| !keeps(file)) {
            std::fs::remove_file(dir.path().join(file.strip_prefix(whole.path()).unwrap())).unwrap();
        }
        dir
    };
    for (at, file) in made.iter().enumerate() {
        let name = file.strip_prefix(whole.path()).unwrap();
        let bytes = std::fs::read(file).unwrap();
        // Without this file; with nothing after it; and with nothing, or half of what it holds, in it.
        is_new(half_made(&|kept| kept != file).path(), &format!("without {}", name.display()));
        let upto = |kept: &Path| made.iter().take(at + 1).any(|file| file == kept);
        for cut in [0, bytes.len().min(64) / 2] {
            let dir = half_made(&upto);
            std::fs::write(dir.path().join(name), &bytes[..cut]).unwrap();
            is_new(dir.path(), &format!("up to {cut} bytes of {}", name.display()));
        }
    }
    let nothing = tempfile::tempdir().unwrap();
    std::fs::create_dir(nothing.path().join("fjall.new")).unwrap();
    is_new(nothing.path(), "a directory alone");
    is_good_for_use(nothing.path());
}

#[test]
fn only_the_managers_user_may_read_a_store() {
    let dir = new_store();
    let engine = dir.path().join("fjall");
    // As earlier releases made it.
    std::fs::set_permissions(&engine, Permissions::from_mode(0o755)).unwrap();
    load(&open(dir.path())).unwrap();
    assert_eq!(std::fs::metadata(engine).unwrap().permissions().mode() & 0o777, 0o700);
}

#[test]
fn a_store_that_was_whole_when_its_making_ended_goes_on() {
    is_new(not_in_its_place(None).path(), "before its mark");
    let dir = not_in_its_place(None);
    std::fs::write(dir.path().join("mark.new"), "davit").unwrap();
    is_new(dir.path(), "while its mark was written");
    let mark = std::fs::read(new_store().path().join("mark")).unwrap();
    let dir = not_in_its_place(Some(&mark));
    is_new(dir.path(), "before it was in its place");
    is_good_for_use(dir.path());
}

#[test]
fn a_store_that_was_whole_keeps_its_id_when_it_is_put_in_its_place_late() {
    let dir = tempfile::tempdir().unwrap();
    let cluster_id = open(dir.path()).cluster_id();
    std::fs::rename(dir.path().join("fjall"), dir.path().join("fjall.new")).unwrap();
    assert_eq!(open(dir.path()).cluster_id(), cluster_id);
}

#[test]
fn a_store_in_its_place_that_lacks_anything_is_refused_though_nothing_was_committed() {
    let whole = new_store();
    let held = format!("{:?}", sorted(load(&open(whole.path())).unwrap()));
    let tables = whole.path().join("fjall/keyspaces");
    let table_dirs = std::fs::read_dir(&tables).unwrap().map(|entry| entry.unwrap().path());
    let mut gone: Vec<_> = table_dirs.flat_map(|table| [table.join("current"), table]).collect();
    gone.extend(["mark", "fjall", "fjall/version", "fjall/keyspaces"].map(|name| whole.path().join(name)));
    let mut outcomes = Outcomes::default();
    for gone in &gone {
        let name = gone.strip_prefix(whole.path()).unwrap();
        let lacking = copy(whole.path());
        let there = lacking.path().join(name);
        if there.is_dir() {
            std::fs::remove_dir_all(&there).unwrap();
        } else {
            std::fs::remove_file(&there).unwrap();
        }
        let before = contents(lacking.path());
        outcomes.check(lacking.path(), &held, &format!("{} removed", name.display()));
        assert!(before == contents(lacking.path()), "{} removed: something was written", name.display());
    }
    assert_eq!((outcomes.whole, outcomes.told), (0, gone.len()));
    // All but its tables: the engine would make itself anew around them.
    let lacking = copy(whole.path());
    for name in ["0.jnl", "lock", "version"] {
        std::fs::remove_file(lacking.path().join("fjall").join(name)).unwrap();
    }
    let before = contents(lacking.path());
    outcomes.check(lacking.path(), &held, "all but its tables removed");
    assert!(before == contents(lacking.path()), "all but its tables removed: something was written");
    // Only in the journal it is told whose it is; the engine begins a new one, which does not tell.
    std::fs::remove_file(whole.path().join("fjall/0.jnl")).unwrap();
    outcomes.check(whole.path(), &held, "the journal removed");
    assert_eq!(outcomes.whole, 0);
}

#[test]
fn what_is_beside_a_store_never_takes_its_place() {
    let dir = new_store();
    let store = open(dir.path());
    for batch in some_history().1 {
        commit(&store, &batch);
    }
    drop(store);
    let other = not_in_its_place(None);
    std::fs::rename(other.path().join("fjall.new"), dir.path().join("fjall.new")).unwrap();
    assert_eq!(load(&open(dir.path())).unwrap().revision, Revision(16));
    std::fs::remove_dir_all(dir.path().join("fjall")).unwrap();
    let told = FjallStore::open(dir.path(), CLUSTER).unwrap_err();
    assert!(matches!(told, Error::Lost { marked: Revision(16), .. }), "{told}");
}
