//! Merged `/usr`: every image has `/bin`, `/sbin` and `/lib*` as links into `/usr`.
//!
//! Packages may still name files below the old directories (bookworm's libc6 has
//! `/lib/x86_64-linux-gnu`). dpkg writes those through the links of the running system; here there
//! is no link yet when a package is unpacked alone, so the paths are rewritten instead.

use cairn_formats::RelPath;

/// The top-level directories that are links to the directory of the same name in `/usr`.
pub const MERGED: [&str; 6] = ["bin", "lib", "lib32", "lib64", "libx32", "sbin"];

/// Where a path lies once `/usr` is merged.
pub fn merged(path: &RelPath) -> RelPath {
    let first = path.parts().next().unwrap_or_default();
    if MERGED.iter().any(|name| name.as_bytes() == first) { below(b"usr", path.as_bytes()) } else { path.clone() }
}

/// An absolute path of a definition, as a path in the image.
pub fn absolute(path: &str) -> Option<RelPath> {
    let path = RelPath::parse(path.strip_prefix('/')?.trim_end_matches('/').as_bytes()).ok()?;
    (!path.is_root()).then(|| merged(&path))
}

/// Whether a symbolic link is one of the links of merged `/usr` itself, as newer `base-files` ship
/// them. `Some(false)`: it stands in that place and leads elsewhere.
pub fn is_merge_link(path: &RelPath, target: &[u8]) -> Option<bool> {
    let name = MERGED.iter().find(|name| name.as_bytes() == path.as_bytes())?;
    let target = target.strip_prefix(b"/").unwrap_or(target);
    Some(target == format!("usr/{name}").as_bytes())
}

/// The target of a symbolic link whose own place may have moved. Absolute targets go on working
/// through the links of merged `/usr`. A relative one is changed only when it would lead elsewhere
/// from the new place (`/lib/a -> ../etc/b`).
pub fn link_target(original: &RelPath, target: &[u8]) -> Vec<u8> {
    let moved = merged(original);
    if target.starts_with(b"/") || moved == *original {
        return target.to_vec();
    }
    let meant = merged(&follow(original, target));
    if merged(&follow(&moved, target)) == meant { target.to_vec() } else { relative(&moved, &meant) }
}

/// Where `target` leads from the link at `path`, by its letters; `..` stops at the root.
pub(crate) fn follow(path: &RelPath, target: &[u8]) -> RelPath {
    let mut parts: Vec<&[u8]> = Vec::new();
    if !target.starts_with(b"/") {
        parts.extend(path.parts());
        parts.pop();
    }
    for part in target.split(|b| *b == b'/') {
        match part {
            b"" | b"." => {}
            b".." => _ = parts.pop(),
            part => parts.push(part),
        }
    }
    RelPath::parse(&parts.join(&b'/')).unwrap_or_default()
}

fn relative(from: &RelPath, to: &RelPath) -> Vec<u8> {
    let (from, to): (Vec<_>, Vec<_>) = (from.parts().collect(), to.parts().collect());
    let shared = from.iter().zip(&to).take_while(|(a, b)| a == b).count().min(from.len().saturating_sub(1));
    let mut parts: Vec<&[u8]> = vec![b".."; from.len().saturating_sub(shared + 1)];
    parts.extend(&to[shared..]);
    if parts.is_empty() { b".".to_vec() } else { parts.join(&b'/') }
}

fn below(directory: &[u8], path: &[u8]) -> RelPath {
    // Both halves were checked when they were parsed, and so is the sum of them.
    RelPath::parse(&[directory, b"/", path].concat()).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn path(text: &str) -> RelPath {
        RelPath::parse(text.as_bytes()).unwrap()
    }

    #[test]
    fn old_directories_move_and_nothing_else() {
        for (from, to) in [
            ("bin/sh", "usr/bin/sh"),
            ("lib64/ld-linux-x86-64.so.2", "usr/lib64/ld-linux-x86-64.so.2"),
            ("lib", "usr/lib"),
            ("library/x", "library/x"),
            ("usr/bin/sh", "usr/bin/sh"),
            ("opt/bin/x", "opt/bin/x"),
            ("", ""),
        ] {
            assert_eq!(merged(&path(from)), path(to), "{from}");
        }
    }

    #[test]
    fn targets_change_only_when_they_must() {
        for (link, target, expected) in [
            ("lib64/ld-linux-x86-64.so.2", "/lib/x86_64-linux-gnu/ld.so", "/lib/x86_64-linux-gnu/ld.so"),
            ("lib/a/libz.so.1", "libz.so.1.2", "libz.so.1.2"),
            ("lib/a/x", "../../usr/lib/y", "../y"),
            ("lib/x", "../etc/y", "../../etc/y"),
            ("bin/x", "../lib/y", "../lib/y"),
            ("bin/x", "../usr/bin/y", "y"),
            ("usr/lib/x", "../../etc/y", "../../etc/y"),
            ("usr/lib/x", "../../lib/y", "../../lib/y"),
            ("sbin/x", "../../../../etc/y", "../../../../etc/y"),
        ] {
            let got = link_target(&path(link), target.as_bytes());
            assert_eq!(String::from_utf8(got).unwrap(), expected, "{link} -> {target}");
        }
    }

    #[test]
    fn the_links_of_the_merge_are_known() {
        assert_eq!(is_merge_link(&path("bin"), b"usr/bin"), Some(true));
        assert_eq!(is_merge_link(&path("lib64"), b"/usr/lib64"), Some(true));
        assert_eq!(is_merge_link(&path("bin"), b"/tmp"), Some(false));
        assert_eq!(is_merge_link(&path("bin/x"), b"usr/bin"), None);
    }
}
