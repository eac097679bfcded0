"""Files of all kinds through bounded processes: what is good arrives, what is bad has a reason."""

import contextlib
import dataclasses
import os
import pathlib
import signal
import struct
import threading
import time
import zlib

import av
import numpy as np
import pytest
from PIL import Image

from data_pipelines.ingest import config, worker
from sora_jax import media
from tests.data_pipelines.ingest.films import boxed, film, scene, write
from tests.processes import run_python

CONFIG = config.IngestConfig(clips=config.Clips(max_pixels=90 * 160, max_frames=33))


@pytest.fixture(scope="module")
def bounded():
    made = worker.Worker()
    yield made
    made.close()


@pytest.fixture
def extract(bounded, tmp_path):
    def run(path, clips=None, **limits):
        settings = dataclasses.asdict(CONFIG)
        settings["limits"] |= limits
        settings["clips"] |= clips or {}
        folder = tmp_path / "clips"
        folder.mkdir(exist_ok=True)
        for old in folder.iterdir():
            old.unlink()
        return bounded.extract(path, folder, settings)

    return run


def clip(tmp_path, number):
    return media.decode_video((tmp_path / f"clips/{number:06d}.mp4").read_bytes())


def patched(path, *changes):
    """A copy of a file with bytes behind each of some names replaced."""
    data = bytearray(path.read_bytes())
    for name, offset, new in changes:
        place = data.index(name) + len(name) + offset
        data[place : place + len(new)] = new
    made = path.with_name("patched.mp4")
    made.write_bytes(data)
    return made


def remuxed(path, target):
    """The film in another container."""
    with av.open(str(path)) as source, av.open(str(target), "w") as made:
        stream = made.add_stream_from_template(source.streams.video[0])
        for packet in source.demux(video=0):
            if packet.dts is not None:
                packet.stream = stream
                made.mux(packet)
    return target


def test_a_film_becomes_clips(extract, tmp_path):
    frames = film((40, 30), height=180, width=320)
    found = extract(write(tmp_path / "a.mp4", frames))
    assert found["reason"] == "" and found["fps"] == 24 and found["size"] == [180, 320]
    assert (found["shots"], found["frames"]) == (2, 70)
    assert found["left_out"] == {"end of a shot": 7 + 1} and found["faults"] == {}
    assert [clip["size"] for clip in found["clips"]] == [[33, 90, 160], [29, 90, 160]]
    assert [(clip["shot"], clip["start"]) for clip in found["clips"]] == [(0, 0), (1, 40)]
    video, fps = clip(tmp_path, 1)
    means = frames[40:69].reshape(29, 90, 2, 160, 2, 3).mean((2, 4))
    assert fps == 24 and np.abs(video - means).mean() < 2


def test_letterboxes_are_cropped_at_full_size(extract, tmp_path):
    frames = boxed(scene(0, 33, 180, 320), 30, 16)
    found = extract(write(tmp_path / "a.mp4", frames))
    assert found["crop"] == [30, 16, 180, 320] and found["size"] == [240, 352]
    video, _ = clip(tmp_path, 0)
    means = frames[:, 30:-30, 16:-16].reshape(33, 90, 2, 160, 2, 3).mean((2, 4))
    assert video.shape == (33, 90, 160, 3) and np.abs(video - means).mean() < 2
    assert extract(tmp_path / "a.mp4", {"max_bar_luma": -1})["crop"] == [0, 0, 240, 352]


def test_fast_films_are_thinned_evenly(extract, tmp_path):
    found = extract(write(tmp_path / "a.mp4", scene(0, 66), 60), {"max_fps": 24.0})
    (made,) = found["clips"]
    assert made["fps"] == 24 and found["frames"] == 66
    assert made["size"][0] == made["film_frames"] == 25
    video, fps = clip(tmp_path, 0)
    assert fps == 24
    for i in range(25):  # each is the nearest in time, from the first on
        away = [np.abs(video[i].astype(int) - frame).mean() for frame in scene(0, 66)]
        assert abs(int(np.argmin(away)) / 60 - i / 24) < 0.5 / 60 + 1e-6


def test_turned_and_stretched_films_are_shown_right(extract, tmp_path):
    path = write(tmp_path / "a.mp4", scene(0, 17))
    one = struct.pack(">i", 1 << 16)
    matrix = struct.pack(">9i", 0, 1 << 16, 0, -1 << 16, 0, 0, 0, 0, 1 << 30)
    place = path.read_bytes().index(one + bytes(12) + one, path.read_bytes().index(b"tkhd"))
    data = bytearray(path.read_bytes())
    data[place : place + 36] = matrix  # a quarter to the right
    (tmp_path / "b.mp4").write_bytes(data)
    found = extract(tmp_path / "b.mp4")
    assert found["size"] == [160, 90]
    video, _ = clip(tmp_path, 0)
    assert np.abs(np.rot90(video, 1, (1, 2)).astype(int) - scene(0, 17)).mean() < 5
    with av.open(str(tmp_path / "c.mp4"), "w") as container:
        stream = container.add_stream("libx264", 24)
        stream.width, stream.height, stream.pix_fmt = 160, 90, "yuv420p"
        stream.codec_context.sample_aspect_ratio = 2
        for frame in scene(0, 17):
            container.mux(stream.encode(av.VideoFrame.from_ndarray(frame)))
        container.mux(stream.encode())
    assert extract(tmp_path / "c.mp4")["clips"][0]["size"] == [17, 62, 226]


def test_pictures_are_clips_of_one_frame(extract, tmp_path):
    frame = scene(0, 1)[0]
    for name in ("a.png", "a.jpg", "a.webp", "a.bmp", "a.tif", "picture"):
        Image.fromarray(frame).save(tmp_path / name, "png" if name == "picture" else None)
        found = extract(tmp_path / name)
        assert found["reason"] == "" and [c["size"] for c in found["clips"]] == [[1, 90, 160]], name
        assert np.abs(clip(tmp_path, 0)[0][0].astype(int) - frame).mean() < 6
    exif = Image.Exif()
    exif[0x0112] = 6  # turned by a quarter
    Image.fromarray(frame).save(tmp_path / "turned.jpg", exif=exif)
    assert extract(tmp_path / "turned.jpg")["clips"][0]["size"] == [1, 160, 90]
    clear = np.dstack([frame, np.zeros((90, 160), np.uint8)])
    Image.fromarray(clear).save(tmp_path / "clear.png")
    assert extract(tmp_path / "clear.png")["reason"] == "" and clip(tmp_path, 0)[0].min() > 250
    assert extract(write(tmp_path / "one.mp4", scene(0, 1)))["clips"][0]["size"] == [1, 90, 160]
    assert extract(tmp_path / "a.png", {"max_pixels": 2500})["clips"][0]["size"] == [1, 36, 66]


@pytest.mark.parametrize("name", ["a.gif", "a.webp", "a.png"])
def test_pictures_that_move_are_films(extract, tmp_path, name):
    first, *rest = map(Image.fromarray, scene(0, 20))
    first.save(tmp_path / name, save_all=True, append_images=rest, duration=50)
    found = extract(tmp_path / name)
    assert found["fps"] == 20 and found["clips"][0]["size"] == [17, 90, 160]
    assert found["frames"] == 20 and found["left_out"] == {"end of a shot": 3}
    held = [1050] + [50] * 19  # the first frame for long: 2 s in all
    first.save(tmp_path / name, save_all=True, append_images=rest, duration=held)
    found = extract(tmp_path / name, {"max_frames": 65})
    (made,) = found["clips"]
    assert made["fps"] == 20 and made["size"][0] == 37 and made["film_frames"] == 17
    assert found["left_out"] == {"end of a shot": 3}


def test_pictures_of_16_bits_keep_their_grays(extract, tmp_path):
    gray = scene(0, 1)[0, ..., 0]
    for name in ("a.png", "a.tif"):
        Image.fromarray(gray.astype(np.uint16) * 257).save(tmp_path / name)
        assert extract(tmp_path / name)["reason"] == ""
        assert np.abs(clip(tmp_path, 0)[0][0].astype(int) - gray[..., None]).mean() < 6
    Image.fromarray(gray.astype(np.float32)).save(tmp_path / "f.tif")
    assert "range is not known" in extract(tmp_path / "f.tif")["detail"]


@pytest.mark.parametrize(
    "container, codec", [("matroska", "libx264"), ("avi", "mpeg4"), ("webm", "libvpx")]
)
def test_other_containers_are_read(extract, tmp_path, container, codec):
    path = tmp_path / "film.mp4"  # whatever its name
    with av.open(str(path), "w", format=container) as made:
        stream = made.add_stream(codec, 24)
        stream.width, stream.height, stream.pix_fmt = 160, 90, "yuv420p"
        for frame in scene(0, 17):
            made.mux(stream.encode(av.VideoFrame.from_ndarray(frame)))
        made.mux(stream.encode())
    found = extract(path)
    assert found["reason"] == "" and found["clips"][0]["size"] == [17, 90, 160]


def test_headers_that_lie_change_nothing(extract, tmp_path):
    path = write(tmp_path / "a.mp4", scene(0, 48, 96, 176))
    small = patched(path, (b"avc1", 24, struct.pack(">HH", 16, 16)))
    assert extract(small, pixels=90 * 160)["reason"] == "too many pixels"
    mkv = remuxed(path, tmp_path / "a.mkv")
    data = mkv.read_bytes()
    place = data.index(b"\x44\x89\x88") + 3  # Duration, milliseconds
    assert struct.unpack(">d", data[place:][:8])[0] == 2000
    (tmp_path / "long.mkv").write_bytes(data[:place] + struct.pack(">d", 1e12) + data[place + 8 :])
    assert extract(mkv)["reason"] == "" and extract(tmp_path / "long.mkv")["reason"] == "too long"
    short = patched(path, (b"mvhd", 16, struct.pack(">I", 1)), (b"mdhd", 16, struct.pack(">I", 1)))
    cut = extract(short, seconds=1.5)  # what was read before is kept
    assert cut["faults"] == {"too long": 1} and cut["clips"][0]["size"][0] == 33
    assert extract(path, seconds=2.0)["reason"] == ""

    def chunk(kind, data):
        check = struct.pack(">I", zlib.crc32(kind + data))
        return struct.pack(">I", len(data)) + kind + data + check

    bomb = tmp_path / "bomb.png"
    header = struct.pack(">IIBBBBB", 60_000, 60_000, 8, 2, 0, 0, 0)
    bomb.write_bytes(
        b"\x89PNG\r\n\x1a\n"
        + chunk(b"IHDR", header)
        + chunk(b"IDAT", zlib.compress(bytes(1000)))
        + chunk(b"IEND", b"")
    )
    assert extract(bomb)["reason"] == "too many pixels"
    Image.fromarray(scene(0, 1)[0]).save(tmp_path / "a.png")
    assert extract(tmp_path / "a.png", pixels=90 * 159)["reason"] == "too many pixels"
    assert extract(write(tmp_path / "thin.mp4", scene(0, 9, 16, 1700)))["reason"] == "too small"
    assert extract(write(tmp_path / "flat.mp4", scene(0, 9, 16, 700)))["reason"] == ""


def test_time_and_memory_are_bounded(extract, tmp_path):
    path = write(tmp_path / "a.mp4", scene(0, 200, 180, 320))
    assert extract(path, wall_seconds=0.2)["reason"] == "time limit"
    stopped = len(list((tmp_path / "clips").glob("*.mp4")))
    found = extract(path)
    assert found["reason"] == "" and found["took"]["peak_megabytes"] < 1000
    assert stopped < len(found["clips"])
    large = write(tmp_path / "b.mp4", scene(0, 20, 720, 1280))
    for megabytes in (8, 9, 17, 24):  # some of these end PyAV with a null pointer
        assert extract(large, memory_megabytes=megabytes)["reason"] == "memory limit"
    assert extract(large, memory_megabytes=300)["reason"] == ""


FAULT = """
import os, signal, sys, time
from data_pipelines.ingest import config, extract, worker
def fault(*_):
    held = bytearray(int(float(sys.argv[1]) * 100e6))
    os.kill(os.getpid(), signal.SIGSEGV)
    time.sleep(60)
extract.extract = fault
sys.stdin = os.fdopen(os.pipe()[0])
settings = config.from_dict({"limits": {"memory_megabytes": 100}})
job = {"path": "/a", "folder": "/b", "part": [0, 1]}
print(worker._run_bounded(job, settings, open(os.devnull, "w"))["reason"])
"""


@pytest.mark.parametrize(("share", "reason"), [(0.3, "crashed"), (0.85, "memory limit")])
def test_a_fault_is_for_lack_of_memory_where_it_was_nearly_used_up(share, reason):
    assert run_python("-c", FAULT, share).stdout.strip() == reason


def test_crashes_end_nothing_else(bounded, extract, tmp_path):
    path = write(tmp_path / "a.mp4", scene(0, 300, 180, 320))
    assert extract(write(tmp_path / "b.mp4", scene(0, 9)))["reason"] == ""
    for victim, number, detail in (
        ("child", signal.SIGKILL, "signal 9"),
        ("child", signal.SIGSEGV, "signal 11"),  # with memory left
        ("server", signal.SIGKILL, "with its server"),
    ):
        server = bounded._server.pid

        def kill(server=server, victim=victim, number=number):
            children = pathlib.Path(f"/proc/{server}/task/{server}/children")
            while not (found := children.read_text().split()):
                time.sleep(0.001)
            os.kill(int(found[0]) if victim == "child" else server, number)

        killer = threading.Thread(target=kill)
        killer.start()
        found = extract(path)
        killer.join()
        assert (found["reason"], found["detail"]) == ("crashed", detail)
        assert extract(tmp_path / "b.mp4")["reason"] == ""


def test_a_closed_worker_leaves_nothing_running(tmp_path):
    path = write(tmp_path / "a.mp4", scene(0, 300, 180, 320))
    (tmp_path / "clips").mkdir()
    made, children = worker.Worker(), []
    settings = dataclasses.asdict(CONFIG)
    server = made._running().pid

    def close():
        file = pathlib.Path(f"/proc/{server}/task/{server}/children")
        while not (found := file.read_text().split()):
            time.sleep(0.01)
        children.extend(found)
        made.close()

    closer = threading.Thread(target=close)
    closer.start()
    with pytest.raises(OSError, match="closed"):  # and no verdict on the file
        made.extract(path, tmp_path / "clips", settings)
    closer.join()
    for _ in range(6000):
        if not (running := [pid for pid in children if alive(pid)]):
            break
        time.sleep(0.01)
    assert children and not running


def alive(pid):
    stat = pathlib.Path(f"/proc/{pid}/stat")
    with contextlib.suppress(OSError):
        return stat.read_text().rpartition(")")[2].split()[0] != "Z"
    return False


def test_what_names_other_files_is_not_opened(extract, tmp_path):
    write(tmp_path / "a.mp4", scene(0, 9))
    texts = {
        "list.ffconcat": f"ffconcat version 1.0\nfile {tmp_path}/a.mp4\n",
        "list.m3u8": "#EXTM3U\n#EXT-X-TARGETDURATION:1\n#EXTINF:1,\na.mp4\n#EXT-X-ENDLIST\n",
        "a.mpd": "<?xml version='1.0'?><MPD xmlns='urn:mpeg:dash:schema:mpd:2011'/>",
        "a.svg": "<svg xmlns='http://www.w3.org/2000/svg' width='64' height='64'/>",
        "notes.mp4": "not a film",
        "zeros.mp4": "\0" * 5000,
    }
    for name, text in texts.items():
        (tmp_path / name).write_text(text)
        assert extract(tmp_path / name)["reason"] == "no pictures", name
    whole = (tmp_path / "a.mp4").read_bytes()
    (tmp_path / "half.mp4").write_bytes(whole[: len(whole) * 2 // 3])
    assert extract(tmp_path / "half.mp4")["reason"] == "does not decode"
