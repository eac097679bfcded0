"""Scores of clips against direct formulas and known values; H.264 at a given rate."""

import functools
import types

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from sora_jax.codec.video_codec import VideoCodec
from sora_jax.evals import gallery, h264, vae_page, vae_scores, video_metrics
from sora_jax.evals.reconstruction import psnr_db
from sora_jax.models import perceptual
from sora_jax.models.latents import LatentStatistics
from sora_jax.models.vae_config import CellVAEConfig, VAEConfig
from sora_jax.training import vae_task
from sora_jax.training.experiments import VAEExperiment


def smooth(frames, height, width, seed=0):
    """Waves that move: they have structure and compress well."""
    rng = np.random.default_rng(seed)
    t, y, x = np.meshgrid(*map(np.arange, (frames, height, width)), indexing="ij")
    waves = [np.sin(a * x + b * y + t) for a, b in rng.uniform(-0.6, 0.6, (3, 2))]
    return np.uint8(np.stack(waves, -1) * 90 + 128)


def noisy(video, amount, seed=0):
    noise = np.random.default_rng(seed).normal(size=video.shape) * amount
    return np.uint8(np.clip(video + noise, 0, 255))


def direct_ssim(x, y):
    """The definition, window by window, on luma."""
    at = np.arange(-5, 6)
    window = np.exp(-(at[:, None] ** 2 + at**2) / (2 * 1.5**2))
    window /= window.sum()
    found = []
    for i in range(x.shape[0] - 10):
        for j in range(x.shape[1] - 10):
            a, b = x[i : i + 11, j : j + 11], y[i : i + 11, j : j + 11]
            m, n = (window * a).sum(), (window * b).sum()
            v, w = (window * (a - m) ** 2).sum(), (window * (b - n) ** 2).sum()
            c = (window * (a - m) * (b - n)).sum()
            one, two = 2.55**2, 7.65**2
            found.append(
                (2 * m * n + one) * (2 * c + two) / ((m * m + n * n + one) * (v + w + two))
            )
    return np.mean(found)


def test_ssim_is_the_mean_over_windows():
    video = smooth(2, 18, 23)
    other = noisy(video, 20)
    luma = [[f @ [0.299, 0.587, 0.114] for f in v] for v in (video, other)]
    wanted = np.mean([direct_ssim(a, b) for a, b in zip(*luma, strict=True)])
    assert video_metrics.ssim(video, other) == pytest.approx(wanted, abs=1e-9)
    assert 0.1 < wanted < 0.95
    assert video_metrics.ssim(video, video) == pytest.approx(1, abs=1e-12)


def test_flicker_is_the_error_of_changes_and_not_of_levels():
    video = smooth(6, 16, 16)
    sign = (-1) ** np.arange(6).reshape(-1, 1, 1, 1)
    blinking = np.uint8(video + 7 * sign)  # each change is off by 2 x 7
    assert video_metrics.flicker(video, blinking) == pytest.approx(14)
    assert video_metrics.flicker(video, video + np.uint8(9)) == 0
    image = video_metrics.scores(video[:1], blinking[:1], 8.0, None, False)
    assert "flicker" not in image and "psnr_db" in image


def test_every_measure_orders_clips_by_their_noise():
    video = smooth(2, 18, 18)
    hed = perceptual.load_hed() if perceptual.hed_installed() else None
    with_vmaf = video_metrics.ffmpeg() is not None
    equal, little, much = (
        video_metrics.scores(video, noisy(video, a), 24.0, hed, with_vmaf) for a in (0, 6, 25)
    )
    assert {"psnr_db", "ssim", "flicker"} <= set(equal)
    for name in equal:
        order = [equal[name], little[name], much[name]]
        assert order == sorted(order, reverse=name not in ("flicker", "vgg_hed")), name
        assert order[0] != order[1] != order[2], name
    assert equal["psnr_db"] == 99 and equal.get("vgg_hed", 0) == pytest.approx(0, abs=1e-6)


def test_vgg_hed_is_the_mean_over_frames_spread_over_the_clip(monkeypatch):
    if not perceptual.hed_installed():
        pytest.skip(perceptual.INSTALL_COMMAND)
    monkeypatch.setattr(video_metrics, "MAX_HED_FRAMES", 2)
    hed, video = perceptual.load_hed(), smooth(9, 18, 18)
    other = video.copy()
    other[1:8] = 0  # the first frame and the last one count
    assert video_metrics.vgg_hed(video, other, hed) == pytest.approx(0, abs=1e-6)
    other[8] = 0
    single = video_metrics.vgg_hed(video[8:], other[8:], hed)
    assert video_metrics.vgg_hed(video, other, hed) == pytest.approx(single / 2, rel=1e-4)


def test_vmaf_of_equal_and_of_blurred_clips():
    if video_metrics.ffmpeg() is None:
        pytest.skip(video_metrics.VMAF_INSTALL_COMMAND)
    video = noisy(smooth(4, 48, 64), 20)
    blurred = np.uint8(sum(np.roll(video, i, 2).astype(int) for i in range(4)) // 4)
    assert video_metrics.vmaf(video, video, 24.0) > 97
    assert video_metrics.vmaf(video, blurred, 24.0) < 80
    with pytest.raises(ValueError, match="a clip of 16x64 is too small for VMAF: sides must be"):
        video_metrics.vmaf(video[:, :16], video[:, :16], 24.0)


def test_what_is_not_installed_is_left_out_and_named(monkeypatch):
    monkeypatch.setattr(perceptual, "hed_installed", lambda: False)
    monkeypatch.setattr(video_metrics, "ffmpeg", lambda: None)
    hed, vmaf = vae_scores.missing_measures([(1, 64, 64)])
    assert perceptual.INSTALL_COMMAND in hed and "pip install 'sora-jax[video]'" in vmaf
    with pytest.raises(ValueError, match="VMAF is not installed: pip install"):
        video_metrics.vmaf(smooth(1, 32, 32), smooth(1, 32, 32), 24.0)
    monkeypatch.setattr(video_metrics, "ffmpeg", lambda: "ffmpeg")
    sizes = [(1, 64, 64), (1, 16, 64)]
    assert vae_scores.missing_measures(sizes)[1:] == ["no VMAF, a clip has sides below 17 pixels"]


def test_h264_is_not_darker_than_what_it_is_given():
    ramp = np.arange(256, dtype=np.uint8)[None, None, :, None]
    video = np.broadcast_to(ramp, (3, 32, 256, 3)).copy()
    difference = h264.encode(video, 24.0, h264.MIN_CRF).video.astype(float) - video
    assert abs(difference.mean()) < 0.1 and np.abs(difference).max() <= 2


@pytest.mark.parametrize("shape", [(9, 48, 64), (1, 33, 47)])
def test_h264_takes_the_bits_it_may_and_no_more(shape):
    video = noisy(smooth(*shape)[..., :1].repeat(3, -1), 3)  # grey: chroma loses little
    best, worst = (h264.encode(video, 23.81, crf) for crf in (h264.MIN_CRF, h264.MAX_CRF))
    assert best.video.shape == worst.video.shape == shape + (3,)
    assert psnr_db(video, best.video) > 33 and psnr_db(video, worst.video) < 25
    for share in (0.1, 0.5):
        wanted = share * best.bits
        found = h264.encode_to_bits(video, 23.81, wanted)
        assert 0.7 * wanted < found.bits <= wanted  # steps are coarse in small clips
        assert (
            psnr_db(video, worst.video) < psnr_db(video, found.video) < psnr_db(video, best.video)
        )
    over = h264.encode_to_bits(video, 23.81, 0.0)  # nothing fits: the least there is
    assert 0 < over.bits < 0.1 * best.bits and psnr_db(video, over.video) < 25
    under = h264.encode_to_bits(video, 23.81, 2 * best.bits)
    assert under.bits == pytest.approx(best.bits, rel=0.05)


def test_only_coded_slices_count():
    units = {9: b"\x09\xf0", 7: b"\x67abc", 6: b"\x06" + b"text" * 99, 5: b"\x65" + b"x" * 20}
    stream = b"".join(b"\0\0\0\1" + unit for unit in units.values())
    assert h264._bits([stream, b"\0\0\1\x41yy"]) == 8 * (21 + 3)


def untrained(config, deviation):
    """A codec with random weights of this deviation and statistics as at the start."""
    like = jax.eval_shape(
        functools.partial(vae_task.init_state, VAEExperiment(data="", model=config))
    )
    rng = np.random.default_rng(0)
    params, axes = jax.tree.map(
        lambda a: jnp.float32(rng.normal(size=a.shape) * deviation),
        (like.params, like.statistics.get("axes", {})),
    )
    latents = LatentStatistics.initial(config.latent_channels)._asdict()
    return VideoCodec(config, params, {"latents": latents} | ({"axes": axes} if axes else {}))


def record(video, source):
    meta = types.SimpleNamespace(source=source, size=video.shape[:3])
    return types.SimpleNamespace(video=video, fps=24.0, meta=meta, captions={"short": "waves"})


def test_an_untrained_autoencoder_is_scored_and_shown(one_device, tmp_path, monkeypatch):
    monkeypatch.setattr(perceptual, "hed_installed", lambda: False)
    codec = untrained(CellVAEConfig(6, 2, 8, 8, 1, 1), 0.1)
    records = [record(smooth(5, 18, 33), "a"), record(smooth(1, 18, 33, 1), "b")]
    records.append(record(smooth(5, 18, 33, 2), "a"))
    sizes = [r.meta.size for r in records]
    scored = list(map(vae_scores.scorer(codec, sizes), records))
    report = {
        "checkpoint": "vae",
        "step": 0,
        "split": "test",
        "data": "waves",
        "left_out": vae_scores.missing_measures(sizes),
        "sources": vae_scores.mean_by(scored, lambda clip: clip.source),
        "sizes": vae_scores.mean_by(scored, lambda clip: f"{clip.source} {clip.size}"),
    }
    assert {name: group["clips"] for name, group in report["sources"].items()} == {"a": 2, "b": 1}
    assert list(report["sizes"]) == ["a 5x18x33", "b 1x18x33"]
    first = scored[0].numbers  # 3 latent frames of 3 x 5 on the padded canvas
    assert first["float16_bits_per_pixel"] == pytest.approx(16 * 3 * 3 * 5 * 6 / (5 * 18 * 33))
    ours = scored[0].decoded["autoencoder"]
    assert first["autoencoder"]["psnr_db"] == psnr_db(records[0].video, ours)
    means = [clip.numbers["kl_bits_per_pixel"] for clip in scored if clip.source == "a"]
    assert report["sources"]["a"]["kl_bits_per_pixel"] == pytest.approx(np.mean(means))
    assert first["h264"]["bits_per_pixel"] > 0 and "linear" in first
    page = tmp_path / "index.html"
    shown = list(zip(records, scored, strict=True))
    vae_page.write_page(page, report, shown, ["x"])
    text = page.read_text()
    assert "No VGG-HED, its weights are not installed" in text and "vgg_hed" not in text
    assert text.count("<span>real</span><span>reconstruction</span><span>H.264: ") == 3
    assert vae_page.strip(shown).shape == (6 * 20, 4 * 33, 3)
    lines = gallery.as_text(vae_page.tables(report)[0]).splitlines()
    assert len(lines) == 1 + 2 * 3 and lines[0].startswith("source  clips  codec")


def test_the_rate_is_the_divergence_from_a_standard_normal(one_device):
    """Weights of zero: the mean is 0 and the log variance the bias, the same for every latent."""
    codec = untrained(VAEConfig(3, 8, (4, 6), ((2, 1),)), 0.0)
    bias = codec.params["posterior_conv"]["bias"]
    codec.params["posterior_conv"]["bias"] = bias.at[3:].set(-2.0)
    _, bits, latents = vae_scores.autoencoder(codec)(smooth(3, 16, 24))
    nats = 0.5 * (np.exp(-2.0) - 1 + 2)
    assert latents == 2 * 2 * 3 * 3
    assert bits == pytest.approx(latents * nats / np.log(2), rel=1e-5)


def test_clips_are_spread_over_each_source_and_the_longest_are_shown():
    named = [("b", 1)] * 3 + [("a", 1), ("a", 5)] * 5
    sources, frames = map(np.array, zip(*named, strict=True))
    at = vae_scores.choose(frames, sources, 4)
    assert at == [4, 6, 9, 11, 0, 1, 2]
    assert vae_scores.choose(frames, sources, 1) == [8, 1]
    assert vae_scores.choose(frames, sources, 9, min_frames=2) == [4, 6, 8, 10, 12]
    assert vae_scores.longest(frames, sources, at) == {4, 6, 9, 0, 1, 2}
