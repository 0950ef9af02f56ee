//! `layer.json` of a layer that an earlier version put into a store. `tests/fixtures/README.md` says
//! how it is written.
#![allow(clippy::unwrap_used)]

mod support;

use std::fs;
use std::path::PathBuf;

use cairn_oci::compress::Compression;
use cairn_oci::layer::{LayerInfo, write_layer};
use support::Tree;

fn output(version: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../tests/fixtures").join(version).join("layer")
}

#[test]
fn the_description_of_a_layer_of_fbaba72_is_read_as_it_was_written() {
    let output = output("fbaba72");
    let layer = LayerInfo::read(&output).unwrap();
    assert_eq!(layer.media_type, "application/vnd.oci.image.layer.v1.tar+gzip");
    let blob = fs::read(output.join("blob")).unwrap();
    assert_eq!(layer.size, blob.len() as u64);
    assert_eq!(layer.digest.to_string(), format!("sha256:{}", cairn_formats::Sha256::of(&blob)));
    let mut tar = Vec::new();
    std::io::Read::read_to_end(&mut flate2::read::MultiGzDecoder::new(&blob[..]), &mut tar).unwrap();
    assert_eq!(layer.uncompressed, tar.len() as u64);
    assert_eq!(layer.diff_id.to_string(), format!("sha256:{}", cairn_formats::Sha256::of(&tar)));
}

#[test]
#[ignore = "writes fixtures: see tests/fixtures/README.md"]
fn write_fixtures() {
    let version = std::env::var("CAIRN_FIXTURES").expect("CAIRN_FIXTURES: the version to write fixtures of");
    fs::create_dir_all(output(&version).parent().unwrap()).unwrap();
    let scratch = tempfile::tempdir().unwrap();
    let tree = Tree::new(&scratch.path().join("t")).file("srv/hello", "hello\n").meta("{}").done();
    write_layer(&[tree], Compression::Gzip, &output(&version)).unwrap();
}
