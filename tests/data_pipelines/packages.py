"""Small archives for tests, in the formats that package clients fetch."""

import io
import tarfile
import zipfile


def pack(path, files):
    """A tar file; its compression follows from its name."""
    with tarfile.open(path, f"w:{path.suffix.removeprefix('.').replace('tgz', 'gz')}") as tar:
        for name, data in files.items():
            info = tarfile.TarInfo(name)
            info.size = len(data)
            tar.addfile(info, io.BytesIO(data))
    return path


def deb(path, files, data="data.tar.xz"):
    """A Debian package: an ar file of a version and a tar file of the files, named `data`."""
    inner = pack(path.with_name("data.tar.xz"), files)
    members = {"debian-binary": b"2.0", data: inner.read_bytes()}
    with path.open("wb") as file:
        file.write(b"!<arch>\n")
        for name, content in members.items():
            file.write(f"{name:16}{0:<12}{0:<6}{0:<6}{0:<8}{len(content):<10}`\n".encode())
            file.write(content + b"\n" * (len(content) % 2))
    return path


def wheel(path, files):
    """A zip file."""
    with zipfile.ZipFile(path, "w") as file:
        for name, data in files.items():
            file.writestr(name, data)
    return path
