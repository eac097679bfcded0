"""A run that goes on with other steps: each clip comes once in every epoch, whatever changes."""

import dataclasses

import numpy as np
import pytest

from data_pipelines import loader
from data_pipelines.row_stream import RowStream
from sora_jax.processes import WHOLE
from tests.data_pipelines.folders import write_latents
from tests.data_pipelines.test_loader import experiment_of

CLIPS = 90


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    sizes = np.random.default_rng(0).integers(1, 4, (CLIPS, 2))
    return write_latents(tmp_path_factory.mktemp("latents"), [(t, 4, 2 * w, 2) for t, w in sizes])


def stream_of(folder, rows, seed=0, steps=100, width=192, heads=4, mlp_dim=768, **packing):
    base = experiment_of(folder)
    experiment = dataclasses.replace(
        base,
        model=dataclasses.replace(base.model, width=width, heads=heads, mlp_dim=mlp_dim),
        packing=dataclasses.replace(base.packing, rows=rows, **packing),
        loop=dataclasses.replace(base.loop, seed=seed),
        optimizer=dataclasses.replace(base.optimizer, steps=steps),
    )
    return RowStream(loader.open_rows(experiment, "train", steps * rows))


def take(stream, begin, end):
    """Names of the clips of steps begin + 1 to end, read as a run reads them."""
    batches, names = stream.open(WHOLE), []
    for number in range(begin, end):
        seen, start = batches[number], stream.position(number)["rows"]
        wanted = [stream.rows[start + i].patches for i in range(len(seen.patches))]
        np.testing.assert_array_equal(seen.patches, wanted)
        names += stream.name_clips(number)
    return names


def assert_whole_epochs(names, epochs):
    assert len(names) >= epochs * CLIPS
    for number in range(epochs):
        assert len(set(names[number * CLIPS : (number + 1) * CLIPS])) == CLIPS


CHANGES = {
    "more rows": [(4, {}), (8, {})],
    "fewer rows": [(8, {}), (2, {})],
    "twice in an epoch": [(4, {}), (8, {}), (6, {})],
    "rows of a device": [(4, {}), (4, {"rows_per_device": 4})],
    "another seed": [(4, {}), (4, {"seed": 1})],
}


@pytest.mark.parametrize("name", CHANGES)
def test_every_clip_comes_once_in_an_epoch(folder, name):
    (rows, changes), *later = CHANGES[name]
    stream, step = stream_of(folder, rows, **changes), 3
    names = take(stream, 0, step)
    assert 0 < step * rows < stream.rows.per_epoch  # within the first epoch
    for rows, changes in later:
        before = stream.position(step)
        stream = stream_of(folder, rows, **changes).go_on(before, step)
        assert stream.position(step) == before
        names += take(stream, step, step + 1)
        step += 1
    end = step + 3 * stream.rows.per_epoch // rows
    names += take(stream, step, end)
    assert_whole_epochs(names, 3)
    assert len(stream.open(WHOLE)) == 100  # steps, those before the change included


def test_a_run_that_changes_nothing_sees_what_it_would_have_seen(folder):
    straight = stream_of(folder, 4)
    names = take(straight, 0, 30)
    for step in (1, 7, 19):
        for position in (straight.position(step), {"next_index": step}):
            resumed = stream_of(folder, 4).go_on(position, step)
            assert take(resumed, step, 30) == names[len(take(straight, 0, step)) :]
            assert resumed.position(25) == straight.position(25)


def test_a_second_stop_finds_the_place_again(folder):
    """The first epoch's order, and the rows that are no multiple of a step, are in the position."""
    changed = stream_of(folder, 8).go_on(stream_of(folder, 6).position(1), 1)
    for step in (2, 9, 15):
        again = stream_of(folder, 8).go_on(changed.position(step), step)
        assert take(again, step, 20) == take(changed, step, 20)


def test_what_was_read_before_says_nothing_of_the_order(folder):
    position, read = stream_of(folder, 5).position(2), stream_of(folder, 8)
    wanted = take(stream_of(folder, 8).go_on(position, 2), 2, 9)
    take(read, 0, 9)
    assert take(read.go_on(position, 2), 2, 9) == wanted


def cost_ratios(stream, steps):
    """Greatest over least cost of a row, of the steps that lie within one epoch."""
    ratios, size = [], stream.rows.experiment.packing.rows
    for number in steps:
        start, count = stream.position(number)["rows"], stream.rows.per_epoch
        epoch, row = divmod(start, count)
        if row + size <= count:
            rows = stream.rows.epoch(epoch).rows[row : row + size]
            costs = [cost_of(stream.rows, clips) for clips in rows]
            ratios.append(max(costs) / min(costs))
    return ratios


def cost_of(rows, clips):
    """As `packing` has it, of the model below: a row of L in segments of n costs L + sum n^2/a."""
    tokens = rows.latents.catalog.shapes[clips, :3].prod(1) // 4
    return 24 + np.square(tokens, dtype=float).sum() / (3 * 8 + 4)


def test_epochs_after_a_change_are_ordered_for_the_new_steps(folder):
    """Their steps begin where the change left them, and have rows of like cost."""
    narrow = {"width": 8, "heads": 4, "mlp_dim": 4}
    changed = stream_of(folder, 4, **narrow).go_on(stream_of(folder, 5, **narrow).position(1), 1)
    fresh = stream_of(folder, 4, **narrow)
    first = changed.rows.per_epoch // 4 + 2
    ratios, wanted = cost_ratios(changed, range(first, 80)), cost_ratios(fresh, range(80))
    assert len(ratios) > 40
    np.testing.assert_allclose(np.mean(ratios), np.mean(wanted), rtol=0.05)


def test_rows_that_are_planned_anew_begin_with_an_epoch_and_say_what_is_left_out(folder, capsys):
    old, wider = stream_of(folder, 4), stream_of(folder, 4, tokens=36)
    count = old.rows.per_epoch
    assert wider.rows.per_epoch != count
    for step, left in ((3, count - 12), (count, 0)):
        resumed = stream_of(folder, 4, tokens=36).go_on(old.position(step), step)
        epoch = step * 4 // count + bool(left)
        assert resumed.position(step)["rows"] == epoch * wider.rows.per_epoch
        said = f"{left} of the {count} of epoch {epoch - 1} are left out, and it goes on with"
        assert (said in capsys.readouterr().out) == bool(left)
        assert_whole_epochs(take(resumed, step, step + wider.rows.per_epoch // 4 + 1), 1)
