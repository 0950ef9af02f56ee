# Compiles Python files to byte code that is the same on every run.
#
# Standard input: for each file three strings, each ended by NUL: the source on disk, the directory
# for the byte code, the file name that the byte code shall record. Standard output: for each file
# the path of its byte code, or nothing if the source does not compile, ended by NUL.
#
# marshal marks objects that have more than one reference, so its output depends on what the process
# did before. Therefore each file is compiled in a child of this process, which has done nothing yet.
# Only built-in modules are imported: the standard library has no byte code at this point.

import marshal
import posix
import sys
import _frozen_importlib_external as bootstrap
import _imp
import _warnings

AT_ONCE = 3
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


def child(job):
    status = BROKEN
    try:
        status = compile_one(*job)
    except BaseException as error:
        write_all(2, b"%s: %s: %s\n" % (job[0], type(error).__name__.encode(), str(error).encode("utf-8", "replace")))
    posix._exit(status)


def main():
    posix.umask(0o022)
    # A warning about the source would print to standard error, and "error" filters would change the result.
    _warnings.filters.insert(0, ("ignore", None, Warning, None, 0))
    fields = read_all(0).split(b"\0")[:-1]
    jobs = list(zip(fields[0::3], fields[1::3], fields[2::3], strict=True))
    outcome = [None] * len(jobs)
    running = {}
    following = iter(enumerate(jobs))
    exhausted = False
    while running or not exhausted:
        while not exhausted and len(running) < AT_ONCE:
            index, job = next(following, (None, None))
            if job is None:
                exhausted = True
                break
            pid = posix.fork()
            if pid == 0:
                child(job)
            running[pid] = index
        if running:
            pid, status = posix.wait()
            outcome[running.pop(pid)] = posix.waitstatus_to_exitcode(status)
    answer = []
    for job, status in zip(jobs, outcome):
        if status == WRITTEN:
            answer.append(byte_code_path(job[0], job[1]))
        elif status == NOT_PYTHON:
            answer.append(b"")
        else:
            write_all(2, b"%s: the compiling process ended with status %d\n" % (job[0], status))
            return 1
    write_all(1, b"".join(path + b"\0" for path in answer))
    return 0


sys.exit(main())
