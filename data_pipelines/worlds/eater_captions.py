"""What the eater's captions say."""

from data_pipelines.worlds import base

_NUMBERS = ("no", "one", "two", "three", "four", "five", "six", "seven", "eight")
_FROM = {
    "left": "from the left",
    "right": "from the right",
    "top": "from above",
    "bottom": "from below",
}
_AT = {
    "left": "on the left",
    "right": "on the right",
    "top": "at the top",
    "bottom": "at the bottom",
}


def write_captions(rng, attributes, view: str, still: bool, in_sight: bool) -> dict[str, str]:
    """Writes the captions; `in_sight` says whether a still shows the face."""
    color, food, background, surface, side, pace = (
        attributes[k] for k in ("color", "food", "background", "surface", "direction", "pace")
    )
    before, bites = int(attributes["before"]), int(attributes["bites"])
    thing = base.add_article(f"{color} {food}")
    whole = base.add_article(f"whole {color} {food}")
    missing = f"{_NUMBERS[before]} bite{'s' * (before > 1)} missing"
    ground = base.add_article(f"{background} table")
    ground = f"a pale blue plate on {ground}" if surface == "plate" else ground
    place = f"on {ground}"
    if still:
        state = f"{thing} with {missing} {_AT[side]}" if before else whole
        short = base.pick(
            rng,
            (
                f"a picture of {state if before else whole}",
                f"{state} {place}",
                f"a still of {thing}" + (f" with {missing}" if before else ", nothing bitten off"),
            ),
        )
        beside = f", and a round grey face {_AT[side]}" if in_sight else ""
        detailed = base.pick(
            rng,
            (
                f"a still picture, {view}: {state}, {place}{beside}.",
                f"{view}, a flat drawing of {state} {place}{beside}.",
            ),
        )
        return {"short": short, "detailed": detailed}
    more = " more" if before else ""
    count = f"{_NUMBERS[bites]}{more} bite{'s' * (bites > 1)}"
    eater = base.pick(rng, ("a round face", "a hungry face", "a mouth"))
    leaves = base.pick(rng, (", then goes back", " and then draws back"))
    leaves = leaves if attributes["leaves"] == "yes" else ""
    of = f"{thing} with {missing}" if before else thing
    short = base.pick(
        rng,
        (
            f"{_FROM[side]}, {eater} takes {count} out of {of}",
            f"{eater} {pace} eats {of}: {count} {_FROM[side]}{leaves}",
            f"{count} {'is' if bites == 1 else 'are'} taken out of {of} {_FROM[side]}",
        ),
    )
    state = f"{thing} with {missing}" if before else whole
    camera = "" if len(f"{state} {place}{leaves}".split()) > 20 else ", still camera"
    detailed = base.pick(
        rng,
        (
            f"{view}{camera}: a round grey face comes {_FROM[side]} and {pace} takes {count} "
            f"out of {state} {place}{leaves}.",
            f"{view}: {state} lies {place}; {_FROM[side]}, a round grey face {pace} bites it "
            f"{_NUMBERS[bites]}{more} time{'s' * (bites > 1)}{leaves}.",
        ),
    )
    return {"short": short, "detailed": detailed}
