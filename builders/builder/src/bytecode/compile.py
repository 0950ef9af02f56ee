# Compiles Python files to byte code that is the same on every run.
#
# Standard input: for each file three strings, each ended by NUL: the source on disk, the directory
# for the byte code, the file name that the byte code shall record. Standard output: for each file
# the path of its byte code, or nothing if the source does not compile, ended by NUL.
#
# marshal writes what it knows of an object (is it interned? has it more than one reference?), so what
# a process still holds of earlier work shows in its output. Nothing of a file is held but the strings
# of one character, which the interpreter keeps for good and which one file may intern for all later
# ones ("*", by `from x import *`): so they are interned beforehand. Then 1,513 files of the standard
# library and its tests compile to the same bytes in any order and any company. A child for each file
# would need no such care, and 5.1 s of processor time for 868 files instead of 2.0 s. Only built-in
# modules are imported: the standard library has no byte code at this point.

import gc
import marshal
import posix
import sys
import _frozen_importlib_external as bootstrap
import _imp
import _warnings

# Files that are worth another process. Other steps have work for the other processors; it is for those
# that are still at it when nothing else is.
ENOUGH = 64
UNCHECKED_HASH = (1).to_bytes(4, "little")
KEY = int.from_bytes(bootstrap.MAGIC_NUMBER, "little")
WRITTEN, NOT_PYTHON, BROKEN = 0, 10, 11


def read_all(fd):
    chunks = []
    while chunk := posix.read(fd, 1 << 20):
        chunks.append(chunk)
    return b"".join(chunks)


def write_all(fd, data):
    view = memoryview(data)
    while view:
        view = view[posix.write(fd, view):]


def byte_code_path(source, directory):
    name = source.rpartition(b"/")[2].removesuffix(b".py")
    return directory + b"/" + name + b"." + sys.implementation.cache_tag.encode() + b".pyc"


def compile_one(source, directory, recorded):
    fd = posix.open(source, posix.O_RDONLY)
    text = read_all(fd)
    posix.close(fd)
    try:
        code = compile(text, recorded.decode("utf-8", "surrogateescape"), "exec", dont_inherit=True, optimize=0)
        data = marshal.dumps(code)
    except (SyntaxError, ValueError, RecursionError, MemoryError, OverflowError):
        return NOT_PYTHON
    data = bootstrap.MAGIC_NUMBER + UNCHECKED_HASH + _imp.source_hash(KEY, text) + data
    try:
        posix.mkdir(directory, 0o755)
    except FileExistsError:
        pass
    flags = posix.O_WRONLY | posix.O_CREAT | posix.O_EXCL
    fd = posix.open(byte_code_path(source, directory), flags, 0o644)
    write_all(fd, data)
    posix.close(fd)
    return WRITTEN


def work(jobs):
    """Compiles one file after the other; gives the outcome of each as one byte."""
    outcomes = bytearray()
    for job in jobs:
        status = BROKEN
        try:
            status = compile_one(*job)
        except BaseException as error:
            kind, said = type(error).__name__.encode(), str(error).encode("utf-8", "replace")
            write_all(2, b"%s: %s: %s\n" % (job[0], kind, said))
        outcomes.append(status)
    return outcomes


def start(jobs):
    """Gives the end of a pipe that the outcomes of a new process come from, and its id."""
    reader, writer = posix.pipe()
    pid = posix.fork()
    if pid == 0:
        write_all(writer, work(jobs))
        posix._exit(0)
    posix.close(writer)
    return pid, reader


def main():
    # A compiler makes no cycles: looking for them would take a tenth of the time.
    gc.disable()
    posix.umask(0o022)
    for code in range(256):
        sys.intern(chr(code))
    # A warning about the source would print to standard error, and "error" filters would change the result.
    _warnings.filters.insert(0, ("ignore", None, Warning, None, 0))
    fields = read_all(0).split(b"\0")[:-1]
    jobs = list(zip(fields[0::3], fields[1::3], fields[2::3], strict=True))
    # Each takes every n-th file, so that neighbours, often alike in size, are shared out.
    workers = min(len(posix.sched_getaffinity(0)), 1 + len(jobs) // ENOUGH)
    others = [start(jobs[at::workers]) for at in range(1, workers)]
    outcomes = [BROKEN] * len(jobs)
    outcomes[0::workers] = work(jobs[0::workers])
    for at, (pid, reader) in enumerate(others, 1):
        told = read_all(reader)
        posix.close(reader)
        _, status = posix.waitpid(pid, 0)
        if status != 0:
            write_all(2, b"a compiling process ended with status %d\n" % posix.waitstatus_to_exitcode(status))
            return 1
        outcomes[at::workers] = told
    answer = []
    for job, status in zip(jobs, outcomes):
        if status == WRITTEN:
            answer.append(byte_code_path(job[0], job[1]))
        elif status == NOT_PYTHON:
            answer.append(b"")
        else:
            return 1
    write_all(1, b"".join(path + b"\0" for path in answer))
    return 0


sys.exit(main())
