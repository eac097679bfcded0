"""Archives as package clients fetch them: tar files, zip files and Debian packages."""

import contextlib
import gzip
import io
import lzma
import pathlib
import tarfile
import zipfile
import zlib
from collections.abc import Callable, Iterator
from typing import IO

_DAMAGE = (
    EOFError,
    gzip.BadGzipFile,
    lzma.LZMAError,
    tarfile.TarError,
    zipfile.BadZipFile,
    zlib.error,
)


def require(archive: pathlib.Path, fetch: str) -> None:
    """Requires that the archive is a file.

    Raises:
      ValueError: it is not; the message has the command that fetches it.
    """
    if not archive.is_file():
        raise ValueError(f"no archive at {archive}; fetch it with `{fetch}` and name its path")


@contextlib.contextmanager
def report_damage(archive: pathlib.Path, fetch: str) -> Iterator[None]:
    """Turns what archive readers raise into one line that says how to fetch the archive.

    Raises:
      ValueError: there is no archive, or it is damaged.
    """
    require(archive, fetch)
    try:
        yield
    except _DAMAGE as error:
        raise ValueError(
            f"{archive} is damaged or another file ({type(error).__name__}); "
            f"fetch it again with `{fetch}`"
        ) from error


def missing_content(archive: pathlib.Path, what: str, fetch: str) -> ValueError:
    """Makes the error for an archive without the expected content."""
    return ValueError(f"{archive} holds no {what}; the archive is what `{fetch}` fetches")


def read_files(
    archive: pathlib.Path, fetch: str, wanted: Callable[[str], bool]
) -> Iterator[tuple[str, bytes]]:
    """Yields the names that `wanted` accepts and the bytes of their files, in one pass.

    Raises:
      ValueError: there is no archive, or it is damaged.
    """
    with report_damage(archive, fetch), archive.open("rb") as file:
        if file.read(4) == b"PK\x03\x04":
            with zipfile.ZipFile(file) as inside:
                for name in filter(wanted, inside.namelist()):
                    yield name, inside.read(name)
            return
        _seek_tar(file)
        # Not in mode r|*, which takes a cut-off archive for a whole one.
        with tarfile.open(fileobj=file) as tar:
            for member in tar:
                data = tar.extractfile(member) if member.isfile() and wanted(member.name) else None
                if data is not None:
                    yield member.name, data.read()


def _seek_tar(file: IO[bytes]) -> None:
    """Moves to the tar file in a Debian package; any other file is left at its start."""
    file.seek(0)
    if file.read(8) != b"!<arch>\n":
        file.seek(0)
        return
    while len(header := file.read(60)) == 60:  # name 16, dates and owners 32, size 10, end 2
        if header.startswith(b"data.tar.zst"):
            raise ValueError(
                f"{file.name} is packed by zstd, as Ubuntu's packages are; name data.tar instead, "
                f"after `dpkg-deb --fsys-tarfile {file.name} > data.tar`"
            )
        if header.startswith(b"data.tar"):
            return
        size = int(header[48:58]) if header[48:58].strip().isdigit() else 0
        file.seek(size + size % 2, io.SEEK_CUR)
    raise tarfile.ReadError("no data.tar in the package")
