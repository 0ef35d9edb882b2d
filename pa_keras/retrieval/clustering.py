"""Agreement of the classes with a clustering of the embeddings that uses no labels."""

import numpy as np
import numpy.typing as npt

from pa_keras.arguments.class_ids import class_ids


def clustering_metrics(
    embeddings: npt.ArrayLike, labels: npt.ArrayLike, seed: int = 0
) -> dict[str, float]:
    """Returns the NMI and AMI of a k-means clustering with as many clusters as classes.

        NMI = I(Y; C) / mean(H(Y), H(C)),   AMI = (I - E[I]) / (mean(H(Y), H(C)) - E[I])

    with classes Y, clusters C, entropy H, mutual information I and its mean E[I] over random
    clusterings of the same sizes. NMI rises with the number of clusters even if they are random;
    AMI is then 0. k-means (k-means++, one start) and the metrics are from scikit-learn.

    Args:
        embeddings: Embeddings, float (N, D), finite.
        labels: Class IDs or class names (N,), of at least 2 classes.
        seed: Seed of k-means. Default 0.

    Returns:
        {"nmi": ..., "ami": ...}, at most 1.

    Raises:
        ValueError: The number of labels differs from that of the embeddings, or there is only
            one class.

    Example:
        >>> points = np.array([[1, 0], [1, 0.1], [0, 1], [0.1, 1]])
        >>> clustering_metrics(points, [3, 3, 8, 8])
        {'nmi': 1.0, 'ami': 1.0}

    Source: Vinh et al., Information Theoretic Measures for Clusterings Comparison, JMLR 2010.
    """
    from sklearn.cluster import KMeans
    from sklearn.metrics import adjusted_mutual_info_score, normalized_mutual_info_score

    embeddings, labels = np.asarray(embeddings), class_ids("labels", labels)
    num_classes = len(np.unique(labels))
    if labels.shape != (len(embeddings),) or num_classes < 2:
        raise ValueError(
            "Expected one label for each embedding, of 2 classes or more; received shapes "
            f"{embeddings.shape} and {labels.shape}, {num_classes} classes; give the labels of "
            "these embeddings."
        )
    kmeans = KMeans(num_classes, n_init=1, random_state=seed)
    clusters = kmeans.fit_predict(embeddings)
    return {
        "nmi": float(normalized_mutual_info_score(labels, clusters)),
        "ami": float(adjusted_mutual_info_score(labels, clusters)),
    }
