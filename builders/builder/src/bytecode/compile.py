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

AT_ONCE = 3
BATCH = 32
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
    write_all(posix.open(byte_code_path(source, directory), flags, 0o644), data)
    return WRITTEN


def child(batch, to):
    """Compiles one file after the other; writes the outcome of each as one byte."""
    for job in batch:
        status = BROKEN
        try:
            status = compile_one(*job)
        except BaseException as error:
            kind, said = type(error).__name__.encode(), str(error).encode("utf-8", "replace")
            write_all(2, b"%s: %s: %s\n" % (job[0], kind, said))
        write_all(to, bytes([status]))
    posix._exit(0)


def start(batch):
    """Gives the child and the end of the pipe that its outcomes come from."""
    reader, writer = posix.pipe()
    pid = posix.fork()
    if pid == 0:
        child(batch, writer)
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
    batches = [jobs[at : at + BATCH] for at in range(0, len(jobs), BATCH)]
    outcomes = [b""] * len(batches)
    running = {}
    for index, batch in enumerate(batches):
        if len(running) == AT_ONCE:
            collect(running, outcomes)
        pid, reader = start(batch)
        running[pid] = index, reader
    while running:
        collect(running, outcomes)
    answer = []
    for job, status in zip(jobs, (status for outcome in outcomes for status in outcome)):
        if status == WRITTEN:
            answer.append(byte_code_path(job[0], job[1]))
        elif status == NOT_PYTHON:
            answer.append(b"")
        else:
            return 1
    write_all(1, b"".join(path + b"\0" for path in answer))
    return 0


def collect(running, outcomes):
    """Waits for any child. One that ended early has told too little, and the caller counts."""
    pid, status = posix.wait()
    index, reader = running.pop(pid)
    outcomes[index] = read_all(reader)
    posix.close(reader)
    if status != 0:
        write_all(2, b"a compiling process ended with status %d\n" % posix.waitstatus_to_exitcode(status))
        posix._exit(1)


sys.exit(main())
