use proptest::prelude::*;

use super::*;

fn holds(expression: &str) -> bool {
    let labels = NodeLabels::from_iter([
        ("disk".to_owned(), "ssd".to_owned()),
        ("cores".to_owned(), "8".to_owned()),
        ("example.com/zone".to_owned(), "a".to_owned()),
    ]);
    let node = NodeAttributes { name: "node-1", os: "linux", arch: "x86_64", labels: &labels };
    expression.parse::<Constraint>().unwrap().is_satisfied_by(node)
}

#[test]
fn every_operator_does_what_it_says() {
    for satisfied in [
        "disk==ssd",
        "node.labels.disk == ssd",
        "disk != hdd",
        "disk in (hdd, ssd)",
        "disk not in (hdd)",
        "disk exists",
        "gpu !exists",
        "cores > 4",
        "cores>=8",
        "cores < 8.5",
        "cores <= 8",
        "node.name == node-1",
        "node.os==linux",
        "node.arch in (x86_64,aarch64)",
        "node.arch == amd64",
        "node.arch not in (arm64)",
        "example.com/zone == a",
    ] {
        assert!(holds(satisfied), "{satisfied}");
    }
    for unsatisfied in ["disk==hdd", "disk !exists", "cores > 8", "disk > 1", "disk not in (ssd)", "node.arch != amd64"]
    {
        assert!(!holds(unsatisfied), "{unsatisfied}");
    }
}

#[test]
fn an_absent_label_satisfies_only_not_exists() {
    for expression in ["gpu == a", "gpu != a", "gpu in (a)", "gpu not in (a)", "gpu exists", "gpu < 1"] {
        assert!(!holds(expression), "{expression}");
    }
    assert!(holds("gpu !exists"));
}

#[test]
fn only_amounts_are_compared() {
    for value in ["inf", "NaN", "-inf", "many"] {
        let labels = [("cores".to_owned(), value.to_owned())].into_iter().collect();
        let node = NodeAttributes { name: "n", os: "linux", arch: "x86_64", labels: &labels };
        for expression in ["cores > 1", "cores < 1", "cores >= 1", "cores <= 1"] {
            assert!(!expression.parse::<Constraint>().unwrap().is_satisfied_by(node), "{value}: {expression}");
        }
    }
}

#[test]
fn bad_expressions_say_what_is_wrong() {
    for (text, part) in [
        ("", "empty"),
        ("disk", "no known operator"),
        ("disk = ssd", "no known operator"),
        ("disk ~= ssd", "no known operator"),
        ("disk ==", "needs a value"),
        ("node.color == red", "not an attribute"),
        ("disk in a, b", "needs a list"),
        ("disk == a b", "not a value"),
        ("cores > many", "not one"),
        ("disk exists now", "no meaning"),
    ] {
        let error = text.parse::<Constraint>().unwrap_err().to_string();
        assert!(error.contains(part), "{text}: {error}");
    }
}

proptest! {
    #[test]
    fn parsing_never_panics(text in ".{0,64}") {
        let _ = text.parse::<Constraint>();
    }

    #[test]
    fn printing_and_parsing_again_gives_the_same(
        key in "[a-z][a-z0-9.]{0,8}",
        operator in prop::sample::select(vec!["==", "!=", "in", "not in", "exists", "!exists"]),
        values in prop::collection::vec("[a-z0-9]{1,5}", 1..3),
    ) {
        let text = match operator {
            "in" | "not in" => format!("{key} {operator} ({})", values.join(",")),
            "exists" | "!exists" => format!("{key} {operator}"),
            _ => format!("{key} {operator} {}", values[0]),
        };
        prop_assume!(!key.starts_with("node."));
        let constraint: Constraint = text.parse().unwrap();
        prop_assert_eq!(constraint.to_string().parse::<Constraint>().unwrap(), constraint);
    }
}
