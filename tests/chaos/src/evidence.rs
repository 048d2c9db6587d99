//! What the tasks themselves say of their lives (see [`crate::witness`]), and what follows from it.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{self, Read as _, Seek as _, SeekFrom};
use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::stamp::Stamp;

/// A run whose last sign of life is older is taken for dead. Four beats: the machine may be busy.
pub(crate) const SILENCE: Duration = Duration::from_millis(1000);

/// One life of a task.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Run {
    /// Its task's name.
    pub(crate) task: String,
    /// Its attempt (of a process), or its container's host name.
    pub(crate) who: String,
    /// When it began.
    pub(crate) start: Stamp,
    /// When it was alive for certain, last.
    pub(crate) last: Stamp,
    /// It came to its end, exit code 0.
    pub(crate) completed: bool,
    /// It obeyed a stop signal.
    pub(crate) stopped: bool,
}

impl Run {
    /// Which attempt it is; only processes are told.
    pub(crate) fn attempt(&self) -> Option<u32> {
        self.who.rsplit_once('/')?.1.parse().ok()
    }

    /// Whether it lives.
    pub(crate) fn lives(&self, now: Stamp) -> bool {
        !self.is_over() && now.since(self.last) < SILENCE
    }

    /// Whether it lived then, for all that is known now.
    pub(crate) fn lived_at(&self, then: Stamp) -> bool {
        let may_have_lived = if self.is_over() { Duration::ZERO } else { SILENCE };
        self.start < then && then.since(self.last) <= may_have_lived
    }

    /// Whether it said itself that it ended.
    fn is_over(&self) -> bool {
        self.completed || self.stopped
    }

    /// For how long it lived beside another one.
    pub(crate) fn overlap(&self, other: &Self) -> Duration {
        self.last.min(other.last).since(self.start.max(other.start))
    }
}

/// All runs, as far as they were read.
#[derive(Debug)]
pub(crate) struct Evidence {
    dir: PathBuf,
    files: BTreeMap<String, Source>,
}

#[derive(Debug, Default)]
struct Source {
    read_bytes: u64,
    run: Option<Run>,
}

impl Evidence {
    /// Of this directory; nothing is read yet.
    pub(crate) fn new(dir: &Path) -> Self {
        Self { dir: dir.to_owned(), files: BTreeMap::new() }
    }

    /// Reads what was written since the last time.
    ///
    /// # Errors
    /// When a file can't be read.
    pub(crate) fn refresh(&mut self) -> io::Result<()> {
        for entry in fs::read_dir(&self.dir)? {
            let name = entry?.file_name().to_string_lossy().into_owned();
            let Some((task, _)) = name.rsplit_once('.').filter(|(task, _)| !task.is_empty()) else { continue };
            let task = task.to_owned();
            let source = self.files.entry(name.clone()).or_default();
            if source.run.as_ref().is_none_or(|run| !run.is_over()) {
                source.read(&self.dir.join(name), &task)?;
            }
        }
        Ok(())
    }

    /// All runs.
    pub(crate) fn runs(&self) -> impl Iterator<Item = &Run> {
        self.files.values().filter_map(|source| source.run.as_ref())
    }

    /// The runs of one task, in no certain order.
    pub(crate) fn runs_of<'a>(&'a self, task: &str) -> impl Iterator<Item = &'a Run> {
        // Files sort by their names, which begin with the task's.
        let prefix = format!("{task}.");
        let end = format!("{task}/");
        self.files.range(prefix..end).filter_map(|(_, source)| source.run.as_ref())
    }

    /// Runs of one task that lived at the same time, with how long.
    pub(crate) fn doubles(&self, task: &str) -> Vec<(&Run, &Run, Duration)> {
        let runs: Vec<&Run> = self.runs_of(task).collect();
        let pairs = runs.iter().enumerate().flat_map(|(index, first)| {
            runs[index + 1..].iter().map(move |second| (*first, *second, first.overlap(second)))
        });
        pairs.filter(|(_, _, overlap)| !overlap.is_zero()).collect()
    }
}

impl Source {
    fn read(&mut self, path: &Path, task: &str) -> io::Result<()> {
        let mut file = File::open(path)?;
        if file.metadata()?.len() <= self.read_bytes {
            return Ok(());
        }
        file.seek(SeekFrom::Start(self.read_bytes))?;
        let mut text = Vec::new();
        file.read_to_end(&mut text)?;
        // The last line may be half written.
        let Some(end) = text.iter().rposition(|byte| *byte == b'\n') else { return Ok(()) };
        self.read_bytes += end as u64 + 1;
        for line in String::from_utf8_lossy(&text[..end]).lines() {
            self.take(line, task);
        }
        Ok(())
    }

    fn take(&mut self, line: &str, task: &str) {
        let mut words = line.split(' ');
        let (word, stamp, who) = (words.next(), words.next().and_then(Stamp::parse), words.next().unwrap_or_default());
        let (Some(word), Some(stamp)) = (word, stamp) else { return };
        let run = self.run.get_or_insert_with(|| Run {
            task: task.to_owned(),
            who: who.to_owned(),
            start: stamp,
            last: stamp,
            completed: false,
            stopped: false,
        });
        run.last = run.last.max(stamp);
        run.completed |= word == "end";
        run.stopped |= word == "stopped";
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;

    use super::*;

    fn evidence(files: &[(&str, &str)]) -> (tempfile::TempDir, Evidence) {
        let dir = tempfile::tempdir().unwrap();
        for (name, text) in files {
            fs::write(dir.path().join(name), text).unwrap();
        }
        let mut evidence = Evidence::new(dir.path());
        evidence.refresh().unwrap();
        (dir, evidence)
    }

    #[test]
    fn two_runs_at_one_time_are_told_and_others_are_not() {
        let (_dir, evidence) = evidence(&[
            ("web-1.a", "start 10.00 x\nbeat 10.50 \n"),
            ("web-1.b", "start 10.40 y\nbeat 11.00 \n"),
            ("web-1.c", "start 11.00 z\nbeat 11.10 \n"),
            ("web-10.a", "start 10.00 x\nbeat 12.00 \n"),
        ]);
        let doubles = evidence.doubles("web-1");
        assert_eq!(doubles.len(), 1, "{doubles:?}");
        assert_eq!(doubles[0].2, Duration::from_millis(100));
        assert!(evidence.doubles("web-10").is_empty());
    }

    #[test]
    fn a_half_written_line_is_read_when_it_is_whole() {
        let (dir, mut evidence) = evidence(&[("job.a", "start 10.00 x\nbeat 10.")]);
        assert_eq!(evidence.runs().next().unwrap().last, Stamp(10_000));
        let mut file = fs::OpenOptions::new().append(true).open(dir.path().join("job.a")).unwrap();
        file.write_all(b"25 \nend 10.50 \n").unwrap();
        evidence.refresh().unwrap();
        let run = evidence.runs().next().unwrap();
        assert_eq!((run.last, run.completed), (Stamp(10_500), true));
    }

    #[test]
    fn a_run_lives_while_it_gives_signs_of_life_and_has_not_ended() {
        let (_dir, evidence) =
            evidence(&[("a.a", "start 10.00 x\nbeat 10.25 \n"), ("b.a", "start 10.00 x\nstopped 10.25 \n")]);
        let lives = |task: &str, now| evidence.runs_of(task).any(|run| run.lives(Stamp(now)));
        assert!(lives("a", 10_500) && !lives("a", 11_300));
        assert!(!lives("b", 10_260));
    }
}
