//! One value that variables may stand in.

use crate::error::quoted;

/// How deep variables may be in each other's defaults.
const MAX_NESTING: usize = 16;

/// Of what stands after a wrong `$` so many characters are told.
const SHOWN_CHARS: usize = 20;

/// Why a text is not a template.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum TemplateError {
    #[error("{} is no variable; write `$$` for a dollar sign", quoted(.at))]
    NoName { at: String },
    #[error("{} has no `}}` at its end", quoted(.at))]
    NotClosed { at: String },
    #[error(
        "{} can't be read: after the name comes `}}`, or one of `:-` `-` `:?` `?` `:+` `+`; write `$$` for a dollar sign",
        quoted(.at)
    )]
    NoOperator { at: String },
    #[error("variables are more than {MAX_NESTING} deep in each other's defaults")]
    TooDeep,
}

/// Why a template has no value.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Unset {
    /// A variable that must be set is not.
    Required { name: String, why: String },
    /// The value would have more bytes than there is room for.
    TooLarge,
}

/// What stands after a variable's name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Operator {
    /// `-`: what to take when it is not set.
    Default,
    /// `?`: it must be set.
    Required,
    /// `+`: what to take when it is set.
    Replacement,
}

/// One variable in a text.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Variable {
    pub(crate) name: String,
    pub(crate) operation: Option<Operation>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Operation {
    pub(crate) operator: Operator,
    /// With a colon, a variable that is empty counts as not set.
    pub(crate) empty_is_unset: bool,
    pub(crate) argument: Template,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Piece {
    Text(String),
    Variable(Variable),
}

/// A text with variables.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Template {
    pieces: Vec<Piece>,
}

/// Where variables are found.
pub(crate) type Lookup<'a> = dyn Fn(&str) -> Option<&'a str> + 'a;

impl Template {
    pub(crate) fn parse(text: &str) -> Result<Self, TemplateError> {
        Parser { rest: text }.template(0)
    }

    /// All variables in it, those in defaults too.
    pub(crate) fn for_each_variable(&self, each: &mut dyn FnMut(&Variable)) {
        for piece in &self.pieces {
            if let Piece::Variable(variable) = piece {
                each(variable);
                if let Some(operation) = &variable.operation {
                    operation.argument.for_each_variable(each);
                }
            }
        }
    }

    /// Its value of at most `max_bytes`. Names of variables that are taken as empty are put into `unset`.
    pub(crate) fn expand(
        &self,
        lookup: &Lookup<'_>,
        max_bytes: usize,
        unset: &mut Vec<String>,
    ) -> Result<String, Unset> {
        let mut text = String::new();
        self.expand_into(&mut text, lookup, max_bytes, unset)?;
        Ok(text)
    }

    fn expand_into(
        &self,
        text: &mut String,
        lookup: &Lookup<'_>,
        max_bytes: usize,
        unset: &mut Vec<String>,
    ) -> Result<(), Unset> {
        for piece in &self.pieces {
            match piece {
                Piece::Text(piece) => text.push_str(piece),
                Piece::Variable(Variable { name, operation }) => {
                    let value = lookup(name);
                    match operation {
                        None => match value {
                            Some(value) => text.push_str(value),
                            None => unset.push(name.clone()),
                        },
                        Some(Operation { operator, empty_is_unset, argument }) => {
                            let set = value.filter(|value| !(*empty_is_unset && value.is_empty()));
                            match (operator, set) {
                                (Operator::Default | Operator::Required, Some(value)) => text.push_str(value),
                                (Operator::Default, None) | (Operator::Replacement, Some(_)) => {
                                    argument.expand_into(text, lookup, max_bytes, unset)?;
                                }
                                (Operator::Required, None) => {
                                    let why = argument.expand(lookup, max_bytes, unset)?;
                                    return Err(Unset::Required { name: name.clone(), why });
                                }
                                (Operator::Replacement, None) => {}
                            }
                        }
                    }
                }
            }
            if text.len() > max_bytes {
                return Err(Unset::TooLarge);
            }
        }
        Ok(())
    }
}

struct Parser<'a> {
    rest: &'a str,
}

impl Parser<'_> {
    /// Reads to the end, or inside of a variable (`depth` above 0) to its brace, which is left.
    fn template(&mut self, depth: usize) -> Result<Template, TemplateError> {
        let mut pieces = Vec::new();
        let mut text = String::new();
        while let Some(next) = self.rest.chars().next() {
            if next == '}' && depth > 0 {
                break;
            }
            self.rest = &self.rest[next.len_utf8()..];
            if next != '$' {
                text.push(next);
            } else if let Some(rest) = self.rest.strip_prefix('$') {
                text.push('$');
                self.rest = rest;
            } else {
                if !text.is_empty() {
                    pieces.push(Piece::Text(std::mem::take(&mut text)));
                }
                pieces.push(Piece::Variable(self.variable(depth)?));
            }
        }
        if !text.is_empty() {
            pieces.push(Piece::Text(text));
        }
        Ok(Template { pieces })
    }

    /// Reads what follows a `$`.
    fn variable(&mut self, depth: usize) -> Result<Variable, TemplateError> {
        let start = self.rest;
        let at = || format!("${}", start.chars().take(SHOWN_CHARS).collect::<String>());
        let Some(inside) = self.rest.strip_prefix('{') else {
            let name = self.name().ok_or_else(|| TemplateError::NoName { at: at() })?;
            return Ok(Variable { name, operation: None });
        };
        self.rest = inside;
        let name = self.name().ok_or_else(|| TemplateError::NoName { at: at() })?;
        let operation = match self.operator() {
            None if self.rest.starts_with('}') => None,
            None if self.rest.is_empty() => return Err(TemplateError::NotClosed { at: at() }),
            None => return Err(TemplateError::NoOperator { at: at() }),
            Some(_) if depth >= MAX_NESTING => return Err(TemplateError::TooDeep),
            Some((operator, empty_is_unset)) => {
                let argument = self.template(depth + 1)?;
                Some(Operation { operator, empty_is_unset, argument })
            }
        };
        self.rest = self.rest.strip_prefix('}').ok_or_else(|| TemplateError::NotClosed { at: at() })?;
        Ok(Variable { name, operation })
    }

    fn name(&mut self) -> Option<String> {
        if !self.rest.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_') {
            return None;
        }
        let end = self.rest.find(|c: char| !(c.is_ascii_alphanumeric() || c == '_')).unwrap_or(self.rest.len());
        let (name, rest) = self.rest.split_at(end);
        self.rest = rest;
        Some(name.to_owned())
    }

    fn operator(&mut self) -> Option<(Operator, bool)> {
        let (rest, colon) = match self.rest.strip_prefix(':') {
            Some(rest) => (rest, true),
            None => (self.rest, false),
        };
        let operator = match rest.chars().next()? {
            '-' => Operator::Default,
            '?' => Operator::Required,
            '+' => Operator::Replacement,
            _ => return None,
        };
        self.rest = &rest[1..];
        Some((operator, colon))
    }
}
