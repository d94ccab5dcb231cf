"""A configuration in a folder of its own, and what is said of it."""

from collections.abc import Callable
from pathlib import Path

import pytest

from guardian.config import Config, InvalidConfigError, load_config

GOOD = """\
encryption: {passphrase_file: pass}
stores:
  local: {kind: local, path: backups}
servers:
  main:
    dsn: postgresql://db.example/mina
"""

Write = Callable[..., Path]
Load = Callable[..., Config]
Problems = Callable[..., list[str]]


@pytest.fixture
def good() -> str:
    """The least that is valid; its last line is the sixth, four spaces deep in servers.main."""
    return GOOD


@pytest.fixture
def write(tmp_path: Path) -> Write:
    """Write guardian.yaml (text or bytes)."""

    def write(text: str | bytes) -> Path:
        path = tmp_path / "guardian.yaml"
        path.write_bytes(text.encode() if isinstance(text, str) else text)
        return path

    return write


@pytest.fixture
def load(write: Write) -> Load:
    """The configuration that such a text is, with these variables and no others."""

    def load(text: str | bytes, **environ: str) -> Config:
        return load_config(write(text), environ)

    return load


@pytest.fixture
def problems(write: Write) -> Problems:
    """What is wrong with such a text: a line each, the folder left away."""

    def problems(text: str | bytes, **environ: str) -> list[str]:
        path = write(text)
        with pytest.raises(InvalidConfigError) as caught:
            load_config(path, environ)
        assert all("\n" not in line for line in caught.value.problems)
        return [line.replace(f"{path.parent}/", "") for line in caught.value.problems]

    return problems
