"""What the painter's captions say."""

from data_pipelines.worlds import base

VERBS = {
    "painted": "paints",
    "finished": "finishes",
    "begun": "begins",
    "continued": "goes on painting",
}


def write_captions(rng, attributes, view: str, still: bool, under: str) -> dict[str, str]:
    """Writes the captions; `under` says what a still shows beside the paper."""
    paper, pace = attributes["paper"], attributes["pace"]
    things = [
        (state, f"{color} {figure}")
        for state, color, figure in zip(
            *(attributes[k].split(", ") for k in ("states", "colors", "figures")), strict=True
        )
        if state
    ]
    there = [base.add_article(thing) for state, thing in things if state == "there"]
    there += [f"part of {base.add_article(thing)}" for state, thing in things if state == "part"]
    sheet = f"{paper} paper"
    carried = f"{sheet} with {_join(there, ' and ')}" if there else sheet
    if still:
        blank = carried if there else f"blank {sheet}"
        short = base.pick(rng, (blank, f"a picture of {blank}", f"a still of {blank}"))
        detailed = base.pick(
            rng,
            (
                f"a still picture, {view}: {blank}{under}.",
                f"{view}, a flat drawing: {blank}{under}.",
            ),
        )
        return {"short": short, "detailed": detailed}
    actions = [
        f"{VERBS[state]} {base.add_article(thing)}" for state, thing in things if state in VERBS
    ]
    does = _join(actions, ", then ", ", then ") if actions else "moves"
    brush = base.pick(rng, ("a brush", "a paint brush", "a paintbrush"))
    short = base.pick(
        rng,
        (
            f"{brush} {does} on {carried}",
            f"{carried}; {brush} {does}",
            f"on {carried}, {brush} {pace} {does}",
        ),
    )
    detailed = base.pick(
        rng,
        (
            f"{view}, still camera: on {carried}, a brush with a brown handle {pace} {does}.",
            f"{view}: {carried}; a brush with a brown handle {pace} {does}, and the ink stays.",
        ),
    )
    return {"short": short, "detailed": detailed}


def _join(parts: list[str], last: str, between: str = ", ") -> str:
    """Joins parts by commas, and the last one by another word."""
    return between.join(parts[:-1]) + last + parts[-1] if len(parts) > 1 else parts[0]
