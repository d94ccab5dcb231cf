"""Run a program in a cage that the kernel builds: a few folders, no other program, no network.

A backup is code: restoring it runs functions, expressions and extensions of whoever could write to
the database, as superuser of the throw-away server. What a superuser of PostgreSQL can do, the
process can do (``COPY … TO PROGRAM``, ``pg_read_file``, ``lo_export``, a library of one's own), so
it is the process that must not be able to:

- Landlock (Linux 5.13) lets it see what PostgreSQL needs of the system, and write to nothing but
  the folders it is given. No program but the one it was started as can be run; from 6.7 on no TCP,
  from 6.12 on no signal to a process outside.
- Where there is no Landlock, namespaces of its own give it a file system that holds nothing else,
  and a network that leads nowhere. Signals to processes of the same user stay possible.
- seccomp takes away ``connect()`` and every socket but local ones, which also closes the sockets of
  other servers on this host, and what reads or changes other processes; without Landlock also
  running any program, once that one runs.
- It writes no core file.

Both are inherited by whatever it starts and can never be taken off, and neither needs a privilege.
What the kernel does not have is left out: :func:`missing` says what, for people to know.

This file is also the script that does it, between fork and exec of the program. It imports nothing
of guardian, since it runs without the virtual environment, and as whom it is told.
"""

from __future__ import annotations

import ctypes
import json
import os
import platform
import resource
import struct
import sys
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True)
class Cage:
    """What one program may do.

    ``writable`` and ``readable`` are folders or files; those that do not exist are left out.
    ``uid`` and ``gid`` are whom to become before, None to stay who we are.
    """

    writable: tuple[str, ...]
    readable: tuple[str, ...]
    uid: int | None = None
    gid: int | None = None

    def around(self, argv: Sequence[str]) -> list[str]:
        """The command that runs ``argv`` inside; ``argv[0]`` is a path."""
        return [sys.executable, "-I", "-S", SCRIPT, json.dumps(asdict(self)), *argv]


SCRIPT = str(Path(__file__).resolve())
SYSTEM = (
    *("/usr", "/lib", "/lib32", "/lib64", "/nix/store"),
    *("/etc/ld.so.cache", "/etc/ld.so.preload", "/etc/localtime", "/etc/timezone"),
    *("/etc/passwd", "/etc/group", "/etc/nsswitch.conf", "/etc/ssl/openssl.cnf"),
    *("/etc/alternatives", "/var/cache/postgresql/dicts", "/sys/devices/system/cpu"),
)
"""What PostgreSQL and its extensions read of a system: libraries, locales, time zones, words."""
DEVICES = ("/dev/null", "/dev/zero", "/dev/full", "/dev/random", "/dev/urandom")


def missing() -> str | None:
    """What of a cage this kernel cannot build, as the end of "drills run …"; None for nothing."""
    if sys.platform != "linux":
        return "without a cage: there is Landlock on Linux only"
    if _landlock_version() < 1 and not _can_have_a_view():
        return (
            "without a cage for files: this kernel has no Landlock (Linux 5.13, lsm=landlock), "
            "and we may make no namespaces"
        )
    if platform.machine() not in _MACHINES:
        return f"with local sockets in reach: no seccomp filter is known for {platform.machine()}"
    return None


# --- Landlock: which files, what they may be used for (include/uapi/linux/landlock.h) -------------

_CREATE_RULESET, _ADD_RULE, _RESTRICT_SELF = 444, 445, 446
_EXECUTE, _WRITE_FILE, _READ_FILE, _READ_DIR = 1 << 0, 1 << 1, 1 << 2, 1 << 3
_REFER, _TRUNCATE, _IOCTL_DEV = 1 << 13, 1 << 14, 1 << 15
_FIRST_RIGHTS = (1 << 13) - 1  # those of version 1: as far as MAKE_SYM
_ON_FILES = _EXECUTE | _WRITE_FILE | _READ_FILE | _TRUNCATE | _IOCTL_DEV
_TCP = 1 << 0 | 1 << 1  # bind, connect
_SCOPES = 1 << 0 | 1 << 1  # abstract sockets and signals reach only into the cage
_PATH_BENEATH = 1

_libc = ctypes.CDLL(None, use_errno=True)


def _landlock_version() -> int:
    """The version that this kernel speaks; below 1 where there is none."""
    return int(_libc.syscall(_CREATE_RULESET, None, ctypes.c_size_t(0), ctypes.c_uint(1)))


def _restrict_files(cage: Cage, program: str) -> None:
    version = _landlock_version()
    if version < 1:
        return
    rights = _FIRST_RIGHTS
    rights |= _REFER if version >= 2 else 0
    rights |= _TRUNCATE if version >= 3 else 0
    rights |= _IOCTL_DEV if version >= 5 else 0
    network = _TCP if version >= 4 else 0
    scopes = _SCOPES if version >= 6 else 0
    attributes = struct.pack("=QQQ", rights, network, scopes)
    size = 8 if version < 4 else 16 if version < 6 else 24
    ruleset = _called(_CREATE_RULESET, attributes, ctypes.c_size_t(size), ctypes.c_uint(0))
    reading = _READ_FILE | _READ_DIR
    _allow(ruleset, cage.readable, reading)
    _allow(ruleset, DEVICES, _READ_FILE | _WRITE_FILE)
    _allow(ruleset, cage.writable, rights & ~_EXECUTE & ~_IOCTL_DEV)
    _allow(ruleset, [program, *_interpreter(program)], reading | _EXECUTE)
    _called(_RESTRICT_SELF, ctypes.c_int(ruleset), ctypes.c_uint(0))
    os.close(ruleset)


def _allow(ruleset: int, paths: Iterable[str], rights: int) -> None:
    for path in paths:
        try:
            handle = os.open(path, os.O_PATH | os.O_CLOEXEC)
        except OSError:
            continue
        applicable = rights if Path(path).is_dir() else rights & _ON_FILES
        rule = struct.pack("=Qi", applicable, handle)
        _called(
            _ADD_RULE, ctypes.c_int(ruleset), ctypes.c_int(_PATH_BENEATH), rule, ctypes.c_uint(0)
        )
        os.close(handle)


def _interpreter(program: str) -> list[str]:
    """The loader that a program names (PT_INTERP of a 64-bit ELF file): it is run as well."""
    with Path(program).open("rb") as file:
        head = file.read(64)
        if head[:5] != b"\x7fELF\x02":
            return []
        at, size, count = *struct.unpack_from("=Q", head, 32), *struct.unpack_from("=HH", head, 54)
        file.seek(at)
        table = file.read(size * count)
        for number in range(count):
            kind, _, offset, _, _, length = struct.unpack_from("=IIQQQQ", table, number * size)
            if kind == 3:
                file.seek(offset)
                return [os.fsdecode(file.read(length).rstrip(b"\0"))]
    return []


def _called(number: int, *arguments: object) -> int:
    result = int(_libc.syscall(number, *arguments))
    if result < 0:
        code = ctypes.get_errno()
        raise OSError(code, f"system call {number}: {os.strerror(code)}")
    return result


# --- namespaces: a file system that holds nothing else (mount_namespaces(7), pivot_root(2)) -------

_NEW_MOUNTS, _NEW_IPC, _NEW_USER, _NEW_NETWORK = 0x20000, 0x8000000, 0x10000000, 0x40000000
_READ_ONLY, _NO_SUID, _NO_DEVICES, _NO_PROGRAMS = 1 << 0, 1 << 1, 1 << 2, 1 << 3
_REMOUNT, _BIND, _RECURSIVE, _PRIVATE = 1 << 5, 1 << 12, 1 << 14, 1 << 18
_DETACH = 2
_PIVOT_ROOT = {"x86_64": 155, "aarch64": 41}
_OLD = "/old"


def _can_have_a_view() -> bool:
    """Whether we may make the namespaces and all within, tried by a process that ends with them."""
    pid = os.posix_spawn(sys.executable, [sys.executable, "-I", "-S", SCRIPT, "--try"], {})
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0


def try_the_view() -> bool:
    """What that process does."""
    try:
        if not _take_namespaces():
            return False
        _restrict_view(Cage((), SYSTEM), str(Path(sys.executable).resolve()))
    except OSError:
        return False
    return True


def _take_namespaces() -> bool:
    """Leave the host's for ones of our own; False where we may not."""
    ours = _NEW_MOUNTS | _NEW_NETWORK | _NEW_IPC
    if platform.machine() not in _PIVOT_ROOT:
        return False
    uid, gid = os.getuid(), os.getgid()
    if uid == 0:
        return bool(_libc.unshare(ours) == 0)
    if _libc.unshare(ours | _NEW_USER) != 0:
        return False
    Path("/proc/self/setgroups").write_text("deny", encoding="ascii")
    Path("/proc/self/uid_map").write_text(f"{uid} {uid} 1", encoding="ascii")
    Path("/proc/self/gid_map").write_text(f"{gid} {gid} 1", encoding="ascii")
    return True


def _restrict_view(cage: Cage, program: str) -> None:
    """See what the cage allows and nothing else, from now on. Needs :func:`_take_namespaces`."""
    writable = _existing(cage.writable)
    readable = _existing((*cage.readable, program, *_interpreter(program)))
    devices = _existing(DEVICES)
    _mount("none", "/", "", _RECURSIVE | _PRIVATE)  # the host sees nothing of what follows
    flags = _NO_SUID | _NO_DEVICES | _NO_PROGRAMS
    _mount("tmpfs", "/usr", "tmpfs", flags, "mode=111,size=1m")  # it is there; the old one is below
    os.chdir("/usr")
    Path(_OLD[1:]).mkdir()
    _called(_PIVOT_ROOT[platform.machine()], b".", _OLD[1:].encode())
    os.chdir("/")
    os.umask(0o666)  # what lies above is gone through, and not listed
    # What is above comes first, and what may be written last: it can lie within the rest.
    for path, real in sorted(readable.items()):
        _show(path, real, _READ_ONLY)
    for path, real in (devices | dict(sorted(writable.items()))).items():
        _show(path, real, 0)
    Path("/proc/self").mkdir(parents=True)
    Path("/proc/self/exe").symlink_to(program)  # the loader asks it where libraries lie
    _undone(_libc.umount2(_OLD.encode(), _DETACH), "umount2")
    Path(_OLD).rmdir()
    _mount("none", "/", "", _REMOUNT | _BIND | _READ_ONLY | flags)
    os.umask(0o077)


def _existing(paths: Iterable[str]) -> dict[str, str]:
    """Those that are there, with where they really lie."""
    return {path: os.path.realpath(path) for path in paths if Path(path).exists()}


def _show(path: str, real: str, flags: int) -> None:
    target, source = Path(path), Path(_OLD + real)
    if not target.exists():
        target.parent.mkdir(parents=True, exist_ok=True)
        if source.is_dir():
            target.mkdir()
        else:
            target.touch()
    _mount(str(source), path, "", _BIND | _RECURSIVE)
    # A user namespace may not take off what the host has mounted with: it is named again.
    kept = os.statvfs(path).f_flag & (_READ_ONLY | _NO_SUID | _NO_DEVICES | _NO_PROGRAMS)
    _mount("none", path, "", _REMOUNT | _BIND | _NO_SUID | kept | flags)


def _mount(source: str, target: str, kind: str, flags: int, data: str = "") -> None:
    result = _libc.mount(
        source.encode(), target.encode(), kind.encode(), ctypes.c_ulong(flags), data.encode()
    )
    _undone(result, f"mount on {target}")


def _undone(result: int, what: str) -> None:
    if result != 0:
        code = ctypes.get_errno()
        raise OSError(code, f"{what}: {os.strerror(code)}")


# --- seccomp: which system calls (include/uapi/linux/{seccomp,filter,audit}.h) --------------------

_LOAD, _EQUAL, _AT_LEAST, _RETURN = 0x20, 0x15, 0x35, 0x06
_ALLOW, _REFUSE, _KILL = 0x7FFF0000, 0x00050000 | 13, 0x80000000  # 13: EACCES
_PRETEND = 0x00050000  # not done, and called a success
_ANOTHER_ABI = 0x40000000  # x32's calls on x86-64
_AF_UNIX = 1
# SOCK_STREAM, with SOCK_CLOEXEC, SOCK_NONBLOCK: a datagram needs no connect().
_STREAMS = (1, 0x80001, 0x801, 0x80801)


@dataclass(frozen=True, slots=True)
class _Machine:
    """One architecture: its name for seccomp, ``socket()``, and calls that are refused whole.

    ``execve`` and ``execveat`` are refused where Landlock does not say what may be run. ``modes``
    are chmod and its like, which Landlock does not know: PostgreSQL wants to set that of its
    socket, which has it already.
    """

    audit: int
    socket: int
    execve: int
    execveat: int
    modes: tuple[int, ...]
    refused: tuple[int, ...]


# New calls have one number everywhere: io_uring (which passes seccomp by), mounting, pidfd_getfd,
# fchmodat2, {set,remove}xattrat, file_setattr.
_EVERYWHERE = (425, 426, 427, 428, 429, 430, 431, 432, 433, 438, 442, 452, 463, 466, 467, 469)
# connect, ptrace, process_vm_{readv,writev}, bpf, perf_event_open, userfaultfd, {add,request}_key,
# keyctl, unshare, setns, mount, umount2, pivot_root, chroot, kexec_load, open_by_handle_at,
# {init,finit,delete}_module; then what Landlock does not know: {,l,f}chown, fchownat,
# {,l,f}{set,remove}xattr, utime, utimes, futimesat, utimensat; and socketpair, for its datagrams
_MACHINES = {
    "x86_64": _Machine(
        0xC000003E,
        41,
        59,
        322,
        (90, 91, 268),
        (
            *(42, 101, 310, 311, 321, 298, 323, 248, 249, 250, 272, 308, 165, 166, 155, 161),
            *(246, 304, 175, 313, 176),
            *(92, 93, 94, 260, 188, 189, 190, 197, 198, 199, 132, 235, 261, 280, 53),
        ),
    ),
    "aarch64": _Machine(
        0xC00000B7,
        198,
        221,
        281,
        (52, 53),
        (
            *(203, 117, 270, 271, 280, 241, 282, 217, 218, 219, 97, 268, 40, 39, 41, 51),
            *(104, 265, 105, 273, 106),
            *(54, 55, 5, 6, 7, 14, 15, 16, 88, 199),
        ),
    ),
}


def _filter(machine: _Machine, only_program: int | None = None) -> bytes:
    """The filter as classic BPF: jumps count the steps that they skip.

    With ``only_program`` nothing is run but what is named at that address: an address of ours,
    which is gone as soon as that program runs.
    """
    refused = (*machine.refused, *_EVERYWHERE)
    if only_program is not None:
        refused = (*refused, machine.execveat)
    steps: list[tuple[int, int, int, int]] = [
        (_LOAD, 0, 0, 4),
        (_EQUAL, 1, 0, machine.audit),
        (_RETURN, 0, 0, _KILL),
        (_LOAD, 0, 0, 0),
    ]
    running: list[tuple[int, int, int, int]] = []
    if only_program is not None:
        running = [
            (_EQUAL, 0, 5, machine.execve),
            (_LOAD, 0, 0, 16),
            (_EQUAL, 0, len(_STREAMS) + 8, only_program & 0xFFFFFFFF),
            (_LOAD, 0, 0, 20),
            (_EQUAL, 0, len(_STREAMS) + 6, only_program >> 32),
            (_RETURN, 0, 0, _ALLOW),
        ]
    kinds = len(_STREAMS)
    # From the first comparison of a number.
    to_refusal = len(refused) + len(machine.modes) + len(running) + kinds + 5
    steps.append((_AT_LEAST, to_refusal, 0, _ANOTHER_ABI))
    for index, number in enumerate(refused):
        steps.append((_EQUAL, to_refusal - index - 1, 0, number))
    for index, number in enumerate(machine.modes):
        steps.append((_EQUAL, to_refusal - len(refused) - index, 0, number))
    steps += [
        *running,
        (_EQUAL, 0, kinds + 3, machine.socket),
        (_LOAD, 0, 0, 16),
        (_EQUAL, 0, kinds + 2, _AF_UNIX),
        (_LOAD, 0, 0, 24),
        *(
            (_EQUAL, kinds - index - 1, int(index == kinds - 1), kind)
            for index, kind in enumerate(_STREAMS)
        ),
        (_RETURN, 0, 0, _ALLOW),
        (_RETURN, 0, 0, _REFUSE),
        (_RETURN, 0, 0, _PRETEND),
    ]
    return b"".join(struct.pack("=HBBI", *step) for step in steps)


def _restrict_calls(only_program: int | None) -> None:
    machine = _MACHINES.get(platform.machine())
    if machine is None:
        return
    code = ctypes.create_string_buffer(_filter(machine, only_program))
    program = struct.pack("@HP", (len(code) - 1) // 8, ctypes.addressof(code))
    if _libc.prctl(22, ctypes.c_ulong(2), program, 0, 0) != 0:  # PR_SET_SECCOMP, MODE_FILTER
        raise OSError(ctypes.get_errno(), "no seccomp filter can be set")


# --- the script -----------------------------------------------------------------------------------


def _enter(cage: Cage, program: str, name: int) -> None:
    """Go into the cage. ``name`` is the address at which the program's name lies."""
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    landlocked = sys.platform == "linux" and _landlock_version() >= 1
    # As root where we are: it may where others may not.
    if sys.platform == "linux" and not landlocked and _can_have_a_view():
        _take_namespaces()
        _restrict_view(cage, program)
    elif sys.platform == "linux" and os.getuid() == 0:
        # Landlock does not know System V memory: other servers of that user have some. Where we
        # may not (a container), it stays in reach.
        _libc.unshare(_NEW_IPC)
    if cage.gid is not None and cage.uid is not None:
        os.setgroups([])
        os.setgid(cage.gid)
        os.setuid(cage.uid)
    if sys.platform != "linux":
        return
    if _libc.prctl(38, 1, 0, 0, 0) != 0:  # PR_SET_NO_NEW_PRIVS: both of these ask for it
        raise OSError(ctypes.get_errno(), "no_new_privs cannot be set")
    _restrict_files(cage, program)
    _restrict_calls(None if landlocked else name)


def main(spec: str, argv: Sequence[str]) -> None:
    """Go into the cage and become the program."""
    given = json.loads(spec)
    cage = Cage(
        tuple(given["writable"]), tuple(given["readable"]), uid=given["uid"], gid=given["gid"]
    )
    program = ctypes.create_string_buffer(os.fsencode(argv[0]))
    words = (ctypes.c_char_p * (len(argv) + 1))(*map(os.fsencode, argv), None)
    try:
        _enter(cage, argv[0], ctypes.addressof(program))
        # Becoming that program is what this is for; through libc, for the filter knows the address.
        _undone(_libc.execv(program, words), "execv")
    except OSError as error:
        sys.exit(f"{argv[0]} cannot be started in a cage: {error}")


if __name__ == "__main__":
    if sys.argv[1] == "--try":
        sys.exit(0 if try_the_view() else 1)
    main(sys.argv[1], sys.argv[2:])
