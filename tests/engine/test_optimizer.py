"""Rates of parts of the network, and the optimizers."""
import pytest
import torch

from lib.config import load_config
from lib.core import build
from lib.engine.optimizer import factor_of, parse_factors
from lib.engine.step import set_rate
from lib.utils.errors import InputError
from main import train

DIGITS = "configs/test/digits_lt.yaml"
FACTORS = {"backbone.layer3.4": 2, "backbone.layer3": 0.3, "backbone": 0.1, "classifier": 1}   # the longest prefixes first


def config(*words: object):
    return load_config(DIGITS, [str(word) for word in words])


def built(*words: object):
    cfg = config("TRAIN.OPTIMIZER.BASE_LR", 0.5, *words)
    network = build.build_network(cfg, 10)
    return network, build.build_optimizer(cfg, network)[0]


def rates(network: torch.nn.Module, optimizer: torch.optim.Optimizer) -> dict[str, float]:
    of = {parameter: group["lr"] for group in optimizer.param_groups for parameter in group["params"]}
    return {name: float(of[parameter]) for name, parameter in network.named_parameters() if parameter in of}


def test_the_longest_prefix_counts_and_the_schedule_multiplies():
    network, optimizer = built("TRAIN.OPTIMIZER.LR_FACTORS", '["backbone=0.1", "backbone.layer3=0.3", "backbone.layer3.4=2"]')
    for schedule in (1.0, 0.2):
        set_rate(optimizer, 0.5 * schedule)
        found = rates(network, optimizer)
        assert len(found) == len(list(network.parameters()))
        for name, rate in found.items():
            factor = next(factor for prefix, factor in FACTORS.items() if name.startswith(prefix))
            assert rate == pytest.approx(0.5 * schedule * factor), name


def test_a_prefix_ends_at_a_dot():
    assert factor_of("backbone.layer10.weight", parse_factors(["backbone.layer1=0.1"])) == 1
    assert factor_of("backbone.layer1.0.weight", parse_factors(["backbone.layer1=0.1"])) == 0.1


def test_without_factors_there_is_one_group_as_ever():
    network, optimizer = built()
    group, = optimizer.param_groups
    assert group["params"] == list(network.parameters())
    assert "factor" not in group


def test_groups_keep_the_network_s_order_so_that_moments_fit_other_factors():
    network, optimizer = built("TRAIN.OPTIMIZER.LR_FACTORS", '["backbone.layer2=0.1", "classifier.bias=3"]')
    assert [p for group in optimizer.param_groups for p in group["params"]] == list(network.parameters())
    assert [group.get("factor", 1) for group in optimizer.param_groups] == [1, 0.1, 1, 3]


def test_the_factor_0_freezes_and_batchnorm_keeps_moving():
    network, optimizer = built("TRAIN.OPTIMIZER.LR_FACTORS", '["backbone=0", "backbone.layer3=1"]')
    assert {name.partition(".layer3")[1] or name for name in rates(network, optimizer)} == {".layer3", "classifier.weight",
                                                                                           "classifier.bias"}
    assert not network.backbone.conv1.weight.requires_grad
    assert network.train().backbone.bn1.training


@pytest.mark.parametrize(("factors", "message"), [
    ('["backbone"]', "LR_FACTORS: 'backbone' is not of the form \"prefix=factor\""), ('["=0.1"]', "form \"prefix=factor\""),
    ('["backbone=-1"]', "form \"prefix=factor\""), ('["backbone=nan"]', "form \"prefix=factor\""), ("[0.1]", "0.1 is not"),
    ('["backbone=1", "backbone=2"]', "'backbone' is given twice"),
    ('["backbon=0.1"]', "no parameter begins with 'backbon'; did you mean 'backbone'?"),
    ('["layer3=0.1"]', "no parameter begins with 'layer3'; did you mean 'backbone.layer3'?"),
    ('["xyz=0.1"]', "no parameter begins with 'xyz'; there are backbone, backbone.conv1, backbone.bn1, backbone.layer1"),
    ('["backbone=0", "classifier=0"]', "no parameter is left to train")])
def test_mistakes_are_one_message(factors, message):
    with pytest.raises(InputError) as caught:
        built("TRAIN.OPTIMIZER.LR_FACTORS", factors)
    assert message in str(caught.value)


@pytest.mark.parametrize(("kind", "decayed"), [("ADAM", False), ("ADAMW", True)])
def test_adamw_decays_weights_apart_from_their_gradients(kind, decayed):
    """Where the gradient is 0, AdamW multiplies by 1 − rate · decay; Adam makes a full step of the decay's gradient."""
    network, optimizer = built("TRAIN.OPTIMIZER.TYPE", kind, "TRAIN.OPTIMIZER.WEIGHT_DECAY", 0.1)
    weight = network.classifier.weight
    before = weight.detach().clone()
    weight.grad = torch.zeros_like(weight)
    optimizer.step()
    assert torch.allclose(weight, before * (1 - 0.5 * 0.1)) == decayed


@pytest.mark.slow
@pytest.mark.usefixtures("no_figures")
def test_a_run_with_factors_resumes_bit_for_bit(tmp_path, tiny):
    """AdamW with a climbing cosine. Moments go by the network's order, so that they fit other factors too."""
    schedule = "TRAIN.LR_SCHEDULER"
    words = [*tiny, "TRAIN.OPTIMIZER.TYPE", "ADAMW", "TRAIN.OPTIMIZER.LR_FACTORS", '["backbone=0.1", "backbone.layer3=0.5"]',
             f"{schedule}.TYPE", "warmup_cosine", f"{schedule}.WARM_EPOCH", "1", f"{schedule}.COSINE_DECAY_END", "3"]

    def last(name: str, epochs: int, *more: str) -> dict:
        assert train.main(["--cfg", DIGITS, "--gpus", "cpu", *words, "OUTPUT_DIR", str(tmp_path / name),
                           "TRAIN.MAX_EPOCH", str(epochs), *more]) == 0
        return torch.load(tmp_path / name / "run/models/last.pth")

    whole = last("whole", 3)
    last("parts", 2)
    resumed = last("parts", 3, "--ar", "True")
    assert all(torch.equal(value, resumed["state_dict"][name]) for name, value in whole["state_dict"].items())
    assert [group.get("factor") for group in resumed["optimizer"]["param_groups"]] == [0.1, 0.5, None]
    other = last("parts", 4, "TRAIN.OPTIMIZER.LR_FACTORS", '["backbone.layer2=0.1"]', "--ar", "True")
    assert [group.get("factor") for group in other["optimizer"]["param_groups"]] == [None, 0.1, None]
    assert all(int(state["step"]) == 4 * 8 for state in other["optimizer"]["state"].values())
