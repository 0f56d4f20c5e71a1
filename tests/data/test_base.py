"""What every data set says of its images."""

from tests.drawing import picture
from tests.stages.workshop import DrawnDataset
from wsss.annotations import Annotation, ImageTags


def test_what_training_sees_are_the_tags_and_they_are_all_there_is() -> None:
    pictures = {name: picture("0012") for name in ("both", "one", "empty", "unknown")}
    dataset = DrawnDataset(pictures, tags={"one": [2], "empty": [], "unknown": None})
    assert dataset.annotation("both") == Annotation(tags=ImageTags((1, 2)), tags_complete=True)
    assert dataset.annotation("one") == Annotation(tags=ImageTags((2,)), tags_complete=True)
    assert dataset.annotation("empty") == Annotation(tags=ImageTags(()), tags_complete=True)
    assert dataset.annotation("unknown") == Annotation()
