import base64
import io
import re

import av
import numpy as np
import pytest
from PIL import Image

from sora_jax.evals import gallery
from sora_jax.evals.curves import Curve

TRAP = '<script>alert("x")</script> & $title'


def clip(t, h, w, seed=0):
    """A square that slides over a plain ground."""
    video = np.full((t, h, w, 3), 40 + 20 * seed, np.uint8)
    for i in range(t):
        video[i, 4:12, 2 * i : 2 * i + 8] = (220, 120, 60)
    return video


def page(tmp_path, **changes):
    arguments = {
        "title": f"Demo {TRAP}",
        "summary": "First paragraph.\n\nSecond paragraph.",
        "figures": [("PSNR", "27.1 dB", ">= 25 dB"), ("loss", "0.3", "< 0.2"), ("time", "9 s", "")],
        "samples": [
            gallery.Sample(clip(9, 32, 48), 8.0, f"a ball {TRAP}", "balls", note=TRAP),
            gallery.Sample(clip(1, 35, 27, seed=1), 8.0, "a still", "aspect ratio 3:4"),
            gallery.Sample(clip(5, 16, 33), 7.5, "an odd width", "aspect ratio 2:1"),
        ],
        "comparisons": {
            "Real vs reconstruction": [
                gallery.Comparison(
                    {"real": clip(13, 32, 48), "reconstruction": clip(13, 32, 48, 1)},
                    8.0,
                    TRAP,
                    (TRAP, "PSNR 27.1 dB"),
                )
            ]
        },
        "curves": [Curve(f"loss {TRAP}", "step", TRAP, {TRAP: [(0, 1.0), (9, 0.1)]}, log_y=True)],
        "tables": [gallery.Table(TRAP, ["world", TRAP], [["balls", "27.1"], [TRAP, "3"]])],
        "commands": [f"sora-jax sample {TRAP}"],
    }
    path = tmp_path / "new" / "index.html"
    gallery.write_gallery(path, **arguments | changes)
    return path.read_text(encoding="utf-8")


def frames_of(video_tag):
    data = re.search(r'src="data:video/mp4;base64,([^"]+)"', video_tag)[1]
    with av.open(io.BytesIO(base64.b64decode(data))) as container:
        assert container.streams.video[0].codec_context.pix_fmt == "yuv420p"
        return [frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)]


def test_page_needs_nothing_but_itself(tmp_path):
    text = page(tmp_path)
    links = re.findall(r'(?:src|href|poster)="([^"]*)"', text)
    assert links and all(link.startswith(("data:", "#")) for link in links)
    assert not re.search(r"https?://|url\(|@import", text)
    anchors = {link[1:] for link in links if link.startswith("#")}
    assert anchors == set(re.findall(r'<section id="([^"]+)"', text)) and len(anchors) == 6


def test_text_is_escaped(tmp_path):
    text = page(tmp_path)
    assert text.count("<script>") == 1  # the page's own
    assert "alert(&quot;x&quot;)&lt;/script&gt; &amp; $title" in text
    text = page(tmp_path, summary=f"See `sora-jax info {TRAP}`.")
    assert "<p>See <code>sora-jax info &lt;script&gt;" in text


def test_videos_decode_to_every_frame_enlarged_to_one_size(tmp_path):
    videos = re.findall(r"<video[^>]*>", page(tmp_path))
    assert all('aria-label="' in v and "autoplay muted loop playsinline" in v for v in videos)
    world, odd, pair = map(frames_of, videos)
    assert (len(world), len(odd), len(pair)) == (9, 5, 13)
    assert world[0].shape == (192, 288, 3) and odd[0].shape == (144, 298, 3)
    half = pair[0].shape[1] // 2
    real, reconstruction = pair[0][-20:, 20 : half - 20], pair[0][-20:, half + 20 :]
    assert abs(real.mean() - 40) < 4 and abs(reconstruction.mean() - 60) < 4


def test_one_frame_is_an_image_with_its_caption(tmp_path):
    (tag,) = re.findall(r"<img[^>]*>", page(tmp_path))
    assert 'alt="a still"' in tag
    image = Image.open(io.BytesIO(base64.b64decode(tag.split("base64,")[1].split('"')[0])))
    assert image.size == (216, 280)


def test_figures_are_judged_against_their_bar(tmp_path):
    text = page(tmp_path)
    assert re.findall(r'class="(?:pass|miss)">(\w+)<', text) == ["pass", "miss"]


@pytest.mark.parametrize(
    "value, bar, passes",
    [
        ("24 dB", ">= 24 dB", True),
        ("24", "> 24", False),
        ("1,250 s", "≤ 1,300 s", True),
        ("-3.2e-4", "< -.0001", True),
        ("PSNR 20", ">=24", False),
        ("nan", "< 3", False),
        ("not measured", ">= 0", False),
    ],
)
def test_bars(tmp_path, value, bar, passes):
    text = page(tmp_path, figures=[("name", value, bar)])
    assert ('class="pass"' in text) == passes and ('class="miss"' in text) != passes


def test_sections_without_content_are_left_out(tmp_path):
    text = page(tmp_path, comparisons={}, curves=[], tables=[], commands=[], figures=[])
    titles = re.findall(r"<h2>([^<]+)</h2>", text)
    assert titles == ["Samples by world", "Samples by aspect ratio"]


def test_no_clip_at_all_is_an_error(tmp_path):
    with pytest.raises(ValueError, match="no samples and no comparisons"):
        page(tmp_path, samples=[], comparisons={"x": []})


def test_a_bar_without_a_comparison_is_an_error(tmp_path):
    with pytest.raises(ValueError, match=r"'about 25 dB' of value '27 dB'"):
        page(tmp_path, figures=[("PSNR", "27 dB", "about 25 dB")])
