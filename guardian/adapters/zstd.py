"""zstd, with its frame checksum, as lazy streams in constant memory."""

from __future__ import annotations

import zstandard

from guardian.errors import UnrestorableError
from guardian.ports import Readable

_BLOCK = 1 << 20
_PIECE = 512
"""Decompressed at a time: zeros grow by a factor of 32,768, so a piece makes 16 MiB at most."""


class ZstdCompressor:
    """Implements the Compressor port. ``level`` is zstd's, 1 to 19."""

    suffix = ".zst"

    def __init__(self, level: int = 3) -> None:
        self._level = level

    def compress(self, source: Readable) -> Readable:
        """Compressed bytes of ``source``."""
        compressor = zstandard.ZstdCompressor(level=self._level, write_checksum=True)
        return _Compressing(source, compressor.compressobj())

    def decompress(self, source: Readable) -> Readable:
        """Plain bytes; damage, and an end that comes too early, raise UnrestorableError."""
        return _Decompressing(source)


class _Compressing:
    """Pulls from the source until there is something to give.

    zstandard's own ``stream_reader`` fills the whole requested size before it returns, which holds
    back a slow dump; this returns what one block made.
    """

    def __init__(self, source: Readable, compressor: zstandard.ZstdCompressionObj) -> None:
        self._source = source
        self._compressor = compressor
        self._rest = b""
        self._ended = False

    def read(self, size: int = -1, /) -> bytes:
        while not self._rest and not self._ended:
            block = self._source.read(_BLOCK)
            if block:
                self._rest = self._compressor.compress(block)
            else:
                self._rest = self._compressor.flush()
                self._ended = True
        if size < 0 or size >= len(self._rest):
            given, self._rest = self._rest, b""
            return given
        given, self._rest = self._rest[:size], self._rest[size:]
        return given


class _Decompressing:
    def __init__(self, source: Readable) -> None:
        self._source = source
        self._frame = zstandard.ZstdDecompressor().decompressobj()
        self._block = memoryview(b"")
        self._rest = b""
        self._ended = False

    def read(self, size: int = -1, /) -> bytes:
        while not self._rest and not self._ended:
            self._rest = self._next()
        if size < 0 or size >= len(self._rest):
            given, self._rest = self._rest, b""
            return given
        given, self._rest = self._rest[:size], self._rest[size:]
        return given

    def _next(self) -> bytes:
        if not self._block:
            self._block = memoryview(self._source.read(_BLOCK))
        if not self._block:
            if not self._frame.eof:
                raise UnrestorableError("the compressed data ends too early")
            self._ended = True
            return b""
        piece, self._block = self._block[:_PIECE], self._block[_PIECE:]
        if self._frame.eof:
            raise UnrestorableError("the compressed data goes on after its end")
        try:
            plain = self._frame.decompress(piece)
        except zstandard.ZstdError as error:
            raise UnrestorableError(f"the compressed data is damaged: {error}") from error
        if self._frame.unused_data:
            raise UnrestorableError("the compressed data goes on after its end")
        return plain
