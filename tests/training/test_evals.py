"""At which steps a transformer's training is scored."""

import numpy as np
import pytest

from sora_jax.training.diffusion_task import DiffusionTask
from sora_jax.training.experiments import DiffusionExperiment, LoopConfig, WorldEvalConfig
from sora_jax.training.optimizer import OptimizerConfig
from sora_jax.types import TrainState


def state_at(step):
    return TrainState(np.int32(step), *[None] * (len(TrainState._fields) - 1))


def experiment(every, save_every=2, steps=9):
    return DiffusionExperiment(
        "",
        optimizer=OptimizerConfig(steps=steps, warmup_steps=1),
        loop=LoopConfig(save_every=save_every),
        evals=WorldEvalConfig(every=every),
    )


def test_scores_come_at_their_interval_and_at_the_end():
    task = DiffusionTask(experiment(4), evaluate=lambda state: {"score": float(state.step)})
    scored = [step for step in range(1, 10) if task.evaluate(state_at(step))]
    assert scored == [4, 8, 9] and task.evaluate(state_at(8)) == {"score": 8.0}
    never = DiffusionTask(experiment(0), evaluate=lambda state: {"score": 1.0})
    assert not any(never.evaluate(state_at(step)) for step in range(1, 10))


def test_the_interval_is_one_of_checkpoints():
    with pytest.raises(ValueError, match="evals.every is 3: give a multiple of loop.save_every, 2"):
        experiment(3)
