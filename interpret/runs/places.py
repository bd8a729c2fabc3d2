"""Where in an explanation a value stands. Most values never need to say so: a place is a link to the one around
it, and becomes text only when asked for.
"""

from __future__ import annotations

from typing import Any

#: (the place around it, the name of a field or the position in a list); None is the explanation itself.
Place = tuple[Any, str | int] | None


def dotted(place: Place) -> str:
    """A place as text, ``formula.frontier.0.mse``; "" for the explanation itself."""
    names: list[str] = []
    while place is not None:
        place, name = place
        names.append(str(name))
    return ".".join(reversed(names))
