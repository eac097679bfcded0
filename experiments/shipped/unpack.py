"""Makes run folders, as `sora-jax train` writes them, to train on or to evaluate.

Command:  python -m experiments.shipped.unpack --trained=OUT --output=runs/world
          python -m experiments.shipped.unpack --trained=sora_jax/world_model --output=runs/world

OUT is what `experiments.train_shipped` wrote, or a released model. Writes OUTPUT/vae, if it was
trained, and OUTPUT/dit; with --early, OUTPUT/dit_early of the weights before the end, which a
release has not.
"""

import json

import jax
import jax.numpy as jnp
from absl import app, flags, logging
from etils import epath

from experiments import world_dit, world_vae
from experiments.shipped import weights
from sora_jax import sharding
from sora_jax.models import dit, vae
from sora_jax.release import is_release, load_release
from sora_jax.training import run_folder
from sora_jax.training.experiments import parse

TRAINED = flags.DEFINE_string("trained", None, "Folder of the weights.", required=True)
OUTPUT = flags.DEFINE_string("output", "runs/world", "Folder to write.")
DEBUG = flags.DEFINE_bool("debug", False, "Tiny models.")
EARLY = flags.DEFINE_bool("early", False, "Also the transformer's weights before the end.")


def main(_) -> None:
    """Reads, writes."""
    logging.set_verbosity(logging.WARNING)
    source, output = epath.Path(TRAINED.value), epath.Path(OUTPUT.value)
    if is_release(source):
        return unpack_release(source, output)
    lines = [json.loads(line) for line in (source / "log.jsonl").read_text().splitlines()]
    steps = {line["event"]: line["steps"] for line in lines if "steps" in line}
    vae_config, dit_config = (
        parse(module.get_config("debug" if DEBUG.value else "").to_dict())
        for module in (world_vae, world_dit)
    )
    channels = jax.ShapeDtypeStruct((dit_config.model.latent_channels,), jnp.float32)
    measured = weights.load(
        dict.fromkeys(("channel_scale", "mean", "variance"), channels),
        source / "scale.safetensors",
    )
    with sharding.use_mesh():
        if (source / "vae.safetensors").exists():
            shapes = {
                "params": vae.shapes(vae_config.model),
                "statistics": vae.statistics_shapes(vae_config.model),
            }
            trained = weights.load(shapes, source / "vae.safetensors")
            latents = {name: measured[name] for name in ("mean", "variance")}
            statistics = trained["statistics"] | {"latents": latents}
            run_folder.save_weights(
                output / "vae", vae_config, trained["params"], statistics, steps["autoencoder"]
            )
        statistics = {"channel_scale": measured["channel_scale"]}
        shapes = dit.shapes(dit_config.model)
        halves = (source / f"dit-{i}.safetensors" for i in range(2))
        params = weights.load_transformer(shapes, *halves)
        run_folder.save_weights(
            output / "dit", dit_config, params, statistics, steps["transformer"]
        )
        if EARLY.value:
            params = weights.load_transformer(shapes, source / "early.safetensors")
            run_folder.save_weights(
                output / "dit_early", dit_config, params, statistics, steps["early"]
            )


def unpack_release(source: epath.Path, output: epath.Path) -> None:
    """Writes both run folders of a released model, whose weights are in float16."""
    with sharding.use_mesh():
        vae_run, run, _ = load_release(source)
        parts = {"vae": (vae_run, vae_run.statistics)}
        parts["dit"] = (run, {"channel_scale": jnp.asarray(run.channel_scale)})
        for name, (own, statistics) in parts.items():
            run_folder.save_weights(output / name, own.experiment, own.params, statistics, own.step)


if __name__ == "__main__":
    app.run(main)
