//! As much of ELF (gabi 4.1) as finding libraries takes: machine, interpreter, SONAME.
//!
//! Little-endian files of 64 bits only, which both our platforms are; anything else is "not a
//! library of this platform". Reads a few hundred bytes of a file, however large it is, and trusts
//! no offset in it.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt as _;
use std::path::Path;

const PT_LOAD: u32 = 1;
const PT_DYNAMIC: u32 = 2;
const PT_INTERP: u32 = 3;
const DT_NULL: u64 = 0;
const DT_STRTAB: u64 = 5;
const DT_SONAME: u64 = 14;
/// Values of `e_machine`.
pub const EM_X86_64: u16 = 62;
pub const EM_AARCH64: u16 = 183;
/// Value of `e_type` of libraries, and of programs that can be loaded anywhere.
const ET_DYN: u16 = 3;
/// No honest program has more program headers, dynamic entries or longer names.
const MAX_HEADERS: usize = 512;
const MAX_DYNAMIC: usize = 64 * 1024;
const MAX_NAME: usize = 4096;

/// What we ask of an ELF file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Elf {
    pub machine: u16,
    /// Whether it can be loaded as a library.
    pub shared: bool,
    /// The dynamic loader that a program asks for.
    pub interpreter: Option<Vec<u8>>,
    /// The name under which programs ask for a library.
    pub soname: Option<Vec<u8>>,
    /// Whether there is a dynamic section at all; objects for debuggers have none of use.
    pub dynamic: bool,
}

struct Segment {
    kind: u32,
    offset: u64,
    address: u64,
    size: u64,
}

impl Elf {
    /// Reads a file; `None` if it is not ELF of 64 bits, or damaged.
    pub fn read(path: &Path) -> io::Result<Option<Self>> {
        let file = File::open(path)?;
        match parse(&file) {
            Ok(elf) => Ok(elf),
            // Offsets beyond the end, and beyond what a file can have.
            Err(error) if matches!(error.kind(), io::ErrorKind::UnexpectedEof | io::ErrorKind::InvalidInput) => {
                Ok(None)
            }
            Err(error) => Err(error),
        }
    }
}

fn parse(file: &File) -> io::Result<Option<Elf>> {
    let mut header = [0; 64];
    file.read_exact_at(&mut header, 0)?;
    // Magic, 64 bits, little-endian.
    if !header.starts_with(b"\x7fELF\x02\x01") {
        return Ok(None);
    }
    let segments = segments(file, &header)?;
    let find = |kind| segments.iter().find(|segment| segment.kind == kind);
    let interpreter = find(PT_INTERP).map(|segment| string_at(file, segment.offset)).transpose()?;
    let dynamic = find(PT_DYNAMIC);
    let soname = match dynamic {
        Some(dynamic) => soname(file, dynamic, &segments)?,
        None => None,
    };
    Ok(Some(Elf {
        machine: u16_at(&header, 18),
        shared: u16_at(&header, 16) == ET_DYN,
        interpreter,
        soname,
        dynamic: dynamic.is_some(),
    }))
}

fn segments(file: &File, header: &[u8]) -> io::Result<Vec<Segment>> {
    let (offset, size, count) = (u64_at(header, 32), usize::from(u16_at(header, 54)), usize::from(u16_at(header, 56)));
    if size < 56 || count > MAX_HEADERS {
        return Ok(Vec::new());
    }
    let mut table = vec![0; size * count];
    file.read_exact_at(&mut table, offset)?;
    Ok(table
        .chunks_exact(size)
        .map(|entry| Segment {
            kind: u32_at(entry, 0),
            offset: u64_at(entry, 8),
            address: u64_at(entry, 16),
            size: u64_at(entry, 32),
        })
        .collect())
}

fn soname(file: &File, dynamic: &Segment, segments: &[Segment]) -> io::Result<Option<Vec<u8>>> {
    let size = usize::try_from(dynamic.size).unwrap_or(MAX_DYNAMIC).min(MAX_DYNAMIC);
    let mut table = vec![0; size];
    file.read_exact_at(&mut table, dynamic.offset)?;
    let entries =
        || table.chunks_exact(16).map(|e| (u64_at(e, 0), u64_at(e, 8))).take_while(|(tag, _)| *tag != DT_NULL);
    let value = |wanted| entries().find(|(tag, _)| *tag == wanted).map(|(_, value)| value);
    let (Some(strings), Some(name)) = (value(DT_STRTAB), value(DT_SONAME)) else { return Ok(None) };
    // The string table is given by its address in memory.
    let offset = segments.iter().filter(|segment| segment.kind == PT_LOAD).find_map(|segment| {
        let within = strings.checked_sub(segment.address).filter(|within| *within < segment.size)?;
        segment.offset.checked_add(within)?.checked_add(name)
    });
    offset.map(|offset| string_at(file, offset)).transpose()
}

/// The bytes up to the next NUL.
fn string_at(file: &File, offset: u64) -> io::Result<Vec<u8>> {
    let mut bytes = vec![0; MAX_NAME];
    let got = file.read_at(&mut bytes, offset)?;
    bytes.truncate(got);
    let end = bytes.iter().position(|b| *b == 0).ok_or(io::ErrorKind::UnexpectedEof)?;
    bytes.truncate(end);
    Ok(bytes)
}

fn bytes_at<const N: usize>(bytes: &[u8], at: usize) -> [u8; N] {
    let mut found = [0; N];
    if let Some(slice) = bytes.get(at..at + N) {
        found.copy_from_slice(slice);
    }
    found
}

fn u16_at(bytes: &[u8], at: usize) -> u16 {
    u16::from_le_bytes(bytes_at(bytes, at))
}

fn u32_at(bytes: &[u8], at: usize) -> u32 {
    u32::from_le_bytes(bytes_at(bytes, at))
}

fn u64_at(bytes: &[u8], at: usize) -> u64 {
    u64::from_le_bytes(bytes_at(bytes, at))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn a_real_program_and_a_real_library() {
        let program = Elf::read(Path::new("/bin/true")).unwrap().unwrap();
        assert!(program.interpreter.unwrap().starts_with(b"/lib"));
        let loader = ["/lib64/ld-linux-x86-64.so.2", "/lib/ld-linux-aarch64.so.1"];
        let path = loader.iter().map(Path::new).find(|path| path.exists()).unwrap();
        let library = Elf::read(path).unwrap().unwrap();
        assert!(library.shared && library.dynamic);
        assert_eq!(library.soname.unwrap(), path.file_name().unwrap().as_encoded_bytes());
    }

    #[test]
    fn damage_is_no_library_and_no_panic() {
        let scratch = tempfile::tempdir().unwrap();
        let path = scratch.path().join("x");
        let whole = std::fs::read("/bin/true").unwrap();
        for length in [0, 3, 63, 64, 100, 500, 1000, whole.len() / 2] {
            std::fs::write(&path, &whole[..length.min(whole.len())]).unwrap();
            _ = Elf::read(&path).unwrap();
        }
        // Every field of the header in turn set to the largest value.
        for at in 6..64 {
            let mut bytes = whole[..whole.len().min(4096)].to_vec();
            bytes[at] = 0xff;
            std::fs::write(&path, &bytes).unwrap();
            _ = Elf::read(&path);
        }
        std::fs::write(&path, "not a library").unwrap();
        assert_eq!(Elf::read(&path).unwrap(), None);
    }
}
