//! Parts of sentences for people.

/// So many of something: `1 task`, `2 tasks`.
#[must_use]
pub fn counted(count: u64, one: &str, many: &str) -> String {
    format!("{count} {}", if count == 1 { one } else { many })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_one_is_one() {
        assert_eq!([0, 1, 2].map(|count| counted(count, "index", "indexes")), ["0 indexes", "1 index", "2 indexes"]);
    }
}
