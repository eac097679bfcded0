"""All simulated worlds by name."""

from data_pipelines.worlds import (
    ballistics,
    builder,
    eater,
    occlusion,
    orbit,
    painter,
    phyworld,
    shatter,
)

WORLDS = {
    world.NAME: world
    for world in (ballistics, occlusion, orbit, painter, eater, shatter, builder, phyworld)
}
# What phyworld holds out of training are laws: its clips outside of their range are in test_laws,
# and as no combination is kept out, its test split is of other seeds alone.
HOLD_OUT_LAWS = frozenset({phyworld.NAME})
