"""A folder to write configurations into, and a short way to load them."""

from collections.abc import Callable, Mapping
from pathlib import Path

import pytest

from guardian.config import Config, InvalidConfigError, load_config

Load = Callable[..., Config]
Problems = Callable[..., list[str]]

BASE = """\
encryption: {passphrase_file: pass}
stores:
  local: {kind: local, path: backups}
servers:
  main:
    dsn: host=db
"""


@pytest.fixture
def load(tmp_path: Path) -> Load:
    """Load a text as guardian.yaml; ``more`` is appended to the smallest one that is valid."""

    def loaded(more: str = "", *, text: str | None = None, **environ: str) -> Config:
        file = tmp_path / "guardian.yaml"
        file.write_text(BASE + more if text is None else text, encoding="utf-8")
        return load_config(file, environ)

    return loaded


@pytest.fixture
def problems(load: Load, tmp_path: Path) -> Problems:
    """The problems of a text, each without the folder in front."""

    def found(more: str = "", *, text: str | None = None, **environ: str) -> list[str]:
        with pytest.raises(InvalidConfigError) as caught:
            load(more, text=text, **environ)
        assert caught.value.exit_code == 2
        assert all("\n" not in problem for problem in caught.value.problems)
        return [problem.replace(f"{tmp_path}/", "") for problem in caught.value.problems]

    return found


@pytest.fixture
def credentials(tmp_path: Path) -> Mapping[str, str]:
    """The environment that config/guardian.full.yaml wants."""
    folder = tmp_path / "credentials"
    folder.mkdir()
    names = "passphrase s3-key-id s3-secret db-password slack slack-bot pagerduty smtp sentry-dsn"
    more = "hook discord teams telegram apprise heartbeat-url token"
    for name in (*names.split(), *more.split()):
        (folder / name).write_text(f"https://canary.example/{name}\n")
    (folder / "sentry-dsn").write_text("https://canary@sentry.example/1\n")
    return {"CREDENTIALS_DIRECTORY": str(folder), "DATABASE_URL": "postgresql://u:canary@h/d"}
