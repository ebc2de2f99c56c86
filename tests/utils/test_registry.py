"""Names, options, and what a mistake is told."""
import pytest

from lib.utils.errors import UnknownNameError
from lib.utils.registry import Registry, closest


@pytest.fixture
def registry():
    made = Registry("loss")

    @made.register("LDAMLoss")
    def ldam(counts, deferred=None, *, scale: float = 30.0, lambda_: float = 0.1, alpha: float = 1.0):
        return counts, deferred, scale, lambda_, alpha

    @made.register("weighted sampler")
    def weighted(*, type_: str = "balance"):
        return type_

    return made


def test_options_come_from_the_section_or_from_the_family(registry):
    node = {"LDAMLoss": {"SCALE": 5.0, "LAMBDA": 0.7}, "ALPHA": 2.0}
    assert registry.build("LDAMLoss", node, [1, 2]) == ([1, 2], None, 5.0, 0.7, 2.0)


def test_section_names(registry):
    assert registry.section("LDAMLoss") == "LDAMLoss"
    assert registry.build("weighted sampler", {"TYPE": "weighted sampler", "WEIGHTED_SAMPLER": {"TYPE": "square"}}) == "square"


def test_options_are_the_keyword_only_arguments(registry):
    assert registry.options("LDAMLoss") == {"SCALE": "scale", "LAMBDA": "lambda_", "ALPHA": "alpha"}


@pytest.mark.parametrize("name", ["LDAM", "ldamloss", "LDAMLos"])
def test_an_unknown_name_is_told_the_nearest(registry, name):
    with pytest.raises(UnknownNameError, match=f"unknown loss {name!r}; did you mean 'LDAMLoss'"):
        registry[name]


def test_a_name_like_no_other_is_told_all(registry):
    with pytest.raises(LookupError, match="known: LDAMLoss, weighted sampler"):
        registry["xyz"]


def test_a_name_is_taken_once(registry):
    with pytest.raises(ValueError, match="already registered"):
        registry.register("LDAMLoss")(dict)


def test_a_missing_option_is_no_silent_default(registry):
    with pytest.raises(KeyError):
        registry.build("LDAMLoss", {}, [1])


def test_closest_prefers_the_same_name_in_another_case():
    assert closest("crossentropy", ["CrossEntropy", "CostSensitiveCE"]) == "did you mean 'CrossEntropy'?"
