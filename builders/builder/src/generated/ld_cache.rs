//! The file `/etc/ld.so.cache` in the format of glibc 2.32 and later.
//!
//! ```text
//! "glibc-ld.so.cache" "1.1"   20 bytes
//! u32 libraries, u32 bytes of strings, u8 byte order (2: little), 3 bytes 0,
//! u32 offset of extensions (0: none), 12 bytes 0
//! for each library, in falling order of its name:
//!     i32 flags, u32 offset of the name, u32 offset of the path, u32 0, u64 hardware (0: any)
//! strings, each ended by NUL
//! ```
//! Offsets count from the beginning of the file. The loader searches by halves, so the order must
//! be the one of its own comparison, in which runs of digits compare as numbers.

use std::cmp::Ordering;

use cairn_formats::Platform;

const MAGIC: &[u8; 20] = b"glibc-ld.so.cache1.1";
const HEADER: usize = 48;
const ENTRY: usize = 24;
const LITTLE_ENDIAN: u8 = 2;

/// A library of the cache: the name that programs ask for, and where it lies.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Library {
    /// `libz.so.1`
    pub name: Vec<u8>,
    /// `/lib/x86_64-linux-gnu`
    pub directory: Vec<u8>,
}

/// The whole file. Among libraries of one name the earlier ones of the list win.
pub fn write(libraries: &[Library], platform: Platform) -> Vec<u8> {
    let mut sorted: Vec<&Library> = libraries.iter().collect();
    sorted.sort_by(|a, b| compare(&b.name, &a.name));

    let start = HEADER + ENTRY * sorted.len();
    let mut entries = Vec::with_capacity(start);
    let mut strings = Vec::new();
    for library in &sorted {
        let path = start + strings.len();
        // The name is the end of the path, so one string serves for both.
        let name = path + library.directory.len() + 1;
        entries.extend(flags(platform).to_le_bytes());
        entries.extend(u32_of(name).to_le_bytes());
        entries.extend(u32_of(path).to_le_bytes());
        entries.extend([0; 12]);
        strings.extend([&library.directory[..], b"/", &library.name[..], b"\0"].concat());
    }

    let mut file = MAGIC.to_vec();
    file.extend(u32_of(sorted.len()).to_le_bytes());
    file.extend(u32_of(strings.len()).to_le_bytes());
    file.push(LITTLE_ENDIAN);
    file.resize(HEADER, 0);
    file.extend(entries);
    file.extend(strings);
    file
}

/// "ELF, for glibc" (3) and the kind of processor.
const fn flags(platform: Platform) -> i32 {
    match platform {
        Platform::LinuxAmd64 => 0x0303,
        Platform::LinuxArm64 => 0x0a03,
    }
}

fn u32_of(number: usize) -> u32 {
    // A cache of 4 GiB would take tens of millions of libraries.
    u32::try_from(number).unwrap_or(u32::MAX)
}

/// The loader's own order of names.
pub fn compare(mut a: &[u8], mut b: &[u8]) -> Ordering {
    loop {
        let order = match (a.first(), b.first()) {
            (None, None) => return Ordering::Equal,
            (None, Some(_)) => return Ordering::Less,
            (Some(_), None) => return Ordering::Greater,
            (Some(x), Some(y)) => match (x.is_ascii_digit(), y.is_ascii_digit()) {
                (true, true) => number(&mut a).cmp(&number(&mut b)),
                (true, false) => Ordering::Greater,
                (false, true) => Ordering::Less,
                (false, false) => {
                    (a, b) = (&a[1..], &b[1..]);
                    x.cmp(y)
                }
            },
        };
        if order != Ordering::Equal {
            return order;
        }
    }
}

fn number(text: &mut &[u8]) -> u64 {
    let digits = text.iter().take_while(|b| b.is_ascii_digit()).count();
    let (number, rest) = text.split_at(digits);
    *text = rest;
    number.iter().fold(0, |value: u64, digit| value.wrapping_mul(10).wrapping_add(u64::from(digit - b'0')))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn names_in_the_order_of_the_loader() {
        let order =
            ["ld-linux.so.2", "libX11.so.6", "lib.so", "liba.so", "liba.so.1", "liba.so.9", "liba.so.10", "liba1.so"];
        for (a, b) in [(0, 1), (3, 4), (4, 5), (5, 6), (6, 7)] {
            assert_eq!(compare(order[a].as_bytes(), order[b].as_bytes()), Ordering::Less, "{} {}", order[a], order[b]);
            assert_eq!(compare(order[b].as_bytes(), order[a].as_bytes()), Ordering::Greater);
        }
        assert_eq!(compare(b"liba.so.01", b"liba.so.1"), Ordering::Equal);
    }

    #[test]
    fn an_entry_byte_by_byte() {
        let library = Library { name: b"libz.so.1".to_vec(), directory: b"/lib".to_vec() };
        let file = write(&[library], Platform::LinuxAmd64);
        let expected = [
            &b"glibc-ld.so.cache1.1\x01\0\0\0\x0f\0\0\0\x02\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0"[..],
            &b"\x03\x03\0\0\x4d\0\0\0\x48\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0"[..],
            &b"/lib/libz.so.1\0"[..],
        ]
        .concat();
        assert_eq!(file, expected);
    }
}
