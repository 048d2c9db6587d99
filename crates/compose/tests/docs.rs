//! `docs/compose.md` has the table of all keys. Written anew with `DAVIT_WRITE_DOCS=1 cargo test -p davit-compose --test docs`.

use std::path::PathBuf;

use davit_compose::{SECTIONS, Support};

const BEGIN: &str = "<!-- made of crates/compose/src/keys by its tests: begin -->\n";
const END: &str = "<!-- end -->\n";

fn table() -> String {
    let mut text = String::new();
    for section in SECTIONS {
        let title = if section.path.is_empty() { "the file".to_owned() } else { format!("`{}`", section.path) };
        text.push_str(&format!("\n### {title}\n\n| key | | |\n| --- | --- | --- |\n"));
        for key in section.keys {
            let support = match key.support {
                Support::Supported => "supported",
                Support::Differs => "differs",
                Support::Refused => "refused",
            };
            text.push_str(&format!("| `{}` | {support} | {} |\n", key.name, key.note.replace('|', "\\|")));
        }
    }
    text.push('\n');
    text
}

#[test]
fn the_table_of_keys_is_up_to_date() {
    let path = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../docs/compose.md");
    let written = std::fs::read_to_string(&path).unwrap();
    let (before, rest) = written.split_once(BEGIN).unwrap();
    let (_, after) = rest.split_once(END).unwrap();
    let expected = format!("{before}{BEGIN}{}{END}{after}", table());
    if std::env::var_os("DAVIT_WRITE_DOCS").is_some() {
        std::fs::write(&path, expected).unwrap();
    } else {
        assert!(written == expected, "write docs/compose.md anew with DAVIT_WRITE_DOCS=1");
    }
}
