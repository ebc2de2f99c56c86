"""What a GPU is given, shown on one that is not there: whole steps, transforms and evaluation on one device, and no look at a
number of its."""
import pytest
import torch
from fake_gpu import Generator, moved, only_on
from graphed_cases import BASES, LOSS_PAIRS, SIZE, Small, parts
from torch import Tensor
from torch._subclasses.fake_tensor import DataDependentOutputException, DynamicOutputShapeException

from lib.backbone import BACKBONES
from lib.cam_sampling.geometry import Moves, bounding_boxes, paste, source_maps
from lib.data_transform import TRANSFORMS, normalize, operations
from lib.data_transform.auto_augment import OPERATIONS
from lib.dataset import Batch
from lib.device.precision import TorchAmp
from lib.engine.average import WeightAverage
from lib.engine.optimizer import begin_moments
from lib.engine.step import EagerStep, set_rate
from lib.engine.totals import Sums
from lib.modules import CLASSIFIERS, POOLINGS, TauNormalized
from lib.net import Mix, Network, class_activation_maps, foreground, scale_maps
from lib.report.predictions import Predictions, predictions_of
from lib.update import UPDATES
from lib.utils.seed import Stream

CUDA, LAZY = torch.device("cuda"), torch.device("lazy")
DRAW_ON_HOST = {"color_jitter", "random_resized_crop", "curriculum", "auto_augment", "rand_augment"}
FUNCTIONS = [operations.mirror, operations.flip, operations.zoom, operations.gaussian_blur, operations.smooth, operations.detail,
             operations.enhance_edges, *(operation.function for operation in OPERATIONS.values())]
REFUSED = AssertionError, DataDependentOutputException, DynamicOutputShapeException


@pytest.mark.parametrize("touch", [
    lambda given: given.sum().item(),
    lambda given: float(given[0]),
    lambda given: bool((given > 0).all()),
    lambda given: given[given > 0],
    lambda given: given.cpu(),
    lambda given: given + torch.zeros(3),
    lambda given: given * torch.tensor(2.0),                            # a graph would keep this number
    lambda given: given + torch.tensor([1.0, 2.0, 3.0], device=CUDA),   # copied from the host
])
def test_the_fake_gpu_refuses_what_waits_or_copies(touch):
    with only_on(CUDA):
        given = torch.ones(3, device=CUDA)
        with pytest.raises(REFUSED):
            touch(given)


def batch_of(step: EagerStep, device: torch.device) -> Batch:
    size = SIZE * (step.combiner.rows or 1)
    images, labels = torch.randn(size, 3, 5, 5, device=device), torch.randint(4, (size,), device=device)
    stream = Stream(2**62 + 1)
    stream.generator = Generator(device)
    views = tuple(torch.randn(size, 3, 5, 5, device=device) for _ in range(step.combiner.views))
    return Batch(images, labels, torch.arange(size, device=device), stream, views)


def on_device(step: EagerStep, device: torch.device) -> EagerStep:
    network, criterion, combiner = (moved(module, device) for module in (step.network, step.criterion, step.combiner))
    return step._replace(network=network, criterion=criterion, combiner=combiner)


def check_step(step: EagerStep, device: torch.device, mixed: bool) -> None:
    """The combiner's draw and the step; on the lazy device the gradients as well."""
    step.criterion.on_epoch(3)   # the second stage
    with only_on(device, mixed) as mode:
        step = on_device(step, device)
        batch = batch_of(step, device)
        step.begin(batch.stream.seed)
        drawn = step.combiner.draw(batch, num_chunks=1)
        loss, logits, _ = step.combiner.combine(step.network, step.criterion, batch.images, batch.labels, *drawn)
        assert (loss.dtype, logits.dtype) == (torch.float32, torch.float32)
        if device == LAZY:
            loss.backward()
            assert {parameter.grad.device.type for parameter in step.network.parameters()} == {"lazy"}
    assert mode.operations > 20


@pytest.mark.parametrize("device", [CUDA, LAZY])
@pytest.mark.parametrize(("combiner", "loss"), LOSS_PAIRS)
def test_every_combiner_with_every_loss(combiner, loss, device):
    """In float16 where there is autocast, in float32 where there are gradients."""
    check_step(parts(combiner, loss), device, mixed=device == CUDA)


@pytest.mark.parametrize("device", [CUDA, LAZY])
@pytest.mark.parametrize("base", BASES)
def test_a_teacher_with_every_base_loss(base, device):
    check_step(parts("dive", "DiVEKLD", base=base), device, mixed=device == CUDA)


@pytest.mark.parametrize("options", [{"location": "fc"}, {"location": "pool"}])
def test_places_to_mix(options):
    check_step(parts("manifold_mix_up", "CrossEntropy", **options), CUDA, mixed=True)


@pytest.mark.parametrize("mixed", [False, True])
@pytest.mark.parametrize(("optimizer", "rule", "clip"), [("SGD", "plain", 0.0), ("ADAM", "plain", 0.0), ("SGD", "sam", 1.0),
                                                         ("SGD", "asam", 1.0), ("SGD", "imb_sam", 0.0),
                                                         ("ADAM", "focal_sam", 0.0)])
def test_update_loss_scale_and_totals(monkeypatch, optimizer, mixed, rule, clip):
    """All of a step after its draw, three times over; autograd, which does not run without CUDA, is given as ones."""
    update = UPDATES[rule]()
    step, gradients = parts("mix_up", "LDAMLoss")._replace(update=update, clip_norm=clip), []
    if mixed:
        monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
        precision = TorchAmp(CUDA)
        monkeypatch.undo()
        assert precision.scaler.is_enabled()
        monkeypatch.setattr(precision, "autocast", torch.enable_grad)   # only_on has begun it
        step = step._replace(precision=precision)

    def backward(loss: Tensor, retain_graph: bool | None = None) -> None:
        gradients.append(loss)
        for parameter in step.network.parameters():
            parameter.grad = torch.ones_like(parameter)

    monkeypatch.setattr(Tensor, "backward", backward)
    with only_on(CUDA, mixed):
        step = on_device(step, CUDA)
        update.class_counts = step.combiner.class_counts
        common = {"lr": 0.1, "weight_decay": 1e-3, "fused": True}
        parameters = step.network.parameters()
        if optimizer == "SGD":
            own = torch.optim.SGD(parameters, momentum=0.9, nesterov=True, **common)
            begin_moments(own)
        else:
            own = torch.optim.Adam(parameters, **common)
        own.param_groups[0]["lr"] = torch.full((), 0.1, device=CUDA)   # as a graph has it
        step.precision.prepare(step.network, own)
        step, sums, average = step._replace(optimizer=own), Sums(CUDA), WeightAverage(step.network, 0.9)
        for number in range(3):
            set_rate(own, 0.1 / (number + 1))
            sums.add(step(batch_of(step, CUDA)))
            average.after_step()
    assert len(gradients) == 3 * step.update.passes
    moments = [value for state in own.state.values() for value in state.values()]
    assert moments
    assert {tensor.device.type for tensor in (*moments, sums.total, sums.first_bad)} == {"cuda"}


@pytest.mark.parametrize("event", ["after_step", "after_epoch"])
def test_class_vectors_are_shortened_on_the_device(event):
    classifier = CLASSIFIERS["MaxNorm"](6, 4, every=event.removeprefix("after_"))
    with only_on(CUDA) as mode:
        classifier = moved(classifier, CUDA)
        before = mode.operations
        getattr(classifier, event)()
    assert mode.operations > before


@pytest.mark.parametrize("function", FUNCTIONS, ids=lambda function: function.__name__)
def test_operations_of_augmentation(function):
    with only_on(CUDA):
        result = function(torch.zeros(8, 3, 12, 12, dtype=torch.uint8, device=CUDA), torch.ones(8, device=CUDA))
        assert (result.dtype, result.device.type) == (torch.uint8, "cuda")


@pytest.mark.parametrize("name", sorted(set(TRANSFORMS) - DRAW_ON_HOST))
def test_transforms(name):
    with only_on(CUDA):
        images = torch.zeros(8, 3, 12, 12, dtype=torch.uint8, device=CUDA)
        result = TRANSFORMS[name]((10, 10)).batch(images, torch.Generator())
        assert (result.dtype, result.device.type) == (torch.uint8, "cuda")
        mean, std = torch.zeros(2, 3, device=CUDA)
        assert normalize(result, mean, std).is_contiguous(memory_format=torch.channels_last)


@pytest.mark.parametrize("order", [[0, 1, 2], [2, 0, 1], [3, 1, 0, 2]])
def test_color_jitter_in_a_given_order(order):
    with only_on(CUDA):
        images, factors = torch.zeros(8, 3, 12, 12, dtype=torch.uint8, device=CUDA), torch.ones(4, 8, 1, 1, 1, device=CUDA)
        assert TRANSFORMS["color_jitter"]((12, 12), hue=0.1).jitter(images, order, factors).dtype == torch.uint8


@pytest.mark.parametrize("name", [*(pytest.param(name, marks=[pytest.mark.slow] * name.startswith("res1"))
                                    for name in sorted(set(BACKBONES) - {"timm"})), "timm test_resnet", "timm test_vit"])
def test_backbones_mixed_at_each_stage(name):
    name, *model = name.split()
    backbone = BACKBONES[name](**{"model": model[0], "input_size": (64, 64)} if model else {})
    network = Network(backbone, POOLINGS["GAP"](), CLASSIFIERS["FC"](backbone.num_features, 4))
    size = (32, 32) if "cifar" in name else (64, 64)
    with only_on(CUDA, mixed=True):
        moved(network, CUDA)
        images = torch.randn(4, 3, *size, device=CUDA)
        partner, share = torch.randperm(4, device=CUDA), torch.full((4,), 0.3, device=CUDA)
        for layer in (None, *(stage for stage, _ in backbone.stages())):
            output = network(images, Mix(layer, partner, share) if layer else None)
            assert output.features.shape == (4, backbone.num_features)
            assert output.logits.dtype == torch.float32


@pytest.mark.parametrize("mixed", [False, True])
@pytest.mark.parametrize("name", sorted(CLASSIFIERS))
def test_classifiers_and_their_tau_normalized_form(name, mixed):
    classifier = CLASSIFIERS[name](6, 4)
    forms = [classifier, TauNormalized(classifier, 0.5)] if name == "FC" else [classifier]
    with only_on(CUDA, mixed):
        features = torch.randn(5, 6, device=CUDA)
        for form in forms:
            assert moved(form, CUDA)(features).shape == (5, 4)


def test_evaluation_before_it_is_fetched():
    network = Small().eval()
    with only_on(CUDA, mixed=True):
        moved(network, CUDA)
        predictions = Predictions.empty(20, CUDA)
        for rows in (slice(0, 16), slice(16, 20)):
            count = rows.stop - rows.start
            labels = torch.randint(4, (count,), device=CUDA)
            predictions.put(rows, predictions_of(network(torch.randn(count, 3, 5, 5, device=CUDA)).logits, labels))


def test_images_of_cam_based_sampling():
    backbone = BACKBONES["res32_cifar"]()
    network = Network(backbone, POOLINGS["GAP"](), CLASSIFIERS["FC"](backbone.num_features, 4))
    with only_on(CUDA):
        moved(network, CUDA)
        images = torch.zeros(6, 3, 32, 32, dtype=torch.uint8, device=CUDA)
        labels = torch.randint(4, (6,), device=CUDA)
        masks = foreground(scale_maps(class_activation_maps(network, images.float(), labels), (32, 32)))
        moves = Moves.from_uniform(torch.rand(6, 5, device=CUDA))
        results = paste(images, masks, source_maps(moves, bounding_boxes(masks), (32, 32)))
        assert (results.shape, results.dtype) == (images.shape, torch.uint8)
