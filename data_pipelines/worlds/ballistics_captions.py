"""Captions of the ballistics world: what the window shows, in the order of time."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from data_pipelines.worlds import base

MAX_WORDS = 40
NUMBERS = ("no", "one", "two", "three", "four")


def write_captions(
    rng: np.random.Generator,
    attributes: Mapping[str, str],
    view: str,
    events: Sequence[Mapping[str, Any]],
) -> dict[str, str]:
    """Writes the short and the detailed caption.

    Args:
      rng: picks the wordings.
      attributes: of the clip, as `ballistics` names them.
      view: square, wide or tall view.
      events: that the window shows, as in the clip's truth, in order of time.
    """
    things = [
        dict(zip(("color", "shape", "size", "direction", "action"), parts, strict=True))
        for parts in zip(
            *(
                attributes[key].split(", ")
                for key in ("colors", "shapes", "sizes", "directions", "actions")
            ),
            strict=True,
        )
    ]
    if attributes["motion"] == "still":
        return _describe_still(rng, things, attributes["background"], view)
    slide, rest = base.pick(rng, ("slide", "glide", "move")), base.pick(rng, ("rest", "lie still"))
    words = {"slide": slide, "rest": rest, "fall": base.pick(rng, ("fall", "drop"))}
    words["throw"] = base.pick(rng, ("be thrown", "fly"))
    told = _tell_events(rng, things, attributes, events)
    detailed = ""
    for brevity in range(5):
        detailed = _write_detailed(things, attributes, view, words, told, brevity)
        if len(detailed.split()) <= MAX_WORDS:
            break
    return {"short": _write_short(rng, things, attributes, words), "detailed": detailed}


def _write_detailed(things, attributes, view, words, told, brevity) -> str:
    """Writes the detailed caption; greater `brevity`, 0 to 4, takes fewer words."""
    background, n = attributes["background"], len(things)
    far = brevity == 0
    clauses = [long if brevity < 2 else brief for long, brief in told]
    if brevity < 3:
        start = (f"a video, {view}, still camera", f"a video, {view}", view)[brevity]
        start += f", plain {background} background: " if brevity < 2 else f", {background}: "
        parts = [
            f"{base.add_article(_name(thing))} {_conjugate(words, thing, far)}" for thing in things
        ]
    else:
        alike = len({thing["size"] for thing in things}) == 1
        kind = "balls" if {thing["shape"] for thing in things} == {"ball"} else "objects"
        verb = f" {words['slide']}" if attributes["gravity"] == "none" else ""
        size = f"{things[0]['size']} " if alike else ""
        start = f"{NUMBERS[n]} {size}{kind}{verb} on {background}: "
        parts = []
        for thing in things:
            look = f"{thing['color']} {thing['shape']}" if alike else _name(thing)
            if brevity == 4 and kind == "balls":
                look = thing["color"] if alike else f"{thing['size']} {thing['color']}"
            else:
                look = base.add_article(look)
            doing = _conjugate(words, thing, False)
            if attributes["gravity"] == "none":
                doing = "at rest" if thing["action"] == "rest" else thing["direction"]
            parts.append(f"{look} {doing}")
    return start + _join_clauses(parts, clauses) + "."


def _join_clauses(parts, clauses) -> str:
    if len(parts) == 1:
        return ", then ".join(parts + clauses)
    text = ", ".join(parts[:-1]) + f" and {parts[-1]}"
    return text + "".join(f"{'; then' if i == 0 else ', then'} {c}" for i, c in enumerate(clauses))


def _tell_events(rng, things, attributes, events) -> list[tuple[str, str]]:
    """Tells of the first collision, of who bounces and of who leaves, each long and brief."""
    n, gravity = len(things), attributes["gravity"] == "yes"
    colors = [thing["color"] for thing in things]
    told = []
    bounces = _split(attributes["bounces"])
    walls = [e for e in events if "wall" in e and colors[e["object"]] in bounces]
    if bounces:
        names = [
            {"bottom": "floor" if gravity else "bottom wall"}.get(e["wall"], f"{e['wall']} wall")
            for e in walls
        ]
        different = [name for i, name in enumerate(names) if i == 0 or name != names[i - 1]]
        only_floor = set(names) == {"floor"}
        if n == 1:
            clause = f"bounces off the {different[0]}"
            if len(different) > 1:
                clause += f", then off the {different[1]}"
            if len(different) > 2 or (only_floor and len(names) > 1):
                clause += base.pick(rng, (" and bounces again", " and keeps bouncing"))
            told.append((walls[0]["time"], clause, clause))
        else:
            where = (
                "floor" if only_floor else "walls" if "floor" not in names else "floor and walls"
            )
            verb = "bounces" if len(bounces) == 1 else "bounce"
            if len(bounces) == 1:
                where = different[0] if len(different) == 1 else where
            long, brief = _refer(things, bounces)
            told.append(
                (
                    walls[0]["time"],
                    f"{long} {verb} off the {where}",
                    f"{brief} {verb} off the {where}",
                )
            )
    pair = _split(attributes["collides"])
    if pair:
        time = next(e["time"] for e in events if "other" in e)
        hits = base.pick(rng, ("hits", "bumps into", "collides with"))
        long = f"the {pair[0]} ball {hits} the {pair[1]} ball"
        told.append((time, long, f"{pair[0]} hits {pair[1]}"))
    told = [(long, brief) for _, long, brief in sorted(told)]
    leaves = _split(attributes["leaves"])
    if leaves:
        out = base.pick(rng, ("the frame", "the picture", "the view"))
        long, brief = _refer(things, leaves)
        if n == 1:
            told.append((f"leaves {out}", f"leaves {out}"))
        else:
            verb = "leaves" if len(leaves) == 1 else "leave"
            told.append((f"{long} {verb} {out}", f"{brief} {verb} {out}"))
    return told


def _refer(things, colors) -> tuple[str, str]:
    """Refers to some of several objects by their colours, long and brief."""
    if len(colors) == len(things):
        everyone = "both" if len(things) == 2 else "all"
        return everyone, everyone
    if len(colors) == 1:
        shape = next(thing["shape"] for thing in things if thing["color"] == colors[0])
        return f"the {colors[0]} {shape}", colors[0]
    listed = ", ".join(colors[:-1]) + f" and {colors[-1]}"
    return f"the {listed} ones", listed


def _write_short(rng, things, attributes, words) -> str:
    ground = f"on {base.add_article(attributes['background'])} background"
    looks = [base.add_article(f"{thing['color']} {thing['shape']}") for thing in things]
    pair, several = _split(attributes["collides"]), len(things) > 1
    if pair:
        verb = base.pick(rng, ("hits", "bumps into"))
        first, second = (
            f"a {color} ball" if color != "orange" else "an orange ball" for color in pair
        )
        if len(things) == 2:
            return base.pick(
                rng,
                (
                    f"{first} {verb} {second} {ground}",
                    f"two balls, {pair[0]} and {pair[1]}, collide {ground}",
                    f"{first} and {second} collide {ground}",
                ),
            )
        return f"{NUMBERS[len(things)]} balls {ground}, {first} {verb} {second}"
    bounces, leaves = _split(attributes["bounces"]), _split(attributes["leaves"])
    subject = _join(looks)
    if several and (len(things) > 2 or rng.uniform() < 0.3):
        subject = f"{NUMBERS[len(things)]} objects, {subject},"
    actions = {thing["action"] for thing in things}
    if len(bounces) == len(things):
        walls = "off the walls" if attributes["gravity"] == "none" else "up and down"
        walls = walls if "throw" not in actions else "off the floor"
        verb = "bounce" if several else "bounces"
        return (
            f"{subject} {verb} {base.pick(rng, (walls, 'around' if several else walls))} {ground}"
        )
    if not several:
        doing = _conjugate(words, things[0], rng.uniform() < 0.5)
        out = " and leaves the frame" if leaves and rng.uniform() < 0.5 else ""
        return f"{subject} {doing}{out} {ground}"
    if len(actions) == 1:
        verb = words[actions.pop()]
        return f"{subject} {verb.replace('be ', 'are ')} {ground}"
    parts = [
        f"{look} {_conjugate(words, thing, False)}"
        for look, thing in zip(looks, things, strict=True)
    ]
    return f"{_join(parts)} {ground}"


def _describe_still(rng, things, background, view) -> dict[str, str]:
    n = len(things)
    looks = _join([base.add_article(f"{thing['color']} {thing['shape']}") for thing in things])
    start = base.pick(rng, ("a still image of", "an image of", "a picture, an image of"))
    short = f"{start} {looks} on {base.add_article(background)} background"
    full = _join([base.add_article(_name(thing)) for thing in things])
    count = "" if n == 1 else f"{NUMBERS[n]} objects, "
    start = base.pick(rng, (f"an image, {view}: ", f"a still image, {view}: "))
    return {"short": short, "detailed": f"{start}{count}{full} on a plain {background} background."}


def _name(thing) -> str:
    return f"{thing['size']} {thing['color']} {thing['shape']}"


def _conjugate(words, thing, far: bool) -> str:
    """Says what one object does at first; `far` writes 'to the left' for 'left'."""
    verb, direction = words[thing["action"]], thing["direction"]
    verb = {
        "be thrown": "is thrown",
        "fly": "flies",
        "lie still": "lies still",
    }.get(verb, f"{verb}s")
    if direction == "none" or thing["action"] == "fall":
        return verb
    if far and direction in ("left", "right"):
        return f"{verb} to the {direction}"
    return f"{verb} {direction}"


def _join(parts) -> str:
    return parts[0] if len(parts) == 1 else ", ".join(parts[:-1]) + f" and {parts[-1]}"


def _split(value: str) -> list[str]:
    return [] if value == "none" else value.split(", ")
