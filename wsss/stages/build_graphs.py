"""The region graph of every training image: superpixels as nodes, with the classifier's features."""

from typing import TYPE_CHECKING

import torch

from wsss.data.base import Dataset
from wsss.stages.base import Portion, Stage, Workbench, batches, for_each
from wsss.stages.materials import GraphStages, read_segments
from wsss.stages.networks import NetworkPlan, load_classifier, on_grid
from wsss.store import Artefact

if TYPE_CHECKING:
    from wsss.tasks.settings import GraphSettings

BATCH = 8
"""Maximum number of images of similar size whose features are computed together."""


def build_graphs(
    dataset: Dataset,
    network: NetworkPlan,
    settings: "GraphSettings",
    superpixels: Stage,
    classifier: Stage,
    precision: str,
) -> GraphStages:
    """Plan the region graphs.

    Args:
        dataset: The images.
        network: The classifier whose features describe the regions.
        settings: Number of similar regions, and scale at which features are computed.
        superpixels: The stage that computes the superpixels.
        classifier: The stage that trains the classifier.
        precision: The resolved precision.
    """

    def work(bench: Workbench, out: Artefact) -> None:
        from wsss.functional.region_graph import build_region_graph

        model = load_classifier(network, len(dataset.classes), bench.read(classifier), bench.device)
        segments = bench.read(superpixels)

        def one(portion: Portion) -> None:
            images = [dataset.image(image) for image in portion.ids]
            with torch.inference_mode(), bench.autocast():
                shown = on_grid(images, portion.size, bench.device, settings.feature_scale)
                levels = [level.float().cpu() for level in model.levels(shown)]
            with out.unit(portion.name) as unit:
                for image, pixels, *seen in zip(portion.ids, images, *levels, strict=True):
                    cut = read_segments(segments, image)
                    anchors = model.level_anchors
                    graph = build_region_graph(pixels, cut, seen, anchors=anchors, neighbours=settings.neighbours)
                    path = out.path("graphs", image, ".safetensors").relative_to(out.folder).as_posix()
                    tensors = {
                        "x": graph.x.half(),
                        "edge_index": graph.edge_index.to(torch.int32),
                        "edge_attr": graph.edge_attr.half(),
                    }
                    unit.write_tensors(path, tensors)

        for_each(bench, out, batches(dataset, dataset.ids("train"), BATCH), one, description="region graphs")

    graphs = Stage(
        name="graphs",
        version=4,
        work=work,
        settings={
            "neighbours": settings.neighbours,
            "feature_scale": settings.feature_scale,
            "precision": precision,
        },
        reads={"superpixels": superpixels, "classifier": classifier},
    )
    return GraphStages(superpixels, graphs)
