//! The system-call filter of build steps.
//!
//! It is a list of calls that are refused; every other call is allowed. A list of allowed calls
//! would be tighter, but a step runs the image's own interpreter and servers, of any version and
//! language, and each new C library would break builds until the list knew its new calls. The
//! namespaces, the missing capabilities and `no_new_privs` are the boundary; the filter takes away
//! the parts of the kernel that such programs do not need and that exploits of the past have used:
//! new namespaces and mounts, `ptrace`, BPF, keys, handles of files, io_uring, device nodes and
//! rare socket families.
//!
//! Calls of another architecture (i386, x32) have other numbers, so they end the process.
//!
//! The kernel remembers which calls are always allowed (since 5.11), so those cost next to nothing.
//! Loading the programs takes 0.6 ms a step at most: so much `strace -T` showed on a 6.18 kernel.

use std::collections::BTreeMap;
use std::io;

use seccompiler::SeccompCmpArgLen::{Dword, Qword};
use seccompiler::SeccompCmpOp::{Eq, MaskedEq, Ne};
use seccompiler::{
    BackendError, BpfProgram, SeccompAction, SeccompCondition, SeccompFilter, SeccompRule, TargetArch, apply_filter,
};

/// What the filtered process still has to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stage {
    /// It runs programs of the image: nothing that makes another sandbox.
    Program,
    /// It is the builder, and opens a second sandbox for a command of the image, which gets the
    /// filter of [`Stage::Program`] before it starts.
    OpensSandbox,
}

type Rules = BTreeMap<i64, Vec<SeccompRule>>;

/// Applies to the calling thread and all processes that it starts, for good.
pub fn apply(stage: Stage) -> io::Result<()> {
    for program in programs(stage).map_err(io::Error::other)? {
        apply_filter(&program).map_err(io::Error::other)?;
    }
    Ok(())
}

/// A program has one answer for what it refuses, so there is one for each error number.
fn programs(stage: Stage) -> Result<Vec<BpfProgram>, BackendError> {
    let mut programs = Vec::new();
    for (rules, errno) in [
        (refused(stage)?, libc::EPERM),
        // Programs take these as the sign of an older kernel, and do without.
        (unconditional(&UNKNOWN), libc::ENOSYS),
        (BTreeMap::from([(libc::SYS_socket, socket_families()?)]), libc::EAFNOSUPPORT),
    ] {
        programs.push(compile(rules, SeccompAction::Errno(errno.unsigned_abs()))?);
    }
    if cfg!(target_arch = "x86_64") {
        // x32 shares the architecture's number and has this bit in the number of each call.
        programs.push(kill_x32());
    }
    Ok(programs)
}

fn compile(rules: Rules, refusal: SeccompAction) -> Result<BpfProgram, BackendError> {
    let arch = TargetArch::try_from(std::env::consts::ARCH)?;
    SeccompFilter::new(rules, SeccompAction::Allow, refusal, arch)?.try_into()
}

/// `if number >= 0x4000_0000 { kill } else { allow }`, in the kernel's instructions.
fn kill_x32() -> BpfProgram {
    const X32: u32 = 0x4000_0000;
    let instruction = |code: u32, jt, jf, k| seccompiler::sock_filter { code: code as u16, jt, jf, k };
    vec![
        // The number of the call is the first field of what the program sees.
        instruction(libc::BPF_LD | libc::BPF_W | libc::BPF_ABS, 0, 0, 0),
        instruction(libc::BPF_JMP | libc::BPF_JGE | libc::BPF_K, 0, 1, X32),
        instruction(libc::BPF_RET | libc::BPF_K, 0, 0, libc::SECCOMP_RET_KILL_PROCESS),
        instruction(libc::BPF_RET | libc::BPF_K, 0, 0, libc::SECCOMP_RET_ALLOW),
    ]
}

fn unconditional(calls: &[i64]) -> Rules {
    calls.iter().map(|call| (*call, Vec::new())).collect()
}

fn refused(stage: Stage) -> Result<Rules, BackendError> {
    let mut rules = unconditional(&REFUSED);
    rules.extend(unconditional(&REFUSED_HERE));
    if stage == Stage::Program {
        rules.extend(unconditional(&MAKES_SANDBOXES));
    }
    rules.insert(libc::SYS_clone, new_namespaces()?);
    rules.insert(libc::SYS_mknodat, device_nodes(2)?);
    #[cfg(target_arch = "x86_64")]
    rules.insert(libc::SYS_mknod, device_nodes(1)?);
    rules.insert(libc::SYS_personality, personalities()?);
    rules.insert(libc::SYS_ioctl, typing_for_others()?);
    Ok(rules)
}

/// The second sandbox is made with these.
const MAKES_SANDBOXES: [i64; 6] = [
    libc::SYS_mount,
    libc::SYS_umount2,
    libc::SYS_pivot_root,
    libc::SYS_unshare,
    libc::SYS_sethostname,
    libc::SYS_chroot,
];

const UNKNOWN: [i64; 4] = [
    // Its flags lie in memory, where no filter can see them. C libraries fall back to `clone`.
    libc::SYS_clone3,
    libc::SYS_io_uring_setup,
    libc::SYS_io_uring_enter,
    libc::SYS_io_uring_register,
];

const REFUSED: [i64; 42] = [
    // Mounts and namespaces by other names.
    libc::SYS_setns,
    libc::SYS_open_tree,
    libc::SYS_move_mount,
    libc::SYS_fsopen,
    libc::SYS_fsconfig,
    libc::SYS_fsmount,
    libc::SYS_fspick,
    libc::SYS_mount_setattr,
    libc::SYS_setdomainname,
    // Other processes.
    libc::SYS_ptrace,
    libc::SYS_process_vm_readv,
    libc::SYS_process_vm_writev,
    libc::SYS_process_madvise,
    libc::SYS_pidfd_getfd,
    libc::SYS_kcmp,
    libc::SYS_migrate_pages,
    libc::SYS_move_pages,
    // Large interfaces into the kernel.
    libc::SYS_bpf,
    libc::SYS_perf_event_open,
    libc::SYS_userfaultfd,
    libc::SYS_fanotify_init,
    // Keys of the kernel.
    libc::SYS_keyctl,
    libc::SYS_add_key,
    libc::SYS_request_key,
    // Files by handle, past the root.
    libc::SYS_open_by_handle_at,
    libc::SYS_name_to_handle_at,
    // The computer itself.
    libc::SYS_kexec_load,
    libc::SYS_init_module,
    libc::SYS_finit_module,
    libc::SYS_delete_module,
    libc::SYS_swapon,
    libc::SYS_swapoff,
    libc::SYS_reboot,
    libc::SYS_quotactl,
    libc::SYS_quotactl_fd,
    libc::SYS_acct,
    libc::SYS_syslog,
    libc::SYS_vhangup,
    libc::SYS_settimeofday,
    libc::SYS_clock_settime,
    libc::SYS_clock_adjtime,
    libc::SYS_adjtimex,
];

#[cfg(target_arch = "x86_64")]
const REFUSED_HERE: [i64; 6] = [
    libc::SYS_kexec_file_load,
    libc::SYS_iopl,
    libc::SYS_ioperm,
    libc::SYS_modify_ldt,
    libc::SYS_uselib,
    libc::SYS__sysctl,
];
/// `kexec_file_load`, whose number the libc crate lacks for musl.
#[cfg(target_arch = "aarch64")]
const REFUSED_HERE: [i64; 1] = [294];

/// One rule for each flag: a mask compares with one value.
fn new_namespaces() -> Result<Vec<SeccompRule>, BackendError> {
    [
        libc::CLONE_NEWNS,
        libc::CLONE_NEWCGROUP,
        libc::CLONE_NEWUTS,
        libc::CLONE_NEWIPC,
        libc::CLONE_NEWUSER,
        libc::CLONE_NEWPID,
        libc::CLONE_NEWNET,
    ]
    .into_iter()
    .map(|flag| {
        let flag = u64::from(flag.unsigned_abs());
        SeccompRule::new(vec![SeccompCondition::new(0, Qword, MaskedEq(flag), flag)?])
    })
    .collect()
}

/// Pipes and sockets by `mknod` are harmless. `mode` is the argument with the kind of the file.
fn device_nodes(mode: u8) -> Result<Vec<SeccompRule>, BackendError> {
    [libc::S_IFBLK, libc::S_IFCHR]
        .into_iter()
        .map(|kind| {
            let mask = MaskedEq(libc::S_IFMT.into());
            SeccompRule::new(vec![SeccompCondition::new(mode, Dword, mask, kind.into())?])
        })
        .collect()
}

/// Allowed are asking, the usual one, and addresses that are not random, which the builder wants
/// for Python.
fn personalities() -> Result<Vec<SeccompRule>, BackendError> {
    let harmless = [0xffff_ffff, 0, u64::from(libc::ADDR_NO_RANDOMIZE.unsigned_abs())];
    Ok(vec![none_of(0, &harmless)?])
}

/// Nothing is connected with these networks, but servers make sockets while they check a
/// configuration. Netlink is for the list of interfaces only.
fn socket_families() -> Result<Vec<SeccompRule>, BackendError> {
    let known = [libc::AF_UNIX, libc::AF_INET, libc::AF_INET6, libc::AF_NETLINK].map(|f| u64::from(f.unsigned_abs()));
    let netlink = SeccompCondition::new(0, Dword, Eq, u64::from(libc::AF_NETLINK.unsigned_abs()))?;
    let other = SeccompCondition::new(2, Dword, Ne, u64::from(libc::NETLINK_ROUTE.unsigned_abs()))?;
    Ok(vec![none_of(0, &known)?, SeccompRule::new(vec![netlink, other])?])
}

/// A session of its own has no terminal; this is for a descriptor of one that leaked in.
fn typing_for_others() -> Result<Vec<SeccompRule>, BackendError> {
    const TIOCLINUX: u64 = 0x541C;
    [libc::TIOCSTI as u64, TIOCLINUX]
        .into_iter()
        .map(|request| SeccompRule::new(vec![SeccompCondition::new(1, Dword, Eq, request)?]))
        .collect()
}

fn none_of(argument: u8, values: &[u64]) -> Result<SeccompRule, BackendError> {
    let conditions = values.iter().map(|value| SeccompCondition::new(argument, Dword, Ne, *value));
    SeccompRule::new(conditions.collect::<Result<Vec<_>, _>>()?)
}
