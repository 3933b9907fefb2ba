"""Brings the original mill.mat onto this machine: one download, checked, out of a zip within a zip, into a cache.

Knows where the file is published and what it must hash to; nothing of what is in it. Nothing is unpacked but the one
member that is wanted, and it is kept only if its sha256 is right.
"""

from __future__ import annotations

import hashlib
import io
import os
import zipfile
import zlib
from pathlib import Path
from typing import Any

from spinn.errors import DataError
from spinn.storage import digest_file, refuse_special, write_atomic

URL = "https://phm-datasets.s3.amazonaws.com/NASA/3.+Milling.zip"
ZIP_HASH = "md5:4da3afb0aa50cb3dcdd8e20ed1ed1c7c"  # as PyPHM lists it
MAT_HASH = "71486a857939d1416c86c7cf0c469d5e69c7c30495e01ec8a0e13aafd2a313cb"  # sha256, as two public loaders list it
CACHE_VARIABLE = "SPINN_CACHE"
TIMEOUT = 30.0  # s without a byte
INNER, MEMBER = "mill.zip", "mill.mat"
MOST = 512 << 20
"""Bytes of a file in an archive; the original mill.mat has 200 MB."""
_BROKEN = (zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError, RuntimeError, ValueError, OSError)
"""What zipfile raises, depending on where an archive stops making sense; RuntimeError of one that wants a password."""


def cache() -> Path:
    """The folder downloads are kept in: the environment's SPINN_CACHE, or the user's cache folder."""
    import pooch

    return Path(os.environ.get(CACHE_VARIABLE) or pooch.os_cache("spinn"))


def fetched() -> Path:
    """Path of the mill.mat that was fetched earlier.

    Raises:
        DataError: there is none.
    """
    path = cache() / MEMBER
    if not path.is_file():
        raise DataError(f"data = 'nasa': not downloaded yet ({path}); run `spinn data fetch nasa`, or give a .mat file")
    return path


def fetch(url: str = URL, zip_hash: str = ZIP_HASH, mat_hash: str = MAT_HASH, folder: Path | None = None) -> Path:
    """Download the NASA milling data, unless it is there already; shows progress on standard error.

    Args:
        url: where the zip is.
        zip_hash: what the zip must hash to, as 'algorithm:hex'.
        mat_hash: sha256 of the mill.mat in it.
        folder: where to keep it; None for `cache()`.

    Returns:
        Path of mill.mat.

    Raises:
        DataError: the download failed, a checksum is wrong, or the zip does not hold mill.mat.
    """
    folder = cache() if folder is None else folder
    target = folder / MEMBER
    if target.is_file() and digest_file(target) == mat_hash:
        return target
    archive = _download(url, zip_hash, folder)
    try:
        content = _member(archive, url)
    finally:
        archive.unlink(missing_ok=True)
    found = hashlib.sha256(content).hexdigest()
    if found != mat_hash:
        raise DataError(f"{url}: {MEMBER} has sha256 {found}, expected {mat_hash}; it is not the published file")
    write_atomic(target, content)
    return target


def _download(url: str, zip_hash: str, folder: Path) -> Path:
    import pooch
    import requests

    pooch.get_logger().setLevel("WARNING")
    downloader: Any = _stream  # any callable will do, though pooch's annotation asks for its own class
    try:
        return Path(pooch.retrieve(url, zip_hash, fname="milling.zip", path=folder, downloader=downloader))
    except requests.exceptions.RequestException as error:
        raise DataError(f"{url}: the download failed ({_reason(error)}); try again, or give a .mat file") from None
    except ValueError as error:
        if "hash" not in str(error):
            raise DataError(f"{url}: not an address that can be downloaded ({error})") from None
        raise DataError(
            f"{url}: what was downloaded does not have the checksum {zip_hash}; it was cut short or changed, and "
            "nothing was kept; try again, or give a .mat file"
        ) from None


def _stream(url: str, output_file: Any, _pooch: object) -> None:
    """Download for pooch, with a progress bar on standard error.

    pooch's own downloader draws with tqdm, and leaves the connection open when the download fails.
    """
    import requests
    from rich.console import Console
    from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TransferSpeedColumn

    columns = (TextColumn("{task.description}"), BarColumn(), DownloadColumn(), TransferSpeedColumn())
    with (
        requests.get(url, stream=True, timeout=TIMEOUT) as response,
        open(output_file, "wb") as stream,
        Progress(*columns, console=Console(stderr=True)) as progress,
    ):
        response.raise_for_status()
        task = progress.add_task(url.rsplit("/", 1)[-1], total=int(response.headers.get("Content-Length", 0)) or None)
        for chunk in response.iter_content(chunk_size=1 << 16):
            stream.write(chunk)
            progress.update(task, advance=len(chunk))


def _reason(error: Exception) -> str:
    """The innermost cause, without the nested representations that urllib3 prints."""
    while (cause := error.__cause__ or error.__context__) is not None and isinstance(cause, Exception):
        error = cause
    return str(error) or type(error).__name__


def _member(archive: Path, url: str) -> bytes:
    """The bytes of mill.mat in a zip, itself in a zip or directly there; nothing is written where its names say."""
    try:
        refuse_special(archive)
        with zipfile.ZipFile(archive) as outer:
            direct = _named(outer, MEMBER)
            if direct:
                return _content(outer, direct, url)
            nested = _named(outer, INNER)
            if not nested:
                raise DataError(f"{url}: holds neither {INNER} nor {MEMBER}, but {_shown(outer.namelist())}")
            with zipfile.ZipFile(io.BytesIO(_content(outer, nested, url))) as inner:
                wanted = _named(inner, MEMBER)
                if not wanted:
                    raise DataError(f"{url}: {INNER} in it holds no {MEMBER}, but {_shown(inner.namelist())}")
                return _content(inner, wanted, url)
    except _BROKEN as error:
        reason = str(error) or type(error).__name__
        raise DataError(
            f"{url}: not a readable zip ({reason:.100}); download it by hand and give the .mat file"
        ) from None


def _content(archive: zipfile.ZipFile, name: str, url: str) -> bytes:
    """No more than `MOST`, whatever the archive says of itself."""
    if archive.getinfo(name).compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
        raise DataError(f"{url}: {name} in it is packed as the milling set is not; give the .mat file")
    with archive.open(name) as stream:
        content = stream.read(MOST + 1)
    if len(content) > MOST:
        raise DataError(f"{url}: {name} in it is larger than {MOST >> 20} MiB; that is not the milling set")
    return content


def _named(archive: zipfile.ZipFile, name: str) -> str | None:
    return next((entry for entry in archive.namelist() if entry.rsplit("/", 1)[-1] == name), None)


def _shown(names: list[str]) -> str:
    return ", ".join(names[:5]) + (" …" if len(names) > 5 else "") if names else "nothing"
