//! Constraint expressions: what a task demands of its node.
//!
//! ```text
//! expression = attribute operator value
//!            | attribute ("in" | "not in") "(" value { "," value } ")"
//!            | attribute ("exists" | "!exists")
//! attribute  = "node.name" | "node.os" | "node.arch" | "node.labels." key | key
//! operator   = "==" | "!=" | "<" | "<=" | ">" | ">="
//! ```
//!
//! A bare `key` means `node.labels.key`. `node.arch` may be given as images call it: `amd64` is `x86_64`, `arm64` is `aarch64`.
//! `<`, `<=`, `>` and `>=` compare numbers; a label that is not a number satisfies none of them. **An absent label satisfies
//! only `!exists`**: in particular it does not satisfy `!=` or `not in`, since a forgotten label should never let a task onto a
//! node.

use std::fmt;
use std::str::FromStr;

use crate::labels::NodeLabels;
use crate::placement::machine_arch;

/// The longest expression that is accepted, in bytes.
pub const MAX_EXPRESSION_BYTES: usize = 512;

/// What of a node is looked at.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Attribute {
    /// `node.name`
    Name,
    /// `node.os`, such as `linux`
    Os,
    /// `node.arch`, such as `x86_64`
    Arch,
    /// `node.labels.<key>`
    Label(String),
}

/// How the attribute is compared.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Operator {
    /// `==`
    Equal,
    /// `!=`
    NotEqual,
    /// `in (…)`
    In,
    /// `not in (…)`
    NotIn,
    /// `exists`
    Exists,
    /// `!exists`
    NotExists,
    /// `<`
    Less,
    /// `<=`
    LessOrEqual,
    /// `>`
    Greater,
    /// `>=`
    GreaterOrEqual,
}

/// One demand on a node. Made by parsing an expression; see the module's grammar.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Constraint {
    /// What of the node is looked at.
    pub attribute: Attribute,
    /// How it is compared.
    pub operator: Operator,
    /// With what: one value, several for `in` and `not in`, none for `exists` and `!exists`.
    pub values: Vec<String>,
}

/// What a constraint is checked against.
#[derive(Debug, Clone, Copy)]
pub struct NodeAttributes<'a> {
    /// The node's name.
    pub name: &'a str,
    /// Its operating system.
    pub os: &'a str,
    /// Its processor architecture.
    pub arch: &'a str,
    /// Its labels.
    pub labels: &'a NodeLabels,
}

/// Why a text is not a constraint expression.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ParseError {
    /// Nothing there.
    #[error("a constraint must not be empty; write it like `disk==ssd`")]
    Empty,
    /// Over [`MAX_EXPRESSION_BYTES`].
    #[error("a constraint has at most {MAX_EXPRESSION_BYTES} bytes, this one has {len}")]
    TooLong {
        /// Its length in bytes.
        len: usize,
    },
    /// No operator of the grammar.
    #[error(
        "`{text}` has no known operator; write one of ==, !=, <, <=, >, >=, in (…), not in (…), exists, !exists after the \
         attribute, as in `disk == ssd` or `disk exists`"
    )]
    NoOperator {
        /// The whole expression.
        text: String,
    },
    /// The part before the operator is not an attribute.
    #[error("`{attribute}` is not an attribute; use node.name, node.os, node.arch, node.labels.KEY, or a label's key")]
    BadAttribute {
        /// What stood there.
        attribute: String,
    },
    /// The operator wants a value.
    #[error("`{operator}` needs a value after it")]
    NoValue {
        /// The operator.
        operator: Operator,
    },
    /// The value can't be read.
    #[error("`{value}` is not a value; use letters, digits and - _ . / : @ +, without spaces")]
    BadValue {
        /// What stood there.
        value: String,
    },
    /// Not a list in parentheses.
    #[error("`{operator}` needs a list such as (a, b)")]
    BadList {
        /// The operator.
        operator: Operator,
    },
    /// `<` and friends compare numbers.
    #[error("`{operator}` compares numbers, and `{value}` is not one")]
    NotANumber {
        /// The operator.
        operator: Operator,
        /// What stood there.
        value: String,
    },
    /// Something after an expression that was complete.
    #[error("`{rest}` after `{operator}` has no meaning")]
    Trailing {
        /// The operator.
        operator: Operator,
        /// What stood there.
        rest: String,
    },
}

impl Constraint {
    /// Whether a node satisfies this constraint. An absent label satisfies only `!exists`.
    #[must_use]
    pub fn is_satisfied_by(&self, node: NodeAttributes<'_>) -> bool {
        let actual = self.attribute.value_on(node);
        let Some(actual) = actual else {
            return self.operator == Operator::NotExists;
        };
        // Image platforms and machines call the same architecture by different names.
        let is_arch = self.attribute == Attribute::Arch;
        let is = |value: &str| value == actual || (is_arch && machine_arch(value) == machine_arch(actual));
        let first = self.values.first().map_or("", String::as_str);
        match self.operator {
            Operator::Exists => true,
            Operator::NotExists => false,
            Operator::Equal => is(first),
            Operator::NotEqual => !is(first),
            Operator::In => self.values.iter().any(|value| is(value)),
            Operator::NotIn => !self.values.iter().any(|value| is(value)),
            Operator::Less => compare(actual, first, |a, b| a < b),
            Operator::LessOrEqual => compare(actual, first, |a, b| a <= b),
            Operator::Greater => compare(actual, first, |a, b| a > b),
            Operator::GreaterOrEqual => compare(actual, first, |a, b| a >= b),
        }
    }
}

fn compare(actual: &str, wanted: &str, holds: impl Fn(f64, f64) -> bool) -> bool {
    match (actual.parse::<f64>(), wanted.parse::<f64>()) {
        // A label may say `inf`, which is no amount of anything.
        (Ok(actual), Ok(wanted)) if actual.is_finite() => holds(actual, wanted),
        _ => false,
    }
}

impl Attribute {
    /// The attribute's value on a node; `None` for an absent label.
    #[must_use]
    pub fn value_on<'a>(&self, node: NodeAttributes<'a>) -> Option<&'a str> {
        match self {
            Self::Name => Some(node.name),
            Self::Os => Some(node.os),
            Self::Arch => Some(node.arch),
            Self::Label(key) => node.labels.get(key),
        }
    }
}

impl FromStr for Attribute {
    type Err = ParseError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let bad = || ParseError::BadAttribute { attribute: text.to_owned() };
        match text {
            "node.name" => return Ok(Self::Name),
            "node.os" => return Ok(Self::Os),
            "node.arch" => return Ok(Self::Arch),
            _ => {}
        }
        let key = match text.strip_prefix("node.labels.") {
            Some(key) => key,
            None if text.starts_with("node.") => return Err(bad()),
            None => text,
        };
        let valid = key.starts_with(|c: char| c.is_ascii_alphanumeric())
            && key.chars().all(|c| c.is_ascii_alphanumeric() || "-_./".contains(c));
        if valid { Ok(Self::Label(key.to_owned())) } else { Err(bad()) }
    }
}

impl FromStr for Constraint {
    type Err = ParseError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        if text.len() > MAX_EXPRESSION_BYTES {
            return Err(ParseError::TooLong { len: text.len() });
        }
        let text = text.trim();
        if text.is_empty() {
            return Err(ParseError::Empty);
        }
        let (attribute, operator, rest) =
            split_at_operator(text).ok_or_else(|| ParseError::NoOperator { text: text.to_owned() })?;
        let attribute = attribute.parse()?;
        let values = match operator {
            Operator::Exists | Operator::NotExists if rest.is_empty() => Vec::new(),
            Operator::Exists | Operator::NotExists => {
                return Err(ParseError::Trailing { operator, rest: rest.to_owned() });
            }
            Operator::In | Operator::NotIn => parse_list(operator, rest)?,
            Operator::Equal | Operator::NotEqual => vec![parse_value(operator, rest)?],
            Operator::Less | Operator::LessOrEqual | Operator::Greater | Operator::GreaterOrEqual => {
                let value = parse_value(operator, rest)?;
                if !value.parse::<f64>().is_ok_and(f64::is_finite) {
                    return Err(ParseError::NotANumber { operator, value });
                }
                vec![value]
            }
        };
        Ok(Self { attribute, operator, values })
    }
}

/// Finds the operator and gives what stands before and after it.
fn split_at_operator(text: &str) -> Option<(&str, Operator, &str)> {
    // Two-character symbols first, so that `<=` is not taken for `<`.
    const SYMBOLS: [(&str, Operator); 6] = [
        ("==", Operator::Equal),
        ("!=", Operator::NotEqual),
        ("<=", Operator::LessOrEqual),
        (">=", Operator::GreaterOrEqual),
        ("<", Operator::Less),
        (">", Operator::Greater),
    ];
    if let Some(at) = text.find(['=', '!', '<', '>']) {
        for (symbol, operator) in SYMBOLS {
            if let Some(rest) = text[at..].strip_prefix(symbol) {
                return Some((text[..at].trim_end(), operator, rest.trim_start()));
            }
        }
    }
    let (attribute, rest) = text.split_once(char::is_whitespace)?;
    let rest = rest.trim_start();
    if let Some(list) = rest.strip_prefix("in").filter(|list| starts_list(list)) {
        return Some((attribute, Operator::In, list.trim()));
    }
    if let Some(list) = rest
        .strip_prefix("not")
        .map(str::trim_start)
        .and_then(|rest| rest.strip_prefix("in"))
        .filter(|l| starts_list(l))
    {
        return Some((attribute, Operator::NotIn, list.trim()));
    }
    let (word, rest) = rest.split_once(char::is_whitespace).unwrap_or((rest, ""));
    match word {
        "exists" => Some((attribute, Operator::Exists, rest.trim())),
        "!exists" => Some((attribute, Operator::NotExists, rest.trim())),
        _ => None,
    }
}

fn starts_list(rest: &str) -> bool {
    rest.is_empty() || rest.starts_with(|c: char| c == '(' || c.is_whitespace())
}

fn parse_list(operator: Operator, text: &str) -> Result<Vec<String>, ParseError> {
    let inner =
        text.strip_prefix('(').and_then(|rest| rest.strip_suffix(')')).ok_or(ParseError::BadList { operator })?;
    inner.split(',').map(|value| parse_value(operator, value.trim())).collect()
}

fn parse_value(operator: Operator, text: &str) -> Result<String, ParseError> {
    if text.is_empty() {
        return Err(ParseError::NoValue { operator });
    }
    if text.chars().all(|c| c.is_alphanumeric() || "-_./:@+".contains(c)) {
        Ok(text.to_owned())
    } else {
        Err(ParseError::BadValue { value: text.to_owned() })
    }
}

impl fmt::Display for Operator {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Equal => "==",
            Self::NotEqual => "!=",
            Self::In => "in",
            Self::NotIn => "not in",
            Self::Exists => "exists",
            Self::NotExists => "!exists",
            Self::Less => "<",
            Self::LessOrEqual => "<=",
            Self::Greater => ">",
            Self::GreaterOrEqual => ">=",
        })
    }
}

impl fmt::Display for Attribute {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Name => f.write_str("node.name"),
            Self::Os => f.write_str("node.os"),
            Self::Arch => f.write_str("node.arch"),
            Self::Label(key) => write!(f, "node.labels.{key}"),
        }
    }
}

impl fmt::Display for Constraint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.operator {
            Operator::Exists | Operator::NotExists => write!(f, "{} {}", self.attribute, self.operator),
            Operator::In | Operator::NotIn => {
                write!(f, "{} {} ({})", self.attribute, self.operator, self.values.join(", "))
            }
            _ => write!(f, "{} {} {}", self.attribute, self.operator, self.values.join("")),
        }
    }
}

#[cfg(test)]
mod tests;
