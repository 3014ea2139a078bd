from xml.etree import ElementTree

from torch import nn

from sklearn_icm.mechanisms import MechanismGraph, parts_decoder


def test_a_graph_is_drawn_with_its_shapes_and_parents():
    graph = parts_decoder(4, (1, 12, 24))
    drawn = ElementTree.fromstring(graph._repr_html_())
    texts = [text.text for text in drawn.iter("text")]
    shapes = [" x ".join(map(str, shape)) for shape in graph.nodes.values()]
    assert texts == [t for pair in zip(graph.nodes, shapes, strict=True) for t in pair]
    # A line and a head for each.
    n_edges = sum(map(len, graph.parents.values()))
    assert len(list(drawn.iter("path"))) == 2 * n_edges
    svg = drawn.find("svg")
    for box in drawn.iter("rect"):
        for at, size, whole in (("x", "width", "width"), ("y", "height", "height")):
            assert float(box.get(at)) >= 0
            assert float(box.get(at)) + float(box.get(size)) <= float(svg.get(whole))


def test_names_are_escaped():
    graph = MechanismGraph({"a<b": (2,)}, {"<svg>&": ("a<b", nn.Linear(2, 1))})
    texts = [t.text for t in ElementTree.fromstring(graph._repr_html_()).iter("text")]
    assert texts == ["a<b", "2", "<svg>&", "1"]
