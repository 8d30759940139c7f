"""Which ranker is asked: the settings that every class here has in common, checked and kept as keys want it."""

import operator
from collections.abc import Callable, Iterator, Mapping
from inspect import signature
from os import PathLike
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Self

from pydantic import (
    AliasChoices,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    FieldSerializationInfo,
    PrivateAttr,
    SecretStr,
    SkipValidation,
    ValidationError,
    field_serializer,
    field_validator,
    model_validator,
)
from pydantic.json_schema import SkipJsonSchema
from pydantic_core import InitErrorDetails, PydanticCustomError

import resift
from resift.adapting import Reranker
from resift.settings import hint

_OPTIONS = {*signature(resift.load).parameters, *signature(resift.connect).parameters}


def _counted(given: Any) -> Any:
    """Return a whole number of numpy's as one of Python's; what is none is left to be refused."""
    try:
        return given if isinstance(given, bool) else operator.index(given)
    except TypeError:
        return given


Count = Annotated[int, Field(ge=1, strict=True), BeforeValidator(_counted)]
"""How many documents to keep."""


class CheckedSettings(BaseModel):
    """Settings that are refused in words that help, and without showing what was given, which may be a key."""

    model_config = ConfigDict(
        arbitrary_types_allowed=True,
        extra="forbid",
        hide_input_in_errors=True,  # where `_check` is not asked: in JSON that is none
        validate_assignment=True,
    )

    @model_validator(mode="wrap")
    @classmethod
    def _check(cls, given: Any, handler: Callable[[Any], Self]) -> Self:
        """Refuse a misspelt setting with a hint, and anything else without its value."""
        if isinstance(given, Mapping):
            known = sorted(_accepted(cls))
            for name in given:
                if name not in known:
                    raise _refusal(cls, f"there is no setting {name!r}; {cls._advice(name, known)}")
        try:
            return handler(given)
        except ValidationError as error:
            found = error.errors(include_url=False, include_input=False)
        errors = [InitErrorDetails(type=wrong(one["msg"], one["type"]), loc=one["loc"], input=None) for one in found]
        raise ValidationError.from_exception_data(cls.__name__, errors, hide_input=True)

    @classmethod
    def _advice(cls, name: object, known: list[str]) -> str:
        """Say which setting was probably meant."""
        ends = [one for one in known if str(name).endswith(f"_{one}")]  # cohere_api_key, and others' prefixes
        return f"did you mean {ends[0]!r}?" if ends else hint(name, known, otherwise="there are")

    if not TYPE_CHECKING:  # or type checkers would take any assignment

        def __setattr__(self, name: str, value: Any) -> None:
            """Refuse in words of our own: pydantic's show the value, which may be a key."""
            field = type(self).model_fields.get(name)
            if field is None and not name.startswith("_") and not hasattr(type(self), name):
                known = sorted(type(self).model_fields)
                raise _refusal(type(self), f"there is no setting {name!r}; {self._advice(name, known)}")
            if field is not None and field.frozen:
                raise _refusal(type(self), f"{name} decides which ranker is asked and stays; make another instead")
            super().__setattr__(name, value)


class RankerSettings(CheckedSettings):
    """
    Which ranker is asked. Settings are checked when they are given; nothing is loaded or sent before it is needed.

    What decides the ranker stays as it was given, and equal settings share one model. The key is in no text, error,
    dump or pickle: what is restored from one takes it from the environment.
    """

    model: str | Path | None = Field(default=None, frozen=True)
    """A hub id, a local directory, or the name by which an endpoint knows its model; "lexical" if nothing is given."""

    base_url: str | None = Field(default=None, frozen=True)
    """The endpoint that ranks; the model runs here if not given."""

    api_key: SecretStr | None = Field(default=None, frozen=True, exclude=True)
    """The endpoint's key; that of the environment variable RESIFT_API_KEY if not given, and none where that is not."""

    normalize: bool | None = Field(default=None, frozen=True)
    """None for the scores that the model's authors return, True for [0, 1], False for raw logits."""

    instruction: str | None = None
    """What the model is told to look for, where it knows instructions."""

    options: dict[str, Any] = Field(default_factory=dict, frozen=True)
    """The other options of `resift.load`, or with a `base_url` those of `resift.connect`."""

    ranker: SkipJsonSchema[SkipValidation[resift.Ranker | None]] = Field(default=None, frozen=True)
    """Any ranker, in place of a model or an endpoint and their settings."""

    _reranker: Reranker = PrivateAttr()

    @field_validator("model", mode="before")
    @classmethod
    def _require_name(cls, given: Any) -> Any:
        """Refuse a model that is loaded already, as other rerankers take it."""
        if given is None or isinstance(given, str | PathLike):
            return given
        raise wrong(f"model must be a model's name or directory, not {type(given).__name__}; a Ranker goes to ranker=")

    def model_post_init(self, context: Any, /) -> None:
        """Check what decides the ranker."""
        try:
            self._reranker = Reranker(**self._ranker_settings())
        except resift.InvalidInput as error:
            raise _refusal(type(self), str(error)) from None

    def _ranker_settings(self) -> dict[str, Any]:
        """Return what the ranker is made of."""
        for name in self.options:
            if name in type(self).model_fields:
                raise resift.InvalidInput(f"options holds {name!r}, which has a place of its own; say {name}=...")
        names = ("model", "base_url", "normalize", "ranker")
        given = {name: getattr(self, name) for name in names if getattr(self, name) is not None}
        if self.api_key is not None:
            given["api_key"] = self.api_key.get_secret_value()
        return given | self.options

    @classmethod
    def _advice(cls, name: object, known: list[str]) -> str:
        """Say where an option belongs, or which setting was probably meant."""
        return f"say options={{{name!r}: ...}}" if name in _OPTIONS else super()._advice(name, known)

    def warm_up(self) -> None:
        """Load the model now, so that the first call does not have to."""
        self._reranker.warm_up()

    async def awarm_up(self) -> None:
        """Do what `warm_up` does without blocking the event loop."""
        await self._reranker.awarm_up()

    def close(self) -> None:
        """Give back what was loaded or connected; a later call does that again. A `ranker` given stays open."""
        self._reranker.close()

    async def aclose(self) -> None:
        """Do what `close` does without blocking the event loop."""
        await self._reranker.aclose()

    def model_copy(self, *, update: Mapping[str, Any] | None = None, deep: bool = False) -> Self:
        """Return a copy; with an `update` one that was checked as a new one is, because it may ask another ranker."""
        if not update:
            return super().model_copy(deep=deep)
        return type(self)(**{name: getattr(self, name) for name in self.model_fields_set} | dict(update))

    def __eq__(self, other: object) -> bool:
        """Two are equal when their settings are."""
        return type(self) is type(other) and self.__dict__ == other.__dict__

    __hash__ = None  # type: ignore[assignment]  # settings may be assigned

    def __deepcopy__(self, memo: dict[int, Any] | None = None) -> Self:
        return self.__copy__()  # a ranker or a client is not copied for it

    def __getstate__(self) -> dict[Any, Any]:
        state = super().__getstate__()
        return state | {"__dict__": state["__dict__"] | {"api_key": None}}

    def __repr_args__(self) -> Iterator[tuple[str, Any]]:
        for name, field in type(self).model_fields.items():
            value = getattr(self, name)
            if not field.exclude and value != field.get_default(call_default_factory=True):
                yield name, _shown(name, value)

    @field_serializer("options", "ranker", when_used="unless-none")
    def _dump(self, given: Any, info: FieldSerializationInfo) -> Any:
        """Write what cannot be written, or may hold a key, so that settings restored from it are refused."""
        return _shown(info.field_name, given)


def _accepted(settings: type[BaseModel]) -> set[str]:
    """Return the names by which settings can be given."""
    names = set(settings.model_fields)
    for field in settings.model_fields.values():
        alias = field.validation_alias
        names |= {str(name) for name in alias.choices} if isinstance(alias, AliasChoices) else set()
    return names


def wrong(why: str, kind: str = "invalid_input") -> PydanticCustomError:
    """Return what a validator raises: our words, and nothing of pydantic's around them."""
    return PydanticCustomError(kind, "{why}", {"why": why})


def _refusal(settings: type[BaseModel], why: str) -> ValidationError:
    """Return pydantic's error with our words and without what was given."""
    errors: list[InitErrorDetails] = [{"type": wrong(why), "input": None}]
    return ValidationError.from_exception_data(settings.__name__, errors, hide_input=True)


def _shown(name: str, given: Any) -> Any:
    """Return what may be seen of a setting or an option."""
    if given is None:
        return None
    if name == "options":
        return {option: _shown(option, value) for option, value in given.items()}
    if name == "headers" and isinstance(given, Mapping):
        return dict.fromkeys(given)
    return type(given).__name__ if name in ("ranker", "http_client") else given
