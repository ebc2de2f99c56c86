"""A component's section in the tree and its constructor's keyword arguments agree."""
import inspect

import pytest

from lib.config import TREE
from lib.config.families import FAMILIES as OF_NODES
from lib.config.families import node_of
from lib.config.paths import PATHS
from lib.config.ranges import RANGES
from lib.config.validate import CHOICES, REGISTRIES

FAMILIES = {node: (registry, node_of(TREE, node)) for node, registry in OF_NODES.items()}
# texts that are checked where that is chosen
WITH_ONE_TYPE = ("TRAIN.COMBINER.MANIFOLD_MIX_UP.LOCATION", "BACKBONE.TIMM.MODEL", "NETWORK.EXPERTS.FROM")
COMPONENTS = [(family, name) for family, (registry, _) in FAMILIES.items() for name in registry]


@pytest.mark.parametrize(("family", "name"), COMPONENTS)
def test_section_keys_are_keyword_arguments(family, name):
    registry, node = FAMILIES[family]
    options, section = registry.options(name), node.get(registry.section(name), {})
    assert set(section) <= set(options), "a key that reaches nothing"
    for key in options:
        assert key in section or key in node or key in TREE, "an argument that no key sets"


@pytest.mark.parametrize(("family", "name"), COMPONENTS)
def test_defaults_agree_where_both_have_one(family, name):
    registry, node = FAMILIES[family]
    section = node.get(registry.section(name), {})
    for parameter in inspect.signature(registry[name]).parameters.values():
        key = parameter.name.rstrip("_").upper()
        if parameter.kind is parameter.KEYWORD_ONLY and parameter.default is not parameter.empty:
            value = section.get(key, node.get(key))
            default = list(parameter.default) if isinstance(value, list) else parameter.default
            assert value == (default if isinstance(default, str) else pytest.approx(default, rel=1e-6))


def test_every_number_and_text_has_the_place_where_it_is_checked():
    """A new key that is no option of a component belongs into ranges.RANGES, validate.CHOICES or paths.PATHS; a list into
    test_ranges.py."""
    leaves = TREE.flat()
    assert sorted(key for key, value in leaves.items() if type(value) in (int, float)) == sorted(RANGES)
    texts = [*REGISTRIES, *CHOICES, *PATHS, *WITH_ONE_TYPE, "NAME"]
    assert sorted(key for key, value in leaves.items() if isinstance(value, str)) == sorted(texts)
