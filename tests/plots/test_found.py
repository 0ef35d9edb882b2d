"""The picture of a search, read back pixel by pixel."""

import numpy as np
from PIL import Image

from pa_keras import plots


def test_queries_stand_leftmost_beside_what_was_found(tmp_path):
    for name, colour in (("query", (0, 0, 255)), ("answer", (255, 0, 255))):
        Image.new("RGB", (30, 30), colour).save(tmp_path / f"{name}.png")
    query, answer = str(tmp_path / "query.png"), str(tmp_path / "answer.png")
    rows = [[answer, str(tmp_path / "deleted.png")], [answer, ""]]
    captions = [["$5 to $7", "gone"]] * 2
    plots.found([query, query], rows, captions, tmp_path / "found.png")
    with Image.open(tmp_path / "found.png") as image:
        pixels = np.asarray(image.convert("RGB"))
    third = pixels.shape[1] // 3

    def count(column, colour):
        part = pixels[:, column * third : (column + 1) * third]
        return int((part == colour).all(axis=-1).sum())

    assert count(0, (0, 0, 255)) > 10_000 and count(1, (255, 0, 255)) > 10_000
    assert count(0, (255, 0, 255)) == 0
    assert count(2, (0, 0, 255)) == count(2, (255, 0, 255)) == 0  # what is not there stays empty
