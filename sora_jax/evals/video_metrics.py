"""Similarity of two clips: pure functions of two 8-bit videos of the same shape.

    SSIM    = mean (2 m_x m_y + C1) (2 s_xy + C2) / ((m_x^2 + m_y^2 + C1) (s_x^2 + s_y^2 + C2))
    flicker = mean |(y_{t+1} - y_t) - (x_{t+1} - x_t)|            in 8-bit levels
    VMAF    : libvmaf's v0.6.1, 0 to 100; for equal clips close to 100, for equal images 97.4
    VGG-HED : see `models.perceptual`; 0 for equal images

Means m, variances s^2 and covariances s_xy are taken over an 11x11 Gaussian window of deviation 1.5
that lies within the frame, with C1 = (0.01 L)^2, C2 = (0.03 L)^2, L = 255 (Wang et al., Image
Quality Assessment: From Error Visibility to Structural Similarity, 2004), on luma
Y = 0.299 R + 0.587 G + 0.114 B (BT.601).
"""

import functools
import importlib.util
import json
import pathlib
import subprocess
import tempfile

import jax
import numpy as np
from jaxtyping import Float, UInt8
from scipy import ndimage

from sora_jax import media
from sora_jax.evals.reconstruction import psnr_db
from sora_jax.models import perceptual

Video = UInt8[np.ndarray, "t h w 3"]
WINDOW_SIGMA_PIXELS, WINDOW_RADIUS_PIXELS = 1.5, 5
C1, C2 = (0.01 * 255) ** 2, (0.03 * 255) ** 2
MAX_HED_FRAMES = 5
"""Maximum number of frames that VGG-HED is averaged over, spread over a clip's duration."""
MIN_VMAF_SIDE_PIXELS = 17
"""Minimum side of a clip for VMAF: at 16 pixels libvmaf crashes."""
VMAF_INSTALL_COMMAND = "pip install 'sora-jax[video]'"
_hed_distance = jax.jit(perceptual.hed_distance)


def scores(
    video: Video, other: Video, fps: float, hed: perceptual.Weights | None, with_vmaf: bool
) -> dict[str, float]:
    """Scores `other` against `video` by the name of the measure.

    Args:
      hed: weights of VGG-HED; None leaves that measure out.
      with_vmaf: whether to run VMAF.

    Returns:
      The scores; flicker only if the clips have more than one frame.
    """
    values = {"psnr_db": psnr_db(video, other), "ssim": ssim(video, other)}
    if hed is not None:
        values["vgg_hed"] = vgg_hed(video, other, hed)
    if with_vmaf:
        values["vmaf"] = vmaf(video, other, fps)
    if len(video) > 1:
        values["flicker"] = flicker(video, other)
    return values


def luma(frame: UInt8[np.ndarray, "h w 3"]) -> Float[np.ndarray, "h w"]:
    """BT.601 luma, 0 to 255."""
    return frame @ np.array([0.299, 0.587, 0.114])


def ssim(video: Video, other: Video) -> float:
    """Structural similarity of luma, averaged over frames; 1 for equal clips."""
    pairs = zip(video, other, strict=True)
    return float(np.mean([_frame_ssim(luma(a), luma(b)) for a, b in pairs]))


def _frame_ssim(x: Float[np.ndarray, "h w"], y: Float[np.ndarray, "h w"]) -> float:
    radius = WINDOW_RADIUS_PIXELS
    inside = slice(radius, -radius)

    def window_mean(a: np.ndarray) -> np.ndarray:
        return ndimage.gaussian_filter(a, WINDOW_SIGMA_PIXELS, radius=radius)[inside, inside]

    m_x, m_y = window_mean(x), window_mean(y)
    variances = window_mean(x * x) - m_x**2 + window_mean(y * y) - m_y**2
    covariance = window_mean(x * y) - m_x * m_y
    numerator = (2 * m_x * m_y + C1) * (2 * covariance + C2)
    return float(np.mean(numerator / ((m_x**2 + m_y**2 + C1) * (variances + C2))))


def flicker(video: Video, other: Video) -> float:
    """Mean absolute difference of the changes from frame to frame; needs at least two frames."""
    total, previous = 0.0, None
    for frames in zip(video, other, strict=True):
        x, y = (frame.astype(np.int16) for frame in frames)
        if previous is not None:
            total += float(np.abs(y - x - previous).mean())
        previous = y - x
    return total / (len(video) - 1)


def vgg_hed(video: Video, other: Video, hed: perceptual.Weights) -> float:
    """VGG-HED, averaged over at most `MAX_HED_FRAMES` frames."""
    indices = np.linspace(0, len(video) - 1, min(MAX_HED_FRAMES, len(video))).round().astype(int)
    pairs = [[media.to_float(v[i : i + 1]) for v in (video, other)] for i in indices]
    return float(np.mean([_hed_distance(hed, *pair) for pair in pairs]))


@functools.cache
def ffmpeg() -> str | None:
    """Path of the ffmpeg of the package imageio-ffmpeg; None if it is missing or lacks VMAF."""
    if not importlib.util.find_spec("imageio_ffmpeg"):
        return None
    import imageio_ffmpeg

    try:
        path = imageio_ffmpeg.get_ffmpeg_exe()
        listed = subprocess.run([path, "-filters"], capture_output=True, text=True, check=True)
    except (RuntimeError, OSError, subprocess.CalledProcessError):
        return None
    return path if " libvmaf " in listed.stdout else None


def vmaf(video: Video, other: Video, fps: float) -> float:
    """VMAF of `other` against `video`, averaged over frames.

    Raises:
      ValueError: there is no ffmpeg with VMAF, a side is below `MIN_VMAF_SIDE_PIXELS`, or ffmpeg
        fails.
    """
    if (path := ffmpeg()) is None:
        raise ValueError(f"VMAF is not installed: {VMAF_INSTALL_COMMAND}")
    _, h, w, _ = video.shape
    if min(h, w) < MIN_VMAF_SIDE_PIXELS:
        raise ValueError(
            f"a clip of {h}x{w} is too small for VMAF: sides must be at least "
            f"{MIN_VMAF_SIDE_PIXELS} pixels"
        )
    raw = ["-f", "rawvideo", "-pix_fmt", "rgb24", "-s", f"{w}x{h}", "-r", str(fps)]
    graph = (
        "[0:v]format=yuv444p[x];[1:v]format=yuv444p[y];"
        "[x][y]libvmaf=log_fmt=json:log_path=log.json:n_threads=1"
    )
    command = [path, "-v", "error", "-nostdin", *raw, "-i", "other.rgb", *raw, "-i", "video.rgb"]
    with tempfile.TemporaryDirectory() as folder:
        pathlib.Path(folder, "other.rgb").write_bytes(other.tobytes())
        pathlib.Path(folder, "video.rgb").write_bytes(video.tobytes())
        command += ["-lavfi", graph, "-f", "null", "-"]
        done = subprocess.run(command, cwd=folder, capture_output=True, text=True)
        if done.returncode:
            reason = (done.stderr.strip() or f"exit code {done.returncode}").splitlines()[0]
            raise ValueError(f"ffmpeg cannot measure VMAF of a clip of {h}x{w}: {reason}")
        log = json.loads(pathlib.Path(folder, "log.json").read_text())
    return float(log["pooled_metrics"]["vmaf"]["mean"])
