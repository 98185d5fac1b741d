"""All the ways, by name."""

from embodied.envs import ways_metaworld, ways_robosuite, ways_xmagical
from embodied.envs.ways import Way
from embodied.errors import UnknownName

WAYS: dict[str, Way] = {
    way.name: way for way in (*ways_metaworld.WAYS, *ways_robosuite.WAYS, *ways_xmagical.WAYS)
}


def way_named(name: str) -> Way:
    """One of the ways.

    Raises:
        UnknownName: naming the near ones.
    """
    if name not in WAYS:
        raise UnknownName("way", name, WAYS)
    return WAYS[name]
