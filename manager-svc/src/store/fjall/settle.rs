//! After a write that failed: whether it is in the store is found out before anything else is written, and it is taken back.
//!
//! The engine refuses further writes then, so it is opened anew. What it had written of the batch is either whole, and then it is
//! taken back by writing what was there before, or it is cut off as a torn end. Until that is done, which on a full disk takes
//! some room, the store stays closed and says why.

use std::fs::{File, OpenOptions};
use std::io::{BufReader, BufWriter, Read as _, Write as _};
use std::path::{Path, PathBuf};

use davit_svc_kit::mark::sync_parent;
use prost::Message as _;

use super::super::Error;
use super::Inner;
use super::engine::{Engine, Problem, Table, Write};
use super::plan::Plan;
use super::schema::HEAD_KEY;

/// A write whose outcome is not known.
#[derive(Debug)]
pub(super) struct Unsettled {
    /// Why it failed, or why it could not be settled last.
    problem: Problem,
    /// The head record if the write is in the store.
    head_after: Vec<u8>,
    /// What takes it back.
    undo: Result<Vec<Write>, Problem>,
}

impl Unsettled {
    /// Notes a write that failed. What it would have replaced can still be read: the engine shows only what was written whole.
    pub(super) fn new(engine: &Engine, plan: &Plan, problem: Problem) -> Self {
        let before = |write: &Write| {
            let value = engine.get(write.table, &write.key)?;
            Ok(Write { table: write.table, key: write.key.clone(), value })
        };
        let undo = plan.writes.iter().map(before).collect();
        Self { problem, head_after: plan.delta.head.to_record().encode_to_vec(), undo }
    }
}

/// The store is closed because it could not be settled.
pub(super) fn closed() -> Error {
    Error::Unavailable { problem: "it is closed after a write that failed".to_owned() }
}

impl Inner {
    /// Settles what is not settled.
    ///
    /// # Errors
    /// When it can't be settled yet.
    pub(super) fn settle(&mut self) -> Result<(), Error> {
        let Some(mut unsettled) = self.unsettled.take() else { return Ok(()) };
        match self.try_to_settle(&unsettled) {
            Ok(engine) => {
                self.engine = Some(engine);
                Ok(())
            }
            Err(problem) => {
                let told = match &problem {
                    Problem::Io(problem) => Error::Unavailable { problem: problem.clone() },
                    Problem::Damaged(problem) => self.directory.corrupt(problem.clone()),
                };
                unsettled.problem = problem;
                self.unsettled = Some(unsettled);
                Err(told)
            }
        }
    }

    fn try_to_settle(&mut self, unsettled: &Unsettled) -> Result<Engine, Problem> {
        // It must be gone before it can be opened again.
        self.engine = None;
        rewrite_last_journal(&self.directory.engine_dir()).map_err(|problem| Problem::Io(problem.to_string()))?;
        let engine = Engine::open(&self.directory.engine_dir())?;
        let head = engine.get(Table::Meta, HEAD_KEY)?;
        if head.as_ref() != Some(&unsettled.head_after) {
            return Ok(engine);
        }
        match &unsettled.undo {
            Ok(undo) => engine.write(undo)?,
            Err(problem) => {
                return Err(Problem::Damaged(format!("a write that failed can't be taken back: {problem}")));
            }
        }
        Ok(engine)
    }
}

/// Writes the last journal anew, so that all of it that can be read is also on the disk. After a sync that failed the kernel
/// takes pages for written that are not, and never tries again.
fn rewrite_last_journal(engine_dir: &Path) -> std::io::Result<()> {
    let Some(journal) = last_journal(engine_dir)? else { return Ok(()) };
    let copy = journal.with_extension("rewritten");
    let rewritten = copy_without_trailing_zeros(&journal, &copy)
        .and_then(|()| std::fs::rename(&copy, &journal))
        .and_then(|()| sync_parent(&journal));
    if rewritten.is_err() {
        // The room that it takes is needed; what can't be removed is overwritten next time.
        let _removed = std::fs::remove_file(&copy);
    }
    rewritten
}

/// Journals are numbered, and the highest is the one that is written to.
fn last_journal(engine_dir: &Path) -> std::io::Result<Option<PathBuf>> {
    let mut last: Option<(u64, PathBuf)> = None;
    for entry in std::fs::read_dir(engine_dir)? {
        let path = entry?.path();
        let is_journal = path.extension().is_some_and(|extension| extension == "jnl");
        let number = path.file_stem().and_then(|stem| stem.to_str()).and_then(|stem| stem.parse().ok());
        if let (true, Some(number)) = (is_journal, number)
            && last.as_ref().is_none_or(|(highest, _)| number > *highest)
        {
            last = Some((number, path));
        }
    }
    Ok(last.map(|(_, path)| path))
}

/// The engine makes journals large at once, as holes; a batch never ends with a zero.
fn copy_without_trailing_zeros(from: &Path, to: &Path) -> std::io::Result<()> {
    let mut reader = BufReader::new(File::open(from)?);
    let mut writer = BufWriter::new(OpenOptions::new().write(true).create(true).truncate(true).open(to)?);
    let mut chunk = vec![0; 64 * 1024];
    let mut zeros: u64 = 0;
    loop {
        let count = reader.read(&mut chunk)?;
        let read = &chunk[..count];
        if count == 0 {
            break;
        }
        match read.iter().rposition(|byte| *byte != 0) {
            Some(last) => {
                std::io::copy(&mut std::io::repeat(0).take(zeros), &mut writer)?;
                writer.write_all(&read[..=last])?;
                zeros = (count - last - 1) as u64;
            }
            None => zeros += count as u64,
        }
    }
    writer.into_inner().map_err(std::io::IntoInnerError::into_error)?.sync_all()
}
