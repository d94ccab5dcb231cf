"""The filter of system calls, run step by step as the kernel runs it; and who loads a program."""

from __future__ import annotations

import struct
import sys
from pathlib import Path

import pytest

from guardian.adapters.scratch import cage
from guardian.adapters.scratch.cage import (
    _ALLOW,
    _KILL,
    _MACHINES,
    _PRETEND,
    _REFUSE,
    Cage,
    _filter,
    _interpreter,
)

WORDS = ("read", "socket", "connect", "accept", "kill", "ptrace")
NAMES = {
    "x86_64": dict(zip(WORDS, (0, 41, 42, 43, 62, 101), strict=True)),
    "aarch64": dict(zip(WORDS, (63, 198, 203, 202, 129, 117), strict=True)),
}
IO_URING_SETUP = 425
BY_PATH = {
    # {,l,f}chown, fchownat, {,l,f}{set,remove}xattr, utime, utimes, futimesat, utimensat
    "x86_64": (92, 93, 94, 260, 188, 189, 190, 197, 198, 199, 132, 235, 261, 280),
    "aarch64": (54, 55, 5, 6, 7, 14, 15, 16, 88),
}
SOCKETPAIR = {"x86_64": 53, "aarch64": 199}
CHMOD = {"x86_64": (90, 91, 268), "aarch64": (52, 53)}  # chmod, fchmod, fchmodat
NEW = (452, 463, 466, 467, 469)  # fchmodat2, {set,remove}xattrat, open_tree_attr, file_setattr


def judged(
    machine: str,
    number: int,
    argument: int = 0,
    second: int = 1,
    audit: int | None = None,
    only_program: int | None = None,
) -> int:
    """What the filter says of a call: classic BPF, the few instructions that we use."""
    data = struct.pack("=iIQQQ", number, audit or _MACHINES[machine].audit, 0, argument, second)
    steps = list(struct.iter_unpack("=HBBI", _filter(_MACHINES[machine], only_program)))
    at = accumulator = 0
    while True:
        code, if_so, if_not, value = steps[at]
        at += 1
        if code == 0x20:
            # struct seccomp_data: nr, arch, instruction pointer, arguments
            accumulator = int(struct.unpack_from("=I", data, value)[0])
        elif code == 0x15:
            at += if_so if accumulator == value else if_not
        elif code == 0x35:
            at += if_so if accumulator >= value else if_not
        else:
            assert code == 0x06
            return int(value)


@pytest.mark.parametrize("machine", sorted(_MACHINES))
def test_what_is_refused(machine: str) -> None:
    calls = NAMES[machine]
    refused = (*_MACHINES[machine].refused, IO_URING_SETUP)
    assert {calls["connect"], calls["ptrace"]} <= set(refused)
    for number in (*refused, *BY_PATH[machine], SOCKETPAIR[machine], *NEW):
        assert judged(machine, number) == _REFUSE
    for family in (2, 10, 16, 17, 40):  # IPv4, IPv6, netlink, packets, vsock
        assert judged(machine, calls["socket"], family) == _REFUSE
    for kind in (1, 1 | 0x80000, 1 | 0x800, 1 | 0x80800):
        assert judged(machine, calls["socket"], 1, kind) == _ALLOW
    for kind in (2, 5, 2 | 0x80000):  # datagrams and packets need no connect()
        assert judged(machine, calls["socket"], 1, kind) == _REFUSE
    for number in CHMOD[machine]:
        assert judged(machine, number) == _PRETEND
    for name in ("read", "accept", "kill"):
        assert judged(machine, calls[name]) == _ALLOW


@pytest.mark.parametrize("machine", sorted(_MACHINES))
def test_without_landlock_nothing_runs_but_what_is_named_at_one_address(machine: str) -> None:
    here = 0x7F12_8765_4320
    execve, execveat = _MACHINES[machine].execve, _MACHINES[machine].execveat
    assert judged(machine, execve, here, only_program=here) == _ALLOW
    for other in (0, here + 1, here & 0xFFFFFFFF, here + (1 << 32)):
        assert judged(machine, execve, other, only_program=here) == _REFUSE
    assert judged(machine, execveat, here, only_program=here) == _REFUSE
    calls = NAMES[machine]
    assert judged(machine, calls["connect"], only_program=here) == _REFUSE
    assert judged(machine, calls["socket"], 2, only_program=here) == _REFUSE
    assert judged(machine, calls["socket"], 1, only_program=here) == _ALLOW
    assert judged(machine, calls["read"], only_program=here) == _ALLOW
    assert judged("x86_64", 0x40000000 + 59, here, only_program=here) == _REFUSE  # x32
    for number in (execve, execveat):  # Landlock says what may be run
        assert judged(machine, number, here) == _ALLOW


def test_what_is_missing_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cage, "_landlock_version", lambda: -1)
    monkeypatch.setattr(cage, "_can_have_a_view", lambda: True)
    assert cage.missing() is None
    monkeypatch.setattr(cage, "_can_have_a_view", lambda: False)
    assert "no Landlock" in (cage.missing() or "")
    monkeypatch.setattr(cage, "_landlock_version", lambda: 1)
    assert cage.missing() is None


def test_another_way_to_number_calls_is_none() -> None:
    assert judged("x86_64", 42, audit=0x40000003) == _KILL  # 32-bit programs
    assert judged("x86_64", 0x40000000 + 42) == _REFUSE  # x32
    assert judged("x86_64", 0x40000000) == _REFUSE


def test_the_loader_of_a_program_is_found(tmp_path: Path) -> None:
    loader = _interpreter(sys.executable)
    assert all("ld" in Path(one).name for one in loader)
    script = tmp_path / "script"
    script.write_text("#!/bin/sh\n")
    assert _interpreter(str(script)) == []


def test_a_cage_tells_nothing_but_paths_on_the_command_line() -> None:
    words = Cage(("/data",), ("/usr",), uid=5, gid=6).around(["/bin/postgres", "-D", "/data"])
    assert words[1:3] == ["-I", "-S"]
    assert words[-3:] == ["/bin/postgres", "-D", "/data"]
    assert '"uid": 5' in words[4]
