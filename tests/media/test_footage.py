"""Films in the forms that cameras write, read right; see `experiments.benchmarks.footage`."""

import dataclasses
import fractions
import pathlib

import av
import numpy as np
import pytest

from experiments import made_films
from experiments.benchmarks import footage
from sora_jax import media
from sora_jax.media import films, interlace
from sora_jax.media.interlace import Scan

CASES = [
    case
    for group in (footage.containers, footage.colors, footage.shapes, footage.times, footage.faults)
    for case in group()
]


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_films_are_read_right(case, tmp_path):
    assert footage.read(case, tmp_path)[1] == []


def opened(path, look=True):
    """The frames of a film, and the film."""
    with films.open_film(path, media.Limits(), look) as film:
        return list(film.read()), film


def test_controls_fail(tmp_path, monkeypatch):
    """What is read wrongly is seen: each check of the benchmark has a film that fails it."""
    video = made_films.scene(25)
    form = footage.FORM
    shown = made_films.stored(video, form)

    def wrong(name, **changed):
        def make(path):
            made_films.write(path, video, form=dataclasses.replace(form, **changed))

        return " ".join(footage.read(footage.Case(name, make, shown), tmp_path)[1])

    assert wrong("a.mp4") == ""
    assert "colours" in wrong("b.mp4", matrix=9, tagged=False)
    assert "shape" in wrong("c.mp4", aspect=fractions.Fraction(2))
    (woven,) = (case for case in CASES if case.name == "interlaced, not flagged.mp4")
    monkeypatch.setattr(interlace, "find_scan", lambda groups: Scan.PROGRESSIVE)
    assert "lines differ" in " ".join(footage.read(woven, tmp_path)[1])
    late = footage.Case("d.mp4", lambda p: made_films.write(p, video[::-1], form=form), shown)
    assert "colours" in footage.read(late, tmp_path)[1][0]
    slow = footage.Case("e.mp4", lambda p: made_films.write(p, video, 20, form=form), shown)
    assert "20.000 frames per second" in footage.read(slow, tmp_path)[1][0]


def test_frames_between_damage_and_the_next_keyframe_are_counted(tmp_path):
    video = made_films.scene(96)
    form = dataclasses.replace(footage.FORM, options={**footage.H264, "g": "24"})
    path = made_films.write(tmp_path / "a.mp4", video, form=form)
    frames, film = opened(path)
    assert len(frames) == film.account.seen == 96 and not film.account.faults
    made_films.damage(path)
    frames, film = opened(path)
    assert film.account.faults == {"damaged": 1} and {frame.run for frame in frames} == {0, 1}
    assert film.account.seen == 96 == len(frames) + film.account.left_out.total()
    assert 0 < film.account.left_out["damaged"] <= 48  # to the end of the group that is hit
    shown = made_films.stored(video, form)
    for frame in frames:
        place = round(frame.seconds * 24)
        assert made_films.flat_error(frame.pixels, shown[place]) <= 1
    second = [frame for frame in frames if frame.run == 1]
    assert round(second[0].seconds * 24) % 24 == 0  # a keyframe


@pytest.mark.parametrize("place", range(0, 72, 9))
def test_damage_anywhere_leaves_the_other_groups_of_pictures(tmp_path, place):
    video = made_films.scene(72)
    form = dataclasses.replace(footage.FORM, options={**footage.H264, "g": "24", "bf": "0"})
    path = made_films.write(tmp_path / "a.mp4", video, form=form)
    with av.open(str(path)) as container:
        packets = [p for p in container.demux(video=0) if p.size]
        begin, size = packets[place].pos, packets[place].size
    data = bytearray(path.read_bytes())
    for i in range(begin + size // 3, begin + size - 8):
        data[i] ^= 0x5A
    path.write_bytes(data)
    frames, film = opened(path)
    assert len(frames) >= 47 and film.account.seen == len(frames) + film.account.left_out.total()
    shown = made_films.stored(video, form)
    for frame in frames:
        assert made_films.flat_error(frame.pixels, shown[round(frame.seconds * 24)]) <= 1


@pytest.mark.parametrize(
    "matrix, undo",
    [
        ((-1, 0, 0, 1), lambda v: v[:, :, ::-1]),
        ((1, 0, 0, -1), lambda v: v[:, ::-1]),
        ((0, 1, 1, 0), lambda v: v.transpose(0, 2, 1, 3)),
        ((0, -1, -1, 0), lambda v: v[:, ::-1, ::-1].transpose(0, 2, 1, 3)),
    ],
)
def test_mirrored_films_are_shown_right(tmp_path, matrix, undo):
    video = made_films.scene(9)
    path = made_films.write(tmp_path / "a.mp4", undo(video), form=footage.FORM)
    made_films.set_matrix(path, *matrix)
    frames, film = opened(path)
    shown = made_films.stored(video, footage.FORM)
    assert film.size == (96, 160)
    assert max(made_films.flat_error(f.pixels, shown[f.number]) for f in frames) <= 1
    assert {luma.shape for luma in film.sample(4, 2)} == {(96, 160)}


def test_times_that_repeat_stretch_nothing(tmp_path):
    times = np.repeat(np.arange(20) * 0.08, 2)
    frames, film = opened(
        made_films.write(tmp_path / "a.mkv", made_films.scene(40), 24, times, footage.FORM)
    )
    assert abs(frames[-1].seconds - 1.56) < 0.06 and film.account.seen == 40


def test_films_that_nothing_decodes_are_refused_in_words(tmp_path):
    path = made_films.write(tmp_path / "a.mp4", made_films.scene(9), form=footage.FORM)
    path.write_bytes(path.read_bytes().replace(b"avc1", b"zzzz"))
    with pytest.raises(
        ValueError, match="a.mp4 cannot be read: no pictures: its codec is not known"
    ):
        media.read_video(path)


def test_a_size_that_is_too_small_leaves_the_frames_before_it(tmp_path):
    large = made_films.write(tmp_path / "a.ts", made_films.scene(30), form=footage.FORM)
    made_films.write(tmp_path / "b.ts", made_films.scene(30, 32, 32), form=footage.FORM)
    large.write_bytes(large.read_bytes() + (tmp_path / "b.ts").read_bytes())

    def fit(height, width):
        if height < 50:
            raise media.Rejected("too small")
        return int(height), int(width)

    with films.open_film(large, media.Limits()) as film:
        frames = list(film.read(fit=fit))
    assert len(frames) > 20 and film.account.left_out["too small"] > 20
    assert film.account.seen == len(frames) + film.account.left_out.total()


def test_the_account_adds_up_where_reading_ends_early(tmp_path):
    fields = next(case for case in CASES if case.name == "interlaced, flagged.mp4")
    fields.make(tmp_path / "a.mp4")
    with films.open_film(tmp_path / "a.mp4", media.Limits()) as film:
        reading = film.read()
        taken = sum(1 for _, _ in zip(range(7), reading, strict=False))
        reading.close()
    assert taken == 7 and film.account.seen == 7 + film.account.left_out.total()


def test_gaps_and_clocks_that_go_back_end_a_run(tmp_path):
    video = made_films.scene(40)
    times = np.arange(40) / 24 + 5.0 * (np.arange(40) >= 20)
    frames, film = opened(made_films.write(tmp_path / "a.mp4", video, 24, times, footage.FORM))
    assert film.account.faults == {"gap": 1}
    assert [frame.run for frame in frames] == [0] * 20 + [1] * 20
    assert [frame.number for frame in frames] == list(range(40))
    assert np.allclose([frame.seconds for frame in frames], times, atol=1e-4)
    one = made_films.write(tmp_path / "a.ts", video[:24], form=footage.FORM).read_bytes()
    (tmp_path / "twice.ts").write_bytes(one + one)
    frames, film = opened(tmp_path / "twice.ts")
    seconds = np.diff([frame.seconds for frame in frames])
    assert len(frames) > 40 and seconds.min() > 0 and seconds.max() < 0.5
    assert max(frame.run for frame in frames) >= 1


def test_sizes_may_change(tmp_path):
    large = made_films.write(tmp_path / "a.ts", made_films.scene(30), form=footage.FORM)
    small = made_films.scene(30, 48, 80)
    made_films.write(tmp_path / "b.ts", small, form=footage.FORM)
    both = tmp_path / "both.ts"
    both.write_bytes(large.read_bytes() + (tmp_path / "b.ts").read_bytes())
    frames, film = opened(both)
    assert film.account.faults["size changes"] == 1
    assert {frame.pixels.shape for frame in frames} == {(96, 160, 3)}
    with films.open_film(both, media.Limits()) as film:
        sizes = [f.pixels.shape[:2] for f in film.read(fit=lambda h, w: (int(h), int(w)))]
    assert sizes[0] == (96, 160) and sizes[-1] == (48, 80)


def test_telecined_film_has_its_24_frames_again(tmp_path):
    video = made_films.scene(80, speed=3)
    fields = [i for i in range(80) for _ in range(2 + i % 2)]  # 2 and 3 fields in turn
    woven = []
    for top, bottom in zip(fields[0::2], fields[1::2], strict=False):
        frame = video[top].copy()
        frame[1::2] = video[bottom, 1::2]
        woven.append(frame)
    path = tmp_path / "a.mkv"
    form = dataclasses.replace(footage.FORM, pix_fmt="yuv444p")
    made_films.write(path, np.stack(woven), 30, form=form)
    frames, film = opened(path)
    assert film.scan is Scan.TELECINED and abs(film.measure_rate() - 24) < 0.05
    assert len(frames) == 80 and film.account.left_out == {"repeated fields": 20}
    errors = [np.abs(f.pixels.astype(int) - video[f.number]).mean() for f in frames[2:-2]]
    assert np.median(errors) < 2 and np.mean(np.array(errors) < 4) > 0.9
    found, fps = media.read_video(path)
    assert abs(fps - 24) < 0.05 and abs(len(found) - 80) <= 1


def test_limits_hold_while_a_film_is_read(tmp_path):
    path = made_films.write(tmp_path / "a.mp4", made_films.scene(48), form=footage.FORM)
    with pytest.raises(media.Rejected, match="too many pixels: 160x96"):
        opened_with(path, pixels=100)
    with pytest.raises(media.Rejected, match="too long: 2 s"):
        opened_with(path, seconds=1.0)


def opened_with(path, **limits):
    with films.open_film(path, media.Limits(**limits)) as film:
        return list(film.read())


def test_sampled_frames_are_luma_from_all_over(tmp_path):
    video = np.stack([np.full((96, 160, 3), 5 * i, np.uint8) for i in range(48)])
    form = dataclasses.replace(footage.FORM, options={**footage.H264, "g": "6"}, turns=1)
    path = made_films.write(tmp_path / "a.mp4", video, form=form)
    with films.open_film(path, media.Limits()) as film:
        seen = [float(luma.mean()) for luma in film.sample(8, 4)]
        assert {luma.shape for luma in film.sample(8, 4)} == {film.size} == {(96, 160)}
    assert len(seen) == 8 and min(seen) < 10 and max(seen) > 200


def test_a_cover_is_no_film(tmp_path):
    path = pathlib.Path(tmp_path / "song.mp4")
    video = made_films.scene(1)
    with av.open(str(path), "w") as container:
        stream = container.add_stream("mjpeg", rate=1)
        stream.height, stream.width, stream.pix_fmt = 96, 160, "yuvj420p"
        stream.disposition = av.stream.Disposition.attached_pic
        container.mux(
            stream.encode(
                made_films.to_frame(
                    video[0], dataclasses.replace(footage.FORM, pix_fmt="yuvj420p", full=True)
                )
            )
        )
        container.mux(stream.encode())
    with pytest.raises(ValueError, match="no pictures: no stream of video"):
        media.read_video(path)
