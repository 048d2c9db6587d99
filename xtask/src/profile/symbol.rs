//! Which crate a function is of.

use super::script::Frame;

/// Functions of C libraries that are built into the programs, by how their names begin.
const BUILT_IN: [(&str, &str); 4] =
    [("mi_", "mimalloc"), ("_mi_", "mimalloc"), ("ring_core", "ring"), ("__rust", "alloc")];

/// Whether this is the kernel's.
pub(super) fn is_kernel(frame: &Frame) -> bool {
    // Modules are in brackets too, and so are pages that it lends to programs.
    frame.object.starts_with('[')
        && !["[unknown]", "[heap]", "[stack]"].contains(&&*frame.object)
        && !frame.object.starts_with("[anon")
}

/// What reports count it under: its crate, the kernel, a library, or `unknown`.
pub(super) fn owner(frame: &Frame) -> String {
    if is_kernel(frame) {
        return "kernel".to_owned();
    }
    let function = &*frame.function;
    if function == "[unknown]" {
        return "unknown".to_owned();
    }
    if let Some(name) = crate_of(function) {
        return name.to_owned();
    }
    if let Some((_, library)) = BUILT_IN.iter().find(|(prefix, _)| function.starts_with(prefix)) {
        return (*library).to_owned();
    }
    let file = frame.object.rsplit('/').next().unwrap_or_default();
    file.split(".so").next().unwrap_or(file).to_owned()
}

/// Whether this crate is part of the project.
pub(super) fn is_ours(owner: &str) -> bool {
    owner.starts_with("davit_") || ["manager_svc", "scheduler_svc", "worker_svc"].contains(&owner)
}

/// The crate of a Rust function: of `<a::B as c::D>::e` it is that of `a::B`, or where `B` is of no crate, such as `&[u8]`,
/// that of `c::D`.
fn crate_of(function: &str) -> Option<&str> {
    let Some(inside) = function.strip_prefix('<') else { return first_segment(function) };
    first_segment(bare(inside)).or_else(|| first_segment(bare(inside.split_once(" as ")?.1)))
}

/// A type without what stands before its path.
fn bare(mut kind: &str) -> &str {
    const BEFORE: [&str; 9] = ["&", "*", "mut ", "const ", "dyn ", "[", "(", "<", "?"];
    while let Some(rest) = BEFORE.iter().find_map(|before| kind.strip_prefix(before)) {
        kind = rest;
    }
    kind
}

/// The first segment of a path of several. A crate's hash may follow it in brackets.
fn first_segment(path: &str) -> Option<&str> {
    let end = path.find(|letter: char| !letter.is_ascii_alphanumeric() && letter != '_')?;
    let (name, rest) = path.split_at(end);
    let rest = rest.strip_prefix('[').and_then(|hash| hash.split_once(']')).map_or(rest, |(_, rest)| rest);
    (!name.is_empty() && rest.starts_with("::")).then_some(name)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn owner_of(function: &str, object: &str) -> String {
        owner(&Frame { function: function.to_owned(), object: object.to_owned() })
    }

    #[test]
    fn functions_are_of_the_crate_of_their_type_or_else_of_their_trait() {
        for (function, expected) in [
            ("manager_svc::writer::Writer::run", "manager_svc"),
            ("manager_svc[a1b2]::writer::run", "manager_svc"),
            ("core::ptr::drop_in_place<manager_svc::state::Draft>", "core"),
            ("<t::A<T> as core::fmt::Debug>::fmt", "t"),
            ("<&mut dyn tower::Service as hyper::Call>::call", "tower"),
            ("<usize as core::fmt::Display>::fmt", "core"),
            ("<alloc::vec::Vec<T> as core::ops::Drop>::drop", "alloc"),
            ("<[T] as alloc::slice::Join>::join", "alloc"),
            ("mi_malloc", "mimalloc"),
            ("main", "davit-manager"),
            ("[unknown]", "unknown"),
        ] {
            assert_eq!(owner_of(function, "/x/davit-manager"), expected, "{function}");
        }
    }

    #[test]
    fn the_kernel_and_libraries_are_told_from_crates() {
        assert_eq!(owner_of("tcp_sendmsg", "[kernel.kallsyms]"), "kernel");
        assert_eq!(owner_of("tcp_sendmsg", "[nf_tables]"), "kernel");
        assert_eq!(owner_of("clock_gettime", "[vdso]"), "kernel");
        assert_eq!(owner_of("[unknown]", "[unknown]"), "unknown");
        assert_eq!(owner_of("__memmove_avx", "/usr/lib/libc.so.6"), "libc");
        assert!(is_ours("davit_core") && is_ours("worker_svc") && !is_ours("tokio"));
    }
}
