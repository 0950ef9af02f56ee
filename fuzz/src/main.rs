//! The libFuzzer program: runs the target that `CAIRN_FUZZ_TARGET` names. One program for all
//! targets, since linking takes longer than compiling one of them.
#![no_main]
// libFuzzer calls into this program by symbols with fixed names.
#![allow(unsafe_code)]

use std::sync::LazyLock;

use cairn_fuzz::Target;
use libfuzzer_sys::fuzz_target;

static TARGET: LazyLock<&'static Target> = LazyLock::new(|| {
    let name = std::env::var("CAIRN_FUZZ_TARGET").unwrap_or_default();
    cairn_fuzz::find(&name).unwrap_or_else(|| {
        eprintln!("CAIRN_FUZZ_TARGET is `{name}`, which is not a target; `cargo xtask fuzz --list` shows them");
        std::process::exit(2)
    })
});

fuzz_target!(|input: &[u8]| (TARGET.run)(input));
