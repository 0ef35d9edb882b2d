"""Turns image files into batches: decoding, preprocessing, sampling and `tf.data`."""

from pa_keras.backend import explained_imports

with explained_imports("pa_keras.pipelines"):
    from pa_keras.pipelines.augmentation import make_augmentation, repeats
    from pa_keras.pipelines.batches import evaluation_batches, steps_per_epoch, training_batches
    from pa_keras.pipelines.caching import ImageCache, fill_cache
    from pa_keras.pipelines.decoding import decode_image
    from pa_keras.pipelines.image_checks import ImageCheck, check_images, undecodable
    from pa_keras.pipelines.preprocessing import evaluation_image, training_image
    from pa_keras.pipelines.sampling import balanced, shuffled
    from pa_keras.pipelines.sharding import WorkerShare

__all__ = [
    "ImageCache",
    "ImageCheck",
    "WorkerShare",
    "balanced",
    "check_images",
    "decode_image",
    "evaluation_batches",
    "evaluation_image",
    "fill_cache",
    "make_augmentation",
    "repeats",
    "shuffled",
    "steps_per_epoch",
    "training_batches",
    "training_image",
    "undecodable",
]
