"""The mean loss of a batch in plain Python, from the formulas of the papers: no tensor, no stabilised function.

Every function takes the batch, the class counts, whether re-balancing is on, and the options with their defaults.
"""
import math
from statistics import NormalDist
from typing import NamedTuple


class Given(NamedTuple):
    logits: list[list[float]]
    labels: list[int]
    features: list[list[float]]
    teacher: list[list[float]]
    experts: list[list[list[float]]]   # of each example


def softmax(row: list[float]) -> list[float]:
    total = sum(math.exp(value) for value in row)
    return [math.exp(value) / total for value in row]


def nll(row: list[float], label: int) -> float:
    return -math.log(softmax(row)[label])


def nlls(given: Given) -> list[float]:
    return [nll(row, label) for row, label in zip(given.logits, given.labels)]


def mean(terms: list[float]) -> float:
    return sum(terms) / len(terms)


def weighted(terms: list[float], labels: list[int], weights: list[float], active: bool) -> float:
    """Σ w ℓ / Σ w, or the mean."""
    if not active:
        return mean(terms)
    chosen = [weights[label] for label in labels]
    return sum(weight * term for weight, term in zip(chosen, terms)) / sum(chosen)


def n_min(counts: list[int]) -> int:
    return min(count for count in counts if count)


def inverse(counts: list[int], power: float = 1.0) -> list[float]:
    return [(n_min(counts) / count) ** power if count else 0.0 for count in counts]


def class_balanced(counts: list[int], beta: float) -> list[float]:
    raw = [(1 - beta) / (1 - beta ** count) if count else 0.0 for count in counts]
    return [len(counts) * weight / sum(raw) for weight in raw]


def cross_entropy(given, counts, active):
    return weighted(nlls(given), given.labels, inverse(counts), active)


def cost_sensitive_ce(given, counts, active, gamma=1.0):
    return weighted(nlls(given), given.labels, inverse(counts, gamma), active)


def class_balance_ce(given, counts, active, beta=0.999):
    return weighted(nlls(given), given.labels, class_balanced(counts, beta), active)


def label_smooth(given, counts, active, epsilon=0.1):
    terms = []
    for row, label in zip(given.logits, given.labels):
        targets = [(1 - epsilon) * (c == label) + epsilon / len(row) for c in range(len(row))]
        terms.append(-sum(target * math.log(p) for target, p in zip(targets, softmax(row))))
    return weighted(terms, given.labels, inverse(counts), active)


def smoothing(counts, label, head, tail, shape):
    high, low, n = max(counts), n_min(counts), counts[label]
    if high == low:
        return head
    if shape == "concave":
        return tail + (head - tail) * math.sin(math.pi * (n - low) / (2 * (high - low)))
    if shape == "linear":
        return tail + (head - tail) * (n - low) / (high - low)
    return head + (head - tail) * math.sin(3 * math.pi / 2 + math.pi * (n - low) / (2 * (high - low)))


def label_aware_smooth(given, counts, active, smooth_head=0.4, smooth_tail=0.1, shape="concave"):
    terms = []
    for row, label in zip(given.logits, given.labels):
        epsilon = smoothing(counts, label, smooth_head, smooth_tail, shape)
        terms.append((1 - epsilon) * nll(row, label) + epsilon * mean([nll(row, c) for c in range(len(row))]))
    return weighted(terms, given.labels, inverse(counts), active)


def focal_term(row: list[float], label: int, gamma: float) -> float:
    term = 0.0
    for c, value in enumerate(row):
        p = 1 / (1 + math.exp(-value))
        p_t = p if c == label else 1 - p
        term -= (1 - p_t) ** gamma * math.log(p_t)
    return term


def focal(given, counts, active, gamma=2.0):
    weights = inverse(counts) if active else [1.0] * len(counts)
    return mean([weights[label] * focal_term(row, label, gamma) for row, label in zip(given.logits, given.labels)])


def class_balance_focal(given, counts, active, beta=0.999, gamma=0.5):
    weights = class_balanced(counts, beta) if active else [1.0] * len(counts)
    return mean([weights[label] * focal_term(row, label, gamma) for row, label in zip(given.logits, given.labels)])


def ldam(given, counts, active, max_margin=0.5, scale=30.0):
    terms = []
    for row, label in zip(given.logits, given.labels):
        margin = max_margin * (n_min(counts) / counts[label]) ** 0.25
        terms.append(nll([scale * (value - margin * (c == label)) for c, value in enumerate(row)], label))
    return weighted(terms, given.labels, class_balanced(counts, 0.9999), active)


def gcl(given, counts, active, scale=30.0, noise=0.5, margin=0.0, focal_gamma=0.0, seed=0):
    """Noise by the inverse of the normal distribution function, of a number for each label, example and class."""
    spread = math.log(max(counts) / n_min(counts))
    shares = [math.log(max(counts) / count) / spread if count and spread else 0.0 for count in counts]
    size, classes, terms = len(given.labels), len(counts), []
    for b, (row, label) in enumerate(zip(given.logits, given.labels)):
        clouded = []
        for c, value in enumerate(row):
            drawn = (splitmix64(seed, (label * size + b) * classes + c + 1) >> 40) / 2**24
            epsilon = min(1.0, NormalDist(0, 1 / 3).inv_cdf((1 + drawn) / 2))
            clouded.append(scale * (value - noise * epsilon * shares[c] - margin * (c == label)))
        terms.append((1 - softmax(clouded)[label]) ** focal_gamma * nll(clouded, label))
    return weighted(terms, given.labels, class_balanced(counts, 0.9999), active)


def balanced_softmax_ce(given, counts, active):
    if not active:
        return mean(nlls(given))
    shifted = [[value + math.log(count) if count else -math.inf for value, count in zip(row, counts)] for row in given.logits]
    return mean(nlls(given._replace(logits=shifted)))


def cdt(given, counts, active, gamma=0.2):
    if not active:
        return mean(nlls(given))
    divisors = [(max(counts) / count) ** gamma if count else 1.0 for count in counts]
    return mean(nlls(given._replace(logits=[[value / a for value, a in zip(row, divisors)] for row in given.logits])))


def splitmix64(seed: int, number: int) -> int:
    """The ``number``-th output (from 1) of SplitMix64."""
    state = (seed + number * 0x9E3779B97F4A7C15) % 2**64
    state = (state ^ state >> 30) * 0xBF58476D1CE4E5B9 % 2**64
    state = (state ^ state >> 27) * 0x94D049BB133111EB % 2**64
    return state ^ state >> 31


def seql(given, counts, active, gamma=0.9, lambda_=0.005, seed=0):
    terms = []
    for b, (row, label) in enumerate(zip(given.logits, given.labels)):
        denominator = 0.0
        for c, value in enumerate(row):
            drawn = (splitmix64(seed, b * len(row) + c + 1) >> 40) / 2**24
            rare = counts[c] / sum(counts) < lambda_
            denominator += 0 if rare and c != label and drawn < gamma else math.exp(value)
        terms.append(-math.log(math.exp(row[label]) / denominator))
    return mean(terms)


def influence_balanced(given, counts, active, alpha=1000.0):
    if not active:
        return mean(nlls(given))
    raw = [1 / count if count else 0.0 for count in counts]
    terms = []
    for row, label, features in zip(given.logits, given.labels, given.features):
        distance = sum(abs(p - (c == label)) for c, p in enumerate(softmax(row)))
        influence = distance * sum(abs(value) for value in features)
        terms.append(raw[label] * len(counts) / sum(raw) * alpha * nll(row, label) / (influence + 1e-3))
    return mean(terms)


def dive_kld(given, counts, active, power_norm=False, power=0.5, temperature=3.0, alpha=0.5, factor=1.0):
    terms = []
    for row, teacher in zip(given.logits, given.teacher):
        student = softmax([value / temperature for value in row])
        raised = [p ** (power if power_norm else 1) for p in softmax([value / temperature for value in teacher])]
        shares = [value / sum(raised) for value in raised]
        terms.append(sum(q * math.log(q / p) for q, p in zip(shares, student)))
    return factor * (alpha * temperature ** 2 * mean(terms) + (1 - alpha) * balanced_softmax_ce(given, counts, active))


def balpoe(given: Given, counts: list[int], active: bool, taus: tuple[float, ...] = (0.0, 1.0, 2.0)) -> float:
    """Classes without images are left out."""
    total = sum(counts)
    terms = []
    for experts, label in zip(given.experts, given.labels):
        of_experts = []
        for tau, row in zip(taus, experts):
            shifted = {c: math.exp(z + tau * math.log(counts[c] / total)) for c, z in enumerate(row) if counts[c]}
            of_experts.append(-math.log(shifted[label] / sum(shifted.values())))
        terms.append(mean(of_experts))
    return mean(terms)


def class_balanced_bce(given: Given, counts: list[int], active: bool, beta: float = 0.9999) -> float:
    weights, terms = class_balanced(counts, beta), []
    for row, label in zip(given.logits, given.labels):
        p = softmax(row)
        bce = mean([-math.log(value) if c == label else -math.log(1 - value) for c, value in enumerate(p)])
        terms.append((weights[label] if active else 1.0) * bce)
    return mean(terms)


def shifted_nll(row: list[float], label: int, counts: list[int], tau: float) -> float:
    """Cross-entropy of z + tau · log p among the classes that have images."""
    total = sum(counts)
    shifted = {c: z + tau * math.log(counts[c] / total) for c, z in enumerate(row) if counts[c]}
    return -math.log(math.exp(shifted[label]) / sum(math.exp(value) for value in shifted.values()))


def logit_adjusted(given: Given, counts: list[int], active: bool, tau: float = 1.0) -> float:
    terms = [shifted_nll(row, label, counts, tau) for row, label in zip(given.logits, given.labels)]
    return weighted(terms, given.labels, class_balanced(counts, 0.9999), active)


def vs_loss(given: Given, counts: list[int], active: bool, gamma: float = 0.3, tau: float = 1.0) -> float:
    divisors = [(max(counts) / count) ** gamma if count else 1.0 for count in counts]
    rows = [[z / divisor for z, divisor in zip(row, divisors)] for row in given.logits]
    terms = [shifted_nll(row, label, counts, tau) for row, label in zip(rows, given.labels)]
    return weighted(terms, given.labels, class_balanced(counts, 0.9999), active)


def lade(given: Given, counts: list[int], active: bool, alpha: float = 0.1, lambda_: float = 0.01) -> float:
    filled, total, size = [c for c, count in enumerate(counts) if count], sum(counts), len(given.labels)
    regulariser = 0.0
    for c in filled:
        p, own = counts[c] / total, [row[c] for row, label in zip(given.logits, given.labels) if label == c]
        s = math.log(sum(math.exp(row[c]) / (p * len(filled)) for row in given.logits) / size)
        regulariser -= p * ((mean(own) if own else 0.0) - s - lambda_ * s ** 2)
    return mean([shifted_nll(row, label, counts, 1.0) for row, label in zip(given.logits, given.labels)]) + alpha * regulariser


def sade(given: Given, counts: list[int], active: bool, tau: float = 2.0) -> float:
    filled = sorted((c for c, count in enumerate(counts) if count), key=lambda c: counts[c])
    total = sum(counts)
    prior = {c: math.log(counts[c] / total) for c in filled}
    reverse = dict(zip(filled, (prior[c] for c in reversed(filled))))
    terms = []
    for experts, label in zip(given.experts, given.labels):
        term = 0.0
        for number, row in enumerate(experts):
            shift = [dict.fromkeys(filled, 0.0), prior, {c: prior[c] - tau * reverse[c] for c in filled}][number]
            exponentials = {c: math.exp(row[c] + shift[c]) for c in filled}
            term -= math.log(exponentials[label] / sum(exponentials.values()))
        terms.append(term)
    return mean(terms)


def ride(given: Given, counts: list[int], active: bool, diversity: float = -0.2, reweight_factor: float = 0.05,
         max_margin: float = 0.5, scale: float = 30.0) -> float:
    classes, margins = range(len(counts)), [max_margin * share for share in inverse(counts, 0.25)]
    raw = [len(counts) * count / sum(counts) * reweight_factor + 1 - reweight_factor for count in counts]
    temperatures = [value / max(raw) if active else 1.0 for value in raw]
    losses, divergences = [], []
    for experts, label in zip(given.experts, given.labels):
        center = [mean([row[c] for row in experts]) for c in classes]
        rows = [center] * len(experts) if diversity == 0 else experts
        losses.append(sum(nll([z - scale * margins[c] * (c == label) for c, z in enumerate(row)], label) for row in rows))
        target = softmax([z / t for z, t in zip(center, temperatures)])
        own = [softmax([z / t for z, t in zip(row, temperatures)]) for row in experts]
        divergences.append(sum(q * math.log(q / p) for row in own for q, p in zip(target, row)))
    return weighted(losses, given.labels, class_balanced(counts, 0.9999), active) + diversity * mean(temperatures) ** 2 * mean(
        divergences)


def generalized_reweight_ce(given: Given, counts: list[int], active: bool, rho: float = 1.2) -> float:
    raw = [(sum(counts) / count) ** rho if count else 0.0 for count in counts]
    return weighted(nlls(given), given.labels, [weight * len(counts) / sum(raw) for weight in raw], active)


REFERENCE = {
    "GeneralizedReweightCE": generalized_reweight_ce, "GCL": gcl,
    "SADE": sade, "RIDE": ride,
    "BalPoE": balpoe, "ClassBalancedBCE": class_balanced_bce, "LogitAdjustedCE": logit_adjusted, "VSLoss": vs_loss, "LADE": lade,
    "CrossEntropy": cross_entropy, "CostSensitiveCE": cost_sensitive_ce, "ClassBalanceCE": class_balance_ce,
    "CrossEntropyLabelSmooth": label_smooth, "CrossEntropyLabelAwareSmooth": label_aware_smooth, "FocalLoss": focal,
    "ClassBalanceFocal": class_balance_focal, "LDAMLoss": ldam, "BalancedSoftmaxCE": balanced_softmax_ce, "CDT": cdt,
    "SEQL": seql, "InfluenceBalancedLoss": influence_balanced, "DiVEKLD": dive_kld,
}
