"""The models that this server holds."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from attention_server.domain.errors import InvalidRequest, ModelNotFound
from attention_server.domain.model import Model, ModelKey
from attention_service.manifest import NAME_PATTERN, VERSION_PATTERN
from attention_service.reasons import Reason

__all__ = ["Catalog"]


class Catalog:
    """Models by name and version."""

    def __init__(self, models: Iterable[Model]) -> None:
        # By name, the newest version first.
        ordered = sorted(models, key=lambda model: (model.key.name, -int(model.key.version)))
        self._models = {model.key: model for model in ordered}
        self._newest: dict[str, Model] = {}
        for model in ordered:
            self._newest.setdefault(model.key.name, model)

    def __iter__(self) -> Iterator[Model]:
        """Yields every version of every model, by name, newest first."""
        return iter(self._models.values())

    def find(self, name: str, version: str) -> Model:
        """Returns the model of this name and version; the newest where version is empty.

        Raises:
            InvalidRequest: INVALID_NAME, something that names no model.
            ModelNotFound: No model of this name, or not in this version.
        """
        if not NAME_PATTERN.fullmatch(name):
            raise InvalidRequest.of(
                Reason.INVALID_NAME,
                "model",
                "must be a letter or digit, then letters, digits, '.', '_' and '-', at most 64",
            )
        if version and not VERSION_PATTERN.fullmatch(version):
            raise InvalidRequest.of(
                Reason.INVALID_NAME,
                "model_version",
                "must be a positive integer in decimal without leading zeros, or empty",
            )
        newest = self._newest.get(name)
        if newest is None:
            raise ModelNotFound(
                Reason.MODEL_NOT_FOUND, f"no model {name}; list the models to see which there are"
            )
        if not version:
            return newest
        model = self._models.get(ModelKey(name, version))
        if model is None:
            raise ModelNotFound(
                Reason.VERSION_NOT_FOUND,
                f"model {name} has no version {version}; the newest is {newest.key.version}",
            )
        return model
