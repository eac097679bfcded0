"""Opens a file of a film or picture by its content; runs in the bounded processes of `worker`."""

import contextlib
import pathlib
from collections.abc import Iterator

from data_pipelines.ingest import films, pictures
from data_pipelines.ingest.config import Clips, Limits
from data_pipelines.ingest.frames import Stream


@contextlib.contextmanager
def opened(path: pathlib.Path, limits: Limits, clips: Clips) -> Iterator[Stream]:
    """The stream of a file, whatever its name.

    Raises:
      Rejected: it is no film and no picture, or breaks a limit.
    """
    picture = pictures.opened(path, limits, clips)
    if picture is not None:
        yield picture
    else:
        with films.opened(path, limits, clips) as stream:
            yield stream
