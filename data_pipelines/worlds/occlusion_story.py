"""What a clip of the world `occlusion` shows of each object, and captions that tell only that.

Whether something is seen is computed from the scene, not from pixels, so that captions do not
depend on the size of the picture.
"""

import dataclasses

import numpy as np

from data_pipelines.worlds import base
from data_pipelines.worlds.occlusion_scene import (
    CAMERA_Y,
    Scene,
    Thing,
    find_edge,
    find_hidden_span,
)
from sora_jax.laws import occlusion as laws

SEEN = 0.5  # share of an object's width that must be in sight for it to be seen
WHOLE = 0.75  # the object is partly out of sight at the end if less than this is in sight


@dataclasses.dataclass(frozen=True)
class Story:
    """What a clip shows of one object.

    Attributes:
      story: a name of `laws.STORIES`.
      direction: "left" or "right", in which it (or the camera, where it pans) moves when it is
        first seen; "none" if it rests, or is not seen to move.
      exit: the side of the wall, or of the frame, at which it comes into sight again; the side of
        the wall at which it rests; "none" for other stories.
    """

    story: str
    direction: str
    exit: str


def watch(scene: Scene, thing: Thing, times: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Returns the share of the thing's width in sight, and whether it is hidden or out, [t].

    The share is 1 exactly where it is whole and `laws.MARGIN` from the sides of the frame.
    """
    x, r = thing.path.at(times), thing.radius
    scale = (thing.lane - CAMERA_Y) / -CAMERA_Y
    u = np.tan(np.arctan(x / (thing.lane - CAMERA_Y)) - scene.pan.at(times)) * -CAMERA_Y
    half = r / scale
    inside = np.abs(u) + half <= 1 - laws.MARGIN
    share = np.minimum(_overlap(u, half, -1.0, 1.0) / (2 * half), np.where(inside, 1, 0.999))
    share = np.where(inside, 1.0, share)
    if scene.event not in laws.BEHIND or thing.path.speed == 0:
        return share, np.abs(u) >= find_edge(r) + half
    low, high = find_hidden_span(scene.wall, thing.shape, r, thing.lane)
    covered = _overlap(u, half, (low - r) / scale, (high + r) / scale)
    share = share - covered / (2 * half)
    return share, (x >= low) & (x <= high)


def _overlap(middle: np.ndarray, half: float, low: float, high: float) -> np.ndarray:
    return np.maximum(np.minimum(middle + half, high) - np.maximum(middle - half, low), 0)


def tell(scene: Scene, thing: Thing, times: np.ndarray) -> Story:
    """Tells what the frames at `times` show of a thing."""
    share, gone = watch(scene, thing, times)
    moving = len(times) > 1
    if scene.event == "beside" and thing.path.speed == 0:
        return Story("rests", "none", _side(thing.path.pivot - scene.wall.x))
    seen = share >= SEEN
    before, after = seen, np.zeros(len(times), bool)
    if gone.any():
        first = int(gone.argmax())
        out = np.flatnonzero(~gone[first:])  # frames after the first one in which it is gone
        again = first + int(out[0]) if len(out) else len(times)
        before = seen & (np.arange(len(times)) < first)
        after = seen & (np.arange(len(times)) >= again)
        if before.any():
            story = "again" if after.any() else "coming" if again < len(times) else "gone"
            still = again == len(times) and again - first >= laws.MIN_HIDDEN_FRAMES
            if story == "gone" and thing.path.kind == "stop" and still:
                story = "stays"
        else:
            story = "appears" if after.any() else "edge" if again < len(times) else "unseen"
    elif not seen.any():
        story = "edge"
    elif not seen[0]:
        story = "appears"
    else:
        story = "going" if share[-1] < WHOLE and share[-1] < share[0] else "seen"
    return Story(
        story,
        _find_direction(scene, thing, times, before if before.any() else after)
        if moving
        else "none",
        _find_exit(scene, thing, times)
        if story in ("coming", "again", "appears", "edge")
        else "none",
    )


def _find_direction(scene: Scene, thing: Thing, times: np.ndarray, seen: np.ndarray) -> str:
    """Names the direction of the first frames in which a thing is seen to move."""
    moved = scene.pan.at(times) if scene.event == "pan" else thing.path.at(times)
    steps = np.diff(moved)[seen[1:] | seen[:-1]]
    steps = steps[np.abs(steps) > 1e-9]
    return _side(steps[0]) if len(steps) else "none"


def _find_exit(scene: Scene, thing: Thing, times: np.ndarray) -> str:
    """Names the side at which a thing comes into sight."""
    if scene.event in laws.BEHIND:
        return _side(thing.path.at(times[-1]) - scene.wall.x)
    return _side(thing.path.pivot if scene.event == "leaves" else -scene.pan.speed)


def _side(x: float | np.ndarray) -> str:
    return "right" if x > 0 else "left"


def name_camera(scene: Scene, times: np.ndarray) -> str:
    """Names the camera's motion: still, or pans left, right, or there and back."""
    angle = scene.pan.at(times)
    steps = np.diff(angle)
    turned = [_side(sign) for sign in (1, -1) if (steps * sign).sum(where=steps * sign > 0) > 0.01]
    if len(turned) == 2 and np.argmax(np.abs(angle)) > 0:
        turned.sort(key=lambda side: side != _side(scene.pan.speed))
    return "still" if not turned else f"pans {' and '.join(turned)}"


def write_captions(rng, scene: Scene, stories: list[Story], camera: str, frames: int, view: str):
    """Writes the short and the detailed caption.

    Args:
      rng: picks the wording.
      scene: the run.
      stories: of each object.
      camera: as `name_camera` names it.
      frames: of the clip.
      view: as `base.name_view` names it.
    """
    texts = []
    for detailed in (False, True):
        wall = base.add_article(f"{scene.wall.color} wall")
        clauses = []
        for thing, story in zip(scene.things, stories, strict=True):
            if story.story != "unseen":
                clauses.append(_write_clause(rng, scene, thing, story, wall, frames, detailed))
                wall = "the wall"
        if not clauses:
            clauses = [base.pick(rng, ("", "nothing but ")) + wall]
        text = base.pick(rng, ("; ", " while ") if frames > 1 else (" and ",)).join(clauses)
        if camera != "still":
            text = f"the camera {camera}: {text}"
        floor = f"on {base.add_article(scene.floor)} floor"
        if not detailed:
            still = base.pick(rng, ("", "a still of ", "an image of ")) if frames == 1 else ""
            texts.append(still + text + base.pick(rng, ("", f", {floor}")))
            continue
        if len(clauses) > 1:  # as short as it can be said
            texts.append(base.pick(rng, (f"{floor}, {text}.", f"{text}, {floor}.")))
            continue
        how = "a still image" if frames == 1 else base.pick(rng, ("a video", "a clip"))
        how = f"{how}, {view}"
        if frames > 1 and camera == "still":
            how += base.pick(rng, (", still camera", ", the camera stands still"))
        texts.append(base.pick(rng, (f"{how}: {text}, {floor}.", f"{how}, {floor}: {text}.")))
    return {"short": texts[0], "detailed": texts[1]}


def _write_clause(rng, scene, thing, story: Story, wall: str, frames: int, detailed: bool) -> str:
    """Writes what happens to one object."""
    name = f"{thing.color} {thing.shape}"
    name = base.add_article(f"{thing.size} {name}" if detailed else name)
    side = _side(thing.path.at(scene.start) - scene.wall.x)
    if story.story == "edge":
        where = "of" if scene.event in laws.BEHIND else "side of the frame, beside"
        where = f"on the {story.exit} {where} {wall}"
        return f"the edge of {base.add_article(f'{thing.color} {thing.shape}')} shows {where}"
    if story.story == "rests":
        return f"{name} {base.pick(rng, ('rests', 'waits'))} on the {story.exit} of {wall}"
    if frames == 1:
        place = f"on the {side} of" if scene.event != "leaves" else "in front of"
        return f"{name} {place} {wall}"
    if scene.event == "pan":
        return _write_pan(rng, name, story, side, wall)
    moves = base.pick(rng, (laws.VERBS[thing.shape], "moves"))
    to = "" if detailed and len(scene.things) > 1 else base.pick(rng, ("to the ", ""))
    towards = f"{moves} {to}{story.direction}"
    if scene.event == "leaves":
        return _write_leaving(rng, f"{name}", towards, story, wall)
    out = base.pick(rng, ("comes out", "reappears"))
    then = " and" if story.story == "gone" else base.pick(rng, (" and", ","))
    vanishes = f"{name} {towards}{then} disappears behind {wall}"
    exits = f"on the {story.exit}"
    return {
        "seen": f"{name} {towards}",
        "going": f"{name} {towards} and starts to disappear behind {wall}",
        "gone": vanishes,
        "stays": f"{vanishes} and {base.pick(rng, ('does not come out', 'stays hidden there'))}",
        "coming": f"{vanishes}, then peeps out {exits}",
        "again": f"{vanishes}, then {out} {exits}"
        if thing.path.kind == "steady"
        else f"{vanishes}, turns back and {out} where it went in, {exits}",
        "appears": f"{name} comes out from behind {wall} {exits}",
    }[story.story] + (f" {base.pick(rng, ('near', 'beside'))} {wall}" * (story.story == "seen"))


def _write_leaving(rng, name: str, towards: str, story: Story, wall: str) -> str:
    front = f"in front of {wall}"
    back = base.pick(rng, ("comes back", "comes in again", "returns"))
    leaves = f"{name} {towards} {front} and {base.pick(rng, ('leaves', 'goes out of'))} the frame"
    return {
        "seen": f"{name} {towards} {front}",
        "going": f"{name} {towards} {front} and starts to leave the frame",
        "gone": leaves,
        "coming": f"{leaves}, then starts to come back on the {story.exit}",
        "again": f"{leaves}, then {back} on the {story.exit}",
        "appears": f"{name} comes into the frame from the {story.exit}, {front}",
    }[story.story]


def _write_pan(rng, name: str, story: Story, side: str, wall: str) -> str:
    rests = f"{name} {base.pick(rng, ('rests', 'lies still'))} on the {side} of {wall}"
    return {
        "seen": rests,
        "going": f"{rests} and starts to leave the frame",
        "gone": f"{rests} and gets out of sight",
        "coming": f"{rests}, gets out of sight, then starts to come back on the {story.exit}",
        "again": f"{rests}, gets out of sight and comes back on the {story.exit}",
        "appears": f"{rests} and comes into sight on the {story.exit}",
    }[story.story]
