use super::*;

fn variables() -> Variables {
    [("SET", "value"), ("EMPTY", ""), ("OTHER", "other")]
        .map(|(name, value)| (name.to_owned(), value.to_owned()))
        .into()
}

fn expanded(text: &str) -> Result<String, String> {
    let variables = variables();
    let template = Template::parse(text).map_err(|error| error.to_string())?;
    let mut unset = Vec::new();
    let result = template.expand(&|name| variables.get(name).map(String::as_str), 1000, &mut unset);
    match result {
        Ok(text) if unset.is_empty() => Ok(text),
        Ok(text) => Ok(format!("{text} (unset: {})", unset.join(" "))),
        Err(Unset::Required { name, why }) => Err(required(&name, &why)),
        Err(Unset::TooLarge) => Err("too large".to_owned()),
    }
}

/// The table of the Compose Specification.
#[test]
fn values_are_those_of_the_specification() {
    for (text, expected) in [
        ("plain", "plain"),
        ("$SET", "value"),
        ("${SET}", "value"),
        ("a-${SET}-$OTHER.b", "a-value-other.b"),
        ("$SETTLED", " (unset: SETTLED)"),
        ("${UNSET}", " (unset: UNSET)"),
        ("${EMPTY}", ""),
        ("${SET:-default}", "value"),
        ("${EMPTY:-default}", "default"),
        ("${UNSET:-default}", "default"),
        ("${SET-default}", "value"),
        ("${EMPTY-default}", ""),
        ("${UNSET-default}", "default"),
        ("${SET:?error}", "value"),
        ("${SET?error}", "value"),
        ("${EMPTY?error}", ""),
        ("${SET:+replacement}", "replacement"),
        ("${EMPTY:+replacement}", ""),
        ("${UNSET:+replacement}", ""),
        ("${SET+replacement}", "replacement"),
        ("${EMPTY+replacement}", "replacement"),
        ("${UNSET+replacement}", ""),
        ("${UNSET:-${OTHER}}", "other"),
        ("${UNSET:-${ALSO:-deep}}", "deep"),
        ("${UNSET:-$OTHER-x}", "other-x"),
        ("${UNSET-}", ""),
        ("${UNSET:-a b:c/d?e}", "a b:c/d?e"),
        ("${UNSET:-$$}", "$"),
        ("$$SET and $${SET}", "$SET and ${SET}"),
        ("}", "}"),
        ("{}", "{}"),
        ("${SET}}", "value}"),
        ("ä${SET}ö", "ävalueö"),
    ] {
        assert_eq!(expanded(text).as_deref(), Ok(expected), "{text}");
    }
}

#[test]
fn what_must_be_set_is_demanded_with_its_words() {
    let error = |text| expanded(text).unwrap_err();
    assert_eq!(error("${EMPTY:?write it down}"), "the variable `EMPTY` must be set: write it down");
    assert_eq!(error("${UNSET?}"), "the variable `UNSET` must be set");
    assert_eq!(error("${UNSET:?see $OTHER}"), "the variable `UNSET` must be set: see other");
}

#[test]
fn what_is_no_variable_is_told() {
    insta::assert_snapshot!(expanded("$").unwrap_err(), @"`$` is no variable; write `$$` for a dollar sign");
    insta::assert_snapshot!(expanded("cost: $1").unwrap_err(), @"`$1` is no variable; write `$$` for a dollar sign");
    insta::assert_snapshot!(expanded("${}").unwrap_err(), @"`${}` is no variable; write `$$` for a dollar sign");
    insta::assert_snapshot!(expanded("${SET").unwrap_err(), @"`${SET` has no `}` at its end");
    insta::assert_snapshot!(expanded("${SET:-x").unwrap_err(), @"`${SET:-x` has no `}` at its end");
    insta::assert_snapshot!(expanded("${SET!x}").unwrap_err(), @"`${SET!x}` can't be read: after the name comes `}`, or one of `:-` `-` `:?` `?` `:+` `+`; write `$$` for a dollar sign");
    let deep = format!("{}x{}", "${A:-".repeat(40), "}".repeat(40));
    insta::assert_snapshot!(expanded(&deep).unwrap_err(), @"variables are more than 16 deep in each other's defaults");
}

#[test]
fn a_value_has_a_bound() {
    assert_eq!(expanded(&"$SET".repeat(300)), Err("too large".to_owned()));
}

#[test]
fn all_variables_are_found() {
    let mut names = Vec::new();
    let template = Template::parse("$A ${B:-${C:?$D}} $$E").unwrap();
    template.for_each_variable(&mut |variable| names.push(variable.name.clone()));
    assert_eq!(names, ["A", "B", "C", "D"]);
}
