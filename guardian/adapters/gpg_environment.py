"""What gpg gets of our environment, whoever runs it."""

from __future__ import annotations

import os

_INHERITED = (
    *("PATH", "HOME", "USER", "LOGNAME", "TMPDIR", "TZ", "XDG_RUNTIME_DIR"),
    *("LANG", "LC_ALL", "LC_CTYPE", "LC_MESSAGES", "LD_LIBRARY_PATH", "DYLD_LIBRARY_PATH"),
    *("GNUPGHOME", "GPG_TTY"),
)


def gpg_environment() -> dict[str, str]:
    """What gpg, and an agent that it starts and leaves, need of ours; the rest holds secrets."""
    return {name: os.environ[name] for name in _INHERITED if name in os.environ}
