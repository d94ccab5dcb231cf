from __future__ import annotations

import copy
import pickle
from collections.abc import Iterator

import pytest

from guardian import errors
from guardian.errors import Cause, ConfigError, DumpError, GuardianError, InvalidConfigError


def classes(root: type[GuardianError] = GuardianError) -> Iterator[type[GuardianError]]:
    yield root
    for each in root.__subclasses__():
        if each.__module__ == errors.__name__:
            yield from classes(each)


PLAIN = [one for one in classes() if one is not InvalidConfigError]


@pytest.mark.parametrize("kind", PLAIN)
def test_an_error_crosses_processes_whole(kind: type[GuardianError]) -> None:
    error = kind("a\n b", mend="do\n it", cause=Cause.STORE, transient=True)
    for twin in (pickle.loads(pickle.dumps(error)), copy.copy(error)):
        assert type(twin) is kind
        assert str(twin) == "a b; do it"
        assert (twin.cause, twin.transient, twin.mend) == (Cause.STORE, True, "do it")


@pytest.mark.parametrize("kind", PLAIN)
def test_each_class_says_when_it_is_raised_and_has_an_exit_code(kind: type[GuardianError]) -> None:
    assert kind.__doc__
    assert kind("x").exit_code != 0
    assert kind("x").cause is kind.cause
    assert str(kind("x")) == "x"
    assert str(kind("x", mend="")) == "x"


def test_all_mistakes_of_a_configuration_are_kept() -> None:
    error = InvalidConfigError(["line 1:\n bad", "line 2: worse"])
    assert isinstance(error, ConfigError)
    for twin in (error, pickle.loads(pickle.dumps(error))):
        assert str(twin) == "line 1: bad (and 1 more)"
        assert twin.problems == ("line 1: bad", "line 2: worse")
    assert str(InvalidConfigError(["only one"])) == "only one"
    assert pickle.loads(pickle.dumps(InvalidConfigError([""]))).problems == ("",)


def test_one_error_does_not_change_its_class() -> None:
    DumpError("x", cause=Cause.TIMEOUT, transient=True)
    assert (DumpError.cause, DumpError.transient) == (Cause.DUMP, False)
