"""At which steps a transformer's training is measured."""

import numpy as np
import pytest

from sora_jax.training.diffusion_task import DiffusionTask, Evaluation
from sora_jax.training.experiments import (
    DiffusionExperiment,
    HeldOutConfig,
    LoopConfig,
    WorldEvalConfig,
)
from sora_jax.training.optimizer import OptimizerConfig
from sora_jax.types import TrainState


def state_at(step):
    return TrainState(np.int32(step), *[None] * (len(TrainState._fields) - 1))


def experiment(held_out=0, evals=0, save_every=2, steps=9):
    return DiffusionExperiment(
        "",
        optimizer=OptimizerConfig(steps=steps, warmup_steps=1),
        loop=LoopConfig(save_every=save_every),
        evals=WorldEvalConfig(every=evals),
        held_out=HeldOutConfig(every=held_out),
    )


def test_each_is_measured_at_its_interval_and_at_the_end():
    def of(every, name):
        return Evaluation(every, lambda state: {name: float(state.step)})

    task = DiffusionTask(experiment(), evaluations=(of(4, "four"), of(6, "six"), of(0, "never")))
    found = {step: set(task.evaluate(state_at(step))) for step in range(1, 10)}
    both = {"four", "six"}
    assert {k: v for k, v in found.items() if v} == {4: {"four"}, 6: {"six"}, 8: {"four"}, 9: both}
    assert task.evaluate(state_at(8)) == {"four": 8.0}


@pytest.mark.parametrize("name", ["evals", "held_out"])
def test_the_interval_is_one_of_checkpoints(name):
    message = f"{name}.every is 3: give a multiple of loop.save_every, 2"
    with pytest.raises(ValueError, match=message):
        experiment(**{name: 3})
