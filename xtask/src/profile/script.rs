//! What perf saw, from the text of `perf script`.

use std::collections::HashMap;

/// One look at one core.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Sample {
    pub(super) process_id: u32,
    /// The name of the thread.
    pub(super) thread: String,
    /// By the kernel's monotonic clock.
    pub(super) at_s: f64,
    /// The function that ran, then who called it, and so on.
    pub(super) frames: Vec<Frame>,
}

/// A function, and the program, library or kernel that it is part of.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) struct Frame {
    pub(super) function: String,
    pub(super) object: String,
}

/// Takes the text line by line. A sample is a line of its own, a line for each frame, and an empty one.
#[derive(Debug, Default)]
pub(super) struct Script {
    names: HashMap<u32, String>,
    sample: Option<Sample>,
}

impl Script {
    /// Takes the next line. Answers the sample that it ends.
    pub(super) fn line(&mut self, line: &str) -> Option<Sample> {
        if let Some((_, event)) = line.split_once(": PERF_RECORD_") {
            if let Some((process_id, name)) = named(event) {
                self.names.insert(process_id, name);
            }
            return self.end();
        }
        if line.trim().is_empty() {
            return self.end();
        }
        if line.starts_with(char::is_whitespace) {
            if let (Some(sample), Some(frame)) = (&mut self.sample, frame(line)) {
                sample.frames.push(frame);
            }
            return None;
        }
        let ended = self.end();
        self.sample = head(line);
        ended
    }

    /// The last sample.
    pub(super) fn end(&mut self) -> Option<Sample> {
        self.sample.take()
    }

    /// What processes are called, by their ids.
    pub(super) fn names(&self) -> &HashMap<u32, String> {
        &self.names
    }
}

/// `COMM exec: davit-manager:12/12`, of a process, not of one of its other threads.
fn named(event: &str) -> Option<(u32, String)> {
    let (_, told) = event.strip_prefix("COMM")?.split_once(": ")?;
    let (name, ids) = told.trim_end().rsplit_once(':')?;
    let (process_id, thread_id) = ids.split_once('/')?;
    if process_id != thread_id {
        return None;
    }
    Some((process_id.parse().ok()?, name.to_owned()))
}

/// `tokio-rt-worker 12/34 870.929703513:`, where the name may have anything in it, spaces too.
fn head(line: &str) -> Option<Sample> {
    let (rest, at_s) = line.trim_end().strip_suffix(':')?.rsplit_once(char::is_whitespace)?;
    let (thread, ids) = rest.trim_end().rsplit_once(char::is_whitespace)?;
    let (process_id, _) = ids.split_once('/')?;
    Some(Sample {
        process_id: process_id.parse().ok()?,
        thread: thread.trim().to_owned(),
        at_s: at_s.parse().ok()?,
        frames: Vec::new(),
    })
}

/// `150df core::hash::BuildHasher::hash_one (/path/of/program)`.
fn frame(line: &str) -> Option<Frame> {
    let (_address, rest) = line.trim().split_once(' ')?;
    let (function, object) = rest.strip_suffix(')')?.rsplit_once(" (")?;
    // A file that was replaced meanwhile: `name (/path (deleted))`.
    let (function, object) = match function.rsplit_once(" (") {
        Some((function, path)) if object == "deleted)" => (function, path),
        _ => (function, object),
    };
    Some(Frame { function: function.to_owned(), object: object.to_owned() })
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    /// A few of the samples that perf 6.1 took of a cluster.
    pub(in crate::profile) const RECORDED: &str = include_str!("sample.txt");

    pub(in crate::profile) fn samples(text: &str) -> (Vec<Sample>, Script) {
        let mut script = Script::default();
        let mut samples: Vec<_> = text.lines().filter_map(|line| script.line(line)).collect();
        samples.extend(script.end());
        (samples, script)
    }

    #[test]
    fn samples_have_their_process_thread_time_and_frames() {
        let (samples, script) = samples(RECORDED);
        assert_eq!(samples.len(), 9);
        assert_eq!(script.names()[&697], "davit-manager");
        let first = &samples[0];
        assert_eq!((first.process_id, &*first.thread, first.at_s), (697, "tokio-rt-worker", 2289.476905316));
        let object = "/target/profile/release/davit-manager".to_owned();
        let function = "manager_svc::store::fjall::engine::Engine::write".to_owned();
        assert_eq!(first.frames[6], Frame { function, object });
        assert_eq!(first.frames.len(), 9);
    }

    #[test]
    fn names_with_spaces_and_files_that_are_gone_are_read() {
        let (samples, _) = samples("lto cgu.14 5/6   1.5: \n\t  8b0a8c7 a<b as c>::d (/x/y (deleted))\n\n");
        assert_eq!(samples[0].thread, "lto cgu.14");
        assert_eq!(samples[0].frames, [Frame { function: "a<b as c>::d".to_owned(), object: "/x/y".to_owned() }]);
    }

    #[test]
    fn only_the_name_of_a_whole_process_counts_and_the_last_one() {
        let text = "a 0/0 0.0: PERF_RECORD_COMM: sh:7/7\na 7/7 1.0: PERF_RECORD_COMM exec: x: y:7/7\n\
                    a 7/8 1.0: PERF_RECORD_COMM: writer:7/8\na 0/0 0.0: PERF_RECORD_FORK(9:9):(7:7)\n";
        let (samples, script) = samples(text);
        assert_eq!(samples, []);
        assert_eq!(script.names(), &HashMap::from([(7, "x: y".to_owned())]));
    }

    #[test]
    fn what_is_no_sample_is_left_out() {
        assert_eq!(samples("nonsense\n\t12 f (g)\n\nx y z:\n\t\n").0, []);
    }
}
