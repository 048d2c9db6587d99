//! What this process has started or made and has not ended or removed yet, so that an interruption leaves nothing behind, or tells
//! what it leaves.

mod folder;
mod process;

use std::collections::BTreeMap;
use std::path::PathBuf;

use parking_lot::{Mutex, MutexGuard};

pub(crate) use self::folder::Folder;
pub(crate) use self::process::{Process, wait_ended};

/// One thing, as it is told to a person who has to remove it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Thing {
    Process {
        id: u32,
        name: String,
    },
    /// With what is mounted in it.
    Folder(PathBuf),
    /// Anything else, in words.
    Other(String),
}

/// Things, in the order in which they were started.
#[derive(Debug, Default)]
struct List {
    next: u64,
    things: BTreeMap<u64, Thing>,
}

static STARTED: Mutex<List> = Mutex::new(List { next: 0, things: BTreeMap::new() });

/// Stands for a thing that is there. Dropped when it is gone; forgotten when it could not be removed.
#[derive(Debug)]
pub(crate) struct Entry(u64);

/// Starts something that is to be ended again. An exit waits for it, so that nothing is started and not known.
pub(crate) fn start<T, E>(
    start: impl FnOnce() -> Result<T, E>,
    thing: impl FnOnce(&T) -> Thing,
) -> Result<(T, Entry), E> {
    let mut list = STARTED.lock();
    let started = start()?;
    let entry = Entry(list.add(thing(&started)));
    Ok((started, entry))
}

/// Ends this process if nothing has to be ended or removed first.
pub(crate) fn exit_if_none(code: u8) {
    let list = STARTED.lock();
    if list.things.is_empty() {
        exit(code, &list);
    }
}

/// Ends this process, and tells what it leaves behind.
pub(crate) fn exit_now(code: u8) -> ! {
    let list = STARTED.lock();
    left(&list).iter().for_each(|line| println!("{line}"));
    exit(code, &list)
}

/// What is still there, and how it is removed; nothing if nothing is.
pub(crate) fn left_behind() -> Vec<String> {
    left(&STARTED.lock())
}

/// Nothing more is started meanwhile: the list is held.
fn exit(code: u8, _held: &MutexGuard<'_, List>) -> ! {
    std::process::exit(code.into())
}

fn left(list: &List) -> Vec<String> {
    // Without it mounts are not told, and `rm` says that something is busy.
    let mounts = std::fs::read_to_string("/proc/mounts").unwrap_or_default();
    told(list.things.values(), &mounts)
}

impl List {
    fn add(&mut self, thing: Thing) -> u64 {
        self.next += 1;
        self.things.insert(self.next, thing);
        self.next
    }
}

impl Drop for Entry {
    fn drop(&mut self) {
        STARTED.lock().things.remove(&self.0);
    }
}

/// Where something is mounted below this folder, the deepest first.
pub(crate) fn mounts_below<'a>(mounts: &'a str, folder: &str) -> Vec<&'a str> {
    let places = mounts.lines().filter_map(|line| line.split(' ').nth(1));
    let is_below = |place: &&str| place.strip_prefix(folder).is_some_and(|rest| rest.starts_with('/'));
    let mut below: Vec<&str> = places.filter(is_below).collect();
    below.reverse();
    below
}

/// What is left, in the order in which it can be removed.
fn told<'a>(things: impl DoubleEndedIterator<Item = &'a Thing>, mounts: &str) -> Vec<String> {
    let mut lines = Vec::new();
    for thing in things.rev() {
        match thing {
            Thing::Process { id, name } => lines.push(format!("  process {id}, {name}: kill {id}")),
            Thing::Folder(path) => {
                let path = path.display().to_string();
                let below = mounts_below(mounts, &path);
                lines.extend(below.into_iter().map(|place| format!("  mount {place}: umount --lazy {place}")));
                lines.push(format!("  folder {path}: rm -r {path}"));
            }
            Thing::Other(words) => lines.push(format!("  {words}")),
        }
    }
    if !lines.is_empty() {
        lines.insert(0, "left behind, and how to remove it:".to_owned());
    }
    lines
}

#[cfg(test)]
mod tests {
    use super::*;

    const MOUNTS: &str = "/dev/vda / ext4 rw 0 0\noverlay /x/a/merged overlay rw 0 0\nnsfs /x/a/merged/net nsfs rw 0 0\n\
                          tmpfs /x/ab tmpfs rw 0 0\n";

    #[test]
    fn what_is_left_is_told_with_how_to_remove_it_the_last_first() {
        let things = [
            Thing::Folder(PathBuf::from("/x/a")),
            Thing::Process { id: 7, name: "dockerd".to_owned() },
            Thing::Other("containers with a label".to_owned()),
        ];
        let expected = [
            "left behind, and how to remove it:",
            "  containers with a label",
            "  process 7, dockerd: kill 7",
            "  mount /x/a/merged/net: umount --lazy /x/a/merged/net",
            "  mount /x/a/merged: umount --lazy /x/a/merged",
            "  folder /x/a: rm -r /x/a",
        ];
        assert_eq!(told(things.iter(), MOUNTS), expected);
        assert_eq!(told([].iter(), MOUNTS), Vec::<String>::new());
    }

    #[test]
    fn what_is_started_is_listed_until_it_is_gone() {
        let thing = Thing::Other("a thing of this test".to_owned());
        let is_listed = || left_behind().contains(&"  a thing of this test".to_owned());
        assert!(start(|| Err::<(), _>(()), |()| thing.clone()).is_err());
        assert!(!is_listed());
        let (value, entry) = start(|| Ok::<_, ()>(5), |_| thing.clone()).unwrap();
        assert!(value == 5 && is_listed());
        drop(entry);
        assert!(!is_listed());
    }
}
