//! Pages: their size, and the token that says where the next one begins and which filter it belongs to.

use std::fmt::Write as _;

use davit_core::validate::Violations;

const DEFAULT_SIZE: usize = 100;
const MAX_SIZE: u32 = 1_000;
/// A token holds a hash and at most a volume's name; nothing longer was ever given out.
const MAX_TOKEN_CHARS: usize = 1024;

/// How many items a list looks at before it lets others go on: a fraction of a millisecond.
const SEEN_IN_A_TURN: usize = 2_000;

/// Where a page begins and how long it is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Page {
    size: usize,
    filter_hash: u64,
    /// Where the page before ended; empty for the first page.
    pub(super) cursor: Vec<u8>,
}

impl Page {
    /// Reads a request's `page_size` and `page_token`, which must be of the same filter. `None` after what is wrong was noted.
    pub(super) fn from_proto(size: u32, token: &str, filter_hash: u64, violations: &mut Violations) -> Option<Self> {
        if size > MAX_SIZE {
            violations.add("page_size", format!("is at most {MAX_SIZE}, this is {size}"));
        }
        let mut cursor = Vec::new();
        if !token.is_empty() {
            match decode(token) {
                None => violations.add("page_token", "is not a token that this manager gave out"),
                Some((hash, _)) if hash != filter_hash => {
                    violations
                        .add("page_token", "was given out for another filter; send the same filter for every page");
                }
                Some((_, read)) => cursor = read,
            }
        }
        let size = if size == 0 { DEFAULT_SIZE } else { usize::try_from(size).ok()? };
        violations.is_empty().then_some(Self { size, filter_hash, cursor })
    }

    /// The name after which the page begins; empty: at the first.
    pub(super) fn after_name(page: Option<&Self>, violations: &mut Violations) -> String {
        let cursor = page.map_or_else(Vec::new, |page| page.cursor.clone());
        String::from_utf8(cursor).unwrap_or_else(|_| {
            Self::bad_cursor(violations);
            String::new()
        })
    }

    /// Notes that the cursor of the token can't be read.
    pub(super) fn bad_cursor(violations: &mut Violations) {
        violations.add("page_token", "is not a token that this manager gave out");
    }

    /// How many of what follows the cursor are looked for: the page, and one more to know whether there is a next one.
    fn wanted(&self) -> usize {
        self.size + 1
    }

    /// As [`Self::take`], of what passes a filter. Hardly any of a million may: others get their turn in between.
    pub(super) async fn take_matching<T>(
        &self,
        mut rest: impl Iterator<Item = T>,
        matches: impl Fn(&T) -> bool,
        cursor: impl Fn(&T) -> Vec<u8>,
    ) -> (Vec<T>, String) {
        let mut found = Vec::new();
        loop {
            let mut seen = 0;
            let turn = rest.by_ref().take(SEEN_IN_A_TURN).inspect(|_| seen += 1);
            found.extend(turn.filter(&matches).take(self.wanted() - found.len()));
            if found.len() == self.wanted() || seen < SEEN_IN_A_TURN {
                return self.take(found.into_iter(), cursor);
            }
            tokio::task::yield_now().await;
        }
    }

    /// Takes one page of what follows the cursor, and makes the token for the next page: empty when there is none.
    pub(super) fn take<T>(&self, rest: impl Iterator<Item = T>, cursor: impl Fn(&T) -> Vec<u8>) -> (Vec<T>, String) {
        let mut items: Vec<T> = rest.take(self.wanted()).collect();
        if items.len() <= self.size {
            return (items, String::new());
        }
        items.truncate(self.size);
        let token = items.last().map(|last| encode(self.filter_hash, &cursor(last))).unwrap_or_default();
        (items, token)
    }
}

fn encode(filter_hash: u64, cursor: &[u8]) -> String {
    let mut token = String::with_capacity(16 + 2 * cursor.len());
    for byte in filter_hash.to_be_bytes().iter().chain(cursor) {
        // Writing to a string can't fail.
        let _ = write!(token, "{byte:02x}");
    }
    token
}

fn decode(token: &str) -> Option<(u64, Vec<u8>)> {
    if token.len() > MAX_TOKEN_CHARS || !token.len().is_multiple_of(2) || !token.bytes().all(|b| b.is_ascii_hexdigit())
    {
        return None;
    }
    let byte = |at: usize| u8::from_str_radix(token.get(at..at + 2)?, 16).ok();
    let bytes: Vec<u8> = (0..token.len()).step_by(2).map(byte).collect::<Option<_>>()?;
    let (hash, cursor) = bytes.split_first_chunk::<8>()?;
    Some((u64::from_be_bytes(*hash), cursor.to_vec()))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn read(size: u32, token: &str) -> Result<Page, Violations> {
        let mut violations = Violations::new();
        let page = Page::from_proto(size, token, 7, &mut violations);
        violations.finish(page)
    }

    #[test]
    fn pages_cover_everything_once() {
        let all: Vec<u8> = (0..25).collect();
        let (mut seen, mut token) = (Vec::new(), String::new());
        loop {
            let page = read(10, &token).unwrap();
            let after = page.cursor.first().copied();
            let rest = all.iter().copied().filter(|item| after.is_none_or(|after| *item > after));
            let (items, next) = page.take(rest, |item| vec![*item]);
            seen.extend(items);
            token = next;
            if token.is_empty() {
                break;
            }
        }
        assert_eq!(seen, all);
    }

    #[test]
    fn a_full_last_page_has_no_token() {
        let (items, token) = read(3, "").unwrap().take(0..3, |_| vec![1]);
        assert_eq!((items.len(), token.as_str()), (3, ""));
    }

    #[test]
    fn sizes_have_a_default_and_a_limit() {
        assert_eq!(read(0, "").unwrap().size, 100);
        assert_eq!(read(1_000, "").unwrap().size, 1_000);
        assert_eq!(read(1_001, "").unwrap_err().0[0].field, "page_size");
    }

    #[test]
    fn a_token_of_another_filter_is_refused() {
        let error = read(0, &encode(8, b"x")).unwrap_err();
        assert_eq!(error.0[0].field, "page_token");
        assert!(error.0[0].description.contains("another filter"));
    }

    proptest! {
        #[test]
        fn no_text_makes_it_panic(token in "\\PC*") {
            let _ = read(0, &token);
        }

        #[test]
        fn tokens_read_as_they_were_written(hash: u64, cursor in prop::collection::vec(any::<u8>(), 0..64)) {
            prop_assert_eq!(decode(&encode(hash, &cursor)), Some((hash, cursor)));
        }
    }
}
