//! Image layouts, judged by skopeo, umoci, podman and the types of `oci-spec`.
#![allow(clippy::unwrap_used)]

mod support;

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use cairn_formats::Platform;
use cairn_oci::config::{Healthcheck, ImageConfig, User};
use cairn_oci::layout::{self, ImageInfo, ImageLayer, PlatformImage, write_image};
use cairn_oci::{Digest, OciError, compress::Compression, layer::write_layer};
use support::{Tree, run, static_program, tool};

const PROGRAM: &str = r#"
fn main() {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let uid = status.lines().find(|line| line.starts_with("Uid:")).unwrap();
    print!("{}|{}", std::env::args().skip(1).collect::<Vec<_>>().join(","), std::env::var("WHO").unwrap());
    print!("|{}|{}", uid.split_whitespace().nth(1).unwrap(), std::env::current_dir().unwrap().display());
    println!("|{}", std::fs::read_to_string("/srv/message").unwrap().trim());
}
"#;

fn config() -> ImageConfig {
    ImageConfig {
        env: [("WHO".to_owned(), "cairn".to_owned())].into(),
        entrypoint: vec!["/bin/program".to_owned()],
        cmd: vec!["hello".to_owned(), "there".to_owned()],
        working_dir: Some("/srv".to_owned()),
        exposed_ports: ["8080/tcp".to_owned()].into(),
        labels: [("org.opencontainers.image.title".to_owned(), "test".to_owned())].into(),
        stop_signal: Some("SIGTERM".to_owned()),
        healthcheck: Some(Healthcheck {
            command: vec!["/bin/program".to_owned()],
            interval: Duration::from_secs(10),
            timeout: Duration::from_secs(2),
            start_period: Duration::from_secs(1),
            retries: 3,
        }),
        ..ImageConfig::new(User { uid: 10001, gid: 10001 })
    }
}

/// Two layers, the second over the first.
fn layers(dir: &Path, program: &[u8], compression: Compression) -> Vec<ImageLayer> {
    let base = Tree::new(&dir.join("base")).program("bin/program", program).dir("proc").dir("sys").dir("dev");
    let base = base.dir("etc").dir("run").file("srv/message", "from below").done();
    let app = Tree::new(&dir.join("app"))
        .file("srv/message", "from above")
        .link("srv/link", "message")
        .meta(r#"{"srv":{"mode":488,"uid":10001,"gid":10001}}"#)
        .done();
    [("base", base), ("app", app)]
        .map(|(name, tree)| {
            let output = dir.join(format!("layer-{name}"));
            write_layer(&[tree], compression, &output).unwrap();
            ImageLayer { name: name.to_owned(), output }
        })
        .into()
}

fn image(dir: &Path, platforms: &[Platform], compression: Compression, program: &[u8]) -> (PathBuf, ImageInfo) {
    fs::create_dir_all(dir).unwrap();
    let layers = layers(dir, program, compression);
    let images: Vec<_> = platforms
        .iter()
        .map(|platform| PlatformImage { platform: *platform, config: config(), layers: layers.clone() })
        .collect();
    let annotations = [("org.opencontainers.image.vendor".to_owned(), "tests".to_owned())].into();
    let out = dir.join("image");
    let info = write_image(&images, &annotations, &out).unwrap();
    (out, info)
}

/// Every path with its size and digest.
fn contents(dir: &Path) -> BTreeMap<PathBuf, Digest> {
    let mut found = BTreeMap::new();
    let mut left = vec![dir.to_owned()];
    while let Some(next) = left.pop() {
        for entry in fs::read_dir(next).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                left.push(path);
            } else {
                found.insert(path.strip_prefix(dir).unwrap().to_owned(), Digest::of(&fs::read(&path).unwrap()));
            }
        }
    }
    found
}

#[test]
fn two_builds_give_the_same_bytes() {
    let dir = tempfile::tempdir().unwrap();
    let (a, a_info) = image(&dir.path().join("a"), &Platform::ALL, Compression::Gzip, b"program");
    let mut reversed = Platform::ALL;
    reversed.reverse();
    let (b, b_info) = image(&dir.path().join("b"), &reversed, Compression::Gzip, b"program");
    assert_eq!(a_info, b_info);
    assert_eq!(contents(&a), contents(&b));
    assert_eq!(contents(&a).len(), 2 + 2 + 2 * 2 + 1, "two layers shared by two platforms, an index");
}

#[test]
fn the_digest_is_that_of_the_manifest_or_of_the_index() {
    let dir = tempfile::tempdir().unwrap();
    for (name, platforms) in [("one", &Platform::ALL[..1]), ("two", &Platform::ALL[..])] {
        let (out, info) = image(&dir.path().join(name), platforms, Compression::Gzip, b"program");
        let raw = tool("skopeo", &["inspect", "--raw", &format!("oci:{}:latest", out.display())]);
        assert_eq!(Digest::of(raw.as_bytes()), info.digest());
        assert_eq!(info.index_digest.is_some(), platforms.len() > 1);
        assert_eq!(layout::verify(&out).unwrap().info, info);
    }
}

#[test]
fn oci_spec_reads_what_we_write() {
    use oci_spec::image::{ImageConfiguration, ImageIndex, ImageManifest, OciLayout};
    let dir = tempfile::tempdir().unwrap();
    let (out, info) = image(dir.path(), &Platform::ALL, Compression::Gzip, b"program");
    assert_eq!(OciLayout::from_file(out.join("oci-layout")).unwrap().image_layout_version(), "1.0.0");
    let index = ImageIndex::from_file(out.join(info.digest().blob_path())).unwrap();
    let platforms: Vec<_> =
        index.manifests().iter().map(|m| m.platform().as_ref().unwrap().architecture().to_string()).collect();
    assert_eq!(platforms, ["amd64", "arm64"]);
    let manifest = ImageManifest::from_file(out.join(info.manifests[0].digest.blob_path())).unwrap();
    assert_eq!(manifest.layers().len(), 2);
    let path = out.join("blobs").join(manifest.config().digest().to_string().replace(':', "/"));
    let read = ImageConfiguration::from_file(path).unwrap();
    let ours = read.config().as_ref().unwrap();
    assert_eq!(ours.user().as_deref(), Some("10001:10001"));
    assert_eq!(ours.exposed_ports().as_deref(), Some(&["8080/tcp".to_owned()][..]));
    assert_eq!(read.rootfs().diff_ids().len(), read.history().as_ref().unwrap().len());
}

#[test]
fn skopeo_and_umoci_accept_the_image() {
    let dir = tempfile::tempdir().unwrap();
    let (out, info) = image(dir.path(), &Platform::ALL, Compression::Gzip, b"program");
    let reference = format!("oci:{}:latest", out.display());
    let inspected = tool("skopeo", &["inspect", "--override-arch", "arm64", &reference]);
    assert!(inspected.contains(r#""Architecture": "arm64""#), "{inspected}");
    let copy = format!("dir:{}", dir.path().join("copy").display());
    tool("skopeo", &["copy", "--quiet", "--all", "--preserve-digests", &reference, &copy]);

    let bundle = dir.path().join("bundle");
    let tagged = format!("{}:linux-amd64", out.display());
    tool("umoci", &["unpack", "--image", &tagged, bundle.to_str().unwrap()]);
    let root = bundle.join("rootfs");
    assert_eq!(fs::read_to_string(root.join("srv/link")).unwrap(), "from above");
    let srv = fs::metadata(root.join("srv")).unwrap();
    assert_eq!((srv.mode() & 0o7777, srv.uid(), srv.gid(), srv.mtime()), (0o750, 10001, 10001, 0));
    assert_eq!(fs::metadata(root.join("bin/program")).unwrap().mode() & 0o7777, 0o755);
    assert_eq!(info.manifests.len(), 2);
}

/// Why gzip is the default. If this fails, umoci has learnt it, and the default may change.
#[test]
fn umoci_refuses_zstd_and_skopeo_does_not() {
    let dir = tempfile::tempdir().unwrap();
    let (out, _) = image(dir.path(), &Platform::ALL[..1], Compression::Zstd, b"program");
    let copy = format!("dir:{}", dir.path().join("copy").display());
    tool("skopeo", &["copy", "--quiet", &format!("oci:{}:latest", out.display()), &copy]);
    let bundle = dir.path().join("bundle");
    let refused = run("umoci", &["unpack", "--image", &format!("{}:latest", out.display()), bundle.to_str().unwrap()]);
    let stderr = String::from_utf8_lossy(&refused.stderr);
    assert!(!refused.status.success() && stderr.contains("not correct mediatype"), "{stderr}");
}

#[test]
fn podman_runs_the_image() {
    // podman makes a name of the path, and names are in lower case.
    let name = format!("cairn-oci-{}", std::process::id());
    let dir = tempfile::Builder::new().prefix(&name).rand_bytes(0).tempdir().unwrap();
    let program = static_program(dir.path(), PROGRAM);
    for compression in [Compression::Gzip, Compression::Zstd] {
        let name = format!("{compression:?}").to_lowercase();
        let (out, _) = image(&dir.path().join(&name), &[Platform::native()], compression, &program);
        // Storage of its own: nothing is left in that of the machine.
        let (root, runroot) = (dir.path().join("storage"), dir.path().join("run"));
        let storage = ["--root", root.to_str().unwrap(), "--runroot", runroot.to_str().unwrap()];
        let mut args = storage.to_vec();
        args.extend(["--storage-driver=vfs", "--runtime=runc", "--cgroup-manager=cgroupfs", "run", "--rm"]);
        args.extend(["--network=host", "--ulimit=nofile=1024:1024", "--ulimit=nproc=1000:1000"]);
        let reference = format!("oci:{}:latest", out.display());
        args.push(&reference);
        assert_eq!(tool("podman", &args), "hello,there|cairn|10001|/srv|from above\n", "{name}");
    }
}

#[test]
fn faults_in_a_layout_are_found_and_named() {
    type Damage = fn(&Path, &layout::Image);
    type Expected = fn(&OciError) -> bool;
    let layer = |out: &Path, image: &layout::Image| out.join(image.platforms[0].layers[1].digest.blob_path());
    let dir = tempfile::tempdir().unwrap();
    let cases: [(&str, Damage, Expected); 5] = [
        (
            "layer-gone",
            |out, image| fs::remove_file(out.join(image.platforms[0].layers[1].digest.blob_path())).unwrap(),
            |e| matches!(e, OciError::MissingBlob { .. }),
        ),
        (
            "layer-cut",
            |out, image| {
                let path = out.join(image.platforms[0].layers[1].digest.blob_path());
                let bytes = fs::read(&path).unwrap();
                fs::remove_file(&path).unwrap();
                fs::write(path, &bytes[1..]).unwrap();
            },
            |e| matches!(e, OciError::BlobSize { .. }),
        ),
        (
            "layer-changed",
            |out, image| {
                let path = out.join(image.platforms[0].layers[1].digest.blob_path());
                let mut bytes = fs::read(&path).unwrap();
                bytes[20] ^= 1;
                fs::remove_file(&path).unwrap();
                fs::write(path, bytes).unwrap();
            },
            |e| matches!(e, OciError::BlobDigest { .. }),
        ),
        (
            "config-changed",
            |out, image| {
                let path = out.join(image.platforms[0].config_digest.blob_path());
                let text = fs::read_to_string(&path).unwrap().replace("10001:10001", "10000:00000");
                fs::write(path, text).unwrap();
            },
            |e| matches!(e, OciError::BlobDigest { .. }),
        ),
        (
            "no-reference",
            |out, _| {
                let path = out.join("index.json");
                let text = fs::read_to_string(&path).unwrap().replace("latest", "newest");
                fs::write(path, text).unwrap();
            },
            |e| matches!(e, OciError::Json { .. }),
        ),
    ];
    for (name, damage, expected) in cases {
        let (out, _) = image(&dir.path().join(name), &Platform::ALL, Compression::Gzip, b"program");
        let good = layout::verify(&out).unwrap();
        assert!(good.compressed_bytes() > 0 && layer(&out, &good).exists());
        damage(&out, &good);
        let error = layout::verify(&out).unwrap_err();
        assert!(expected(&error), "{name}: {error}");
    }
}

#[test]
fn an_image_without_platform_or_with_one_twice_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let out = dir.path().join("image");
    assert!(matches!(write_image(&[], &BTreeMap::new(), &out), Err(OciError::NoPlatform { .. })));
    let one = PlatformImage { platform: Platform::LinuxAmd64, config: config(), layers: vec![] };
    let twice = write_image(&[one.clone(), one], &BTreeMap::new(), &out);
    assert!(matches!(twice, Err(OciError::DuplicatePlatform { .. })));
    assert!(!out.exists());
}
