//! Which phase the measurement said to be in when: `phase at 12.345 s: bulk`, by the clock that perf uses.

/// The phases, in their order. One name may come several times.
#[derive(Debug, Default, PartialEq)]
pub(super) struct Phases(Vec<(f64, String)>);

/// What the measurement says when no phase goes on any more.
const END: &str = "end";

impl Phases {
    /// From what the measurement printed.
    pub(super) fn parse(output: &str) -> Self {
        let phase = |line: &str| {
            let (at_s, name) = line.strip_prefix("phase at ")?.split_once(" s: ")?;
            Some((at_s.parse().ok()?, name.trim_end().to_owned()))
        };
        Self(output.lines().filter_map(phase).collect())
    }

    /// The phase that went on at this time.
    pub(super) fn at(&self, at_s: f64) -> Option<&str> {
        let begun = self.0.iter().rev().find(|(began_s, _)| *began_s <= at_s);
        begun.map(|(_, name)| &**name).filter(|name| *name != END)
    }

    pub(super) fn has(&self, name: &str) -> bool {
        self.names().contains(&name)
    }

    /// Each once, in the order in which they first came.
    pub(super) fn names(&self) -> Vec<&str> {
        let mut names = Vec::new();
        for (_, name) in &self.0 {
            if name != END && !names.contains(&&**name) {
                names.push(&**name);
            }
        }
        names
    }

    /// How long all of this name took together. What never ended is not known.
    fn took_s(&self, name: &str) -> f64 {
        let next = self.0.iter().skip(1);
        self.0.iter().zip(next).filter(|((_, one), _)| one == name).map(|((began, _), (ended, _))| ended - began).sum()
    }

    /// Which of them is told, and which there are.
    pub(super) fn told(&self, phase: Option<&str>) -> String {
        let all: Vec<_> = self.names().into_iter().map(|name| format!("{name} {:.1} s", self.took_s(name))).collect();
        match (phase, all.is_empty()) {
            (Some(phase), _) => format!("phase {phase}, {:.1} s, of: {}", self.took_s(phase), all.join(", ")),
            (None, true) => "all of it".to_owned(),
            (None, false) => format!("all of it; phases: {}", all.join(", ")),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const OUTPUT: &str = "AMD\nphase at 10.5 s: probe\n200 tasks\nphase at 12.0 s: bulk\nphase at 15.0 s: probe\n\
                          phase at 16.0 s: end\nphase at x s: bad\n{}\n";

    #[test]
    fn a_phase_lasts_until_the_next_one_begins() {
        let phases = Phases::parse(OUTPUT);
        assert_eq!(phases.names(), ["probe", "bulk"]);
        let at = |at_s| phases.at(at_s);
        assert_eq!(
            [at(10.0), at(10.5), at(14.9), at(15.1), at(16.0)],
            [None, Some("probe"), Some("bulk"), Some("probe"), None]
        );
        assert!(phases.has("bulk") && !phases.has("end") && !phases.has("bad"));
    }

    #[test]
    fn phases_of_one_name_add_up() {
        let phases = Phases::parse(OUTPUT);
        assert_eq!(phases.told(Some("bulk")), "phase bulk, 3.0 s, of: probe 2.5 s, bulk 3.0 s");
        assert_eq!(phases.told(None), "all of it; phases: probe 2.5 s, bulk 3.0 s");
        assert_eq!(Phases::parse("").told(None), "all of it");
    }
}
