"""What the scorers share: metadata that a search hands them."""

from sklearn.utils.metadata_routing import MetadataRequest

__all__ = ["RoutedScorer"]


class RoutedScorer:
    """Base of scorers that ask for metadata, whose names are in ``metadata``.

    The parameters of their maker are attributes.
    A plain callable with the two methods is routed in single- and multi-metric
    searches; a subclass of scikit-learn's own scorers scores NaN in the latter.
    """

    metadata = ("environments",)

    def __init__(self, maker, **params):
        self.maker, self.params = maker, params
        vars(self).update(params)
        self._metadata_request = MetadataRequest(owner=type(self).__name__)
        for name in self.metadata:
            self._metadata_request.score.add_request(param=name, alias=True)

    def __repr__(self):
        params = ", ".join(f"{name}={value!r}" for name, value in self.params.items())
        return f"{self.maker}({params})"

    def __eq__(self, other):
        return isinstance(other, type(self)) and repr(self) == repr(other)

    def __hash__(self):
        return hash(repr(self))

    def get_metadata_routing(self):
        """Metadata that the scorer asks a search for."""
        return self._metadata_request

    def set_score_request(self, **requests):
        """Set under which name the metadata is routed, True or False.

        Parameters
        ----------
        **requests : bool, str or None
            ``environments``, ``pairs``, or ``factors`` of an identifiability scorer.

        Returns
        -------
        self : object
        """
        unknown = [name for name in requests if name not in self.metadata]
        if unknown:
            raise TypeError(
                f"set_score_request of {type(self).__name__} takes "
                f"{list(self.metadata)}, got {unknown[0]!r}."
            )
        for name, alias in requests.items():
            self._metadata_request.score.add_request(param=name, alias=alias)
        return self
