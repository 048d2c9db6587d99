use super::*;

fn read_all(text: &str) -> String {
    let variables: Variables =
        [("HOME", "/root"), ("FIRST", "outside")].map(|(k, v)| (k.to_owned(), v.to_owned())).into();
    match parse_env_file(".env", text, &variables) {
        Ok((values, warnings)) => {
            let values = values.iter().map(|(key, value)| format!("{key}={value:?}"));
            values.chain(warnings.iter().map(ToString::to_string)).collect::<Vec<_>>().join("\n")
        }
        Err(invalid) => invalid.to_string(),
    }
}

#[test]
fn values_are_read() {
    insta::assert_snapshot!(read_all(
        "# comment\n\nA=1\nexport B = two words  # comment\nC='$A # \\n'\nD=\"x\\ty $A \\$A\\\"\" # c\nE=\nF=a#b\nG: yaml\nHOME\nGONE\n\
         H=\"two\nlines\"\nI='two\nlines'\nJ=${A}${F:-x}\nK=$FIRST\nL=a=b\r\nM=last"
    ), @r#"
    A="1"
    B="two words"
    C="$A # \\n"
    D="x\ty 1 $A\""
    E=""
    F="a#b"
    G="yaml"
    H="two\nlines"
    HOME="/root"
    I="two\nlines"
    J="1a#b"
    K="outside"
    L="a=b"
    M="last"
    "#);
}

#[test]
fn mistakes_are_told_with_their_line() {
    insta::assert_snapshot!(read_all("A=1\n2B=3\nC=\"x\ny\" z\nD=$1\nE='x\n"), @r"
    .env:2:1: the name of a variable `2B` may hold only printable ASCII without = and must start with a letter or _
    .env:3:1: what stands after the value of `C` has no meaning
    .env:4:1: is no line like `KEY=VALUE`; a value of several lines needs quotes
    .env:5:1: D: `$1` is no variable; write `$$` for a dollar sign
    .env:6:1: the value of `E` has no closing '
    ");
    insta::assert_snapshot!(read_all("A=1\nB=$NOPE\n"), @r#"
    A="1"
    B=""
    .env:2:1: warning: B: the variable `NOPE` is not set and has no default: it is taken as empty
    "#);
    insta::assert_snapshot!(read_all("A=${NOPE:?set it}\n"), @".env:1:1: A: the variable `NOPE` must be set: set it");
}

#[test]
fn raw_files_are_taken_as_they_stand() {
    let mut problems = Problems::new(false);
    let text = "A='x' # $y\nB=a:b\n";
    let mut values = Variables::new();
    let outside = Outside { variables: &Variables::new(), environment: &Variables::new() };
    let file = EnvText { name: &"f".into(), path: "", text, format: Format::Raw };
    read(&file, outside, &mut values, &mut Budget::default(), &mut problems);
    assert_eq!(values["A"], "'x' # $y");
    assert_eq!(values["B"], "a:b");
}

#[test]
fn variables_of_a_file_are_found() {
    let names = env_file_variables("A=$B\nC='$D'\nE=\"${F:-$G}\"\nH\nI=$$J\n");
    assert_eq!(names.into_iter().collect::<Vec<_>>(), ["B", "F", "G", "H"]);
}

#[test]
fn no_text_is_too_strange() {
    for text in
        ["=", "A=\"", "A='", "A=\"\\", "\u{feff}A=1", "A", "export", "export ", ":", "A=\"x\"\r\nB=1", "A= \"ä\" ö"]
    {
        let _ = read_all(text);
    }
    assert!(read_all(&"A=1\n".repeat(MAX_FILE_BYTES / 4 + 1)).contains("at most"));
}
