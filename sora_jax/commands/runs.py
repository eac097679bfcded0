"""What a transformer's run needs beside its weights: its codec, text inputs and latents."""

import dataclasses
import json
from collections.abc import Sequence
from typing import Any

import jax
from etils import epath

from data_pipelines import latents
from sora_jax import apart, release, sharding
from sora_jax.codec.video_codec import VideoCodec, load_codec
from sora_jax.files import write_whole
from sora_jax.generation.generate import Generator
from sora_jax.processes import agree, is_first
from sora_jax.provenance import ENCODE_NOTE, read_encode_note, relative, resolve
from sora_jax.text_inputs import TextInputs, load_text_inputs
from sora_jax.training.checkpoint_io import saved_steps
from sora_jax.training.run_folder import (
    load_diffusion_run,
    load_experiment,
    load_vae_run,
    save_weights,
)

CODEC = "codec"
"""Folder of the autoencoder in a run's folder."""


def load_generator(
    checkpoint: epath.PathLike | None, rope_stretch: tuple[float, float, float] = (1.0, 1.0, 1.0)
) -> Generator:
    """A trained transformer with its text inputs and codec.

    Args:
      checkpoint: folder of a released model, or workdir of a diffusion run, which holds the others;
        None: the model that comes with this package.
      rope_stretch: factors by which positions are stretched beyond training's, along time, height
        and width; see `models.rope`.

    Raises:
      ValueError: one of them is missing, or there is no mesh.
    """
    if jax.sharding.get_abstract_mesh().empty:
        raise ValueError("no mesh is set: load and sample within `with sharding.use_mesh():`")
    folder = release.SHIPPED if checkpoint is None else checkpoint
    text_inputs: TextInputs
    if release.is_release(folder):
        released = release.load_release(folder)
        run, text_inputs, codec = released.dit, released.tokenizer, released.codec
    else:
        run = load_diffusion_run(folder)
        if not saved_steps(epath.Path(folder) / CODEC):
            raise ValueError(
                f"{folder} holds no codec: give the command that trained it again, which copies "
                f"the one of its latents, or copy that one's workdir to {folder}/{CODEC}"
            )
        codec = load_codec(epath.Path(folder) / CODEC)
        text_inputs = load_text_inputs(folder, run.experiment.model)
    model = run.experiment.model
    stretch = tuple(a * b for a, b in zip(model.rope_stretch, rope_stretch, strict=True))
    model = dataclasses.replace(model, rope_stretch=stretch)
    run = run._replace(experiment=dataclasses.replace(run.experiment, model=model))
    return Generator(run, text_inputs, codec)


def load_own_codec(workdir: epath.PathLike) -> VideoCodec:
    """The codec of an autoencoder's run on this process's devices, for work that is done apart.

    Call it in all processes, within `sharding.use_own_mesh()`. Raises ValueError as `load_codec`.
    """
    with sharding.use_mesh():  # a checkpoint is read by all together
        loaded = load_codec(workdir)
    weights = apart.to_own_devices((loaded.params, loaded.statistics))
    codec = VideoCodec(loaded.config, *weights)
    codec.step = loaded.step
    return codec


def keep_inputs(folders: Sequence[epath.PathLike], workdir: epath.PathLike) -> None:
    """Puts into a run all that sampling needs beside its weights, so that it may be moved alone.

    That is `encode.json`, as beside its latents; their tokenizer, if they have one; and in `codec`
    the autoencoder that made them. (A text encoder that is not trained stays where it is: the note
    says where, and has the hash of its weights.) Call with the mesh set, in all processes.

    Args:
      folders: the latents that the run is trained on.

    Raises:
      ValueError: the run was trained on latents of another codec, or of other clips.
    """
    workdir = epath.Path(workdir)
    note = _note_of_run(folders, workdir)
    old = (read_encode_note(workdir) or {}) if saved_steps(workdir) else {}
    for name, what in (("weights", "autoencoders"), ("clips", "clips")):
        if name in old and old[name] != note[name]:
            raise ValueError(
                f"{workdir} was trained on latents of other {what} than {folders[0]} is of: choose "
                "another --workdir, whose run may start from this one with --config.init_from"
            )
    tokenizer, codec = epath.Path(folders[0]) / latents.TOKENIZER, latents.codec_of(folders[0])
    if is_first():
        if tokenizer.exists():
            write_whole(workdir / latents.TOKENIZER, tokenizer.read_bytes())
        write_whole(workdir / ENCODE_NOTE, json.dumps(note))
    if agree(not saved_steps(workdir / CODEC)):
        if agree(codec is None or not saved_steps(codec)) or codec is None:
            if is_first():
                print(f"there is no codec at {codec}: the run samples with one at {workdir}/codec")
            return
        run = load_vae_run(codec)
        save_weights(workdir / CODEC, run.experiment, run.params, run.statistics, run.step)


def _note_of_run(folders: Sequence[epath.PathLike], workdir: epath.PathLike) -> dict[str, Any]:
    """The note of the first folder of latents, with its paths as they are from the run."""
    notes = [read_encode_note(folder) or {} for folder in folders]
    note: dict[str, Any] = dict(notes[0]) | {"clips": [each.get("clips") for each in notes]}
    note |= {"weights": notes[0].get("weights"), "vae": CODEC}
    if "data" in note:
        note["data"] = relative(resolve(folders[0], note["data"]), workdir)
    if "text" in note:
        place = relative(resolve(folders[0], note["text"]["folder"]), workdir)
        note["text"] = note["text"] | {"folder": place}
    return note


def find_data(workdir: epath.PathLike) -> epath.Path:
    """The latents that a run was trained on: as configured, else beside the run by name.

    Raises:
      ValueError: neither folder holds latents of the run's autoencoder.
    """
    configured = epath.Path(load_experiment(workdir).data)
    sibling = epath.Path(workdir).parent / configured.name
    weights = latents.weights_of(workdir)
    for folder in (configured, sibling):
        if weights is not None and latents.weights_of(folder) == weights:
            return folder
    raise ValueError(
        f"the latents that {workdir} was trained on are neither at {configured} nor at {sibling}: "
        "put them there"
    )
