//! What packages bring into images, and image layouts.

use std::path::PathBuf;

use cairn_builder::fuzzing;
use cairn_builder::glob::Excludes;
use cairn_formats::{Platform, RelPath};
use cairn_oci::Digest;

use crate::input::{Scratch, parts, text, with_scratch};

/// A real shared library, stripped to its headers and dynamic section.
const LIBRARY: &[u8] = include_bytes!("../../corpus/elf/libdemo.so");

/// A library or program.
pub fn elf(input: &[u8]) {
    with_scratch(|scratch| {
        let file = scratch.write("libfuzz.so", input);
        match fuzzing::elf(&file) {
            Ok(Some(Some(soname))) => assert!(soname.len() < 4096 && !soname.contains(&0)),
            Ok(_) => {}
            Err(error) => panic!("a damaged file is not an error: {error}"),
        }
    });
}

/// The loader's configuration: `ld.so.conf`, and two files that it may include.
pub fn ld_so_conf(input: &[u8]) {
    let [first, second, third] = parts(input);
    with_scratch(|scratch| {
        let tree = loader_tree(scratch);
        scratch.write("loader/tree/etc/ld.so.conf", first);
        scratch.write("loader/tree/etc/ld.so.conf.d/a.conf", second);
        scratch.write("loader/tree/etc/ld.so.conf.d/b.conf", third);
        if let Ok(Some(cache)) = fuzzing::ld_so_cache(&[tree], Platform::LinuxAmd64) {
            assert!(cache.starts_with(b"glibc-ld.so.cache1.1"));
        }
    });
}

/// A tree output with a library in a folder that `ldconfig` searches unasked.
fn loader_tree(scratch: &Scratch) -> PathBuf {
    let tree = scratch.path().join("loader");
    if !tree.join("meta.json").exists() {
        scratch.write("loader/meta.json", b"{\"exceptions\":{}}");
        scratch.write("loader/tree/usr/lib/x86_64-linux-gnu/libdemo.so.1", LIBRARY);
        scratch.write("loader/tree/opt/lib/libdemo.so.2", LIBRARY);
    }
    tree
}

/// Names of libraries, one a line. The loader searches by halves, so the cache must be in its order.
pub fn ld_so_cache(input: &[u8]) {
    let names: Vec<Vec<u8>> = input.split(|byte| *byte == b'\n').map(<[u8]>::to_vec).take(64).collect();
    let cache = fuzzing::write_ld_so_cache(&names);
    assert!(cache.len() >= 48 + 24 * names.len());
    let mut sorted = names;
    sorted.sort_by(|a, b| fuzzing::compare(b, a));
    for pair in sorted.windows(2) {
        assert!(fuzzing::compare(&pair[0], &pair[1]).is_ge());
        assert_eq!(fuzzing::compare(&pair[0], &pair[1]), fuzzing::compare(&pair[1], &pair[0]).reverse());
    }
}

/// An image layout in five parts: index, image index, manifest, configuration, layer. A part may
/// name the digest and the size of a later one as `{manifest}` and `{manifest-size}`, so that what
/// lies behind the checks of digests is reached.
pub fn oci_layout(input: &[u8]) {
    let [index, image_index, manifest, config, layer] = parts::<5>(input);
    with_scratch(|scratch| {
        let layout = scratch.vacant("layout");
        scratch.write("layout/oci-layout", br#"{"imageLayoutVersion":"1.0.0"}"#);
        let mut known: Vec<(&str, Vec<u8>)> = Vec::new();
        let blobs = [("layer", layer), ("config", config), ("manifest", manifest), ("image-index", image_index)];
        for (name, content) in blobs {
            let content = filled_in(content, &known);
            let digest = Digest::of(&content);
            scratch.write(&format!("layout/{}", digest.blob_path()), &content);
            known.push((name, content));
        }
        scratch.write("layout/index.json", &filled_in(index, &known));
        if let Ok(image) = cairn_oci::layout::verify(&layout) {
            assert_eq!(image.info.manifests.len(), image.platforms.len());
            assert!(image.compressed_bytes() <= (input.len() + 1024) as u64);
        }
    });
}

fn filled_in(content: &[u8], known: &[(&str, Vec<u8>)]) -> Vec<u8> {
    let Some(content) = text(content) else { return content.to_vec() };
    let fill = |text: String, (name, blob): &(&str, Vec<u8>)| {
        text.replace(&format!("{{{name}}}"), &Digest::of(blob).to_string())
            .replace(&format!("\"{{{name}-size}}\""), &blob.len().to_string())
    };
    known.iter().fold(content.to_owned(), fill).into_bytes()
}

/// Patterns, one a line, and the path in the last line. Packages bring patterns in `ld.so.conf`.
pub fn glob(input: &[u8]) {
    let Some(text) = text(input) else { return };
    let (patterns, path) = text.rsplit_once('\n').unwrap_or(("*", text));
    for pattern in patterns.lines() {
        let _ = cairn_formats::glob::matches(pattern.as_bytes(), path.as_bytes());
    }
    let lines: Vec<&str> = patterns.lines().collect();
    if let (Ok(excludes), Ok(path)) = (Excludes::parse(&lines), RelPath::parse(path.as_bytes())) {
        let _ = excludes.matches(&path);
    }
}
