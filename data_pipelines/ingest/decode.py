"""Opens a file of a film or picture by its content; runs in the bounded processes of `worker`."""

import contextlib
import pathlib
from collections.abc import Iterator

from data_pipelines.ingest import films, pictures
from data_pipelines.ingest.config import Clips, Limits
from data_pipelines.ingest.frames import Stream


@contextlib.contextmanager
def open_stream(path: pathlib.Path, limits: Limits, clips: Clips) -> Iterator[Stream]:
    """Opens a film or picture, whatever its name, as a stream.

    Raises:
      Rejected: the file is neither, or exceeds a limit.
    """
    picture = pictures.open_picture(path, limits, clips)
    if picture is not None:
        yield picture
    else:
        with films.open_film(path, limits, clips) as stream:
            yield stream
