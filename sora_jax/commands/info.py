"""sora-jax info: what a model is, of which sizes, and how it was trained; or how a file was made.

Without --checkpoint, of the model that comes with sora_jax.

Example:
  sora-jax info --file=ball.mp4
"""

import json

import jax
import numpy as np
from absl import flags
from etils import epath

from sora_jax import release
from sora_jax.config import settings
from sora_jax.interop.tensors import read_json
from sora_jax.models import dit, vae
from sora_jax.outputs import read_metadata
from sora_jax.training.experiments import DiffusionExperiment, VAEExperiment, parse
from sora_jax.training.run_folder import load_experiment

CHECKPOINT = flags.DEFINE_string("checkpoint", None, "Folder of a released model, or any workdir.")
FILE = flags.DEFINE_string("file", None, "Video or picture that `sora-jax sample` wrote; alone.")


def main() -> None:
    """Prints it."""
    if FILE.value and CHECKPOINT.value:
        raise ValueError("--file and --checkpoint are both given: leave one out")
    if FILE.value:
        print(json.dumps(read_metadata(FILE.value), indent=1))
        return
    folder = epath.Path(CHECKPOINT.value or release.SHIPPED)
    if not release.is_release(folder):
        _describe("experiment", load_experiment(folder))
        return
    config = read_json(folder / release.CONFIG)
    size = sum(path.stat().length for path in folder.iterdir()) / 1e6
    print(f"released model in {folder}, {size:.1f} MB\n")
    for name in ("vae", "dit"):
        _describe(f"{name}, {config['steps'][name]} steps", parse(config[name]))
    if (card := folder / "README.md").exists():
        print(card.read_text())


def _describe(title: str, experiment: VAEExperiment | DiffusionExperiment) -> None:
    """Prints number of parameters and all settings of the model."""
    if isinstance(experiment, DiffusionExperiment):
        shapes = dit.shapes(experiment.model)
    else:
        shapes = vae.shapes(experiment.model)
    count = sum(int(np.prod(leaf.shape)) for leaf in jax.tree.leaves(shapes))
    print(f"{title}: {experiment.subject} of {count / 1e6:.1f} million parameters")
    for setting in settings(experiment.model, "model"):
        print(f"  {setting.path} = {setting.value!r}")
    print()
