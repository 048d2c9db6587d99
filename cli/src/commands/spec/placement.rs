//! The options that decide on a task's node.

use clap::Args;
use clap::builder::NonEmptyStringValueParser;
use davit_core::spec::PRIORITIES;
use davit_proto::v1;

use super::{replace, replace_all};

/// Apart from what is run, which is another question.
const HEADING: &str = "Where it goes";
/// What a preference weighs unless said: the API's own default for spreading.
const DEFAULT_WEIGHT: u8 = 50;
/// An expression can't begin like this, so a weight before it is never a part of it.
const WEIGHT_END: char = ':';

/// What decides on a task's node, beside its cores and memory.
#[derive(Debug, Default, PartialEq, Args)]
#[command(next_help_heading = HEADING)]
pub struct PlacementArgs {
    /// What the node must be, such as 'disk == ssd' or 'node.arch in (x86_64, aarch64)'. May be repeated
    #[arg(long, value_name = "EXPRESSION")]
    pub(super) constraint: Vec<String>,
    /// What kind of machine it must be, such as linux/amd64 or linux/arm64
    #[arg(long, value_name = "OS[/ARCH]", value_parser = NonEmptyStringValueParser::new())]
    platform: Option<String>,
    /// Only on nodes that have such a task already: 'app == cache' for a label of tasks, 'task.name == cache' for a name.
    /// May be repeated
    #[arg(long, value_name = "TASKS")]
    near: Vec<String>,
    /// Only on nodes without such a task, and keep such tasks away while this one is there. May be repeated
    #[arg(long, value_name = "TASKS")]
    away_from: Vec<String>,
    /// At most so many tasks of the same name on one node
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    max_per_node: Option<u32>,
    /// Every task of the same name on a node of its own, as --max-per-node 1
    #[arg(long, conflicts_with = "max_per_node")]
    distinct_hosts: bool,
    /// Rather on such nodes: 'disk == ssd', or '80:disk == ssd' with a weight of 1 to 100 instead of 50. 100 outweighs the
    /// difference between an empty and a full node. May be repeated
    #[arg(long, value_name = "[WEIGHT:]EXPRESSION", value_parser = prefer, allow_hyphen_values = true)]
    prefer: Vec<v1::NodeAffinity>,
    /// Rather not on such nodes, such as '80:zone == c'; weights as with --prefer. May be repeated
    #[arg(long, value_name = "[WEIGHT:]EXPRESSION", value_parser = avoid)]
    avoid: Vec<v1::NodeAffinity>,
    /// Spread tasks of the same name over the values of a label or attribute of nodes, such as zone, or zone=80 with a
    /// weight of 1 to 100 instead of 50. May be repeated
    #[arg(long, value_name = "ATTRIBUTE[=WEIGHT]", value_parser = spread_over)]
    spread_over: Vec<v1::SpreadPreference>,
    /// How nodes are scored, such as spread, binpack or epvm; the cluster's default unless set
    #[arg(long, value_name = "NAME")]
    algorithm: Option<String>,
    /// Higher is placed first, from -1000 to 1000; 0 unless set
    #[arg(long, value_name = "N", value_parser = priority, allow_negative_numbers = true)]
    priority: Option<i32>,
    /// Where nothing fits, stop tasks of lower priority for it, gracefully; they run again when there is room
    #[arg(long)]
    preempt: bool,
}

impl PlacementArgs {
    /// Whether any of them is given.
    pub(in crate::commands) fn is_given(&self) -> bool {
        *self != Self::default()
    }

    /// A policy with what is given; none where there is nothing in it.
    pub(super) fn over(self, policy: Option<v1::PlacementPolicy>) -> Option<v1::PlacementPolicy> {
        let mut policy = policy.unwrap_or_default();
        replace(&mut policy.algorithm, self.algorithm);
        replace(&mut policy.platform, self.platform);
        let one = self.distinct_hosts.then_some(1);
        policy.max_per_node = one.or(self.max_per_node).or(policy.max_per_node);
        replace_all(&mut policy.task_affinities, self.near);
        replace_all(&mut policy.task_anti_affinities, self.away_from);
        let (mut likes, mut dislikes) = policy.affinities.into_iter().partition(|each| each.weight > 0);
        replace_all(&mut likes, self.prefer);
        replace_all(&mut dislikes, self.avoid);
        policy.affinities = likes.into_iter().chain(dislikes).collect();
        replace_all(&mut policy.spread, self.spread_over);
        replace(&mut policy.priority, self.priority);
        policy.may_preempt |= self.preempt;
        (policy != v1::PlacementPolicy::default()).then_some(policy)
    }
}

/// Reads `[WEIGHT:]EXPRESSION` of nodes that are liked.
fn prefer(text: &str) -> Result<v1::NodeAffinity, String> {
    affinity(text, "80:disk == ssd", 1)
}

/// Reads `[WEIGHT:]EXPRESSION` of nodes that are disliked.
fn avoid(text: &str) -> Result<v1::NodeAffinity, String> {
    affinity(text, "80:zone == c", -1)
}

fn affinity(text: &str, example: &str, sign: i32) -> Result<v1::NodeAffinity, String> {
    let (given, expression) = match text.split_once(WEIGHT_END) {
        Some((before, rest)) if is_number(before) => (Some(before), rest),
        _ => (None, text),
    };
    let expression = expression.trim();
    if expression.is_empty() {
        return Err(format!("it needs an expression, such as '{example}'"));
    }
    Ok(v1::NodeAffinity { expression: expression.to_owned(), weight: sign * i32::from(weight(given)?) })
}

fn is_number(text: &str) -> bool {
    let text = text.trim();
    let digits = text.strip_prefix(['-', '+']).unwrap_or(text);
    !digits.is_empty() && digits.chars().all(|c| c.is_ascii_digit())
}

/// Reads `ATTRIBUTE[=WEIGHT]`.
fn spread_over(text: &str) -> Result<v1::SpreadPreference, String> {
    let (attribute, given) = match text.split_once('=') {
        Some((attribute, given)) => (attribute, Some(given)),
        None => (text, None),
    };
    if attribute.trim().is_empty() {
        return Err("it needs an attribute, such as zone or zone=80".to_owned());
    }
    let weight = given.map(|given| weight(Some(given))).transpose()?;
    Ok(v1::SpreadPreference { attribute: attribute.trim().to_owned(), weight: weight.map(u32::from) })
}

fn priority(text: &str) -> Result<i32, String> {
    let (least, most) = (PRIORITIES.start(), PRIORITIES.end());
    let given = text.parse().ok().filter(|given| PRIORITIES.contains(given));
    given.ok_or_else(|| format!("`{text}` is not a whole number from {least} to {most}"))
}

fn weight(given: Option<&str>) -> Result<u8, String> {
    let Some(given) = given.map(str::trim) else { return Ok(DEFAULT_WEIGHT) };
    match given.parse::<u8>() {
        Ok(weight @ 1..=100) => Ok(weight),
        _ if given.starts_with('-') => Err("a weight is 1 to 100; say what to stay away from with --avoid".to_owned()),
        _ => Err(format!("`{given}` is not a weight from 1 to 100")),
    }
}

/// Values of the options about placement.
#[cfg(any(test, feature = "fuzzing"))]
pub(super) mod fuzzing {
    /// A value, as that of every option. Gives for how many it is one.
    pub(crate) fn option_value(text: &str) -> usize {
        let affinities = [super::prefer(text), super::avoid(text)];
        let of_others = usize::from(super::spread_over(text).is_ok()) + usize::from(super::priority(text).is_ok());
        affinities.iter().flatten().count() + of_others
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn liked(expression: &str, weight: i32) -> Result<v1::NodeAffinity, String> {
        Ok(v1::NodeAffinity { expression: expression.to_owned(), weight })
    }

    #[test]
    fn a_weight_stands_before_what_it_weighs() {
        assert_eq!(prefer("disk == ssd"), liked("disk == ssd", 50));
        assert_eq!(prefer("80:disk == ssd"), liked("disk == ssd", 80));
        assert_eq!(prefer(" 80 : cores >= 8"), liked("cores >= 8", 80));
        assert_eq!(avoid("zone == c"), liked("zone == c", -50));
        assert_eq!(avoid("100:zone == c"), liked("zone == c", -100));
        assert_eq!(prefer("image == a:80"), liked("image == a:80", 50));
    }

    #[test]
    fn what_to_stay_away_from_has_an_option_of_its_own() {
        assert!(prefer("-80:zone == c").unwrap_err().contains("--avoid"));
    }

    #[test]
    fn an_attribute_may_have_a_weight() {
        let over = |weight| Ok(v1::SpreadPreference { attribute: "zone".to_owned(), weight });
        assert_eq!(spread_over("zone"), over(None));
        assert_eq!(spread_over("zone=80"), over(Some(80)));
    }

    #[test]
    fn a_priority_that_is_none_is_answered_with_what_is_allowed() {
        assert_eq!((priority("-1000"), priority("1000")), (Ok(-1000), Ok(1000)));
        for text in ["abc", "1001", "-1001", "1.5", "", "99999999999"] {
            assert_eq!(priority(text), Err(format!("`{text}` is not a whole number from -1000 to 1000")));
        }
    }

    #[test]
    fn weights_that_make_no_sense_are_refused() {
        for text in ["", "80:", "0:disk == ssd", "101:disk == ssd"] {
            assert!(prefer(text).is_err(), "{text}");
        }
        for text in ["", "=5", "zone=", "zone=0", "zone=101", "zone=much"] {
            assert!(spread_over(text).is_err(), "{text}");
        }
    }
}
