"""Nodes of a graph in layers, to be drawn."""

__all__ = ["layers_of"]


def layers_of(parents):
    """Lists of nodes, each behind all of its parents, from a dict in their order."""
    depth, layers = {}, []
    for name, read in parents.items():
        depth[name] = 1 + max((depth[p] for p in read), default=-1)
        layers += [[]] * (depth[name] == len(layers))
        layers[depth[name]] = [*layers[depth[name]], name]
    return layers
