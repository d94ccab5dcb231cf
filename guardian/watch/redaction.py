"""Query texts without the secrets that people write into them.

PostgreSQL shows statements as they were sent: ``ALTER ROLE … PASSWORD 'x'`` stands in
pg_stat_activity, and in pg_stat_statements for good. What guardian shows, records and sends on must
not hold such words. This is done where a text comes in, so that it is nowhere after that.

It looks for what is called a secret (and takes rather too much). A literal that stands apart from
its name, as in ``VALUES ('…')``, cannot be told from others: ``recording.query_text: false`` keeps
query texts out altogether.
"""

from __future__ import annotations

import re

HIDDEN = "********"

# Every repetition is bounded or possessive: texts may be long, and this must not take long.
_NAME = r"(?:pass(?:word|wd|phrase|code)|pwd|secret|token|api_?key|private_?key)\w{0,40}+"
_LITERAL = r"""
    (?: [eEnNbB] | [uU]& )?+ ' (?: [^'\\]++ | '' | \\. )*+ (?: ' | \\?\Z )  # the text may be cut
  | \$(?P<tag>\w{0,63})\$ .*? (?: \$(?P=tag)\$ | \Z )
"""
_SIGNS = ("pass", "pwd", "secret", "token", "key", "://")
_NAMED = re.compile(
    rf"""(?P<name> {_NAME} ["']?+ \s*+ (?: => | :?= | , | (?:is|like|to)\b )?+ \s*+ )
         (?: {_LITERAL} )""",
    re.IGNORECASE | re.VERBOSE | re.DOTALL,
)
_CONNECTION_STRING = re.compile(
    rf"({_NAME}=)(?!\$\d)(?:\\?'[^']*+'?+|[^\s'\"&,;)*]++)", re.IGNORECASE
)
_ADDRESS = re.compile(r"(\b\w[\w+.-]{0,20}://[^\s:/@'\"]{0,200}+:)[^\s@'\"]{1,500}+(@|\Z)")


def without_secrets(text: str | None) -> str | None:
    """The text with ``********`` in the place of each secret that can be told."""
    if text is None:
        return None
    lower = text.lower()  # fifteen times as fast as an expression, and most texts end here
    if not any(sign in lower for sign in _SIGNS):
        return text
    text = _NAMED.sub(lambda match: f"{match['name']}{HIDDEN}", text)
    text = _CONNECTION_STRING.sub(rf"\1{HIDDEN}", text)
    return _ADDRESS.sub(rf"\1{HIDDEN}\2", text)
