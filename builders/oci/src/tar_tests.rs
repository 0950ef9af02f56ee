#![allow(clippy::unwrap_used)]

use std::io::Read as _;

use proptest::prelude::*;

use super::*;

/// Path, target, uid, gid, mode and content.
type Seen = (Vec<u8>, Vec<u8>, u64, u64, u32, Vec<u8>);

/// What the `tar` crate, as an independent reader, sees in an archive.
fn read_back(bytes: &[u8]) -> Vec<Seen> {
    let mut archive = ::tar::Archive::new(bytes);
    let mut seen = Vec::new();
    for entry in archive.entries().unwrap() {
        let mut entry = entry.unwrap();
        let mut data = Vec::new();
        entry.read_to_end(&mut data).unwrap();
        let target = entry.link_name_bytes().map(|t| t.into_owned()).unwrap_or_default();
        let header = entry.header();
        assert_eq!(header.mtime().unwrap(), 0);
        assert_eq!((header.username_bytes().unwrap(), header.groupname_bytes().unwrap()), (&b""[..], &b""[..]));
        let (uid, gid, mode) = (header.uid().unwrap(), header.gid().unwrap(), header.mode().unwrap());
        seen.push((entry.path_bytes().into_owned(), target, uid, gid, mode, data));
    }
    seen
}

fn archive(header: &Header<'_>, data: &[u8]) -> Vec<u8> {
    let mut writer = TarWriter::new(Vec::new());
    match header.kind {
        Type::Regular { size } => writer.file(header, size, &mut &data[..]).unwrap(),
        _ => writer.header_only(header).unwrap(),
    }
    writer.finish().unwrap()
}

#[test]
fn a_short_entry_is_plain_ustar_of_known_bytes() {
    let header = Header { path: b"a", kind: Type::Regular { size: 1 }, mode: 0o644, uid: 0, gid: 0 };
    let bytes = archive(&header, b"x");
    assert_eq!(bytes.len(), 4 * 512);
    assert_eq!(&bytes[100..157], b"0000644\x000000000\x000000000\x0000000000001\x0000000000000\x00006077\0 0");
    assert_eq!(&bytes[257..265], b"ustar\x0000");
    assert_eq!(bytes[512], b'x');
}

#[test]
fn long_names_and_large_ids_survive() {
    let long = [b'n'; 300];
    let target = [b't'; 101];
    let header =
        Header { path: &long, kind: Type::Symlink { target: &target }, mode: 0o777, uid: 2_097_152, gid: u32::MAX };
    let bytes = archive(&header, b"");
    let text = String::from_utf8_lossy(&bytes);
    assert!(text.contains("18 gid=4294967295\n") && text.contains("15 uid=2097152\n"), "{text}");
    let seen = read_back(&bytes);
    assert_eq!((&seen[0].0[..], &seen[0].1[..]), (&long[..], &target[..]));
}

#[test]
fn a_file_that_changes_while_it_is_read_is_refused() {
    let header = Header { path: b"a", kind: Type::Regular { size: 4 }, mode: 0o644, uid: 0, gid: 0 };
    for (data, kind) in [(&b"abc"[..], io::ErrorKind::UnexpectedEof), (b"abcde", io::ErrorKind::InvalidData)] {
        let mut writer = TarWriter::new(Vec::new());
        assert_eq!(writer.file(&header, 4, &mut &data[..]).unwrap_err().kind(), kind);
    }
}

#[test]
fn the_length_of_a_record_counts_its_own_digits() {
    // 97 bytes of payload: the second digit of "99" makes it 99, not 98; 98 crosses to three digits.
    for value_len in 85..105 {
        let mut out = Vec::new();
        record(&mut out, b"path", &vec![b'v'; value_len]);
        let space = out.iter().position(|b| *b == b' ').unwrap();
        let said: usize = std::str::from_utf8(&out[..space]).unwrap().parse().unwrap();
        assert_eq!(said, out.len(), "{value_len}");
    }
}

proptest! {
    #[test]
    fn any_file_reads_back(
        path in "[a-zA-Z0-9._-]{1,40}(/[a-zA-Z0-9_-]{1,60}){0,5}",
        data in proptest::collection::vec(any::<u8>(), 0..2000),
        mode in 0..0o7777u32, uid in 0..2_097_151u32, gid in 0..2_097_151u32,
    ) {
        let kind = Type::Regular { size: data.len() as u64 };
        let bytes = archive(&Header { path: path.as_bytes(), kind, mode, uid, gid }, &data);
        prop_assert_eq!(bytes.len() % 512, 0);
        let expected = (path.into_bytes(), vec![], u64::from(uid), u64::from(gid), mode, data);
        prop_assert_eq!(read_back(&bytes), vec![expected]);
    }
}
