"""Films and pictures: the only modules that touch containers.

`read` has the one reader of every path, `write` the one writer, `canvas` the one padding rule.
Frames are uint8[t, h, w, 3] in RGB; `to_float` and `to_uint8` convert to and from [-1, 1].
"""

from sora_jax.media.canvas import (
    MIN_SIDE_PIXELS,
    Fit,
    Video,
    canvas_shape,
    cover,
    fit_canvas,
    to_float,
    to_uint8,
)
from sora_jax.media.films import Film
from sora_jax.media.limits import Limits, Rejected
from sora_jax.media.pictures import Picture
from sora_jax.media.read import decode_video, open_media, open_video, read_comment, read_video
from sora_jax.media.timing import Ahead, Frame, choose_rate, resample
from sora_jax.media.write import (
    EXACT,
    SHOWN,
    STORED,
    Encoding,
    VideoWriter,
    encode_video,
    image_bytes,
    video_bytes,
    write_stream,
    write_video,
)

__all__ = [
    "Ahead",
    "EXACT",
    "Film",
    "Picture",
    "MIN_SIDE_PIXELS",
    "SHOWN",
    "STORED",
    "Encoding",
    "Fit",
    "Frame",
    "Limits",
    "Rejected",
    "Video",
    "VideoWriter",
    "canvas_shape",
    "choose_rate",
    "cover",
    "decode_video",
    "encode_video",
    "fit_canvas",
    "image_bytes",
    "open_media",
    "open_video",
    "read_comment",
    "read_video",
    "resample",
    "to_float",
    "to_uint8",
    "video_bytes",
    "write_stream",
    "write_video",
]
