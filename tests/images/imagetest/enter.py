"""First process of a service's namespaces: makes its view, starts it as its user, ends with it.

Runs as a script below `unshare`, with a plan in JSON as its argument. The view is what a unit with
RootDirectory=, MountAPIVFS=, PrivateDevices=, PrivateTmp= and MemoryDenyWriteExecute= gives.
"""

import ctypes
import json
import os
import signal
import subprocess
import sys

PR_SET_NO_NEW_PRIVS = 38
PR_SET_MDWE = 65
DEVICES = ["null", "zero", "full", "random", "urandom"]
FORWARDED = [signal.SIGTERM, signal.SIGINT, signal.SIGQUIT, signal.SIGHUP, signal.SIGUSR1]


def mount(*arguments: str) -> None:
    subprocess.run(["mount", *arguments], check=True)


def make_view(plan: dict) -> str:
    root = plan["view"]
    mount("--make-rprivate", "/")
    mount("--bind", plan["root"], root)
    mount("-o", "remount,bind,ro", root)
    mount("-t", "proc", "proc", f"{root}/proc")
    mount("-t", "tmpfs", "-o", "mode=755", "tmpfs", f"{root}/run")
    mount("-t", "tmpfs", "-o", "mode=1777", "tmpfs", f"{root}/tmp")
    mount("-t", "tmpfs", "-o", "mode=755", "tmpfs", f"{root}/dev")
    os.mkdir(f"{root}/dev/shm")
    mount("-t", "tmpfs", "-o", "mode=1777", "tmpfs", f"{root}/dev/shm")
    for device in DEVICES:
        open(f"{root}/dev/{device}", "w").close()
        mount("--bind", f"/dev/{device}", f"{root}/dev/{device}")
    for target, name in [("/proc/self/fd", "fd"), ("/proc/self/fd/1", "stdout"), ("/proc/self/fd/2", "stderr")]:
        os.symlink(target, f"{root}/dev/{name}")
    for at, source, writable in plan["binds"]:
        target = root + at
        if not os.path.isdir(target):
            os.makedirs(target)
        mount("--bind", source, target)
        if not writable:
            mount("-o", "remount,bind,ro", target)
    return root


def become(plan: dict, root: str) -> None:
    uid, gid = plan["owner"]
    # As container engines do, so that /dev/stdout can be opened by its name.
    for fd in [1, 2]:
        os.fchown(fd, uid, -1)
    os.chroot(root)
    os.chdir(plan["workdir"])
    os.setgroups([])
    os.setgid(gid)
    os.setuid(uid)
    os.umask(0o077)
    libc = ctypes.CDLL(None)
    if libc.prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) != 0:
        raise OSError("no_new_privs is refused")
    # Kernels before 6.3 do not know it.
    libc.prctl(PR_SET_MDWE, 1, 0, 0, 0)


def main() -> int:
    plan = json.loads(sys.argv[1])
    root = make_view(plan)
    pid = os.fork()
    if pid == 0:
        become(plan, root)
        for fd in plan["keep"]:
            os.set_inheritable(fd, True)
        os.execve(plan["command"][0], plan["command"], plan["environment"])
    for number in FORWARDED:
        signal.signal(number, lambda received, _: os.kill(pid, received))
    while True:
        ended, status = os.wait()
        if ended == pid:
            return os.waitstatus_to_exitcode(status) % 256


sys.exit(main())
