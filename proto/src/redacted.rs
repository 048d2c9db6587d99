//! What messages show of themselves that may carry secrets: names and sizes.

use std::fmt;

use crate::{store_v1, v1};

/// Stands for bytes that are not shown.
struct Hidden(usize);

impl fmt::Debug for Hidden {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "<{} bytes>", self.0)
    }
}

impl fmt::Debug for v1::CreateConfigRequest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { name, kind, content, labels, validate_only } = self;
        let mut shown = f.debug_struct("CreateConfigRequest");
        shown.field("name", name).field("kind", kind).field("content", &Hidden(content.len()));
        shown.field("labels", labels).field("validate_only", validate_only).finish()
    }
}

impl fmt::Debug for v1::GetConfigResponse {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { config, content } = self;
        f.debug_struct("GetConfigResponse").field("config", config).field("content", &Hidden(content.len())).finish()
    }
}

impl fmt::Debug for v1::FetchFileResponse {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("FetchFileResponse").field("content", &Hidden(self.content.len())).finish()
    }
}

/// Variables and files are where apps have their secrets, and Compose files may hold some.
impl fmt::Debug for v1::AppSource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { files, variables, referenced_files, profiles, name, default_name, lenient } = self;
        let files: Vec<_> = files.iter().map(|file| (&file.name, Hidden(file.content.len()))).collect();
        let variables: Vec<_> = variables.keys().collect();
        let referenced: Vec<_> = referenced_files.iter().map(|(path, bytes)| (path, Hidden(bytes.len()))).collect();
        let mut shown = f.debug_struct("AppSource");
        shown.field("files", &files).field("variables", &variables).field("referenced_files", &referenced);
        shown.field("profiles", profiles).field("name", name).field("default_name", default_name);
        shown.field("lenient", lenient).finish()
    }
}

/// A backup has secrets, as the store has.
impl fmt::Debug for v1::BackupClusterResponse {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("BackupClusterResponse").field("chunk", &Hidden(self.chunk.len())).finish()
    }
}

impl fmt::Debug for store_v1::BackupEntry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { table, key, value } = self;
        let mut shown = f.debug_struct("BackupEntry");
        shown.field("table", table).field("key", key).field("value", &Hidden(value.len())).finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_may_be_secret_is_not_shown() {
        let secret = || b"swordfish".to_vec();
        let request = v1::CreateConfigRequest { name: "a".to_owned(), content: secret(), ..Default::default() };
        let source = v1::AppSource {
            files: vec![v1::ComposeFile { name: "f".to_owned(), content: "swordfish".to_owned() }],
            variables: [("A".to_owned(), "swordfish".to_owned())].into(),
            referenced_files: [("p".to_owned(), secret())].into(),
            ..Default::default()
        };
        let shown = [
            format!("{request:?}"),
            format!("{:?}", v1::GetConfigResponse { content: secret(), ..Default::default() }),
            format!("{:?}", v1::FetchFileResponse { content: secret() }),
            format!("{:?}", v1::ApplyAppRequest { source: Some(source), ..Default::default() }),
            format!("{:?}", v1::BackupClusterResponse { chunk: secret() }),
            format!("{:?}", store_v1::BackupEntry { value: secret(), ..Default::default() }),
        ];
        for shown in shown {
            assert!(shown.contains("<9 bytes>") && !shown.contains("swordfish") && !shown.contains("115"), "{shown}");
        }
    }
}
