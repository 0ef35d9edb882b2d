"""Every loss as loops in float64, written from the papers, and numerical gradients.

A pair loss takes the embeddings and, since it may hold a part constant, the embeddings at which the
gradient is taken. A proxy loss takes the cosines (B, C) or, with several centers, (B, C, K).
"""

import math

import numpy as np

LABELS = np.array([0, 1, 1, 2, 2, 2, 0, 3, 1, 0])  # 3 has a single embedding


def embeddings(seed=0):
    return np.random.default_rng(seed).normal(size=(len(LABELS), 4))


def unit(x):
    return x / np.sqrt((x**2).sum(-1, keepdims=True) + 1e-12)


def cosines(x, p):
    """Cosines (B, C), or (B, C, K) to proxies (C, K, D)."""
    return np.tensordot(unit(x), unit(p), (1, -1))


def cosines_of(x):
    return cosines(x, x)


def distance(a, b):
    return math.sqrt(sum((a - b) ** 2))


def others_of(i, labels=LABELS):
    """The positives and the negatives of a row."""
    rows = [j for j in range(len(labels)) if j != i]
    return (
        [j for j in rows if labels[j] == labels[i]],
        [j for j in rows if labels[j] != labels[i]],
    )


def log_sum_exp(exponents):
    top = max(exponents)
    return top + math.log(sum(math.exp(e - top) for e in exponents))


def mean(terms):
    terms = list(terms)
    return sum(terms) / max(len(terms), 1)


# Pair losses.


def contrastive(x, start, negative_margin, positive_margin, squared, average_nonzero):
    u, hinges = unit(x), {True: [], False: []}
    for i in range(len(LABELS)):
        for j in range(len(LABELS)):
            if i != j:
                apart, same = distance(u[i], u[j]), bool(LABELS[i] == LABELS[j])
                hinge = max(apart - positive_margin if same else negative_margin - apart, 0)
                hinges[same].append(hinge**2 if squared else hinge)
    counted = ([h for h in each if h > 0 or not average_nonzero] for each in hinges.values())
    return sum(map(mean, counted))


def triplet(x, start, margin, mining):
    u, terms = unit(x), []
    for a in range(len(LABELS)):
        positives, negatives = others_of(a)
        apart = [distance(u[a], row) for row in u]
        if mining == "hard":
            farthest = max((apart[p] for p in positives), default=0)
            terms.append(max(farthest - min(apart[n] for n in negatives) + margin, 0))
            continue
        for p in positives:
            gaps = [apart[n] - apart[p] for n in negatives]
            if mining == "semi_hard_nearest":
                farther = [gap for gap in gaps if gap > 0]
                terms.append(max(margin - (min(farther) if farther else max(gaps)), 0))
            else:
                terms += [margin - g for g in gaps if g < margin and (g > 0 or mining == "all")]
    return mean(terms)


def n_pair(x, start):
    pairs = [np.flatnonzero(c == LABELS)[:2] for c in set(LABELS) if sum(c == LABELS) > 1]
    terms = []
    for anchor, own in pairs:
        logits = [x[anchor] @ x[positive] for _, positive in pairs]
        terms.append(log_sum_exp(logits) - x[anchor] @ x[own])
    return mean(terms)


def lifted_structure(x, start, margin, normalize):
    u, terms = unit(x) if normalize else x, []
    for i in range(len(LABELS)):
        for j in others_of(i)[0]:
            exponents = [margin - distance(u[a], u[n]) for a in (i, j) for n in others_of(a)[1]]
            terms.append(0.5 * max(distance(u[i], u[j]) + log_sum_exp(exponents), 0) ** 2)
    return mean(terms)


def multi_similarity(x, start, alpha, beta, base, epsilon):
    s, terms = cosines_of(x), []
    for i in range(len(LABELS)):
        positives, negatives = others_of(i)
        if epsilon is not None:
            hardest = max(s[i, n] for n in negatives), min((s[i, p] for p in positives), default=9)
            positives = [p for p in positives if s[i, p] - epsilon < hardest[0]]
            negatives = [n for n in negatives if s[i, n] + epsilon > hardest[1]]
        pull = sum(math.exp(-alpha * (s[i, p] - base)) for p in positives)
        push = sum(math.exp(beta * (s[i, n] - base)) for n in negatives)
        terms.append(math.log1p(pull) / alpha + math.log1p(push) / beta)
    return mean(terms)


def sup_con(x, start, temperature):
    s, terms = cosines_of(x), []
    for i in range(len(LABELS)):
        positives, negatives = others_of(i)
        total = sum(math.exp(s[i, a] / temperature) for a in positives + negatives)
        logs = [math.log(math.exp(s[i, p] / temperature) / total) for p in positives]
        if positives:
            terms.append(-sum(logs) / len(positives))
    return mean(terms)


def circle(x, start, margin, scale):
    s, fixed, terms = cosines_of(x), cosines_of(start), []
    for i in range(len(LABELS)):
        positives, negatives = others_of(i)
        total = 0.0
        for p in positives:
            for n in negatives:
                pull = max(1 + margin - fixed[i, p], 0) * (s[i, p] - (1 - margin))
                push = max(fixed[i, n] + margin, 0) * (s[i, n] - margin)
                total += math.exp(scale * (push - pull))
        if positives:
            terms.append(math.log(1 + total))
    return mean(terms)


def smooth_ap(x, start, temperature, query_in_gallery):
    s, terms = cosines_of(x), []
    for q in range(len(LABELS)):
        positives, negatives = others_of(q)
        if query_in_gallery:
            positives = [*positives, q]
        precisions = []
        for i in positives:
            above = {
                j: 1 / (1 + math.exp(-(s[q, j] - s[q, i]) / temperature))
                for j in positives + negatives
                if j != i
            }
            rank = 1 + sum(above.values())
            precisions.append((1 + sum(above[j] for j in positives if j != i)) / rank)
        if positives:
            terms.append(1 - mean(precisions))
    return mean(terms)


# Proxy losses.


def proxy_anchor(s, labels, margin, alpha):
    present, total = len(set(labels)), 0.0
    for c in range(s.shape[1]):
        own = [-alpha * (s[i, c] - margin) for i in range(len(s)) if labels[i] == c]
        other = [alpha * (s[i, c] + margin) for i in range(len(s)) if labels[i] != c]
        total += log_sum_exp([0.0, *own]) / present + log_sum_exp([0.0, *other]) / s.shape[1]
    return total


def softmax_loss(logits, labels, skip_own=False):
    """The mean of -log softmax at the own class, which the denominator may leave out."""
    return mean(
        log_sum_exp([z for c, z in enumerate(row) if c != own or not skip_own]) - row[own]
        for row, own in zip(logits, labels, strict=True)
    )


def proxy_nca(s, labels, scale, target_in_denominator):
    return softmax_loss(-scale * (2 - 2 * s), labels, skip_own=not target_in_denominator)


def normalized_softmax(s, labels, temperature):
    return softmax_loss(s / temperature, labels)


def cosface(s, labels, margin, scale):
    return softmax_loss(scale * (s - margin * np.eye(s.shape[1])[labels]), labels)


def arcface(s, labels, margin, scale):
    logits = s.copy()
    for row, own in zip(logits, labels, strict=True):
        angle = math.acos(row[own])
        over = angle > math.pi - margin
        row[own] = row[own] - margin * math.sin(margin) if over else math.cos(angle + margin)
    return softmax_loss(scale * logits, labels)


def sub_center_arcface(s, labels, margin, scale):
    return arcface(s.max(2), labels, margin, scale)


def soft_triple(s, labels, scale, gamma, margin):
    weights = np.exp((s - s.max(2, keepdims=True)) / gamma)
    relaxed = (weights * s).sum(2) / weights.sum(2)
    return cosface(relaxed, labels, margin, scale)


def numerical_gradients(function, *arrays, step=1e-6):
    """Central differences of a function of arrays, by each of them."""
    found = []
    for i, values in enumerate(arrays):
        gradient = np.zeros_like(values)
        for place in np.ndindex(values.shape):
            ends = []
            for change in (step, -step):
                moved = [each.copy() for each in arrays]
                moved[i][place] += change
                ends.append(function(*moved))
            gradient[place] = (ends[0] - ends[1]) / (2 * step)
        found.append(gradient)
    return found
