"""Finds errors in labels by a leave-one-out vote of each image's nearest neighbours."""

from dataclasses import dataclass
from typing import Literal, NamedTuple, get_args

import numpy as np
import numpy.typing as npt

from pa_keras.arguments.class_ids import class_ids
from pa_keras.retrieval.search import Method, search

Kind = Literal["label", "duplicate", "classes"]
KINDS: tuple[Kind, ...] = get_args(Kind)
# Twice the votes a class casts for another if it were one with it are 1; half of that is reported.
SAME_CLASS = 0.5


class Suspect(NamedTuple):
    """A possible error in the data.

    Attributes:
        kind: "label": the neighbours of the image propose the class of `other`. "duplicate": the
            two images are nearly the same but have different labels. "classes": the classes of
            the two images look like one.
        score: How suspicious it is, in [0, 1].
        image: Index of the image.
        other: Index of the other image. For "label" and "classes", the nearest of its class.
    """

    kind: Kind
    score: float
    image: int
    other: int


@dataclass(frozen=True)
class Suspects:
    """The possible errors of a data set.

    Attributes:
        rows: The suspects, worst first.
        num_alone: Number of images that are the only one of their class. They have no vote and
            cannot be judged, but they may have near-duplicates.
        indices: The neighbours of every image, int32 (N, k), nearest first.
    """

    rows: list[Suspect]
    num_alone: int
    indices: np.ndarray

    def of_kind(self, kind: Kind) -> list[Suspect]:
        """The suspects of one kind, worst first."""
        return [row for row in self.rows if row.kind == kind]

    def counts(self) -> dict[Kind, int]:
        """The number of suspects of each kind, in the order of `KINDS`."""
        return {kind: len(self.of_kind(kind)) for kind in KINDS}


class _Votes(NamedTuple):
    """Votes for each image, one entry for each class with votes, sorted by image and class."""

    images: np.ndarray
    classes: np.ndarray
    shares: np.ndarray  # the votes of an image add up to 1


def find_suspects(
    embeddings: npt.ArrayLike,
    labels: npt.ArrayLike,
    k: int = 20,
    similarity: float = 0.98,
    copies: np.ndarray | None = None,
    method: Method = "auto",
) -> Suspects:
    r"""Finds labels that neighbours doubt, near-duplicates with two labels, and similar classes.

    Let image i have R other images in its class. The image itself and its min(k, R) nearest
    neighbours vote for their own labels, each with its cosine to image i, or 0 if that is negative;
    p_i(c) is the share of the votes for class c. With R as a limit, small classes are not outvoted
    only because they are small, and the image's own vote, of weight 1, keeps a single neighbour
    from deciding.

    - label: another class c has a larger share than the label y. The score is 1 - p_i(y), the share
      of the votes against the label. If other classes are equal, the lowest class is proposed. If
      y is equal to the best other class, the image is not a suspect.
    - duplicate: among the k nearest neighbours, a pair with two labels and a cosine of at least
      `similarity`, which is the score; or the same content, with score 1.
    - classes: the mean p_i(b) over class a, plus the mean p_i(a) over class b, is at least 1/2.
      The sum is close to 1 if one class is divided at random into a and b, whatever their sizes,
      and it is the score, at most 1.

    Args:
        embeddings: Rows of unit length, floating (N, D).
        labels: Class IDs or class names (N,).
        k: Largest number of neighbours that vote, from 1 to N - 1. Default 20.
        similarity: Cosine from which two images are near-duplicates, in (0, 1]. Default 0.98.
        copies: For each image, the index of the first image with the same content, int (N,).
            Default None: unknown.
        method: Nearest-neighbour search, as in `nearest_neighbours`. Default "auto".

    Returns:
        The suspects, sorted by falling score, then by kind, image and other image.

    Raises:
        ValueError: There are fewer than 2 classes; the similarity is out of range; there is not
            one label per embedding; `nearest_neighbours` refuses the embeddings, such as rows
            with NaN, or k.

    Example:
        >>> points = np.array([[1, 0], [1, 0], [1, 0], [0, 1], [0, 1], [0, 1], [0, 1]], "float32")
        >>> found = find_suspects(points, ["owl"] * 3 + ["cat"] * 3 + ["owl"], k=3, similarity=1)
        >>> found.of_kind("label")
        [Suspect(kind='label', score=0.75, image=6, other=3)]
    """
    names, labels = np.unique(class_ids("labels", labels), return_inverse=True)
    if len(labels) != len(np.asarray(embeddings)):
        raise ValueError(
            f"Expected one label per embedding; received {len(labels)} labels and "
            f"{len(np.asarray(embeddings))} embeddings."
        )
    if len(names) < 2:
        raise ValueError(f"Expected images of at least 2 classes; received {len(names)}.")
    check_similarity(similarity)
    found = search(embeddings, embeddings, k, exclude_self=True, method=method)
    indices, cosines = found.indices, found.similarities
    others = np.bincount(labels)[labels] - 1
    may_vote = np.arange(k) < others[:, None]
    votes = _count(indices, cosines, labels, may_vote)
    rows = [
        *_doubted_labels(votes, indices, labels),
        *_duplicates(indices, cosines, labels, similarity, copies),
        *_similar_classes(votes, indices, cosines, labels, may_vote),
    ]
    rows.sort(key=lambda row: (-row.score, *row))
    return Suspects(rows, int((others == 0).sum()), indices)


def check_similarity(similarity: float) -> None:
    """Raises a ValueError unless two different images can have at least this cosine."""
    if not 0 < similarity <= 1:
        raise ValueError(f"Expected similarity in (0, 1]; received {similarity}.")


def _count(
    indices: np.ndarray, cosines: np.ndarray, labels: np.ndarray, may_vote: np.ndarray
) -> _Votes:
    """Returns the shares of the votes for each image; only classes with a vote take memory."""
    own = np.arange(len(labels))
    images = np.concatenate([own, np.nonzero(may_vote)[0]])
    classes = np.concatenate([labels, labels[indices[may_vote]]])
    weights = np.concatenate([np.ones(len(labels)), np.maximum(cosines[may_vote], 0)])
    num_classes = labels.max() + 1
    keys, entries = np.unique(images * num_classes + classes, return_inverse=True)
    images, classes = np.divmod(keys, num_classes)
    votes = np.bincount(entries, weights)
    return _Votes(images, classes, votes / np.bincount(images, votes)[images])


def _doubted_labels(votes: _Votes, indices: np.ndarray, labels: np.ndarray) -> list[Suspect]:
    images, classes, shares = votes
    is_own = classes == labels[images]
    own = shares[is_own]  # each image votes for its own label, so that there is one entry each
    order = np.flatnonzero(~is_own)
    order = order[np.lexsort((classes[order], -shares[order], images[order]))]
    _, firsts = np.unique(images[order], return_index=True)
    best = order[firsts]
    best = best[shares[best] > own[images[best]]]
    result = []
    for image, proposed in zip(images[best], classes[best], strict=True):
        nearest = indices[image][labels[indices[image]] == proposed][0]
        result.append(Suspect("label", float(1 - own[image]), int(image), int(nearest)))
    return result


def _duplicates(
    indices: np.ndarray,
    cosines: np.ndarray,
    labels: np.ndarray,
    similarity: float,
    copies: np.ndarray | None,
) -> list[Suspect]:
    near = (cosines >= similarity) & (labels[indices] != labels[:, None])
    scores: dict[tuple[int, int], float] = {}
    for image, other, cosine in zip(
        np.nonzero(near)[0].tolist(), indices[near].tolist(), cosines[near].tolist(), strict=True
    ):
        scores[min(image, other), max(image, other)] = min(cosine, 1.0)
    if copies is not None:
        for image in np.flatnonzero(labels != labels[copies]).tolist():
            scores[int(copies[image]), image] = 1.0
    return [Suspect("duplicate", score, *pair) for pair, score in scores.items()]


def _similar_classes(
    votes: _Votes,
    indices: np.ndarray,
    cosines: np.ndarray,
    labels: np.ndarray,
    may_vote: np.ndarray,
) -> list[Suspect]:
    num_classes = labels.max() + 1
    sizes = np.bincount(labels)

    def keys_of(some: np.ndarray, other: np.ndarray) -> np.ndarray:
        return np.minimum(some, other) * num_classes + np.maximum(some, other)

    # A class of one image is never judged, so it cannot be compared with another either.
    voters = labels[votes.images]
    counted = (votes.classes != voters) & (sizes[votes.classes] > 1)
    voters = voters[counted]
    pairs, entries = np.unique(keys_of(voters, votes.classes[counted]), return_inverse=True)
    scores = np.bincount(entries, votes.shares[counted] / sizes[voters], len(pairs))
    # The example of a pair is its two most similar images.
    images, columns = np.nonzero(may_vote & (labels[indices] != labels[:, None]))
    others = indices[images, columns]
    order = np.argsort(-cosines[images, columns], kind="stable")
    keys, firsts = np.unique(keys_of(labels[images], labels[others])[order], return_index=True)
    examples = order[firsts[np.searchsorted(keys, pairs)]]
    return [
        Suspect(
            "classes",
            min(float(score), 1.0),
            *sorted((int(images[example]), int(others[example]))),
        )
        for score, example in zip(scores, examples, strict=True)
        if score >= SAME_CLASS
    ]
