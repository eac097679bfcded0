"""The autoencoder's losses: gradients through pixels, the adaptive weight, the discriminator."""

import dataclasses
import functools

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from sora_jax import sharding
from sora_jax.models import discriminator, perceptual, vae
from sora_jax.models.vae_config import CellVAEConfig
from sora_jax.training import vae_loss, vae_task
from sora_jax.training.experiments import CropConfig, VAEExperiment
from sora_jax.training.optimizer import OptimizerConfig
from sora_jax.training.vae_loss import VAELossConfig

LOSS = VAELossConfig(l1=0.5, l2=2.0, kl=1e-2, perceptual=0.3, features="gradient", adversarial=0.7)
EXPERIMENT = VAEExperiment(
    data="",
    model=CellVAEConfig(4, 2, 4, 8, 1, 1),
    crops=(CropConfig(8, 3, 16, 16),),
    loss=dataclasses.replace(LOSS, discriminator=discriminator.DiscriminatorConfig(4, 2)),
    optimizer=OptimizerConfig(steps=20, learning_rate=3e-3, warmup_steps=1),
)
PIXELS = jnp.tanh(jax.random.normal(jax.random.key(3), (8, 3, 16, 16, 3)))


pytestmark = pytest.mark.usefixtures("one_device")


def first_state(experiment):
    return jax.jit(functools.partial(vae_task.init_state, experiment))()


@pytest.mark.slow
def test_the_gradient_drawn_through_pixels_is_that_of_the_loss():
    """Against the plain gradient of L, with the adaptive weight held at what it is."""
    state, key, config = first_state(EXPERIMENT), jax.random.key(1), EXPERIMENT.loss
    weights = state.opt_state["discriminator"]["params"]
    sample_key, frame_key = jax.random.split(key)

    def terms(params):
        found = vae.posterior(EXPERIMENT.model, params, state.statistics, PIXELS)
        made = vae.decode(EXPERIMENT.model, params, state.statistics, found.sample(sample_key))
        return made, found

    def of_pixels(made):
        rec = vae_loss.reconstruction_loss(config, None, PIXELS, made, frame_key)
        return rec, -jnp.mean(discriminator.logits(config.discriminator, weights, made))

    made = jax.jit(lambda params: terms(params)[0])(state.params)
    slopes = jax.jit(jax.jacrev(of_pixels))(made)
    a = optax.tree.norm(slopes[0]) / optax.tree.norm(slopes[1])

    def plain(params):
        made, found = terms(params)
        rec, adv = of_pixels(made)
        return rec + config.adversarial * a * adv + config.kl * jnp.mean(found.kl())

    wanted = jax.jit(jax.grad(plain))(state.params)
    found, aux = jax.jit(
        lambda p: jax.grad(vae_task.loss, has_aux=True)(p, state, EXPERIMENT, PIXELS, key, None)
    )(state.params)
    rec, _ = of_pixels(made)
    divergence = jnp.mean(terms(state.params)[1].kl())
    np.testing.assert_allclose(aux["metrics"]["loss"], rec + config.kl * divergence, rtol=1e-4)
    largest = max(np.abs(x).max() for x in jax.tree.leaves(wanted))
    jax.tree.map(lambda x, y: np.testing.assert_allclose(x, y, atol=1e-5 * largest), found, wanted)


def test_the_discriminator_starts_at_its_step_and_learns_to_tell():
    late = dataclasses.replace(EXPERIMENT.loss, adversarial_start=2)
    experiment = dataclasses.replace(EXPERIMENT, loss=late)
    step = jax.jit(functools.partial(vae_task.train_step, experiment=experiment))
    states = [first_state(experiment)]
    for _ in range(4):
        states.append(step(states[-1], PIXELS)[0])
    weights = [s.opt_state["discriminator"]["params"]["last"]["kernel"] for s in states]
    np.testing.assert_array_equal(weights[0], weights[2])
    assert np.abs(weights[3] - weights[2]).max() > 1e-4

    learner = states[0].opt_state["discriminator"]
    made = jnp.zeros_like(PIXELS)
    loss = lambda p: discriminator.hinge(  # noqa: E731
        *(discriminator.logits(late.discriminator, p, x) for x in (PIXELS, made))
    )
    before = loss(learner["params"])
    learn = jax.jit(lambda a: vae_loss.update_discriminator(late, a, 3e-3, PIXELS, made))
    for _ in range(30):
        learner, _ = learn(learner)
    assert loss(learner["params"]) < 0.2 * before


def test_the_discriminator_is_the_same_on_eight_devices():
    def two_steps():
        """Metrics, and the moments of the discriminator's gradients."""
        place = jax.NamedSharding(jax.sharding.get_mesh(), vae_task.BATCH)
        pixels = jax.device_put(np.asarray(PIXELS), place)
        step = jax.jit(functools.partial(vae_task.train_step, experiment=EXPERIMENT))
        state, first = step(first_state(EXPERIMENT), pixels)
        state, second = step(state, pixels)
        moments = state.opt_state["discriminator"]["opt_state"][0]
        return jax.tree.map(np.asarray, (first, second, moments.mu, moments.nu))

    whole = two_steps()
    with sharding.use_mesh(sharding.MeshConfig(data=2, fsdp=2, tensor=2)):
        cut = two_steps()
    assert "discriminator_loss" in whole[0] and "adversarial_weight" in whole[0]
    for (path, a), b in zip(jax.tree.leaves_with_path(whole), jax.tree.leaves(cut), strict=True):
        name = jax.tree_util.keystr(path)
        np.testing.assert_allclose(a, b, atol=1e-3 * np.abs(a).max(), err_msg=name)


def test_a_run_without_a_gan_loss_has_no_discriminator():
    plain = dataclasses.replace(
        EXPERIMENT, loss=dataclasses.replace(EXPERIMENT.loss, adversarial=0.0)
    )
    assert set(first_state(plain).opt_state) == {"network"}


def test_the_discriminator_sees_flicker():
    """Two videos of the same frames in another order differ to it."""
    params = first_state(EXPERIMENT).opt_state["discriminator"]["params"]
    config = EXPERIMENT.loss.discriminator
    a, b = (
        discriminator.logits(config, params, PIXELS[:1, jnp.array(order)])
        for order in ([0, 1, 2], [0, 2, 1])
    )
    assert jnp.abs(a[2] - b[1]).max() > 1e-3  # frame 2, after frame 1 and after frame 0
    np.testing.assert_allclose(a[0], b[0], rtol=1e-5)


def test_gradient_distance_of_a_ramp():
    """A ramp of slope s along x against nothing: gradients of s, 2s, 4s, 8s in one direction."""
    ramp = jnp.broadcast_to(0.01 * jnp.arange(32)[None, None, :, None], (2, 32, 32, 3))
    found = perceptual.gradient_distance(ramp, jnp.zeros_like(ramp))
    np.testing.assert_allclose(found, 0.01 * (1 + 2 + 4 + 8) / 4 / 2, rtol=1e-5)
    shifted = perceptual.gradient_distance(ramp, ramp + 0.3)
    np.testing.assert_allclose(shifted, 0, atol=1e-6)  # brightness alone is left to L1


def test_perceptual_distance_orders_what_people_order():
    """Of two changes with the same squared error, blur is worse than a change of brightness."""
    if not perceptual.hed_installed():
        with pytest.raises(ValueError, match="not installed: pip install h5py"):
            perceptual.load_hed()
        return
    weights = perceptual.load_hed()
    image = jnp.repeat(
        jnp.repeat(jax.random.uniform(jax.random.key(0), (1, 16, 16, 3)), 4, 1), 4, 2
    )
    image = image - 0.5
    blurred = jax.image.resize(
        jax.image.resize(image, (1, 8, 8, 3), "linear"), image.shape, "linear"
    )
    bright = image + jnp.sqrt(jnp.mean((blurred - image) ** 2))
    distance = functools.partial(perceptual.hed_distance, weights, image)
    assert distance(image).item() == 0
    assert distance(blurred).item() > 3 * distance(bright).item()


def test_features_are_what_is_installed(monkeypatch):
    auto = VAELossConfig(perceptual=1.0)
    for installed, name in ((True, "hed"), (False, "gradient")):
        monkeypatch.setattr(perceptual, "hed_installed", lambda installed=installed: installed)
        assert vae_loss.resolve_features(auto).features == name
    assert vae_loss.resolve_features(VAELossConfig()).features == "auto"
    with pytest.raises(ValueError, match="loss.features is 'auto': choose with resolve_features"):
        vae_loss.reconstruction_loss(auto, None, PIXELS, PIXELS, jax.random.key(0))


def test_a_step_sees_as_many_pixels_as_its_crops_have_on_average():
    crops = CropConfig(4, 5, 16, 24), CropConfig(2, 1, 32, 40)
    work = vae_task.VAETask(VAEExperiment("", crops=crops)).work
    assert (work.unit, work.count) == ("pixels", (4 * 5 * 16 * 24 + 2 * 32 * 40) / 2)


def test_weights_of_features_are_loaded_where_the_loss_reads_them(monkeypatch):
    monkeypatch.setattr(perceptual, "load_hed", lambda: {"w": 1})
    found = {
        (share, name): vae_task.VAETask(
            VAEExperiment("", loss=VAELossConfig(perceptual=share, features=name))
        ).constants()["hed"]
        for share in (0.0, 0.5)
        for name in ("hed", "gradient")
    }
    assert [key for key, value in found.items() if value] == [(0.5, "hed")]


def test_the_error_of_what_moves_weighs_more_and_the_mean_weight_is_one():
    """A pixel of 16 moves in the second of two frames: weights 1 and 4, mean 35 / 32."""
    config = VAELossConfig(l1=1.0, l2=0.5, motion=3.0)
    pixels = jnp.zeros((1, 2, 4, 4, 3)).at[0, 1, 2, 1, 0].set(0.2)
    key = jax.random.key(0)

    def loss_of(*errors):
        made = pixels
        for place, error in errors:
            made = made.at[place].add(error)
        return vae_loss.reconstruction_loss(config, None, pixels, made, key)

    moving, still = (0, 1, 2, 1, 2), (0, 0, 2, 1, 2)  # another channel of it; the frame before
    plain = (0.1 + 0.5 * 0.1**2) / 96
    np.testing.assert_allclose(loss_of((moving, 0.1)), 4 * plain * 32 / 35, rtol=1e-5)
    np.testing.assert_allclose(loss_of((still, 0.1)), plain * 32 / 35, rtol=1e-5)


def test_a_frozen_encoder_and_its_statistics_stay_and_the_decoder_learns():
    loss = dataclasses.replace(EXPERIMENT.loss, adversarial=0.0)
    optimizer = OptimizerConfig(steps=20, warmup_steps=0)
    plain = dataclasses.replace(EXPERIMENT, loss=loss, optimizer=optimizer)
    frozen = dataclasses.replace(plain, init_from="a run", frozen_encoder=True)
    state = first_state(plain)
    for experiment, stays in ((plain, False), (frozen, True)):
        step, after = functools.partial(vae_task.train_step, experiment=experiment), state
        for _ in range(2):  # the first reaches no encoder: the decoder starts at zero
            after, _ = jax.jit(step)(after, PIXELS)
        for name in ("encoder", "decoder"):
            before, now = (jax.tree.leaves(s.params[name]) for s in (state, after))
            same = all(np.array_equal(a, b) for a, b in zip(before, now, strict=True))
            assert same == (stays and name == "encoder")
        before, now = (s.statistics["latents"]["variance"] for s in (state, after))
        assert np.array_equal(before, now) == stays
    with pytest.raises(ValueError, match="set init_from to a trained run"):
        dataclasses.replace(frozen, init_from="")
